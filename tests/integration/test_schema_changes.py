"""What happens to a table between two looks at the catalogue, and to shapes that need not care.

With event triggers, which only a superuser may create, and without: there the bridge looks every
two seconds here, so what is done at once falls between two looks.
"""

import contextlib
import json
import sqlite3
import threading

import pytest
from harness import Bridge, Refused, Stream, wait_for

pytestmark = pytest.mark.sanitized

PLAIN = """DO $$BEGIN CREATE ROLE plain LOGIN REPLICATION;
           EXCEPTION WHEN duplicate_object THEN NULL; END$$"""


@pytest.fixture(params=["event triggers", "no event triggers"])
def owner(request, database):
    """The database for the role that the bridge has, and that owns the tables."""
    if request.param == "event triggers":
        return database
    with contextlib.suppress(Exception):  # another test is making the role
        database.server.main.sql(PLAIN)
    database.sql(f"GRANT CREATE ON DATABASE {database.name} TO plain; GRANT ALL ON SCHEMA public"
                 " TO plain")
    return database.as_role("plain")


@pytest.fixture
def bridge(owner, tmp_path):
    bridge = Bridge(owner, data_dir=tmp_path / "bridge", catalog_interval="2s",
                    keepalive="200ms", lock_timeout="1s", snapshot_workers="2").start()
    yield bridge
    bridge.stop()


@pytest.fixture
def follow(make_replica):
    names = iter("abcdefgh")

    def start(*shapes):
        return make_replica(list(shapes), name=f"replica_{next(names)}").start()

    return start


@pytest.fixture
def table(owner):
    owner.sql("CREATE TABLE t (id int PRIMARY KEY, v text, n int)")
    owner.sql("INSERT INTO t VALUES (1, 'one', 10), (2, 'two', 20), (3, 'three', 30)")
    return owner


@pytest.fixture
def parts(owner):
    """p: by region into p_a (a) and p_b (b, itself by id)."""
    owner.sql("CREATE TABLE p (id int, region text, v text, PRIMARY KEY (region, id))"
              " PARTITION BY LIST (region)")
    owner.sql("CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('a')")
    owner.sql("CREATE TABLE p_b PARTITION OF p FOR VALUES IN ('b') PARTITION BY RANGE (id)")
    owner.sql("CREATE TABLE p_b1 PARTITION OF p_b FOR VALUES FROM (0) TO (100)")
    owner.sql("INSERT INTO p VALUES (1, 'a', 'x'), (2, 'b', 'y'), (3, 'a', 'z')")
    return owner


def statements(database, *all_of):
    """Each in a transaction of its own, as fast as it goes."""
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        for sql in all_of:
            cursor.execute(sql)


def position(replica):
    """Fetched or not: the handles that the replica has."""
    return replica.sql("SELECT handle FROM _tombolo_shapes ORDER BY id")


def renewed(replica, before):
    wait_for(lambda: position(replica) not in (before, [(None,)]), 60, replica.process.log_tail)


# ---- away between two looks ---------------------------------------------------------------------

AWAY = {
    "the table": ["ALTER PUBLICATION tombolo_default DROP TABLE t", "WRITE",
                  "ALTER PUBLICATION tombolo_default ADD TABLE t"],
    "the publication": ["DROP PUBLICATION tombolo_default", "WRITE",
                        "CREATE PUBLICATION tombolo_default FOR TABLE t"],
    "updates and deletes": ["ALTER PUBLICATION tombolo_default SET (publish = 'insert')", "WRITE",
                            "ALTER PUBLICATION tombolo_default SET"
                            " (publish = 'insert, update, delete, truncate')"],
}
WRITE = "DELETE FROM t WHERE id = 1; UPDATE t SET v = 'changed' WHERE id = 2"


def written(sqls):
    return [WRITE if sql == "WRITE" else sql for sql in sqls]


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_rows_written_while_it_was_out_of_the_publication_are_fetched(table, follow, away):
    replica = follow("t")
    replica.wait_until_equal(table)
    statements(table, *written(away))
    replica.wait_until_equal(table)
    table.sql("INSERT INTO t VALUES (7, 'after', 70)")
    replica.wait_until_equal(table)


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_it_was_out_of_the_publication_while_the_bridge_was_down(table, bridge, follow, away):
    replica = follow("t")
    replica.wait_until_equal(table)
    bridge.stop()
    statements(table, *written(away))
    bridge.start()
    replica.wait_until_equal(table)


