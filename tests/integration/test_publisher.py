"""The publisher of `<prefix>.stream`: what is written in Postgres is in the topic, whole, in order,
once."""

import itertools
import json
import random
import shutil
import signal
import threading
import time

import pytest
from harness import Bridge, Kafka, Process, Refused, Stream, StreamTopic, wait_for
from harness.publisher import (confirmed, kafka_health, publish_orders, wait_until_confirmed,
                               wait_until_failed, wait_until_publishing, wal_end)
from harness.publisher import insert_orders as insert


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


def served(bridge, **shape):
    """The ids that a client of the bridge gets."""
    def answer():
        try:
            return Stream(bridge, {"table": "orders", **shape}).read().rows()
        except Refused as refused:
            assert refused.status == 503, refused  # it is catching up
            return None

    return sorted(int(row["id"]) for row in wait_for(answer, 60, "an answer"))


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
    assert len(topic.histories) == 1 and topic.records[0].value is None
    assert kafka_health(publisher)["state"] == "publishing"


def test_large_transaction_is_there_in_fragments(make_publisher, orders, topic):
    publisher = start(make_publisher(kafka_message_max="20kB"), orders)
    insert(orders, 1, 5000)
    insert(orders, 5001, 5001)
    wait_until_confirmed(orders, publisher)
    assert ids(topic) == [*range(1, 5002)]
    assert max(t.fragments for t in topic.transactions) > 5
    assert all(len(record.value or b"") <= 20 * 1024 for record in topic.records)


def test_idle_database_moves_the_topic_and_the_slot(publisher, orders, topic):
    orders.sql("CREATE TABLE noise AS SELECT n FROM generate_series(1, 1000) n")
    position = wal_end(orders)
    wait_until_confirmed(orders, publisher)
    assert topic.read().position >= position and topic.heartbeats


def test_topic_of_a_silent_database_does_not_run_dry(publisher, orders, topic, kafka):
    """Retention deletes what is old; where the publisher stands is in the topic alone."""
    insert(orders, 1, 10)
    wait_until_confirmed(orders, publisher)
    wait_until_publishing(publisher)
    for _ in range(2):
        end = kafka.end_offset(topic.name)
        kafka.delete_records(topic.name, end)
        wait_for(lambda: kafka.end_offset(topic.name) > end, 60, "one more record")
    assert topic.read().heartbeats


def test_killed_before_the_slot_is_confirmed_repeats_nothing(make_publisher, orders, topic):
    """The first sync of the log comes at once, whenever that is; no other does in the time."""
    publisher = start(make_publisher(sync_interval="60s"), orders)
    number = itertools.count(10)

    def topic_has_what_is_not_confirmed():
        position = wal_end(orders)
        for last in itertools.islice(number, 5):
            insert(orders, last, last)
        wait_for(lambda: ids(topic)[-1:] == [last], 60, "the rows in the topic")
        return confirmed(orders) <= position

    insert(orders, 0, 9)
    wait_for(topic_has_what_is_not_confirmed, 60, "the slot to stay behind")
    publisher.kill9()
    last = next(number)
    insert(orders, last, last)
    publisher.start()
    wait_for(lambda: ids(topic)[-1:] == [last], 60, "the rest in the topic")
    assert ids(topic) == [*range(last + 1)]
    assert len(topic.histories) == 1


def write_until(stop, database):
    """Numbers from 0 in transactions of all sizes; returns how many there are."""
    sizes = itertools.cycle([1, 1, 7, 1, 300, 1, 40, 1])
    first = 0
    with database.connect() as connection, connection.cursor() as cursor:
        while not stop():
            size = next(sizes)
            cursor.execute("INSERT INTO orders SELECT n, repeat('x', 50) FROM "
                           "generate_series(%s, %s) n", (first, first + size - 1))
            first += size
            time.sleep(0.002)  # so that a reader comes to the end now and then
    return first


class Writer(threading.Thread):
    """Writes until the block ends; then `count` is how many rows there are."""

    def __init__(self, database):
        super().__init__(daemon=True)
        self.database, self.count, self.ended = database, None, threading.Event()

    def run(self):
        self.count = write_until(self.ended.is_set, self.database)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.ended.set()
        self.join()


