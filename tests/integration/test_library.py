"""The library and the extension in other people's programs: C, Python, Node, sqlite3's shell.

What they run are the examples of docs/examples, as they stand there.
"""

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import uuid

import pytest
from harness import Bridge, program, wait_for
from harness.node import installed
from harness.process import ROOT, environment

EXAMPLES = ROOT / "docs" / "examples"
SHAPE = "items where owner = 7"
RULES = """
[write items]
operations = insert, update, delete
check = owner = 7
[write doc_updates]
operations = insert, delete
[write doc_changes]
operations = insert
"""


def built():
    return program().resolve().parent


def extension():
    return built() / "extension" / "tombolo.so"


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, owner int, name text);"
                 "INSERT INTO items VALUES (1, 7, 'first'), (2, 8, 'of another');"
                 "CREATE TABLE doc_updates (id uuid PRIMARY KEY, doc uuid NOT NULL,"
                 "                          data bytea NOT NULL);"
                 "CREATE TABLE doc_changes (hash text PRIMARY KEY, doc uuid NOT NULL,"
                 "                          data bytea NOT NULL)")
    return database


@pytest.fixture
def bridge(items, tmp_path):
    with_rules = Bridge(items, data_dir=tmp_path / "bridge", rules=RULES).start()
    yield with_rules
    with_rules.stop()


def run(*argv, cwd=None, **settings):
    """What the program says on its standard output; a failure is the test's."""
    done = subprocess.run(list(map(str, argv)), cwd=cwd, env=environment(**settings), timeout=120,
                          check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv[0]} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def node(name, *argv):
    """An example in Node, where the packages are."""
    folder = installed()
    shutil.copy(EXAMPLES / name, folder)
    return run("node", folder / name, extension(), *argv, cwd=folder)


# ---- the examples ----