def test_new_shape_of_a_table_that_was_taken_out_waits_for_its_writers(table, bridge, follow):
    """Nothing that was known of the table from before counts."""
    table.sql("ALTER TABLE t REPLICA IDENTITY FULL")
    follow("t").wait_until_equal(table)
    with contextlib.closing(table.connect(autocommit=False)) as writer:
        cursor = writer.cursor()
        statements(table, "ALTER PUBLICATION tombolo_default DROP TABLE t")
        cursor.execute("INSERT INTO t VALUES (8, 'open', 80)")
        statements(table, "ALTER PUBLICATION tombolo_default ADD TABLE t")
        answer = bridge.post("/v1/sync?replica=r",
                             {"shapes": [{"table": "t", "where": "n > 15"}], "live": False})
        assert answer.status == 503 and b"being written by an open transaction" in answer.body
        writer.commit()
    follow("t where n > 15").wait_until_equal(table, where="n > 15")


@pytest.mark.parametrize("leaf, region", [("p_a", "a"), ("p_b", "b")])
def test_rows_written_to_a_partition_while_it_was_detached_are_fetched(parts, follow, leaf, region):
    replica = follow("p")
    replica.wait_until_equal(parts, "p")
    statements(parts, f"ALTER TABLE p DETACH PARTITION {leaf}",
               f"DELETE FROM {leaf}", f"INSERT INTO {leaf} VALUES (50, '{region}', 'apart')",
               f"ALTER TABLE p ATTACH PARTITION {leaf} FOR VALUES IN ('{region}')")
    replica.wait_until_equal(parts, "p")
    parts.sql(f"INSERT INTO p VALUES (51, '{region}', 'after')")
    replica.wait_until_equal(parts, "p")


def test_shape_of_a_partition_that_was_published_by_its_root_alone(parts, bridge, follow):
    follow("p")
    replica = follow("p_a")
    replica.wait_until_equal(parts, "p_a")
    statements(parts, "ALTER TABLE p DETACH PARTITION p_a", "INSERT INTO p_a VALUES (60, 'a', 'x')",
               "ALTER TABLE p ATTACH PARTITION p_a FOR VALUES IN ('a')")
    replica.wait_until_equal(parts, "p_a")


def test_partition_detached_and_attached_while_the_bridge_was_down(parts, bridge, follow):
    replica = follow("p")
    replica.wait_until_equal(parts, "p")
    bridge.stop()
    statements(parts, "ALTER TABLE p DETACH PARTITION p_a", "DELETE FROM p_a",
               "ALTER TABLE p ATTACH PARTITION p_a FOR VALUES IN ('a')")
    bridge.start()
    replica.wait_until_equal(parts, "p")


@pytest.mark.parametrize("goes", ["DROP TABLE p_c", "ALTER TABLE p DETACH PARTITION p_c"])
@pytest.mark.parametrize("when", ["while it runs", "while it is down"])
def test_partition_made_after_the_shape_takes_its_rows_when_it_goes(parts, bridge, follow, goes,
                                                                    when):
    replica = follow("p")
    replica.wait_until_equal(parts, "p")
    statements(parts, "CREATE TABLE p_c PARTITION OF p FOR VALUES IN ('c')",
               "INSERT INTO p VALUES (70, 'c', 'soon gone')")
    replica.wait_until_equal(parts, "p")
    handles = position(replica)
    wait_for(lambda: knows(bridge, parts, "p_c"), 60, "the bridge to know the partition")
    assert position(replica) == handles
    if when == "while it is down":
        bridge.kill9()
    parts.sql(goes)
    if when == "while it is down":
        bridge.start()
    replica.wait_until_equal(parts, "p")


