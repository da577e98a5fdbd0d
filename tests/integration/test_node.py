"""Fan-out nodes (--source kafka://...) beside a topic that the test itself writes (Feeder)."""

import itertools

import pytest
from harness import Bridge, Feeder, Replica

PREFIXES = (f"node{n}" for n in itertools.count(1))


@pytest.fixture
def prefix():
    return next(PREFIXES)


@pytest.fixture
def feeder(kafka, database, prefix):
    with Feeder(kafka, database, prefix) as made:
        yield made


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, what text)")
    database.sql("INSERT INTO items SELECT n, 'first' FROM generate_series(1, 5) n")
    return database


@pytest.fixture
def make_node(kafka, database, prefix, tmp_path):
    """make_node(name, **settings): a fan-out node, not started."""
    made = []

    def make(name="node", postgres=None, **settings):
        settings.setdefault("source", f"kafka://{kafka.brokers}/{prefix}")
        settings.setdefault("keepalive", "200ms")
        node = Bridge(postgres or database, data_dir=tmp_path / name, **settings)
        made.append(node)
        return node

    yield make
    for node in made:
        node.stop()


def everything(database, table="items"):
    return database.sql(f"SELECT * FROM {table} ORDER BY 1")


def test_node_serves_what_postgres_holds_and_what_the_topic_brings(items, feeder, make_node,
                                                                   tmp_path):
    with feeder.running():
        node = make_node().start()
        replica = Replica(node, tmp_path / "replica.db", ["items"]).start()
        replica.wait_for(lambda: replica.rows("items") == everything(items), 30)
        items.sql("UPDATE items SET what = 'changed' WHERE id < 3")
        items.sql("INSERT INTO items VALUES (9, 'new')")
        items.sql("DELETE FROM items WHERE id = 5")
        replica.wait_for(lambda: replica.rows("items") == everything(items), 30)
        replica.stop()
