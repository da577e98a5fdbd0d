"""The main job, end to end: rows from Postgres, through shapes, in a SQLite file that follows them."""

import pytest
from harness import Bridge, Proxy, Replica

pytestmark = [pytest.mark.sanitized, pytest.mark.threaded]

ROWS = [(1, 7, "nails"), (2, 7, None), (3, 8, "wörk, \"quoted\"\n\t'so'"), (4, 8, "")]


@pytest.fixture
def orders(database):
    """A table of four rows; the database it is in. Before `bridge`, so that it is there first."""
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, owner int NOT NULL, what text)")
    for row in ROWS:
        database.sql("INSERT INTO orders VALUES (%s, %s, %s)", *row)
    return database


def everything(database, table="orders", where="true"):
    return database.sql(f"SELECT * FROM {table} WHERE {where}")


def test_once_copies_a_table(orders, make_replica):
    assert make_replica(["orders"]).once().rows("orders") == ROWS


def test_once_makes_an_empty_table_of_an_empty_one(orders, make_replica):
    orders.sql("TRUNCATE orders")
    assert make_replica(["orders"]).once().rows("orders") == []


def test_once_again_brings_what_changed_meanwhile(orders, make_replica):
    replica = make_replica(["orders"]).once()
    orders.sql("INSERT INTO orders VALUES (5, 9, 'new')")
    orders.sql("UPDATE orders SET what = 'changed' WHERE id = 1")
    orders.sql("UPDATE orders SET id = 20 WHERE id = 2")
    orders.sql("DELETE FROM orders WHERE id = 3")
    replica.once()
    assert replica.rows("orders") == [
        (1, 7, "changed"), (4, 8, ""), (5, 9, "new"), (20, 7, None)]


def test_once_with_nothing_new_changes_nothing(orders, make_replica):
    replica = make_replica(["orders"]).once().once()
    assert replica.rows("orders") == ROWS


def test_shape_holds_the_rows_of_its_clause_and_the_columns_it_names(orders, make_replica):
    replica = make_replica(["orders(id, what) where owner = 7"]).once()
    assert replica.rows("orders") == [(1, "nails"), (2, None)]


def test_replica_is_a_table_with_the_primary_key(orders, make_replica):
    replica = make_replica(["orders"]).once()
    assert [name for _, name, _, _, _, pk in replica.sql("PRAGMA table_info(orders)") if pk] \
        == ["id"]
    assert replica.sql("PRAGMA integrity_check") == [("ok",)]


def test_live_replica_follows_insert_update_and_delete(orders, make_replica):
    replica = make_replica(["orders"]).start()
    replica.wait_for_rows("orders", ROWS)
    orders.sql("INSERT INTO orders VALUES (5, 9, 'new')")
    replica.wait_for_rows("orders", [*ROWS, (5, 9, "new")])
    orders.sql("UPDATE orders SET what = upper(what)")
    replica.wait_for_rows("orders", everything(orders))
    orders.sql("DELETE FROM orders WHERE owner = 8")
    replica.wait_for_rows("orders", everything(orders))


def test_rows_enter_and_leave_a_live_shape(orders, make_replica):
    replica = make_replica(["orders where owner = 7"]).start()
    replica.wait_for_rows("orders", ROWS[:2])
    orders.sql("UPDATE orders SET owner = 15 - owner WHERE id IN (1, 3)")
    replica.wait_for_rows("orders", everything(orders, where="owner = 7"))
    orders.sql("DELETE FROM orders WHERE id = 3")
    replica.wait_for_rows("orders", [ROWS[1]])


def test_two_shapes_in_one_file_follow_two_tables(orders, make_replica):
    orders.sql("CREATE TABLE owners (id int PRIMARY KEY, name text)")
    orders.sql("INSERT INTO owners VALUES (7, 'Ada'), (8, 'Bo')")
    replica = make_replica(["orders", "owners where id = 7"]).start()
    replica.wait_for_rows("orders", ROWS)
    replica.wait_for_rows("owners", [(7, "Ada")])
    orders.sql("UPDATE owners SET name = 'Ada L.' WHERE id = 7; DELETE FROM orders WHERE id = 1")
    replica.wait_for_rows("owners", [(7, "Ada L.")])
    replica.wait_for_rows("orders", ROWS[1:])


