"""Tables' first rows when the brokers stay away in the middle of them: their snapshot is let go, so
that VACUUM can clean, and they come when the brokers are back."""

import signal

import pytest
from harness import Bridge, Kafka, read_events, wait_for

COUNT = 30000
HELD = ("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tombolo kafka'"
        " AND datname = current_database() AND backend_xmin IS NOT NULL")


@pytest.fixture
def own_kafka():
    with Kafka() as broker:
        yield broker
        broker.process.send_signal(signal.SIGCONT)


def test_first_rows_let_their_snapshot_go_while_the_brokers_are_away(database, own_kafka, prefix,
                                                                     tmp_path):
    topic = f"{prefix}.public.orders"
    own_kafka.create_topic(topic)
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, what text);"
                 "INSERT INTO orders SELECT n, repeat(md5(n::text), 30)"
                 f" FROM generate_series(1, {COUNT}) n")
    bridge = Bridge(database, data_dir=tmp_path / "bridge", kafka_brokers=own_kafka.brokers,
                    kafka_prefix=prefix, kafka_topics="true", catalog_interval="1s",
                    kafka_property_queue_buffering_max_kbytes="100")
    bridge.start()
    wait_for(lambda: own_kafka.end_offset(topic) > 0, 60, "some first rows", 0.005)
    own_kafka.process.send_signal(signal.SIGSTOP)
    assert database.value(HELD) == 1, "they are there already"
    # Others after it do not hold it for long either: the brokers do not take the topic's name.
    wait_for(lambda: database.value(HELD) == 0, 90, "the snapshot to be let go")
    assert bridge.log_contains("the brokers have taken nothing")
    own_kafka.process.send_signal(signal.SIGCONT)
    wait_for(lambda: bridge.log_contains("first rows of a table are published"), 60,
             lambda: f"the first rows\n{bridge.process.log_tail()}")
    assert {event.key["id"] for event in read_events(own_kafka, topic)} == {*range(1, COUNT + 1)}
    bridge.stop()
