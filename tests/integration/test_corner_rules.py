"""What the stream does not say, or says in passing: schema changes, partitions, identities, tables
without a key. In the end the replica equals Postgres, whatever happened to the table.

The bridge looks at the catalogue every 200 ms here. What a change without row events needs is found
there at the latest, or by an event trigger at once.
"""

import pytest
from harness import Bridge, Stream, wait_for

pytestmark = pytest.mark.sanitized


@pytest.fixture
def bridge(database, tmp_path):
    bridge = Bridge(database, data_dir=tmp_path / "bridge", catalog_interval="200ms",
                    keepalive="200ms").start()
    yield bridge
    bridge.stop()


@pytest.fixture
def table(database):
    """t: a table of three rows, in the database."""
    database.sql("CREATE TABLE t (id int PRIMARY KEY, v text, n int)")
    database.sql("INSERT INTO t VALUES (1, 'one', 10), (2, 'two', 20), (3, 'three', 30)")
    return database


@pytest.fixture
def follow(make_replica):
    """follow(shapes...): a live replica of them."""
    names = iter("abcdef")

    def start(*shapes):
        return make_replica(list(shapes), name=f"replica_{next(names)}").start()

    return start


def names(replica, table="t"):
    return [row[1] for row in replica.sql(f"PRAGMA table_info({table})")]


# ---- truncate -----------------------------------------------------------------------------------

def test_truncate_empties_the_replica(table, follow):
    replica = follow("t")
    replica.wait_until_equal(table)
    table.sql("TRUNCATE t")
    replica.wait_until_equal(table)
    table.sql("INSERT INTO t VALUES (7, 'new', 0)")
    replica.wait_until_equal(table)


def test_truncate_and_refill_in_one_transaction(table, follow):
    replica = follow("t where n > 5")
    replica.wait_until_equal(table, where="n > 5")
    table.sql("BEGIN; INSERT INTO t VALUES (4, 'x', 40); TRUNCATE t;"
              " INSERT INTO t VALUES (5, 'y', 50), (6, 'z', 1); COMMIT")
    replica.wait_until_equal(table, where="n > 5")


def test_rolled_back_truncate_does_nothing(table, bridge, follow):
    replica = follow("t")
    replica.wait_until_equal(table)
    table.sql("BEGIN; TRUNCATE t; ROLLBACK")
    table.sql("INSERT INTO t VALUES (4, 'four', 40)")
    replica.wait_until_equal(table)
    assert bridge.metrics()["tombolo_shapes_ended_total"] == 0


def test_truncate_cascade_empties_the_tables_that_refer(table, follow):
    table.sql("CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t)")
    table.sql("INSERT INTO child VALUES (1, 1), (2, 2)")
    replica = follow("t", "child")
    replica.wait_until_equal(table)
    replica.wait_until_equal(table, "child")
    table.sql("TRUNCATE t CASCADE")
    table.sql("INSERT INTO t VALUES (9, 'nine', 9); INSERT INTO child VALUES (3, 9)")
    replica.wait_until_equal(table)
    replica.wait_until_equal(table, "child")


# ---- columns ------------------------------------------------------------------------------------

CHANGES = {
    "add": "ALTER TABLE t ADD COLUMN extra text",
    "add with default": "ALTER TABLE t ADD COLUMN extra int DEFAULT 42",
    "add with volatile default": "ALTER TABLE t ADD COLUMN extra float8 DEFAULT random()",
    "drop": "ALTER TABLE t DROP COLUMN n",
    "drop and add the same name": "ALTER TABLE t DROP COLUMN n; ALTER TABLE t ADD COLUMN n int",
    "rename": "ALTER TABLE t RENAME COLUMN v TO w",
    "swap names": "ALTER TABLE t RENAME v TO x; ALTER TABLE t RENAME n TO v; ALTER TABLE t RENAME x TO n",
    "type": "ALTER TABLE t ALTER COLUMN n TYPE text USING 'n' || n",
    "same type, other values": "ALTER TABLE t ALTER COLUMN v TYPE text USING upper(v)",
    "type without rewrite": "ALTER TABLE t ALTER COLUMN v TYPE varchar",
    "not null": "ALTER TABLE t ALTER COLUMN v SET NOT NULL",
    "another primary key": "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (n)",
    "no primary key": "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t REPLICA IDENTITY FULL",
}