def test_rolled_back_rows_never_arrive(orders, make_replica):
    replica = make_replica(["orders"]).start()
    replica.wait_for_rows("orders", ROWS)
    connection = orders.connect(autocommit=False)
    cursor = connection.cursor()
    cursor.execute("INSERT INTO orders VALUES (90, 1, 'never')")
    connection.rollback()
    cursor.execute("INSERT INTO orders VALUES (91, 1, 'kept')")
    cursor.execute("SAVEPOINT s")
    cursor.execute("INSERT INTO orders VALUES (92, 1, 'never')")
    cursor.execute("ROLLBACK TO s")
    connection.commit()
    connection.close()
    replica.wait_for_rows("orders", [*ROWS, (91, 1, "kept")])


def test_replica_follows_again_after_the_bridge_restarts(orders, bridge, make_replica):
    replica = make_replica(["orders"]).start()
    replica.wait_for_rows("orders", ROWS)
    bridge.stop()
    orders.sql("INSERT INTO orders VALUES (5, 9, 'while it was down')")
    bridge.start()
    replica.wait_for_rows("orders", everything(orders), deadline=60)
    orders.sql("DELETE FROM orders WHERE id = 5")
    replica.wait_for_rows("orders", ROWS)


def test_replica_follows_again_after_the_bridge_is_killed(orders, bridge, make_replica):
    replica = make_replica(["orders"]).start()
    replica.wait_for_rows("orders", ROWS)
    for n in range(3):
        orders.sql("INSERT INTO orders VALUES (%s, 9, 'before')", 100 + n)
        bridge.kill9()
        orders.sql("INSERT INTO orders VALUES (%s, 9, 'after')", 200 + n)
        bridge.start()
    replica.wait_for_rows("orders", everything(orders), deadline=60)


def test_killed_replica_resumes_where_it_was(orders, make_replica):
    replica = make_replica(["orders"]).start()
    replica.wait_for_rows("orders", ROWS)
    for n in range(3):
        orders.sql("INSERT INTO orders VALUES (%s, 9, 'before')", 100 + n)
        replica.kill9()
        orders.sql("DELETE FROM orders WHERE id = %s", 100 + n)
        orders.sql("INSERT INTO orders VALUES (%s, 9, 'after')", 200 + n)
        replica.start()
        replica.wait_for_rows("orders", everything(orders))


def test_replica_follows_again_after_its_connection_is_cut(orders, bridge, make_replica):
    with Proxy(bridge.port) as proxy:
        replica = make_replica(["orders"], url=proxy.url).start()
        replica.wait_for_rows("orders", ROWS)
        for n in range(3):
            replica.wait_for(lambda: proxy.cut() > 0, 60, "a connection to cut")
            orders.sql("INSERT INTO orders VALUES (%s, 9, 'x')", 100 + n)
        replica.wait_for_rows("orders", everything(orders), deadline=60)


def test_restarted_postgres_is_followed_again(own_postgres, tmp_path):
    own_postgres.sql("CREATE TABLE t (id int PRIMARY KEY)")
    bridge = Bridge(own_postgres, data_dir=tmp_path / "bridge").start()
    replica = Replica(bridge, tmp_path / "replica.db", ["t"]).start()
    for n, trouble in enumerate((own_postgres.restart, own_postgres.kill9)):
        own_postgres.sql("INSERT INTO t VALUES (%s)", n)
        trouble()
        if not own_postgres.process.alive:
            own_postgres.start()
        own_postgres.sql("INSERT INTO t VALUES (%s)", 10 + n)
        replica.wait_for_rows("t", own_postgres.sql("SELECT id FROM t"), deadline=60)
    replica.stop()
    bridge.stop()


def test_status_tells_the_shapes_of_a_file(orders, make_replica):
    said = make_replica(["orders where owner = 7"]).once().status()
    assert "orders" in said and "2" in said
