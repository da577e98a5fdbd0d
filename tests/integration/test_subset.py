"""Subsets of a shape against a real Postgres: what the query finds, what it refuses, and that it ends
when nobody waits for it. Also why first rows could not be had, as clients are told."""

import contextlib
import json
import random
import threading
import time

import pytest
from harness import Bridge, ShapeApi, wait_for
from harness.http_raw import Connection
from harness.token import SECRET, token

pytestmark = pytest.mark.sanitized


@pytest.fixture(scope="module")
def db(module_database):
    module_database.sql("""
        CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
        CREATE TABLE people (id int PRIMARY KEY, name text, mood mood, doc json, big bigint);
        INSERT INTO people SELECT n, 'name ' || chr(64 + n), (enum_range(NULL::mood))[n % 3 + 1],
               '{}', n * 10 FROM generate_series(1, 20) n""")
    return module_database


@pytest.fixture
def people(db, api):
    return ShapeApi(api, table="people", offset="now", log="changes_only")


def ids(reply):
    assert reply.status == 200, reply
    return [int(row["value"]["id"]) for row in reply.json()["data"]]


def test_rows_come_in_order_with_limit_and_offset(people):
    reply = people.get(subset__where="id > $1", subset__params='{"1":"5"}',
                       subset__order_by="big DESC", subset__limit="3", subset__offset="2")
    assert ids(reply) == [18, 17, 16]


def test_enums_are_compared_by_postgres(people, db):
    def found(where, **params):
        return sorted(ids(people.post(json.dumps({"where": where, "params": params}).encode())))

    def theirs(where):
        return [row[0] for row in db.sql(f"SELECT id FROM people WHERE {where} ORDER BY id")]

    assert found("mood = 'ok'") == theirs("mood = 'ok'")
    assert found("mood > $1", **{"1": "sad"}) == theirs("mood > 'sad'")
    assert found("mood IN ('sad', 'happy')") == theirs("mood IN ('sad', 'happy')")
    assert found("mood = ANY($1)", **{"1": "{ok,sad}"}) == theirs("mood IN ('ok', 'sad')")
    assert found("mood IS DISTINCT FROM 'ok'") == theirs("mood <> 'ok'")


def test_text_is_compared_in_the_databases_order(people, db):
    reply = people.get(subset__where="name > 'name M'", subset__order_by="name")
    theirs = [row[0] for row in db.sql("SELECT id FROM people WHERE name > 'name M' ORDER BY name")]
    assert theirs and ids(reply) == theirs


def test_what_only_postgres_can_know_is_a_string(people):
    errors = people.errors(subset__where="mood = 'odd'")
    assert errors == {"subset": {"where": 'invalid input value for enum public.mood: "odd"'}}
    errors = people.errors(subset__where="big / (big - 10) = 1")
    assert errors == {"subset": {"where": "division by zero"}}
    errors = people.errors(subset__order_by="doc")
    assert "ordering operator" in errors["subset"]["order_by"], errors


def test_metadata_says_what_the_snapshot_saw(people, db):
    with contextlib.closing(db.connect(autocommit=False)) as open_one:
        cursor = open_one.cursor()
        cursor.execute("UPDATE people SET big = big WHERE id = 1")
        cursor.execute("SELECT pg_current_xact_id()::text")
        ((xid,),) = cursor.fetchall()
        db.sql("UPDATE people SET big = big WHERE id = 2")  # a later one that is seen
        before = db.value("SELECT pg_current_wal_lsn() - '0/0'")
        said = people.get(subset__where="id = 1").json()
        open_one.rollback()
    metadata, (row,) = said["metadata"], said["data"]
    assert xid in metadata["xip_list"] and int(metadata["xmin"]) <= int(xid) < int(metadata["xmax"])
    assert 0 <= metadata["snapshot_mark"] < 2**31
    assert row["headers"]["snapshot_mark"] == metadata["snapshot_mark"]
    assert row["headers"]["operation"] == "insert"
    assert int(metadata["database_lsn"]) >= before