@pytest.mark.parametrize("then", ["and nothing else", "and a row"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_replica_follows_a_change_of_columns(table, follow, change, then):
    replica = follow("t")
    replica.wait_until_equal(table)
    table.sql(change)
    if then == "and a row":
        table.sql("DELETE FROM t WHERE id = 2")
        table.sql("UPDATE t SET id = id + 100 WHERE id = 1")
    theirs = table.sql("SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass"
                       " AND attnum > 0 AND NOT attisdropped ORDER BY attnum")
    wait_for(lambda: names(replica) == [name for (name,) in theirs], 60, replica.process.log_tail)
    replica.wait_until_equal(table)


def test_change_of_columns_between_rows_of_one_transaction(table, follow):
    replica = follow("t")
    replica.wait_until_equal(table)
    table.sql("BEGIN; INSERT INTO t VALUES (4, 'four', 40); ALTER TABLE t ADD COLUMN extra int;"
              " INSERT INTO t VALUES (5, 'five', 50, 500); ALTER TABLE t DROP COLUMN n;"
              " UPDATE t SET v = 'changed' WHERE id = 1; COMMIT")
    replica.wait_until_equal(table)


def test_change_of_columns_that_a_shape_does_not_have_ends_it_gently(table, follow):
    replica = follow("t(id, v) where id < 3")
    replica.wait_until_equal(table, where="id < 3", columns="id, v")
    table.sql("ALTER TABLE t ADD COLUMN extra int; UPDATE t SET v = 'x', extra = 1 WHERE id = 1")
    replica.wait_until_equal(table, where="id < 3", columns="id, v")
    assert names(replica) == ["id", "v"]


def test_column_that_a_shape_names_and_that_is_gone_is_waited_for(table, follow):
    replica = follow("t(id, n)")
    replica.wait_until_equal(table, columns="id, n")
    before = replica.rows("t")
    table.sql("ALTER TABLE t DROP COLUMN n")
    replica.wait_for(lambda: replica.process.log_contains("not found on the table: n"), 60,
                     replica.process.log_tail)
    assert replica.rows("t") == before
    table.sql("ALTER TABLE t ADD COLUMN n int DEFAULT 5")
    replica.wait_until_equal(table, columns="id, n")


# ---- tables that go -----------------------------------------------------------------------------

def test_dropped_table_keeps_the_old_rows_until_it_is_back(table, follow):
    table.sql("CREATE TABLE other (id int PRIMARY KEY)")
    replica = follow("t", "other")
    replica.wait_until_equal(table)
    before = replica.rows("t")
    table.sql("DROP TABLE t")
    replica.wait_for(lambda: replica.process.log_contains("does not exist"), 60,
                     replica.process.log_tail)
    table.sql("INSERT INTO other VALUES (1)")
    replica.wait_until_equal(table, "other")
    assert replica.rows("t") == before
    table.sql("CREATE TABLE t (id int PRIMARY KEY, v text, n int)")
    table.sql("INSERT INTO t VALUES (7, 'again', 70)")
    replica.wait_until_equal(table)


def test_table_dropped_and_made_anew_at_once(table, follow):
    replica = follow("t")
    replica.wait_until_equal(table)
    table.sql("BEGIN; DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v text, n int);"
              " INSERT INTO t VALUES (7, 'another', 70); COMMIT")
    replica.wait_until_equal(table)
    table.sql("INSERT INTO t VALUES (8, 'and', 80); UPDATE t SET v = 'more' WHERE id = 7")
    replica.wait_until_equal(table)


def test_tables_that_change_names_are_not_mixed_up(table, follow):
    table.sql("CREATE TABLE u (id int PRIMARY KEY, v text, n int)")
    table.sql("INSERT INTO u VALUES (100, 'from u', 1)")
    replica = follow("t", "u")
    replica.wait_until_equal(table)
    replica.wait_until_equal(table, "u")
    table.sql("BEGIN; ALTER TABLE t RENAME TO x; ALTER TABLE u RENAME TO t; ALTER TABLE x RENAME TO u;"
              " COMMIT")
    table.sql("INSERT INTO t VALUES (101, 'in what was u', 2); DELETE FROM u WHERE id = 1")
    replica.wait_until_equal(table)
    replica.wait_until_equal(table, "u")


def test_table_that_moves_to_another_schema_is_not_followed_under_its_old_name(table, follow):
    replica = follow("t")
    replica.wait_until_equal(table)
    # In one transaction: while there is no such table, whoever asks for it is refused.
    table.sql("CREATE SCHEMA s; ALTER TABLE t SET SCHEMA s;"
              " CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (55)")
    replica.wait_until_equal(table, columns="id")


# ---- identity and publication -------------------------------------------------------------------

def test_identity_changed_back_is_set_again_and_nothing_is_missed(table, follow):
    replica, plain = follow("t where n > 15"), follow("t")
    replica.wait_until_equal(table, where="n > 15")
    for n in range(3):
        table.sql("ALTER TABLE t REPLICA IDENTITY DEFAULT")
        table.sql("UPDATE t SET n = n - 10 WHERE id = 2; UPDATE t SET n = n + 10 WHERE id = 1")
        table.sql("INSERT INTO t VALUES (%s, 'new', 100)", 10 + n)
        replica.wait_until_equal(table, where="n > 15")
    plain.wait_until_equal(table)


def test_identity_changed_back_with_writes_all_the_time_is_set_again(table, follow):
    """The shape must not run in circles: ended by each update before the catalogue is looked at."""
    replica = follow("t where n > 15")
    replica.wait_until_equal(table, where="n > 15")
    table.sql("ALTER TABLE t REPLICA IDENTITY DEFAULT")

    def settled():
        table.sql("UPDATE t SET n = n + 1 WHERE id = 1")
        return table.value("SELECT relreplident FROM pg_class WHERE oid = 't'::regclass") == "f"

    wait_for(settled, 60, "the identity to be FULL again")
    replica.wait_until_equal(table, where="n > 15")


def test_identity_nothing_ends_the_shape_and_is_set_again(table, follow):
    replica = follow("t where n > 15")
    replica.wait_until_equal(table, where="n > 15")
    table.sql("ALTER TABLE t REPLICA IDENTITY NOTHING")
    table.sql("INSERT INTO t VALUES (4, 'four', 40)")
    replica.wait_until_equal(table, where="n > 15")
    wait_for(lambda: table.value("SELECT relreplident FROM pg_class WHERE oid = 't'::regclass")
             == "f", 60, "FULL")
    table.sql("DELETE FROM t WHERE id = 4")
    replica.wait_until_equal(table, where="n > 15")


def test_unfiltered_shape_leaves_the_identity_as_it_is(table, follow):
    replica = follow("t")
    replica.wait_until_equal(table)
    table.sql("UPDATE t SET id = 10 WHERE id = 1; DELETE FROM t WHERE id = 2")
    replica.wait_until_equal(table)
    assert table.value("SELECT relreplident FROM pg_class WHERE oid = 't'::regclass") == "d"


def test_table_taken_out_of_the_publication_is_put_back_and_fetched_again(table, follow):
    replica = follow("t")
    replica.wait_until_equal(table)
    table.sql("ALTER PUBLICATION tombolo_default DROP TABLE t")
    table.sql("INSERT INTO t VALUES (4, 'unpublished', 40); DELETE FROM t WHERE id = 1")
    replica.wait_until_equal(table)
    table.sql("INSERT INTO t VALUES (5, 'published', 50)")
    replica.wait_until_equal(table)


@pytest.mark.parametrize("then", ["and nothing else", "and a row"])
def test_dropped_publication_is_made_again_and_everything_fetched(table, follow, then):
    replica = follow("t")
    replica.wait_until_equal(table)
    table.sql("DROP PUBLICATION tombolo_default")
    if then == "and a row":
        table.sql("INSERT INTO t VALUES (4, 'unpublished', 40); DELETE FROM t WHERE id = 1")
    wait_for(lambda: table.sql("SELECT tablename FROM pg_publication_tables") == [("t",)], 60,
             "the table to be published again")
    table.sql("INSERT INTO t VALUES (5, 'published', 50)")
    replica.wait_until_equal(table)


# ---- keys, TOAST, no keys -----------------------------------------------------------------------

def test_keys_that_change_places(table, follow):
    table.sql("ALTER TABLE t DROP CONSTRAINT t_pkey;"
              " ALTER TABLE t ADD PRIMARY KEY (id) DEFERRABLE INITIALLY IMMEDIATE;"
              " ALTER TABLE t REPLICA IDENTITY FULL")
    replica, part = follow("t"), follow("t where n < 25")
    replica.wait_until_equal(table)
    table.sql("UPDATE t SET id = CASE id WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE id END")
    replica.wait_until_equal(table)
    table.sql("UPDATE t SET id = id + 1")
    table.sql("UPDATE t SET id = id - 1, n = n + 10")
    replica.wait_until_equal(table)
    part.wait_until_equal(table, where="n < 25")


def test_keys_that_move_along_a_chain_within_a_transaction(table, follow):
    replica = follow("t")
    replica.wait_until_equal(table)
    table.sql("BEGIN; UPDATE t SET id = 99 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2;"
              " UPDATE t SET id = 2 WHERE id = 99; DELETE FROM t WHERE id = 3;"
              " INSERT INTO t VALUES (3, 'again', 3); UPDATE t SET id = 4 WHERE id = 3; COMMIT")
    replica.wait_until_equal(table)


BIG = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 500))"


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
@pytest.mark.parametrize("shape, where", [("t", "true"), ("t where n >= 0", "n >= 0"),
                                          ("t where big like '%a%'", "big like '%a%'")],
                         ids=["all", "filtered", "filtered by what is not sent"])