def kill_at_random(publisher, chance, times):
    for _ in range(times):
        time.sleep(chance.uniform(0.0, 0.8))  # anywhere in its work
        publisher.kill9()
        publisher.start()
    wait_until_publishing(publisher)


@pytest.mark.sanitized
@pytest.mark.threaded
def test_killed_at_random_there_is_no_gap_and_nothing_twice(make_publisher, orders, topic, seed):
    chance = random.Random(seed)
    publisher = start(make_publisher(kafka_message_max="10kB"), orders)
    with Writer(orders) as writer:
        kill_at_random(publisher, chance, 6)
    wait_until_confirmed(orders, publisher)
    assert ids(topic) == [*range(writer.count)], f"seed {seed}"
    assert len(topic.histories) == 1


def test_second_publisher_waits_and_takes_over(make_publisher, orders, topic):
    first = start(make_publisher(), orders)
    second = make_publisher("second").start(wait=False).wait_until("waiting")
    with Writer(orders) as writer:
        wait_for(lambda: first.metrics()["tombolo_kafka_records_total"] > 20, 60, "records")
        first.kill9()
        second.wait_until("active")
        wait_until_publishing(second)
    wait_until_confirmed(orders, second)
    assert ids(topic) == [*range(writer.count)]
    assert len(topic.histories) == 1
    assert len({record.headers["epoch"] for record in topic.records}) == 2  # while it waited: none


def test_lost_folder_costs_the_topic_nothing(make_publisher, orders, topic):
    publisher = start(make_publisher(), orders)
    insert(orders, 1, 10)
    wait_until_confirmed(orders, publisher)
    publisher.kill9()
    shutil.rmtree(publisher.data_dir)
    insert(orders, 11, 20)
    publisher.start()
    wait_until_confirmed(orders, publisher)
    assert ids(topic) == [*range(1, 21)]
    assert len(topic.histories) == 1


def test_lost_slot_begins_a_new_history(make_publisher, orders, topic):
    publisher = start(make_publisher(), orders)
    insert(orders, 1, 10)
    wait_until_confirmed(orders, publisher)
    publisher.stop()
    orders.sql("SELECT pg_drop_replication_slot('tombolo_default')")
    insert(orders, 11, 20)  # nobody will ever hear of these
    publisher.start()
    wait_until_publishing(publisher)
    insert(orders, 21, 30)
    wait_until_confirmed(orders, publisher)
    assert ids(topic) == [*range(1, 11), *range(21, 31)]
    assert len(topic.histories) == 2


def test_deleted_topic_is_made_anew(publisher, orders, topic, kafka):
    insert(orders, 1, 10)
    wait_until_confirmed(orders, publisher)
    kafka.delete_topic(topic.name, wait=False)
    number = itertools.count(11)

    def is_there_again():
        last = next(number)
        insert(orders, last, last)
        wait_until_confirmed(orders, publisher)
        return kafka.has_topic(topic.name) and ids(topic)[-1:] == [last]

    wait_for(is_there_again, 60, "rows in the new topic", interval=0.2)
    # What the topic that is gone had acknowledged is gone with it; from there on nothing is missing.
    there = ids(topic)
    assert there == [*range(there[0], next(number))]


def test_row_over_the_limit_stops_publishing_and_nothing_else(make_publisher, orders, topic):
    publisher = start(make_publisher(kafka_message_max="20kB"), orders)
    insert(orders, 1, 1)
    wait_until_confirmed(orders, publisher)
    orders.sql("INSERT INTO orders VALUES (2, (SELECT string_agg(md5(n::text), '') FROM "
               "generate_series(1, 1000) n))")
    behind = wal_end(orders)
    insert(orders, 3, 3)
    wait_until_failed(publisher, "orders")
    assert served(publisher) == [1, 2, 3]
    assert ids(topic) == [1] and confirmed(orders) < behind
    publisher.stop()
    publisher.settings["TOMBOLO_KAFKA_MESSAGE_MAX"] = "100kB"
    publisher.start()
    wait_until_confirmed(orders, publisher)
    assert ids(topic) == [1, 2, 3]