def test_large_subset_is_sent_whole(db, api):
    db.sql("CREATE TABLE large (id int PRIMARY KEY, v text);"
           "INSERT INTO large SELECT n, repeat(md5(n::text), 10) FROM generate_series(1, 20000) n")
    reply = api.get(table="large", offset="now", log="changes_only", subset__order_by="id")
    assert ids(reply) == list(range(1, 20001))


def test_nothing_is_left_in_the_data_folder(people, shape_bridge):
    ids(people.get(subset__where="id = 1"))
    assert not [path for path in shape_bridge.data_dir.iterdir() if "subset" in path.name]


def test_unread_subsets_take_no_more_room_than_they_may(database, tmp_path):
    """Whoever reads or goes makes room. Seven megabytes are more than sockets take."""
    database.sql("CREATE TABLE large (id int PRIMARY KEY, v text);"
                 "INSERT INTO large SELECT n, repeat('x', 70000) FROM generate_series(1, 200) n")
    bridge = Bridge(database, data_dir=tmp_path / "bridge", stream_id="bounded",
                    unread_subsets="10MB").start()
    api = ShapeApi(bridge, table="large", offset="now", log="changes_only")

    def unread():
        return bridge.metrics()["tombolo_unread_subset_bytes"]

    def refused(where):
        reply = api.get(subset__where=where)
        assert reply.status == 503 and reply["retry-after"] == "10", reply
        assert reply["electric-internal-known-error"] == "true", reply
        return reply.json()["message"]

    assert refused("id > 0").startswith("The subset is larger than the 10485760 bytes")
    assert unread() == 0
    first = Connection(bridge.port).send("GET", api.target(subset__where="id <= 100"))
    wait_for(lambda: unread() > 7e6, 60, "the first to be there")
    assert "have not read yet" in refused("id > 100")
    assert ids(api.get(subset__where="id <= 10")) == list(range(1, 11))
    assert len(ids(first.receive())) == 100
    first.close()
    wait_for(lambda: unread() == 0, 60, "what was read to be gone")
    second = Connection(bridge.port).send("GET", api.target(subset__where="id > 100"))
    wait_for(lambda: unread() > 7e6, 60, "the second to be there")
    second.close()
    wait_for(lambda: unread() == 0, 60, "what nobody waits for to be gone")
    assert len(ids(api.get(subset__where="id > 100"))) == 100
    bridge.stop()


def test_subset_of_another_handle_is_409(people):
    reply = people.get(offset="0_0", handle="1-2", subset__where="id = 1")
    assert reply.status == 409 and reply["electric-handle"], reply