def test_unchanged_large_values_are_kept(database, follow, identity, shape, where):
    database.sql("CREATE TABLE t (id int PRIMARY KEY, big text, n int)")
    database.sql(f"ALTER TABLE t REPLICA IDENTITY {identity}")
    database.sql(f"INSERT INTO t SELECT g, {BIG}, g FROM generate_series(1, 3) g")
    replica = follow(shape)
    replica.wait_until_equal(database, where=where)
    database.sql("UPDATE t SET n = n + 10 WHERE id = 1")
    database.sql("UPDATE t SET id = 20 WHERE id = 2")
    database.sql("BEGIN; UPDATE t SET n = -n WHERE id = 3; UPDATE t SET id = 30 WHERE id = 3;"
                 " UPDATE t SET n = -n WHERE id = 30; COMMIT")
    replica.wait_until_equal(database, where=where)
    database.sql(f"UPDATE t SET big = {BIG} WHERE id = 1; DELETE FROM t WHERE id = 30")
    replica.wait_until_equal(database, where=where)


def test_rows_without_a_key_are_counted(database, follow):
    database.sql("CREATE TABLE t (a int, b text)")
    database.sql("INSERT INTO t VALUES (1, 'x'), (1, 'x'), (1, 'x'), (2, NULL), (2, NULL), (NULL, '')")
    replica, part = follow("t"), follow("t where a = 1")
    replica.wait_until_equal(database)
    one = "WHERE ctid = (SELECT min(ctid) FROM t WHERE {})"
    database.sql("DELETE FROM t " + one.format("a = 1"))
    replica.wait_until_equal(database)
    database.sql("UPDATE t SET b = 'y' " + one.format("a = 1"))
    database.sql("DELETE FROM t " + one.format("a = 2"))
    database.sql("UPDATE t SET a = 1, b = 'x' WHERE a IS NULL")
    database.sql("INSERT INTO t VALUES (1, 'y'), (1, 'y')")
    replica.wait_until_equal(database)
    part.wait_until_equal(database, where="a = 1")