def knows(bridge, database, table):
    """Whether the catalogue of the bridge has the table in it."""
    relid = database.value("SELECT oid FROM pg_class WHERE relname = %s", table)
    path = bridge.data_dir / "tombolo.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as catalogue:
        return any(f"{relid}:".encode() in body for (body,) in catalogue.execute(
            "SELECT body FROM tables JOIN logs ON logs.relid = tables.relid AND table_sum"
            " = tables.sum"))


def test_partition_filled_before_its_own_transaction_attaches_it(parts, follow):
    replica = follow("p")
    replica.wait_until_equal(parts, "p")
    parts.sql("BEGIN; CREATE TABLE p_d (id int NOT NULL, region text NOT NULL, v text);"
              " INSERT INTO p_d VALUES (80, 'd', 'before'); ALTER TABLE p ATTACH PARTITION p_d FOR"
              " VALUES IN ('d'); INSERT INTO p VALUES (81, 'd', 'after'); COMMIT")
    replica.wait_until_equal(parts, "p")


def test_new_partitions_do_not_end_shapes(parts, bridge, follow):
    replica = follow("p", "p_b")
    replica.wait_until_equal(parts, "p")
    replica.wait_until_equal(parts, "p_b")
    handles = position(replica)
    statements(parts, "CREATE TABLE p_e PARTITION OF p FOR VALUES IN ('e')",
               "CREATE TABLE p_b2 PARTITION OF p_b FOR VALUES FROM (100) TO (200)",
               "INSERT INTO p VALUES (90, 'e', 'e'), (190, 'b', 'b')")
    replica.wait_until_equal(parts, "p")
    wait_for(lambda: knows(bridge, parts, "p_e"), 60, "the bridge to know the partition")
    parts.sql("UPDATE p SET v = 'u' WHERE id IN (90, 190)")
    replica.wait_until_equal(parts, "p")
    replica.wait_until_equal(parts, "p_b")
    assert position(replica) == handles
    assert bridge.metrics()["tombolo_shapes_ended_total"] == 0


def test_new_partition_without_a_key_can_be_updated_at_once(owner, follow):
    """Without an identity Postgres refuses updates of what is published. The event trigger sets it
    in the transaction that makes the partition; without it that is the keeper's next look."""
    owner.sql("CREATE TABLE k (id int, region text) PARTITION BY LIST (region)")
    owner.sql("CREATE TABLE k_a PARTITION OF k FOR VALUES IN ('a')")
    owner.sql("INSERT INTO k VALUES (1, 'a')")
    replica = follow("k where id > 0")
    replica.wait_until_equal(owner, "k", where="id > 0")
    owner.sql("CREATE TABLE k_b PARTITION OF k FOR VALUES IN ('b')")
    owner.sql("CREATE TABLE k_c (region text, id int); ALTER TABLE k ATTACH PARTITION k_c FOR"
              " VALUES IN ('c')")
    owner.sql("INSERT INTO k VALUES (2, 'b'), (3, 'c')")
    if owner.user == "plain":
        wait_for(lambda: owner.value("SELECT count(*) FROM pg_class WHERE relname IN ('k_b', 'k_c')"
                                     " AND relreplident <> 'f'") == 0, 60, "their identity")
    owner.sql("UPDATE k SET id = id + 10 WHERE id > 1")
    owner.sql("DELETE FROM k WHERE region = 'b'")
    replica.wait_until_equal(owner, "k", where="id > 0")


# ---- changes of columns -------------------------------------------------------------------------

# Per change: whether shapes of these outlive it: t(id, v); t(id) where n > 15.
COLUMNS = {
    "add": ("ALTER TABLE t ADD COLUMN extra text", True, True),
    "add with a default": ("ALTER TABLE t ADD COLUMN extra int DEFAULT 42", True, True),
    "add with a volatile default": ("ALTER TABLE t ADD COLUMN extra float8 DEFAULT random()", True,
                                    True),
    "drop": ("ALTER TABLE t DROP COLUMN n", True, None),
    "rename": ("ALTER TABLE t RENAME COLUMN other TO another", True, True),
    "rename what one looks at": ("ALTER TABLE t RENAME COLUMN v TO w", None, True),
    "type": ("ALTER TABLE t ALTER COLUMN n TYPE bigint", True, False),
    "same type, other values": ("ALTER TABLE t ALTER COLUMN v TYPE text USING upper(v)", False,
                                True),
}


