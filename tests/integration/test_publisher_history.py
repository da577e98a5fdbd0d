"""What the topics have, and whether it can be gone on with: Kafka transactions turned on, servers
that were restored from a copy."""

import shutil
import subprocess

import pytest
from harness import Bridge, StreamTopic, free_port, read_events, wait_for
from harness.publisher import (insert_orders, publish_orders, wait_until_confirmed,
                               wait_until_failed, wait_until_publishing, wal_end)


@pytest.fixture
def make_publisher(kafka, prefix, tmp_path):
    made = []

    def make(database, **settings):
        settings = {"kafka_brokers": kafka.brokers, "kafka_prefix": prefix, "kafka_stream": "true",
                    **settings}
        made.append(Bridge(database, data_dir=tmp_path / "bridge", **settings))
        return made[-1]

    yield make
    for bridge in made:
        bridge.kill9()


@pytest.fixture
def topic(kafka, prefix):
    return StreamTopic(kafka, prefix)


@pytest.fixture
def server(own_postgres):
    make_orders(own_postgres)
    return own_postgres


def make_orders(database):
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, what text)")


def ids(topic):
    return [int(row[0]) for row in topic.read().rows("orders")]


def copy_slot(database, name, copy):
    database.sql("SELECT pg_copy_logical_replication_slot(%s, %s)", name, copy)


def turn_slot_back(database, earlier):
    """To where this copy was made. Nobody uses it now."""
    database.sql("SELECT pg_drop_replication_slot('tombolo_default')")
    copy_slot(database, earlier, "tombolo_default")
    database.sql("SELECT pg_drop_replication_slot(%s)", earlier)


def test_transactions_that_are_turned_on_bring_what_table_topics_lacked(database, kafka, prefix,
                                                                        topic, make_publisher):
    """The stream's topic had the row, the table's broker refused it, and then there was a crash."""
    make_orders(database)
    table = f"{prefix}.public.orders"
    kafka.create_topic(table, max_message_bytes=5000)
    settings = {"kafka_topics": "true", "kafka_tables": "public.orders", "kafka_snapshot": "never"}
    publisher = make_publisher(database, **settings).start()
    wait_for(lambda: publisher.log_contains("table joined the publication"), 60, "the table")
    insert_orders(database, 1, 1)
    wait_until_confirmed(database, publisher)
    database.sql("INSERT INTO orders VALUES (2, repeat('x', 6000))")
    wait_for(lambda: ids(topic) == [1, 2], 60, "the row in the stream's topic")
    wait_until_failed(publisher, table)
    publisher.kill9()
    kafka.set_topic(table, max_message_bytes=1000000)
    publisher = make_publisher(database, kafka_transactions="true", **settings).start()
    insert_orders(database, 3, 3)
    wait_until_confirmed(database, publisher)
    assert ids(topic) == [1, 2, 3]
    assert [event.key["id"] for event in read_events(kafka, table)] == [1, 2, 3]
    # From here on the stream's topic speaks for the table's: nothing is there twice, wherever the
    # slot stands.
    publisher.stop()
    copy_slot(database, "tombolo_default", "earlier")
    publisher.start()
    insert_orders(database, 4, 4)
    wait_until_confirmed(database, publisher)
    publisher.stop()
    turn_slot_back(database, "earlier")
    publisher.start()
    insert_orders(database, 5, 5)
    wait_until_confirmed(database, publisher)
    assert [event.key["id"] for event in read_events(kafka, table)] == [1, 2, 3, 4, 5]
    assert ids(topic) == [1, 2, 3, 4, 5]
    assert len(topic.read().histories) == 1


def test_offsets_that_the_version_before_wrote_speak_for_the_tables_topics(database, kafka, prefix,
                                                                           make_publisher):
    """It had none of the newer headers; and the slot is behind what the topics have."""
    make_orders(database)
    offsets, table = f"{prefix}.offsets", f"{prefix}.public.orders"
    publisher = make_publisher(database, kafka_stream="false", kafka_topics="true",
                               kafka_tables="public.orders", kafka_snapshot="never",
                               kafka_transactions="true").start()
    wait_for(lambda: publisher.log_contains("table joined the publication"), 60, "the table")
    insert_orders(database, 1, 1)
    wait_until_confirmed(database, publisher)
    publisher.stop()
    copy_slot(database, "tombolo_default", "earlier")
    publisher.start()
    insert_orders(database, 2, 2)
    wait_until_confirmed(database, publisher)
    publisher.stop()
    last = kafka.consume(offsets)[-1]
    kafka.produce(offsets, last.value.decode(), key=last.key.decode(),
                  headers={name: text for name, text in last.headers.items()
                           if name not in ("timeline", "tables")})
    turn_slot_back(database, "earlier")
    publisher.start()
    insert_orders(database, 3, 3)
    wait_until_confirmed(database, publisher)
    assert [event.key["id"] for event in read_events(kafka, table)] == [1, 2, 3]