def test_records_of_a_replaced_publisher_at_the_end_of_the_topic_are_void(make_publisher, orders,
                                                                          topic, kafka):
    """It had them still under way, more than are looked at. Who goes on begins a higher epoch than
    that of the one before, which readers know: they must see that they lack something."""
    publisher = make_publisher()
    for first in (1, 11):
        start(publisher, orders)
        wait_until_publishing(publisher)
        insert(orders, first, first + 9)
        wait_until_confirmed(orders, publisher)
        publisher.stop()
    ours = topic.read().records
    old, new = (int(record.headers["epoch"]) for record in (ours[0], ours[-1]))
    assert old < new
    position = str(wal_end(orders))
    headers = {**ours[0].headers, "epoch": str(old), "commit_lsn": position, "end_lsn": position}
    for _ in range(20):
        kafka.produce(topic.name, None, key="late", headers=headers, partition=0)
    start(publisher, orders)
    wait_until_publishing(publisher)
    assert int(kafka.consume(topic.name)[-1].headers["epoch"]) > new


def test_topic_with_several_partitions_is_refused(make_publisher, orders, topic, kafka):
    kafka.create_topic(topic.name, partitions=3)
    publisher = start(make_publisher(), orders)
    wait_until_failed(publisher, "3 partitions")


# ---- the broker, or Postgres, goes away ----------------------------------------------------------


@pytest.fixture(scope="module")
def frail_kafka():
    """A broker that tests end; they start it again."""
    with Kafka() as broker:
        yield broker


@pytest.fixture
def frail_topic(frail_kafka, prefix):
    if not frail_kafka.process.alive:  # a test before this one failed
        frail_kafka.start()
    yield StreamTopic(frail_kafka, prefix)
    # Started again by the test, it is still the module's.
    Process.started[:] = [one for one in Process.started if one is not frail_kafka.process]


def test_broker_away_at_start_holds_the_slot_alone(make_publisher, orders, frail_kafka,
                                                   frail_topic):
    frail_kafka.stop()
    publisher = start(make_publisher(brokers=frail_kafka.brokers), orders)
    insert(orders, 1, 10)
    held = confirmed(orders)
    assert served(publisher) == [*range(1, 11)]
    assert kafka_health(publisher)["state"] == "connecting"
    frail_kafka.start()
    insert(orders, 11, 20)
    wait_until_confirmed(orders, publisher)
    assert ids(frail_topic) == [*range(1, 21)] and held < confirmed(orders)


def test_broker_that_is_away_for_long_costs_a_bounded_spool(make_publisher, orders, frail_kafka,
                                                            frail_topic):
    publisher = start(make_publisher(brokers=frail_kafka.brokers, kafka_spool="2MB",
                                     kafka_property_queue_buffering_max_kbytes="1024"), orders)
    insert(orders, 0, 0)
    wait_until_confirmed(orders, publisher)
    frail_kafka.kill9()
    held = confirmed(orders)
    for n in range(30):  # a megabyte each
        orders.sql("INSERT INTO orders SELECT n, repeat(md5(n::text), 32) FROM "
                   "generate_series(%s, %s) n", 1 + 1000 * n, 1000 + 1000 * n)
    wait_for(lambda: publisher.log_contains("publishing falls behind"), 60, "the spool to be full")
    assert kafka_health(publisher)["state"] == "behind"
    assert publisher.metrics()["tombolo_kafka_spool_bytes"] <= 2 * 1024 * 1024
    assert publisher.metrics()['tombolo_kafka_state{state="behind"}'] == 1
    insert(orders, 30001, 30001)
    assert served(publisher, where="id = 30001") == [30001] and confirmed(orders) <= held
    frail_kafka.start()
    wait_until_confirmed(orders, publisher)
    assert ids(frail_topic) == [*range(30002)]
    assert len(frail_topic.histories) == 1
    assert publisher.metrics()["tombolo_kafka_spool_bytes"] == 0


