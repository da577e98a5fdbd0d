"""From the wording of a request to its log: who waits for whom, and what becomes of questions that
nobody waits for any more."""

import pytest
from harness import Bridge, Connection, Stream, target, wait_for


@pytest.fixture
def beside(tmp_path):
    """beside(database): a running Bridge there, stopped at the test's end."""
    made = []

    def make(database, **settings):
        made.append(Bridge(database, data_dir=tmp_path / f"bridge{len(made)}", **settings))
        return made[-1].start()

    yield make
    for bridge in made:
        bridge.stop()


def ask(bridge, **params):
    """A first request, on a connection of its own, that is not read."""
    path = target("/v1/shape", **{"offset": "-1", **params})
    return Connection(bridge.port, timeout=30).send("GET", path)


def connections(bridge):
    return bridge.metrics()["tombolo_http_connections"]


# ---- requests that are given up -----------------------------------------------------------------

def test_shapes_that_nobody_waits_for_any_more_are_not_made(database, beside):
    database.sql("CREATE TABLE t (id int PRIMARY KEY)")
    database.sql("CREATE TABLE other (id int PRIMARY KEY)")
    bridge = beside(database, lock_timeout="60s")
    holder = database.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    clients = [ask(bridge, table="t", where=f"id = {i}") for i in range(20)]
    wait_for(lambda: connections(bridge) >= 20, 20, "all to be there")
    assert Stream(bridge, {"table": "other"}).read().tuples("id") == []
    for client in clients[1:]:
        client.close()
    wait_for(lambda: connections(bridge) < 5, 20, "those who left to be gone")
    holder.rollback()
    holder.close()
    assert clients[0].receive().status == 200
    assert Stream(bridge, {"table": "t", "where": "id = 99"}).read().tuples("id") == []
    # The first of all had begun to wait for the table, whoever that was.
    assert bridge.metrics()["tombolo_shapes"] <= 4