def copy_of(server):
    """A copy of its folder, as a backup has it. The server goes on."""
    copy = server.folder / "copy"
    server.stop()
    subprocess.run(["cp", "-a", server.data, copy], check=True)
    server.start()
    return copy


def restore(server, copy, promote):
    """The server is the copy from now on, and has written more WAL than it has lost."""
    passed = wal_end(server)
    server.stop("immediate")
    shutil.rmtree(server.data)
    copy.rename(server.data)
    if promote:
        signal_file = server.data / "standby.signal"
        signal_file.touch()
        if server.user:
            shutil.chown(signal_file, server.user)
    server.start()
    if promote:
        server.sql("SELECT pg_promote()")
    while wal_end(server) <= passed:
        server.sql("CREATE TABLE IF NOT EXISTS noise (v text)")
        server.sql("INSERT INTO noise SELECT repeat('x', 500) FROM generate_series(1, 1000)")


def publish_and_restore(server, publisher, promote):
    """Row 1 is in the copy, row 2 not; both are published."""
    publisher.start()
    publish_orders(server)
    insert_orders(server, 1, 1)
    wait_until_confirmed(server, publisher)
    publisher.stop()
    copy = copy_of(server)
    publisher.start()
    insert_orders(server, 2, 2)
    wait_until_confirmed(server, publisher)
    publisher.kill9()
    restore(server, copy, promote)
    insert_orders(server, 3, 3)


def assert_new_history(server, publisher, topic):
    wait_until_publishing(publisher)
    insert_orders(server, 4, 4)
    wait_until_confirmed(server, publisher)
    there = ids(topic)
    # The new one begins where the slot in the copy stands.
    assert there[:2] == [1, 2] and there[2:] in ([3, 4], [1, 3, 4]), there
    assert len(topic.histories) == 2


def test_server_on_another_timeline_is_seen_without_the_bridge_s_folder(server, topic,
                                                                        make_publisher):
    publisher = make_publisher(server)
    publish_and_restore(server, publisher, promote=True)
    shutil.rmtree(publisher.data_dir)
    publisher.start()
    assert_new_history(server, publisher, topic)
    assert publisher.log_contains("timeline does not contain all that the topic has")


def test_promotion_that_loses_nothing_begins_no_history(server, topic, make_publisher):
    publisher = make_publisher(server).start()
    publish_orders(server)
    insert_orders(server, 1, 1)
    wait_until_confirmed(server, publisher)
    publisher.stop()
    restore(server, copy_of(server), promote=True)
    shutil.rmtree(publisher.data_dir)
    publisher.start()
    insert_orders(server, 2, 2)
    wait_until_confirmed(server, publisher)
    assert ids(topic) == [1, 2]
    assert len(topic.histories) == 1
    assert [r.headers["timeline"] for r in (topic.records[0], topic.records[-1])] == ["1", "2"]


@pytest.mark.sanitized
def test_restored_server_is_not_forgotten_while_the_brokers_are_away(server, kafka, topic,
                                                                     make_publisher):
    """The bridge fetches everything again, and by then nothing but its note says that it did."""
    publisher = make_publisher(server)
    publish_and_restore(server, publisher, promote=False)
    publisher.settings["TOMBOLO_KAFKA_BROKERS"] = f"127.0.0.1:{free_port()}"
    publisher.start(wait=False)
    wait_for(lambda: publisher.log_contains("everything must be fetched again"), 60,
             lambda: f"the bridge to see it\n{publisher.process.log_tail()}")
    publisher.wait_until("active")
    publisher.kill9()
    publisher.settings["TOMBOLO_KAFKA_BROKERS"] = kafka.brokers
    publisher.start()
    assert_new_history(server, publisher, topic)
    publisher.restart()  # it is told once
    wait_until_publishing(publisher)
    wait_until_confirmed(server, publisher)
    assert len(topic.read().histories) == 2
