"""What a hostile reading of the bridge found: each test is one way to lose rows, or to stand still."""

import json

import pytest
from harness import Bridge, Replica, wait_for

pytestmark = [pytest.mark.sanitized, pytest.mark.threaded]


@pytest.fixture
def orders(database):
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, owner int NOT NULL, what text)")
    database.sql("INSERT INTO orders VALUES (1, 7, 'nails'), (2, 8, 'wood')")
    return database


def test_the_only_shape_of_a_live_stream_goes_on_after_it_was_fetched_again(orders, make_replica):
    replica = make_replica(["orders"]).start()
    replica.wait_for_rows("orders", [(1, 7, "nails"), (2, 8, "wood")])
    orders.sql("TRUNCATE orders")
    replica.wait_for_rows("orders", [], deadline=60)
    orders.sql("INSERT INTO orders VALUES (3, 9, 'after')")
    replica.wait_for_rows("orders", [(3, 9, "after")], deadline=60)


def sync(bridge, *shapes):
    """What /v1/sync says to a request that is not live: its lines, and where each shape stands."""
    answer = bridge.post("/v1/sync?replica=review", {"shapes": shapes, "live": False}, timeout=60)
    assert answer.status == 200, answer.body
    lines = [json.loads(line) for line in answer.body.splitlines()]
    last = next(said["lsn"] for line in reversed(lines)
                if (said := line.get("commit") or line.get("keepalive")))
    handles = {line["open"]["shape"]: line["open"]["handle"] for line in lines if "open" in line}
    return lines, [shape | {"handle": handles[i], "offset": f"{last}_inf"}
                   for i, shape in enumerate(shapes)]


def test_no_commit_line_overtakes_a_shape_that_is_catching_up(orders, bridge):
    """A client takes a commit line's position for each open shape, and would go on behind it."""
    orders.sql("CREATE TABLE owners (id int PRIMARY KEY, name text)")
    _, [ahead, behind] = sync(bridge, {"table": "orders"}, {"table": "owners"})
    for n in range(300):
        orders.sql("INSERT INTO owners VALUES (%s, 'x')", n)
    _, [ahead] = sync(bridge, ahead)
    for n in range(50):
        orders.sql("INSERT INTO orders VALUES (%s, 7, 'x')", 100 + n)

    lines, _ = sync(bridge, ahead, behind)
    said, rows = {}, 0
    for line in lines:
        if "open" in line:
            said[line["open"]["shape"]] = 0
        if "commit" in line:
            said = dict.fromkeys(said, int(line["commit"]["lsn"]))
        for message in line.get("messages", ()):
            rows += 1
            assert int(message["headers"]["lsn"]) > said[line["shape"]], "a row behind its commit"
    assert rows == 350


def test_folder_that_was_left_behind_by_its_slot_is_fetched_again(orders, bridge, tmp_path):
    """A second bridge with a folder of its own took over for a while; what it confirmed, the first
    one is never sent."""
    replica = Replica(bridge, tmp_path / "replica.db", ["orders"]).once()
    bridge.stop()
    second = Bridge(orders, data_dir=tmp_path / "second").start()
    Replica(second, tmp_path / "other.db", ["orders"]).once()
    orders.sql("INSERT INTO orders VALUES (3, 9, 'meanwhile')")
    (lsn,), = orders.sql("SELECT pg_current_wal_lsn()")
    wait_for(lambda: orders.sql("SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots"
                                " WHERE database = current_database()", lsn) == [(True,)],
             60, "the second bridge to confirm the row")
    second.stop()
    bridge.start()
    assert replica.once().rows("orders") == orders.sql("SELECT * FROM orders ORDER BY id")


def test_killed_bridge_of_an_idle_database_fetches_nothing_again(orders, bridge, tmp_path):
    """What it told the slot it knows, also when there was nothing to be stored."""
    replica = Replica(bridge, tmp_path / "replica.db", ["orders"]).once()
    orders.sql("CREATE TABLE unrelated AS SELECT generate_series(1, 1000) AS n")
    (lsn,), = orders.sql("SELECT pg_current_wal_lsn()")
    wait_for(lambda: orders.sql("SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots"
                                " WHERE database = current_database()", lsn) == [(True,)],
             60, "the idle position to be confirmed")
    bridge.kill9()
    bridge.start()
    replica.once()
    assert not bridge.log_contains("everything must be fetched again")


def test_updates_are_not_refused_while_a_table_without_key_waits_for_its_identity(database, bridge):
    database.sql("CREATE TABLE keyless (n int)")
    database.sql("INSERT INTO keyless VALUES (1)")
    reader = database.connect(autocommit=False)
    reader.cursor().execute("SELECT * FROM keyless")
    asked = {"shapes": [{"table": "keyless"}], "live": False}
    assert bridge.post("/v1/sync?replica=review", asked, timeout=60).status == 503
    database.sql("UPDATE keyless SET n = 2")
    reader.rollback()
    reader.close()


def test_live_stream_is_begun_again_when_the_slot_was_lost(orders, bridge, make_replica):
    """And the tables join the publication again, which went with it."""
    replica = make_replica(["orders"]).start()
    replica.wait_for_rows("orders", [(1, 7, "nails"), (2, 8, "wood")])
    orders.sql("DROP PUBLICATION tombolo_default")
    orders.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
               " WHERE database = current_database()")
    wait_for(lambda: bridge.log_contains("everything must be fetched again"), 60, "the slot's loss")
    bridge.wait_until("active")
    # The keeper may have ended the shape for the lost publication before the stream noticed.
    replica.wait_for(lambda: replica.process.log_contains("begin again")
                     or replica.process.log_contains("fetching a shape again"), 60,
                     "the stream's end")
    orders.sql("INSERT INTO orders VALUES (3, 9, 'after')")
    replica.wait_for_rows("orders", orders.sql("SELECT * FROM orders"), deadline=60)
