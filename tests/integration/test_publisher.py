"""The publisher of `<prefix>.stream`: what is written in Postgres is in the topic, whole, in order,
once."""

import itertools

import pytest
from harness import Bridge, StreamTopic, wait_for

PREFIXES = (f"published_{n}" for n in itertools.count(1))


@pytest.fixture
def prefix():
    return next(PREFIXES)


@pytest.fixture
def orders(database):
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, what text)")
    return database


@pytest.fixture
def make_publisher(orders, kafka, prefix, tmp_path):
    made = []

    def make(data_dir="bridge", brokers=kafka.brokers, **settings):
        settings = {"kafka_brokers": brokers, "kafka_prefix": prefix, "kafka_stream": "true",
                    **settings}
        made.append(Bridge(orders, data_dir=tmp_path / data_dir, **settings))
        return made[-1]

    yield make
    for bridge in made:
        bridge.process.kill9()


@pytest.fixture
def publisher(make_publisher, orders):
    return start(make_publisher(), orders)


@pytest.fixture
def topic(kafka, prefix):
    return StreamTopic(kafka, prefix)


def start(bridge, database):
    """Starts it and puts the table into the publication."""
    bridge.start()
    publish_orders(database)
    return bridge


def publish_orders(database):
    if not database.value("SELECT count(*) FROM pg_publication_tables WHERE tablename = 'orders'"):
        database.sql("ALTER PUBLICATION tombolo_default ADD TABLE orders")


def kafka_health(bridge):
    return bridge.get("/v1/health").json()["kafka"]


def wait_until_publishing(bridge):
    wait_for(lambda: kafka_health(bridge)["state"] == "publishing", 60,
             lambda: f"the publisher; it is {kafka_health(bridge)}\n{bridge.process.log_tail()}")


def insert(database, first, last):
    """One transaction."""
    database.sql("INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(%s, %s) n",
                 first, last)


def wal_end(database):
    return database.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")


def confirmed(database):
    return database.value("SELECT (confirmed_flush_lsn - '0/0')::bigint FROM "
                          "pg_replication_slots WHERE slot_name = 'tombolo_default'")


def wait_until_confirmed(database, bridge, deadline=60):
    """All that was committed before the call: then the topic has it."""
    position = wal_end(database)
    wait_for(lambda: confirmed(database) >= position, deadline,
             lambda: f"the slot to come to {position}; it is at {confirmed(database)}\n"
             f"{bridge.process.log_tail()}")


def ids(topic):
    return [int(row[0]) for row in topic.read().rows("orders")]


def test_rows_are_published_whole_and_in_order(publisher, orders, topic):
    insert(orders, 1, 3)
    insert(orders, 4, 4)
    orders.sql("UPDATE orders SET what = 'changed' WHERE id = 2")
    orders.sql("DELETE FROM orders WHERE id = 3")
    wait_until_confirmed(orders, publisher)
    topic.read()
    assert [[(op, values[0]) for op, _, values in t.changes] for t in topic.transactions
            if t.changes] == [
        [("I", "1"), ("I", "2"), ("I", "3")], [("I", "4")], [("U", "2")], [("D", "3")]]
    assert len(topic.histories) == 1
    assert kafka_health(publisher) == {"state": "publishing"}