def running(db):
    """The queries of subsets that Postgres is at."""
    return db.sql("SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                  " AND application_name = 'tombolo subset' AND state = 'active'")


# A clause that takes minutes, and gives no row: from each place of a text, LIKE goes far in vain.
SLOW_TABLE = """
    DROP TABLE IF EXISTS slow; CREATE TABLE slow (id int PRIMARY KEY, v text);
    INSERT INTO slow SELECT n, repeat('a', 60000) FROM generate_series(1, 1000) n"""
SLOW_WHERE = f"v LIKE '%{'a' * 2000}b%'"


@pytest.fixture
def slow(db):
    db.sql(SLOW_TABLE)
    return {"table": "slow", "offset": "now", "log": "changes_only", "subset__where": SLOW_WHERE}


def test_query_ends_when_its_client_goes(db, api, slow):
    connection = Connection(api.port).send("GET", api.target(**slow))
    wait_for(lambda: running(db), 60, "the query to run")
    connection.close()
    wait_for(lambda: not running(db), 60, "the query to be cancelled")
    # The worker goes on with the next.
    assert ids(api.get(**{**slow, "subset__where": "id = 1"})) == [1]


def test_queries_end_whenever_their_clients_go(api, db, slow):
    """In whatever moment: a cancel request may be there before its query."""
    rng = random.Random(len(SLOW_WHERE))
    for _ in range(60):
        connection = Connection(api.port).send("GET", api.target(**slow))
        time.sleep(rng.uniform(0, 0.03))
        connection.close()
    wait_for(lambda: not running(db), 60, "all to be cancelled")
    assert ids(api.get(**{**slow, "subset__where": "id = 1"})) == [1]


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_query_ends_when_the_bridge_does(database, tmp_path, end):
    """Killed, by the server's seeing that nobody is there."""
    database.sql(SLOW_TABLE)
    bridge = Bridge(database, data_dir=tmp_path / "bridge", stream_id="ends").start()
    with contextlib.closing(Connection(bridge.port).send("GET", ShapeApi(bridge).target(
            table="slow", offset="now", log="changes_only", subset__where=SLOW_WHERE))):
        wait_for(lambda: running(database), 60, "the query to run")
        getattr(bridge, end)()
    wait_for(lambda: not running(database), 60, "the query to end")


def test_one_subject_leaves_workers_for_others(database, tmp_path):
    database.sql(SLOW_TABLE)
    bridge = Bridge(database, data_dir=tmp_path / "bridge", stream_id="fair",
                    rules="[shape slow]\ntable = slow\n", token_secret=SECRET,
                    secret="s3cret", snapshot_workers="2").start()
    api = ShapeApi(bridge, shape="slow", offset="now", log="changes_only")
    ann, bob = (("authorization", f"Bearer {token(sub=sub)}") for sub in ("ann", "bob"))
    with contextlib.ExitStack() as stack:
        for n in range(4):
            connection = stack.enter_context(contextlib.closing(Connection(bridge.port)))
            connection.send("GET", api.target(subset__where=f"{SLOW_WHERE} AND id > {n}"), [ann])
        wait_for(lambda: running(database), 60, "a query to run")
        assert ids(api.get(subset__where="id = 1", headers=[bob])) == [1]
        assert ids(api.get(subset__where="id = 2", headers=[bob])) == [2]
        wait_for(lambda: len(running(database)) == 1, 60, "of one subject, one query")
    bridge.stop()


def test_first_row_that_does_not_come_is_503(database, tmp_path):
    database.sql(SLOW_TABLE)
    bridge = Bridge(database, data_dir=tmp_path / "bridge", stream_id="hurries",
                    snapshot_timeout="1s").start()
    said = ("Snapshot query took too long to return data (cancelled after 1000ms). Please ensure "
            "snapshot queries are using an index to avoid taking up all database connections.")
    api = ShapeApi(bridge, table="slow")
    for reply in (api.get(offset="now", log="changes_only", subset__where=SLOW_WHERE),
                  api.get(offset="-1", where=SLOW_WHERE)):
        assert reply.status == 503 and reply.json() == {"message": said}, reply
        assert reply["retry-after"] == "10" and reply["electric-internal-known-error"] == "true"
    bridge.stop()


def test_locked_table_is_503(db, people, api):
    with contextlib.closing(db.connect(autocommit=False)) as holder:
        ids(people.get(subset__where="id = 1"))
        holder.cursor().execute("LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
        reply = people.get(subset__where="id = 1", timeout=60)
        holder.rollback()
    assert reply.status == 503 and reply["retry-after"] == "10", reply
    assert reply.json()["message"].startswith("Snapshot timed out while waiting for a table lock")


def test_connection_that_was_lost_is_made_again(db, people):
    assert ids(people.get(subset__where="id = 1")) == [1]
    db.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
           " WHERE datname = current_database() AND application_name = 'tombolo subset'")
    assert ids(people.get(subset__where="id = 2")) == [2]


def test_subset_has_what_the_log_had(db, api):
    """Whatever the log has shown before a subset was asked for is in the subset, or newer."""
    db.sql("CREATE TABLE counter (id int PRIMARY KEY, n int); INSERT INTO counter VALUES (1, 0)")
    start = api.get(table="counter", offset="now", log="changes_only")
    handle, offset = start["electric-handle"], start["electric-offset"]
    for n in range(1, 30):
        db.sql("UPDATE counter SET n = %s", n)
        reply = api.get(table="counter", log="changes_only", offset=offset, handle=handle,
                        live="true")
        offset = reply["electric-offset"]
        seen = [int(m["value"]["n"]) for m in reply.json() if "value" in m]
        (row,) = api.get(table="counter", log="changes_only", offset=offset, handle=handle,
                         subset__where="id = 1").json()["data"]
        assert int(row["value"]["n"]) >= max(seen, default=0)


@contextlib.contextmanager
def counting(db, table):
    """Somebody who counts up a row of the table all the time; the list of what was committed."""
    db.sql(f"CREATE TABLE {table} (id int PRIMARY KEY, n int, body text);"
           f"INSERT INTO {table} SELECT i, 0, repeat('x', 1000) FROM generate_series(1, 20000) i")
    end, committed = threading.Event(), [0]

    def count():
        with contextlib.closing(db.connect()) as connection:
            cursor = connection.cursor()
            while not end.is_set():
                cursor.execute(f"UPDATE {table} SET n = %s WHERE id = 1", [committed[-1] + 1])
                committed.append(committed[-1] + 1)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield committed
    finally:
        end.set()
        thread.join()


def sees(metadata, message):
    """Whether a subset's snapshot sees the message's transaction."""
    xid = int(message["headers"]["txids"][0])
    return xid < int(metadata["xmin"]) or (xid < int(metadata["xmax"]) and
                                           str(xid) not in metadata["xip_list"])


@pytest.mark.parametrize("begins", [False, True], ids=["follows", "begins"])
def test_what_commits_during_a_subset_is_in_it_or_behind_its_offset(db, api, begins):
    """The client goes on from the answer's offset, and drops what the snapshot sees."""
    shape = {"table": f"counted_{begins}", "log": "changes_only"}
    with counting(db, shape["table"]) as committed:
        start = api.get(**shape, offset="now")
        handle, at = start["electric-handle"], start["electric-offset"]
        asked = {"offset": "now"} if begins else {"offset": at, "handle": handle}
        replies = [api.get(**shape, **asked, subset__where="id > 0", timeout=60) for _ in range(5)]
        wait_for(lambda: len(committed) > 100, 60, "a hundred updates")
    last = committed[-1]
    messages, offset = [], "0_inf"

    def caught_up():
        nonlocal offset
        reply = {}
        while "electric-up-to-date" not in reply:
            reply = api.get(**shape, offset=offset, handle=handle)
            assert reply.status == 200, reply
            offset = reply["electric-offset"]
            messages.extend(m for m in reply.json() if "value" in m)
        return messages and int(messages[-1]["value"]["n"]) == last
    wait_for(caught_up, 60, f"the change to {last}")
    for reply in replies:
        if not begins:
            assert reply["electric-offset"] == at
        lsn, _, op = reply["electric-offset"].partition("_")
        behind, metadata = (int(lsn), float(op)), reply.json()["metadata"]
        lost = [m["value"]["n"] for m in messages if not sees(metadata, m) and
                (int(m["headers"]["lsn"]), m["headers"]["op_position"]) <= behind]
        assert lost == []


def test_column_that_was_added_can_be_asked_for(db, api):
    """The shape of chosen columns goes on; the subset's clause is typed against the table as it is."""
    db.sql("CREATE TABLE grows (id int PRIMARY KEY, v text); INSERT INTO grows VALUES (1, 'x')")
    shape = {"table": "grows", "columns": "id,v", "offset": "now"}
    assert ids(api.get(**shape, subset__where="v = 'x'")) == [1]
    db.sql("ALTER TABLE grows ADD COLUMN w int DEFAULT 5")
    wait_for(lambda: api.get(**shape, subset__where="w = 5").status == 200, 60,
             "the new column to be known")
    assert ids(api.get(**shape, subset__where="w = 5")) == [1]