def test_generated_columns_are_refused_where_they_are_not_sent(database, bridge, follow):
    """pgoutput leaves them out before 18; a shape that names the others goes on."""
    database.sql("CREATE TABLE t (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2)"
                 " STORED)")
    database.sql("INSERT INTO t (id, n) VALUES (1, 10), (2, 20)")
    sent = database.value("SHOW server_version_num") >= "180000"
    if not sent:
        answer = bridge.post("/v1/sync?replica=r", {"shapes": [{"table": "t"}]})
        assert answer.status == 400
        assert "generated" in str(answer.json()["errors"]["shapes[0].columns"])
    replica = follow("t" if sent else "t(id, n)")
    columns = "*" if sent else "id, n"
    replica.wait_until_equal(database, columns=columns)
    database.sql("INSERT INTO t (id, n) VALUES (3, 30); UPDATE t SET n = 11 WHERE id = 1;"
                 " DELETE FROM t WHERE id = 2")
    replica.wait_until_equal(database, columns=columns)


def test_views_and_other_things_without_rows_of_their_own_are_refused(table, bridge):
    table.sql("CREATE VIEW w AS SELECT * FROM t; CREATE UNLOGGED TABLE fast (id int PRIMARY KEY);"
              "CREATE MATERIALIZED VIEW m AS SELECT * FROM t; CREATE SEQUENCE s")
    for name in ("w", "fast", "m", "s"):
        answer = bridge.post("/v1/sync?replica=r", {"shapes": [{"table": name}]})
        assert answer.status == 400 and "shapes[0].table" in answer.json()["errors"], name