@pytest.mark.parametrize("change, named, filtered", COLUMNS.values(), ids=COLUMNS)
def test_shape_that_names_its_columns_outlives_changes_of_others(table, bridge, follow, change,
                                                                 named, filtered):
    """None: the shape cannot be had any more, and is left alone here."""
    table.sql("ALTER TABLE t ADD COLUMN other int")
    shapes = [("t(id, v)", "true", "id, v", named), ("t(id) where n > 15", "n > 15", "id", filtered)]
    everything = follow("t")
    everything.wait_until_equal(table)
    followed = []
    for shape, where, columns, outlives in shapes:
        if outlives is not None:
            replica = follow(shape)
            replica.wait_until_equal(table, where=where, columns=columns)
            followed.append((replica, where, columns, outlives, position(replica)))
    before = position(everything)
    table.sql(change)
    for replica, where, columns, _, _ in followed:
        replica.wait_until_equal(table, where=where, columns=columns)
    renewed(everything, before)
    table.sql("INSERT INTO t (id) VALUES (11); UPDATE t SET id = 20 WHERE id = 2;"
              " DELETE FROM t WHERE id = 1")
    everything.wait_until_equal(table)
    for replica, where, columns, outlives, handles in followed:
        if not outlives:
            renewed(replica, handles)
        replica.wait_until_equal(table, where=where, columns=columns)
        assert (position(replica) == handles) == outlives


def schema_of(bridge, definition):
    """Handle and schema; a bridge that has just started may say 503, as any client knows."""
    opened = {}

    def asked():
        stream = Stream(bridge, definition)
        with contextlib.suppress(Refused):
            opened.update(json.loads(stream.open()._response.readline())["open"])
        stream.close()
        return opened

    wait_for(asked, 60, "the shape to be opened")
    return opened["handle"], opened["schema"]


def test_nullability_alone_is_told_and_ends_nothing(table, bridge, follow):
    replica = follow("t")
    replica.wait_until_equal(table)
    handle, schema = schema_of(bridge, {"table": "t"})
    assert "not_null" not in schema["v"]
    table.sql("ALTER TABLE t ALTER COLUMN v SET NOT NULL")
    wait_for(lambda: schema_of(bridge, {"table": "t"})[1]["v"].get("not_null"), 60, "the schema")
    bridge.restart()
    assert schema_of(bridge, {"table": "t"}) == \
        (handle, schema | {"v": schema["v"] | {"not_null": True}})
    table.sql("ALTER TABLE t ALTER COLUMN v DROP NOT NULL; INSERT INTO t VALUES (4, NULL, 40)")
    replica.wait_until_equal(table)
    assert replica.sql("SELECT handle FROM _tombolo_shapes") == [(handle,)]


def test_shape_from_before_a_change_is_the_one_that_is_found_after_it(table, bridge):
    definition = {"table": "t", "columns": ["id", "v"]}
    handle, _ = schema_of(bridge, definition)
    table.sql("ALTER TABLE t ADD COLUMN extra int")
    assert schema_of(bridge, definition)[0] == handle
    bridge.restart()
    assert schema_of(bridge, definition)[0] == handle
    assert schema_of(bridge, {"table": "t"})[1].keys() == {"id", "v", "n", "extra"}


def test_another_primary_key_ends_every_shape(table, bridge, follow):
    replica = follow("t(id, n)")
    replica.wait_until_equal(table, columns="id, n")
    before = position(replica)
    table.sql("ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (n, id)")
    renewed(replica, before)
    replica.wait_until_equal(table, columns="id, n")


# ---- tables that others hold --------------------------------------------------------------------

