"""The harness's Kafka: a real broker that keeps what it acknowledged, and a reader that loses none
of what a record has."""

import pytest
from harness import Kafka


@pytest.fixture
def own_kafka():
    with Kafka() as broker:
        yield broker


def test_records_are_read_as_they_were_written(kafka, prefix):
    topic = f"{prefix}.written"
    kafka.create_topic(topic, partitions=2)
    kafka.produce(topic, "two\nlines", key="k", partition=1,
                  headers={"epoch": "1", "__debezium.newkey": '{"a":1,"b":"x=y"}'})
    kafka.produce(topic, None, key="k", partition=1)
    kafka.produce(topic, "", key="k", partition=1)
    kafka.produce(topic, "last", partition=1)
    first, tombstone, empty, keyless = kafka.consume(topic)
    assert (first.partition, first.offset, first.key, first.value) == (1, 0, b"k", b"two\nlines")
    assert first.headers == {"epoch": "1", "__debezium.newkey": '{"a":1,"b":"x=y"}'}
    assert (tombstone.key, tombstone.value, tombstone.headers) == (b"k", None, {})
    assert (empty.key, empty.value) == (b"k", b"")
    assert (keyless.key, keyless.value) == (None, b"last")
    assert kafka.consume(topic, offset=-1, partition=1) == [keyless]
    assert kafka.consume(topic, partition=0) == []


def test_topics_are_made_and_deleted(kafka, prefix):
    topic = f"{prefix}.short"
    kafka.create_topic(topic, max_message_bytes=1000)
    with pytest.raises(AssertionError, match="Message size too large"):
        kafka.produce(topic, "x" * 2000)
    kafka.delete_topic(topic)
    assert topic not in kafka.topics()


def test_acknowledged_records_outlive_kill_9(own_kafka):
    own_kafka.create_topic("t")
    own_kafka.produce("t", "before")
    own_kafka.kill9()
    assert not own_kafka.process.alive
    own_kafka.start()
    own_kafka.produce("t", "after")
    own_kafka.restart()
    assert [record.value for record in own_kafka.consume("t")] == [b"before", b"after"]