def test_tables_that_inherit_are_not_part_of_their_parent(table, follow):
    table.sql("CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (t)")
    table.sql("INSERT INTO heir VALUES (50, 'heir', 1)")
    replica = follow("t")
    wait_for(lambda: replica.rows("t", "id") == [(1,), (2,), (3,)], 60, replica.process.log_tail)
    table.sql("INSERT INTO heir VALUES (51, 'heir', 1); INSERT INTO t VALUES (4, 'x', 1)")
    wait_for(lambda: replica.rows("t", "id") == [(1,), (2,), (3,), (4,)], 60,
             replica.process.log_tail)


# ---- partitions ---------------------------------------------------------------------------------

@pytest.fixture
def parts(database):
    """p: partitioned by region into p_a (a), p_b (b, itself partitioned by id), no default."""
    database.sql("CREATE TABLE p (id int, region text, v text, PRIMARY KEY (region, id))"
                 " PARTITION BY LIST (region)")
    database.sql("CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('a')")
    database.sql("CREATE TABLE p_b PARTITION OF p FOR VALUES IN ('b') PARTITION BY RANGE (id)")
    database.sql("CREATE TABLE p_b1 PARTITION OF p_b FOR VALUES FROM (0) TO (100)")
    database.sql("CREATE TABLE p_b2 PARTITION OF p_b FOR VALUES FROM (100) TO (200)")
    database.sql("INSERT INTO p VALUES (1, 'a', 'x'), (2, 'b', 'y'), (102, 'b', 'z')")
    return database


def all_of(replica, database, where="true"):
    replica.wait_until_equal(database, "p", where=where, columns="id, region, v")


def test_rows_move_between_partitions(parts, follow):
    replica, part = follow("p"), follow("p where v <> 'x'")
    all_of(replica, parts)
    parts.sql("UPDATE p SET region = 'b' WHERE id = 1")
    parts.sql("UPDATE p SET id = 103 WHERE id = 2; UPDATE p SET v = 'w' WHERE id = 1")
    parts.sql("INSERT INTO p VALUES (3, 'a', 'n'); DELETE FROM p WHERE id = 102")
    all_of(replica, parts)
    all_of(part, parts, "v <> 'x'")


def test_leaf_shape_and_root_shape_side_by_side(parts, follow):
    replica = follow("p", "p_a", "p_b")
    all_of(replica, parts)
    parts.sql("UPDATE p SET region = 'a' WHERE id = 2; INSERT INTO p VALUES (5, 'a', '5'), (6, 'b', '6')")
    all_of(replica, parts)
    replica.wait_until_equal(parts, "p_a")
    replica.wait_until_equal(parts, "p_b")
    parts.sql("TRUNCATE p_a")
    parts.sql("INSERT INTO p VALUES (7, 'a', '7')")
    all_of(replica, parts)
    replica.wait_until_equal(parts, "p_a")
    replica.wait_until_equal(parts, "p_b")


@pytest.mark.parametrize("shape, where", [("p", "true"), ("p where v <> 'x'", "v <> 'x'")],
                         ids=["all", "filtered"])
def test_new_partition_is_followed(parts, follow, shape, where):
    replica = follow(shape)
    all_of(replica, parts, where)
    parts.sql("BEGIN; CREATE TABLE p_c PARTITION OF p FOR VALUES IN ('c');"
              " INSERT INTO p VALUES (10, 'c', 'new'), (11, 'c', 'x'); COMMIT")
    all_of(replica, parts, where)
    wait_for(lambda: shape == "p" or parts.value(
        "SELECT relreplident FROM pg_class WHERE relname = 'p_c'") == "f", 60, "its identity")
    parts.sql("UPDATE p SET v = 'y' WHERE id = 11; DELETE FROM p WHERE id = 10;"
              " UPDATE p SET region = 'c' WHERE id = 102")
    all_of(replica, parts, where)


def test_attached_partition_brings_its_rows(parts, follow):
    replica = follow("p")
    all_of(replica, parts)
    parts.sql("CREATE TABLE p_d (v text, region text NOT NULL, id int NOT NULL)")
    parts.sql("INSERT INTO p_d (id, region, v) VALUES (20, 'd', 'brought')")
    parts.sql("ALTER TABLE p ATTACH PARTITION p_d FOR VALUES IN ('d')")
    all_of(replica, parts)
    parts.sql("INSERT INTO p VALUES (21, 'd', 'other order of columns');"
              " UPDATE p SET v = 'u' WHERE id = 20")
    all_of(replica, parts)