@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The example in C, built against an installed library."""
    prefix = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", built(), "--prefix", prefix)
    pkg_config = next(prefix.rglob("tombolo.pc")).parent
    flags = run("pkg-config", "--cflags", "--libs", "tombolo", "sqlite3",
                PKG_CONFIG_PATH=pkg_config)
    run("cc", "-Wall", "-Wextra", "-Werror", EXAMPLES / "library.c", *shlex.split(flags),
        "-o", prefix / "app")
    return prefix / "app", pkg_config.parent


def test_program_in_c_reads_and_writes_through_the_library(items, bridge, app, tmp_path):
    program_in_c, libraries = app
    said = run(program_in_c, bridge.url, tmp_path / "app.db", SHAPE, LD_LIBRARY_PATH=libraries)
    assert said == "1|first\n100|from C\n"
    assert items.sql("SELECT owner, name FROM items WHERE id = 100") == [(7, "from C")]


def test_program_in_python_reads_and_writes_through_the_extension(items, bridge, tmp_path):
    said = run(sys.executable, EXAMPLES / "extension.py", extension(), bridge.url,
               tmp_path / "app.db", SHAPE)
    assert said == "1|first\n200|from Python\n"
    assert items.value("SELECT name FROM items WHERE id = 200") == "from Python"


def test_program_in_node_reads_and_writes_through_the_extension(items, bridge, tmp_path):
    """A SQLite of its own is built into it: the extension uses that one."""
    said = node("extension.mjs", bridge.url, tmp_path / "app.db", SHAPE)
    assert said == "1|first\n300|from Node\n"
    assert items.value("SELECT name FROM items WHERE id = 300") == "from Node"


def test_shell_reads_and_writes_through_the_extension(items, bridge, tmp_path):
    script = (EXAMPLES / "extension.sql").read_text().replace("http://127.0.0.1:3000", bridge.url)
    (tmp_path / "script.sql").write_text(script)
    said = run("sqlite3", tmp_path / "app.db", f".load {extension().with_suffix('')}",
               f".read {tmp_path / 'script.sql'}")
    assert said == "synced\nsent\n1|first\n400|from the shell\n"
    assert items.value("SELECT name FROM items WHERE id = 400") == "from the shell"


def test_two_who_edit_a_yjs_document_offline_have_the_same_text(items, bridge, tmp_path):
    doc = str(uuid.uuid4())
    for n in range(12):  # enough for it to be compacted
        node("yjs.mjs", bridge.url, tmp_path / f"{n % 2}.db", doc, f"<{n}>")
    texts = {node("yjs.mjs", bridge.url, tmp_path / f"{n}.db", doc, "").strip() for n in (2, 3)}
    assert len(texts) == 1
    assert all(f"<{n}>" in next(iter(texts)) for n in range(12))
    assert items.value("SELECT count(*) FROM doc_updates") < 12, "it was not compacted"


def test_two_who_change_an_automerge_document_have_the_same_items(items, bridge, tmp_path):
    doc = str(uuid.uuid4())
    for n in range(3):
        said = json.loads(node("automerge.mjs", bridge.url, tmp_path / f"{n % 2}.db", doc, f"item {n}"))
    assert sorted(said) == ["item 0", "item 1", "item 2"]
    assert items.value("SELECT count(*) FROM doc_changes") == 3


# ---- the extension, where it says no ----

def connect(path):
    db = sqlite3.connect(path, isolation_level=None)
    db.enable_load_extension(True)
    db.load_extension(os.fspath(extension()))
    return db


def refusal(db, sql, *params):
    with pytest.raises(sqlite3.OperationalError) as refused:
        db.execute(sql, params).fetchall()
    return str(refused.value)


def test_extension_says_what_is_wrong(items, bridge, tmp_path):
    db = connect(tmp_path / "a.db")
    db.execute("BEGIN")
    assert "not within a transaction" in refusal(db, "SELECT tombolo_sync(?, ?)", bridge.url, SHAPE)
    db.execute("ROLLBACK")
    assert "the bridge's URL" in refusal(db, "SELECT tombolo_sync()")
    assert "character" in refusal(db, "SELECT tombolo_sync(?, ?)", bridge.url, "items where")
    assert "nope" in refusal(db, "SELECT tombolo_sync(?, ?)", bridge.url, "nope")
    assert "not a file" in refusal(connect(":memory:"), "SELECT tombolo_sync(?, ?)", bridge.url, SHAPE)


def test_extension_is_for_direct_use_alone(items, bridge, tmp_path):
    db = connect(tmp_path / "a.db")
    db.execute("CREATE VIEW bait AS SELECT tombolo_sync('http://127.0.0.1:1', 'items')")
    assert "unsafe use" in refusal(db, "SELECT * FROM bait")


def test_one_connection_at_a_time_syncs_a_file(items, bridge, tmp_path):
    first, second = connect(tmp_path / "a.db"), connect(tmp_path / "a.db")
    first.execute("SELECT tombolo_start(?, ?)", (bridge.url, SHAPE))
    wait_for(lambda: first.execute("SELECT json_extract(tombolo_status(), '$.consistent')"
                                   ).fetchone() == (1,), 60, lambda: "the first rows")
    assert "is being synced by another process" in refusal(second, "SELECT tombolo_sync(?, ?)", bridge.url, SHAPE)
    second.execute("INSERT INTO items VALUES (9, 7, 'by the second')")
    assert second.execute("SELECT tombolo_wait(60000)").fetchone() == (1,)
    assert items.value("SELECT name FROM items WHERE id = 9") == "by the second"
    first.close()  # which ends the thread: the second may
    second.execute("SELECT tombolo_sync(?, ?)", (bridge.url, SHAPE))


def test_status_says_why_the_bridge_is_not_reached(items, bridge, tmp_path):
    db = connect(tmp_path / "a.db")
    db.execute("SELECT tombolo_sync(?, ?)", (bridge.url, SHAPE))
    bridge.kill9()
    db.execute("SELECT tombolo_start(?, ?)", (bridge.url, SHAPE))
    db.execute("INSERT INTO items VALUES (10, 7, 'offline')")

    def status():
        return json.loads(db.execute("SELECT tombolo_status()").fetchone()[0])

    wait_for(lambda: status()["result"] == "offline", 60, status)
    assert status()["problem"] and status()["pending"] == 1
    assert db.execute("SELECT tombolo_wait(0)").fetchone() == (0,)
    bridge.start()
    assert db.execute("SELECT tombolo_wait(60000)").fetchone() == (1,)
    assert items.value("SELECT name FROM items WHERE id = 10") == "offline"
    assert status()["result"] == "ok"
