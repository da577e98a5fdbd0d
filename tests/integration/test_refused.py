"""Rows that a replica cannot apply: the shape begins anew, not too often; the others go on; the
status says what is wrong."""

import sqlite3

import pytest
from harness import Replica, Stream, wait_for


@pytest.fixture
def start(database, make_bridge):
    database.sql("CREATE TABLE t (id int PRIMARY KEY, what text)")
    database.sql("CREATE TABLE u (id int PRIMARY KEY, what text)")
    database.sql("INSERT INTO t SELECT n, 'x' FROM generate_series(1, 100) n")
    return lambda **settings: make_bridge(database, **settings).start()


def refuse(bridge, handle, reason="it is odd"):
    return Stream(bridge, {"table": "t", "handle": handle, "refused": reason}).read()


def test_refused_handle_ends_for_everybody_and_the_shape_begins_anew(start):
    bridge = start()
    follower = Stream(bridge, {"table": "t"}, live=True, replica="follower")
    follower.read(until=lambda s: len(s.rows()) == 100 and s.consistent)
    first = follower.shapes[0].handle
    anew = refuse(bridge, first)
    assert anew.shapes[0].handle != first and len(anew.rows()) == 100
    follower.read(until=lambda s: s.shapes[0].handle != first and len(s.rows()) == 100)
    assert follower.shapes[0].refetched == ["a replica could not apply it: it is odd"]
    assert follower.shapes[0].handle == anew.shapes[0].handle
    follower.close()


def test_shape_is_begun_anew_so_often_and_not_more(start):
    bridge = start(refusal_interval="5s")
    first = Stream(bridge, {"table": "t"}).read().shapes[0].handle
    second = refuse(bridge, first).shapes[0].handle
    assert second != first
    again = refuse(bridge, second)
    assert again.shapes[0].handle == second and len(again.rows()) == 100
    assert "is not begun anew again for" in again.shapes[0].refetched[0]
    assert again.shapes[0].refetched[0].endswith("refused now because: it is odd")
    wait_for(lambda: refuse(bridge, second).shapes[0].handle != second, 60, "another handle")
    wait_for(lambda: bridge.metrics()["tombolo_snapshots_total"] == 3, 60, "three snapshots")


def test_handle_of_another_shape_or_of_none_is_not_refused(start):
    bridge = start()
    handle = Stream(bridge, {"table": "t"}).read().shapes[0].handle
    for other in ({"table": "t", "where": "id < 5"}, {"table": "u"}):
        Stream(bridge, {**other, "handle": handle, "refused": "x"}).read()
    refuse(bridge, "12345-678")
    assert Stream(bridge, {"table": "t"}).read().shapes[0].handle == handle


def test_shape_begun_anew_while_a_replica_was_away_is_called_that(start, database):
    bridge = start()
    stream = Stream(bridge, {"table": "t"}).read()
    database.sql("TRUNCATE t")
    other = Stream(bridge, {"table": "t"}, live=True)
    other.read(until=lambda s: s.consistent and not s.rows())
    other.close()
    stream.read()
    assert stream.shapes[0].refetched == ["the shape was begun anew while this replica was away"]
    assert stream.rows() == []


def test_table_that_sqlite_refuses_rows_of_leaves_the_others_alone(start, database, tmp_path):
    bridge = start()
    replica = Replica(bridge, tmp_path / "replica.db", ["t", "u"]).start()
    replica.wait_for_rows("t", database.sql("SELECT * FROM t"))
    writer = sqlite3.connect(tmp_path / "replica.db", isolation_level=None, timeout=60)
    writer.execute("CREATE TRIGGER mine BEFORE INSERT ON t BEGIN SELECT raise(ABORT, 'mine!'); END")
    database.sql("INSERT INTO t VALUES (101, 'x')")
    for n in range(3):
        database.sql("INSERT INTO u VALUES (%s, 'x')", n)
        replica.wait_for_rows("u", database.sql("SELECT * FROM u"))
    status = replica.status()
    assert "SQLite refuses its rows" in status and "mine!" in status
    assert "not consistent yet" in status
    assert replica.process.log().count("mine!") < 10
    replica.stop()
    assert replica.try_once() == 1
    assert "mine!" in replica.process.log()
    writer.execute("DROP TRIGGER mine")
    writer.close()
    replica.once()
    assert replica.rows("t") == sorted(database.sql("SELECT * FROM t"))
    assert "mine!" not in replica.status()
    assert len(Stream(bridge, {"table": "t"}).read().rows()) == 101
    assert bridge.metrics()["tombolo_snapshots_total"] == 2


def test_table_that_is_made_anew_is_followed_again_and_the_others_meanwhile(start, database,
                                                                            tmp_path):
    bridge = start()
    replica = Replica(bridge, tmp_path / "replica.db", ["t", "u"]).start()
    replica.wait_for_rows("t", database.sql("SELECT * FROM t"))
    database.sql("DROP TABLE t")
    replica.wait_for(lambda: "the bridge does not have it now" in replica.status(), 60, "t away")
    for n in range(5):
        database.sql("INSERT INTO u VALUES (%s, 'x')", n)
        replica.wait_for_rows("u", database.sql("SELECT * FROM u"))
    assert len(replica.rows("t")) == 100
    assert "not consistent yet" in replica.status()
    database.sql("CREATE TABLE t (id int PRIMARY KEY, what text, more int)")
    database.sql("INSERT INTO t VALUES (7, 'anew', 1)")
    replica.wait_for_rows("t", [(7, "anew", 1)])
    database.sql("INSERT INTO u VALUES (9, 'y')")
    replica.wait_for_rows("u", database.sql("SELECT * FROM u"))
    replica.wait_for(lambda: "does not have it now" not in replica.status(), 60, "t back")
    replica.stop()
    log = replica.process.log()
    assert log.count("a table is left out for now") == log.count("a table is back") == 1
    assert log.count('\\"t\\" does not exist') <= 3


def test_table_that_is_away_when_a_file_that_has_its_rows_is_opened_is_waited_for(start, database,
                                                                                  tmp_path):
    bridge = start()
    replica = Replica(bridge, tmp_path / "replica.db", ["t"]).once()
    database.sql("DROP TABLE t")
    assert replica.try_once() == 1
    assert "does not exist" in replica.process.log()
    replica.start()
    replica.wait_for(lambda: "a table is left out for now" in replica.process.log(), 60, "t away")
    database.sql("CREATE TABLE t (id int PRIMARY KEY, what text)")
    database.sql("INSERT INTO t VALUES (7, 'anew')")
    replica.wait_for_rows("t", [(7, "anew")])
    replica.stop()


def test_table_that_never_was_there_ends_a_sync(start, tmp_path):
    bridge = start()
    replica = Replica(bridge, tmp_path / "replica.db", ["t", "nowhere"]).start()
    assert replica.process.wait(60) == 1
    assert '"nowhere" does not exist' in replica.process.log()