def test_locked_tables_hold_up_nobody_else(table, bridge):
    """As many of them as there are workers, each asked for more than once."""
    bridge.stop()
    bridge.settings["TOMBOLO_LOCK_TIMEOUT"] = "10min"
    bridge.start()
    names = [f"held_{n}" for n in range(4)]
    for name in names:
        table.sql(f"CREATE TABLE {name} (id int PRIMARY KEY)")
    answers = {}

    def ask(name, where):
        answers[name, where] = bridge.post(
            "/v1/sync?replica=r", {"shapes": [{"table": name, "where": where}], "live": False})

    with contextlib.closing(table.connect(autocommit=False)) as holder:
        cursor = holder.cursor()
        cursor.execute(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")
        threads = [threading.Thread(target=ask, args=(name, where))
                   for name in names for where in ("id > 0", "id > 1")]
        for thread in threads:
            thread.start()
        rows = Stream(bridge, {"table": "t", "where": "id > 0"}).read().rows()
        assert len(rows) == 3
        assert not answers
        holder.rollback()
    for thread in threads:
        thread.join(60)
    assert len(answers) == len(threads)
    assert {answer.status for answer in answers.values()} == {200}


def test_followed_table_that_is_locked_is_said_to_be(table, bridge):
    assert len(Stream(bridge, {"table": "t", "where": "id > 0"}).read().rows()) == 3
    with contextlib.closing(table.connect(autocommit=False)) as holder:
        holder.cursor().execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        answer = bridge.post("/v1/sync?replica=r",
                             {"shapes": [{"table": "t", "where": "id > 1"}], "live": False})
        assert answer.status == 503 and b"waiting for a table lock" in answer.body, answer.body
        assert f"process {holder.get_backend_pid()}".encode() in answer.body


def test_table_that_has_full_identity_is_never_altered(table, bridge):
    table.sql("ALTER TABLE t REPLICA IDENTITY FULL")
    stamp = "SELECT xmin::text FROM pg_class WHERE oid = 't'::regclass"
    before = table.value(stamp)
    assert len(Stream(bridge, {"table": "t", "where": "id > 0"}).read().rows()) == 3
    assert table.value(stamp) == before


# ---- published by hand --------------------------------------------------------------------------

@pytest.fixture
def manual(owner, bridge, tmp_path):
    bridge.stop()
    bridge.settings["TOMBOLO_MANUAL_TABLE_PUBLISHING"] = "true"
    return bridge.start()


def refusal(bridge, definition):
    """Why there are no rows; of a bridge that has just connected, when it has caught up."""
    def said():
        answer = bridge.post("/v1/sync?replica=r", {"shapes": [definition], "live": False})
        assert answer.status == 503, answer.body
        message = answer.json()["message"]
        return None if "catching up" in message else message

    return wait_for(said, 60, "the bridge to have caught up")


def test_published_by_hand_is_only_looked_at(table, manual):
    definition = {"table": "t", "where": "n > 15"}
    assert refusal(manual, definition) == \
        'Database table "public.t" is missing from the publication "tombolo_default" and the' \
        " TOMBOLO_MANUAL_TABLE_PUBLISHING setting prevents Tombolo from adding it"
    table.sql("ALTER PUBLICATION tombolo_default ADD TABLE t")
    assert refusal(manual, definition) == \
        'Database table "public.t" does not have its replica identity set to FULL'
    table.sql("ALTER TABLE t REPLICA IDENTITY FULL")
    assert len(Stream(manual, definition).read().rows()) == 2
    table.sql("ALTER PUBLICATION tombolo_default SET (publish = 'insert')")
    wait_for(lambda: "does not publish all required operations: INSERT, UPDATE, DELETE, TRUNCATE"
             in str(manual.post("/v1/sync?replica=r", {"shapes": [{"table": "t"}],
                                                       "live": False}).body), 60, "a refusal")


def test_role_that_owns_nothing_is_told_so(database, owner, bridge):
    if owner.user != "plain":
        return  # a superuser may alter everything
    database.sql("CREATE TABLE theirs (id int PRIMARY KEY, v int); GRANT SELECT ON theirs TO plain")
    assert refusal(bridge, {"table": "theirs"}) == \
        'Database table "public.theirs" is missing from the publication "tombolo_default" and' \
        " Tombolo lacks privileges to add it"
    assert refusal(bridge, {"table": "theirs", "where": "v > 1"}) == \
        'Database table "public.theirs" does not have its replica identity set to FULL'