@pytest.mark.parametrize("change", [
    "ALTER TABLE p DETACH PARTITION p_a", "DROP TABLE p_a", "TRUNCATE p_a", "TRUNCATE p",
    "DROP TABLE p_b1", "DROP TABLE p_b", "ALTER TABLE p_b DETACH PARTITION p_b2"])
def test_partition_that_goes_takes_its_rows(parts, follow, change):
    replica, part = follow("p"), follow("p where v <> 'x'")
    all_of(replica, parts)
    all_of(part, parts, "v <> 'x'")
    parts.sql(change)
    all_of(replica, parts)
    all_of(part, parts, "v <> 'x'")
    parts.sql("CREATE TABLE IF NOT EXISTS p_z PARTITION OF p FOR VALUES IN ('z');"
              " INSERT INTO p VALUES (30, 'z', 'after')")
    all_of(replica, parts)
    all_of(part, parts, "v <> 'x'")


def test_detached_partition_goes_on_as_a_table_of_its_own(parts, follow):
    replica = follow("p", "p_a")
    all_of(replica, parts)
    parts.sql("ALTER TABLE p DETACH PARTITION p_a")
    parts.sql("INSERT INTO p_a VALUES (40, 'a', 'not in p')")
    replica.wait_until_equal(parts, "p_a")
    all_of(replica, parts)


def test_partition_shapes_survive_a_restart(parts, bridge, follow):
    replica = follow("p", "p_a")
    all_of(replica, parts)
    bridge.kill9()
    parts.sql("UPDATE p SET region = 'a', id = id + 500 WHERE id = 2;"
              " CREATE TABLE p_c PARTITION OF p FOR VALUES IN ('c'); INSERT INTO p VALUES (9, 'c', '')")
    bridge.start()
    all_of(replica, parts)
    replica.wait_until_equal(parts, "p_a")


# ---- changes while nobody looks -----------------------------------------------------------------

@pytest.mark.parametrize("change", [
    *CHANGES.values(), "TRUNCATE t", "ALTER TABLE t REPLICA IDENTITY DEFAULT",
    "ALTER PUBLICATION tombolo_default DROP TABLE t; DELETE FROM t WHERE id = 1",
    "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v text, n int)"])
def test_change_while_the_bridge_is_down_is_found_at_its_start(table, bridge, follow, change):
    replica = follow("t where id <> 77")
    replica.wait_until_equal(table)
    bridge.stop()
    table.sql(change)
    bridge.start()
    replica.wait_until_equal(table)
    table.sql("INSERT INTO t (id, v, n) SELECT 8, NULL, NULL" if "DROP COLUMN n" not in change
              and "RENAME" not in change and "SET NOT NULL" not in change
              and "PRIMARY KEY (n)" not in change else "DELETE FROM t WHERE id = 3")
    replica.wait_until_equal(table)


def test_change_while_a_shape_is_being_made(table, bridge):
    """The definition is looked at again under the snapshot's own lock."""
    for n in range(12):
        table.sql(f"ALTER TABLE t ADD COLUMN c{n} int DEFAULT {n}")
        rows = Stream(bridge, {"table": "t", "where": f"id > -{n + 1}"}).read().rows()
        assert sorted((row["id"], row[f"c{n}"]) for row in rows) == \
            [(str(id_), str(n)) for id_ in (1, 2, 3)]


def test_publication_that_filters_a_table_is_refused_plainly(database, bridge, make_replica):
    """Rows that a filter holds back would be lost without a word."""
    if database.server.version < 15:
        return  # row filters came with Postgres 15
    database.sql("CREATE TABLE filtered (id int PRIMARY KEY, v int)")
    database.sql("INSERT INTO filtered VALUES (1, 1)")
    publication = database.sql("SELECT pubname FROM pg_publication")[0][0]
    database.sql(f'ALTER PUBLICATION "{publication}" ADD TABLE filtered WHERE (id > 0)')
    replica = make_replica(["filtered"])
    replica.start()
    wait_for(lambda: bridge.log_contains("has a row filter or a column list"), 60,
             "the bridge to say why the shape cannot be made")
    replica.stop()
    database.sql(f'ALTER PUBLICATION "{publication}" DROP TABLE filtered')
    assert make_replica(["filtered"]).once().rows("filtered") == [(1, 1)]