def test_failure_is_tried_again_though_the_broker_was_away_meanwhile(make_publisher, orders,
                                                                     frail_kafka, frail_topic):
    publisher = start(make_publisher(brokers=frail_kafka.brokers, kafka_message_max="20kB",
                                     kafka_transactions="true"), orders)
    insert(orders, 1, 1)
    wait_until_confirmed(orders, publisher)
    with orders.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO orders SELECT n, 'x' FROM generate_series(100, 2000) n")
        cursor.execute("INSERT INTO orders SELECT 2, string_agg(md5(n::text), '') FROM "
                       "generate_series(1, 1000) n")
        frail_kafka.process.send_signal(signal.SIGSTOP)
        cursor.execute("COMMIT")
    try:
        wait_for(lambda: kafka_health(publisher)["state"] == "failed", 60, "the failure")
        streams = publisher.process.log().count("msg=streaming")
        wait_for(lambda: publisher.process.log().count("msg=streaming") > streams, 60, "a try")
    finally:
        frail_kafka.process.send_signal(signal.SIGCONT)
    wait_for(lambda: publisher.process.log().count("publishing stops") > 1, 60,
             lambda: f"one more try\n{publisher.process.log_tail()}")
    publisher.stop()


def test_broker_killed_under_writes(make_publisher, orders, frail_kafka,
                                                  frail_topic):
    publisher = start(make_publisher(brokers=frail_kafka.brokers), orders)
    with Writer(orders) as writer:
        frail_kafka.kill9()
        frail_kafka.start()
    wait_until_confirmed(orders, publisher)
    assert ids(frail_topic) == [*range(writer.count)]
    assert len(frail_topic.histories) == 1


def test_postgres_gone_and_back_goes_on(own_postgres, kafka, prefix, topic, tmp_path):
    database = own_postgres.create_database("gone")
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, what text)")
    publisher = Bridge(database, data_dir=tmp_path / "bridge", kafka_brokers=kafka.brokers,
                       kafka_prefix=prefix, kafka_stream="true")
    start(publisher, database)
    insert(database, 1, 10)
    own_postgres.kill9()
    own_postgres.start()
    insert(database, 11, 20)
    own_postgres.restart()
    insert(database, 21, 30)
    wait_until_confirmed(database, publisher)
    assert ids(topic) == [*range(1, 31)]
    assert len(topic.histories) == 1


# ---- Kafka transactions --------------------------------------------------------------------------


def test_with_transactions_killed_at_random_nothing_is_twice(make_publisher, orders, topic, seed):
    chance = random.Random(seed)
    publisher = start(make_publisher(kafka_transactions="true"), orders)
    with Writer(orders) as writer:
        kill_at_random(publisher, chance, 4)
    wait_until_confirmed(orders, publisher)
    assert ids(topic) == [*range(writer.count)], f"seed {seed}"
    assert len(topic.histories) == 1
    publisher.stop()


def test_with_transactions_table_topics_have_each_change_once(make_publisher, orders, kafka,
                                                              prefix, seed):
    """Read-committed; the position is in `<prefix>.offsets`, since there is no stream."""
    chance = random.Random(seed)
    publisher = make_publisher(kafka_stream="false", kafka_topics="true",
                               kafka_tables="public.orders", kafka_transactions="true").start()
    orders.sql("INSERT INTO orders SELECT n, 'first' FROM generate_series(-12000, -1) n")
    wait_for(lambda: publisher.log_contains("first rows of a table are published"), 60,
             "the first rows")
    with Writer(orders) as writer:
        kill_at_random(publisher, chance, 4)
    wait_until_confirmed(orders, publisher)
    events = [json.loads(record.value) for record in kafka.consume(f"{prefix}.public.orders")]
    published = [event["after"]["id"] for event in events]
    assert sorted(published[:12000]) == [*range(-12000, 0)], f"seed {seed}"
    assert published[12000:] == [*range(writer.count)], f"seed {seed}"
    offsets = kafka.consume(f"{prefix}.offsets")
    assert {record.key for record in offsets} == {b"tombolo_default"}
    publisher.stop()
