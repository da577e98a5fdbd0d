"""Fan-out nodes (--source kafka://...): beside a topic that the test itself writes (Feeder), for
what a publisher does not do on request, and beside a publisher."""

import contextlib
import re
import sqlite3
import struct
import threading

import pytest
from harness import Bridge, Feeder, Replica, ShapeApi, ShapeReader, Stream, wait_for

RULES = "[write items]\noperations = insert, update, delete\n"


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, what text)")
    database.sql("INSERT INTO items SELECT n, 'first' FROM generate_series(1, 5) n")
    return database


@pytest.fixture
def feeder(kafka, items, prefix):
    with Feeder(kafka, items, prefix) as made:
        yield made


@pytest.fixture
def make_node(kafka, items, prefix, make_bridge):
    """make_node(name, **settings): a fan-out node, not started."""
    def make(name="node", **settings):
        settings = {"source": f"kafka://{kafka.brokers}/{prefix}", "keepalive": "200ms",
                    **settings}
        return make_bridge(items, name, **settings)

    return make


@pytest.fixture
def publisher(kafka, items, prefix, make_bridge):
    return make_bridge(items, "publisher", kafka_brokers=kafka.brokers, kafka_prefix=prefix,
                       kafka_stream="true").start(deadline=60)


@pytest.fixture
def make_replica(tmp_path):
    made = []

    def make(node, name="replica"):
        made.append(Replica(node, tmp_path / f"{name}.db", ["items"]).start())
        return made[-1]

    yield make
    for replica in made:
        replica.stop()


def everything(database, table="items"):
    return database.sql(f"SELECT * FROM {table} ORDER BY 1")


def caught_up(replica, database):
    replica.wait_for(lambda: replica.rows("items") == everything(database), 60)


@pytest.fixture
def synced(items, feeder, make_node, make_replica):
    """A node that was fed for a while, and a replica of it that has all."""
    with feeder.running():
        node = make_node().start(deadline=60)
        replica = make_replica(node)
        caught_up(replica, items)
    return node, replica


def source(node):
    return node.get("/v1/health").json()["source"]


def says(node, text, status="waiting"):
    """Until its health says that this is what it lacks."""
    wait_for(lambda: node.health() == status and text in source(node).get("error", ""), 60,
             lambda: f"{text!r}, last: {source(node)}\n{node.process.log_tail()}")


# ---- what it takes from the topic ----------------------------------------------------------------


@pytest.mark.sanitized
@pytest.mark.threaded
def test_node_serves_what_postgres_holds_and_what_the_topic_brings(items, feeder, synced):
    node, replica = synced
    with feeder.running():
        items.sql("UPDATE items SET what = 'changed' WHERE id < 3")
        items.sql("INSERT INTO items VALUES (9, 'new')")
        items.sql("DELETE FROM items WHERE id = 5")
        caught_up(replica, items)
        said = source(node)  # heartbeats go on: its offset moves
        assert said.pop("offset") > 0 and said == {"topic": feeder.topic}
        assert node.metrics()["tombolo_source_up"] == 1
        assert node.metrics()["tombolo_source_offset"] > 0


def test_transaction_in_many_fragments_that_was_begun_anew_is_there_once(items, feeder, make_node,
                                                                         make_replica):
    with feeder.running():
        replica = make_replica(make_node().start(deadline=60))
        caught_up(replica, items)
    feeder.feed()
    before = feeder.confirmed()
    feeder.limit = 500
    items.sql("INSERT INTO items SELECT n, 'many' FROM generate_series(100, 400) n")
    transactions, position = feeder.transactions()
    assert feeder.send(transactions[-1], fragments=4) > 10  # and its publisher ended
    feeder.epoch += 1
    feeder.heartbeat(before)
    for messages in transactions:
        feeder.send(messages)
    feeder.epoch -= 1
    feeder.send(transactions[-1], fragments=2)  # the one before did not know it yet
    feeder.epoch += 1
    feeder.heartbeat(position)
    caught_up(replica, items)


@pytest.mark.sanitized
def test_node_goes_on_where_its_folder_ends(items, feeder, synced):
    node, replica = synced
    with feeder.running():
        for end in (node.stop, node.kill9):
            end()
            items.sql("INSERT INTO items SELECT max(id) + 1, 'meanwhile' FROM items")
            fed = feeder.fed
            wait_for(lambda fed=fed: feeder.fed > fed, 60)
            node.start(deadline=60)
            caught_up(replica, items)
    assert not node.log_contains("everything must be fetched again")


def test_late_records_of_a_replaced_publisher_mislead_nobody(items, feeder, synced):
    node, replica = synced
    feeder.feed()
    items.sql("INSERT INTO items VALUES (20, 'had')")
    late = feeder.transactions()[0][-1]
    feeder.feed()
    caught_up(replica, items)
    node.stop()
    feeder.epoch += 1
    feeder.heartbeat(feeder.confirmed())
    items.sql("INSERT INTO items VALUES (21, 'before they come')")
    feeder.send(feeder.transactions()[0][-1])
    feeder.epoch -= 1
    for _ in range(20):
        feeder.send(late)
    feeder.epoch += 1
    items.sql("INSERT INTO items VALUES (22, 'behind them')")
    transactions, position = feeder.transactions()
    feeder.send(transactions[-1])
    feeder.heartbeat(position)
    feeder.confirm(position)
    with feeder.running():
        node.start(deadline=60)
        caught_up(replica, items)
    assert not node.log_contains("everything must be fetched again")


def test_late_record_that_is_the_last_one_costs_no_refetch(items, feeder, make_node, make_replica):
    with feeder.running():
        node = make_node().start(deadline=60)
        replica = make_replica(node)
        caught_up(replica, items)
    feeder.feed()
    items.sql("INSERT INTO items VALUES (20, 'late')")
    late = feeder.transactions()[0][-1]
    feeder.feed()
    items.sql("INSERT INTO items VALUES (21, 'behind it')")
    feeder.feed()
    caught_up(replica, items)
    node.stop()
    feeder.epoch += 1
    feeder.heartbeat(feeder.confirmed())
    feeder.epoch -= 1
    feeder.send(late)
    node.start(deadline=60)
    feeder.epoch += 1
    with feeder.running():
        items.sql("INSERT INTO items VALUES (22, 'later')")
        caught_up(replica, items)
    assert not node.log_contains("everything must be fetched again")


# ---- what it waits for, and what it refuses ------------------------------------------------------


def test_node_waits_for_slot_publication_topic_and_its_first_record(kafka, items, prefix, make_node,
                                                                    make_replica):
    feeder = Feeder(kafka, items, prefix)
    node = make_node().start(wait=False)
    says(node, "slot \"tombolo_default\" is not there yet")
    feeder.make_slot()
    says(node, "publication \"tombolo_default\" is not there yet")
    items.sql("CREATE PUBLICATION tombolo_default")
    says(node, f"topic \"{prefix}.stream\" is not there yet")
    kafka.create_topic(feeder.topic)
    says(node, f"topic \"{prefix}.stream\" is empty")
    feeder.heartbeat(feeder.confirmed())
    with feeder.running():
        node.wait_until("active", 60)
        caught_up(make_replica(node), items)
    node.stop()
    feeder.drop_slot()


def test_node_waits_for_the_brokers_and_says_so(make_node, feeder):
    node = make_node(source="kafka://127.0.0.1:1/nowhere").start(wait=False)
    says(node, "could not ask the Kafka brokers", status="starting")
    assert feeder.confirmed()  # all else is there


def test_topic_of_another_database_system_is_refused(feeder, make_node):
    feeder.history = "1234567890-0123456789"
    feeder.heartbeat(feeder.confirmed())
    says(make_node().start(wait=False),
         "is of the database system 1234567890, DATABASE_URL leads to", status="starting")


def test_database_that_is_not_the_slots_is_refused(items, feeder, make_node):
    other = items.server.create_database(f"{items.name}_other")
    node = make_node()
    node.postgres = other
    says(node.start(wait=False), f"is of database \"{items.name}\", not of this one",
         status="starting")
    assert feeder.confirmed()
    node.stop()
    other.drop()


def test_topic_of_two_partitions_is_refused(kafka, items, prefix, make_node):
    feeder = Feeder(kafka, items, prefix)
    items.sql("CREATE PUBLICATION tombolo_default")
    feeder.make_slot()
    kafka.create_topic(feeder.topic, partitions=2)
    node = make_node().start(wait=False)
    says(node, "has 2 partitions, a stream has one", status="starting")
    node.stop()
    feeder.drop_slot()


@pytest.mark.parametrize("settings, said", [
    ({"source": "kafka://broker"}, "is not kafka://broker"),
    ({"kafka_brokers": "b", "kafka_stream": "true"}, "does not publish"),
    ({"kafka_property_no_such": "1"}, "no.such"),
], ids=["url", "publisher", "property"])
def test_source_that_cannot_be_ends_the_start(make_node, settings, said):
    node = make_node(**settings).start(wait=False)
    assert node.process.wait() != 0
    assert node.log_contains(said)


# ---- what costs a refetch ------------------------------------------------------------------------


def refetched(node, reason):
    said = re.compile(f'everything must be fetched again" reason=".*{reason}')
    wait_for(lambda: said.search(node.log()), 60, lambda: f"{reason!r}\n{node.process.log_tail()}")


def test_retention_that_has_passed_a_node_by_costs_a_refetch(kafka, items, feeder, synced):
    node, replica = synced
    with feeder.running():
        node.stop()
        items.sql("DELETE FROM items WHERE id = 1; INSERT INTO items VALUES (8, 'meanwhile')")
        fed = feeder.fed
        wait_for(lambda: feeder.fed > fed, 60)
    items.sql("SELECT pg_logical_emit_message(true, 'test', '')")
    feeder.feed()
    records = kafka.consume(feeder.topic)
    kafka.delete_records(feeder.topic, records[-1].offset)
    with feeder.running():
        node.start(deadline=60)
        refetched(node, "the topic's retention has passed this node by")
        caught_up(replica, items)


def test_topic_deleted_and_made_anew_costs_a_refetch(kafka, items, feeder, synced):
    node, replica = synced
    kafka.delete_topic(feeder.topic)
    items.sql("DELETE FROM items WHERE id = 1; INSERT INTO items VALUES (8, 'meanwhile')")
    feeder.confirm(items.value("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"))
    feeder.history = feeder.history.replace("0123456789", "abcdef0123")
    feeder.begin()
    with feeder.running():
        refetched(node, "the topic has another history")
        items.sql("INSERT INTO items VALUES (10, 'later')")
        caught_up(replica, items)


def test_another_history_in_the_same_topic_costs_a_refetch(items, feeder, synced):
    node, replica = synced
    items.sql("DELETE FROM items WHERE id = 1")  # and this the new one does not have
    feeder.confirm(items.value("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"))
    feeder.history = feeder.history.replace("0123456789", "abcdef0123")
    feeder.epoch += 1
    feeder.heartbeat(feeder.confirmed())
    with feeder.running():
        refetched(node, "the topic has another history")
        caught_up(replica, items)


@pytest.mark.sanitized
def test_record_that_is_missing_costs_a_refetch(items, feeder, synced):
    node, replica = synced
    feeder.feed()
    feeder.limit = 100
    items.sql("INSERT INTO items SELECT n, 'many' FROM generate_series(100, 140) n")
    transactions, position = feeder.transactions()
    feeder.send(transactions[-1], fragments=2)
    feeder.heartbeat(position)  # the rest of it is not there
    feeder.confirm(position)
    with feeder.running():
        refetched(node, "the stream's topic has a gap")
        caught_up(replica, items)


# ---- when it serves ----


def test_node_that_starts_serves_once_it_has_what_the_topic_had(items, feeder, make_node,
                                                                make_replica):
    with feeder.running():
        node = make_node().start(deadline=60)
        replica = make_replica(node)
        caught_up(replica, items)
    feeder.feed()
    held = everything(items)
    node.stop()
    items.sql("INSERT INTO items VALUES (7, 'not published')")  # and no publisher is there
    node.start(deadline=60)
    stream = Stream(node, {"table": "items"}, live=True).open()
    stream.read(lambda s: len(s.shapes[0].rows) == len(held))
    stream.close()


def test_health_says_that_a_node_is_catching_up(items, feeder, make_node):
    feeder.limit = 500
    items.sql("CREATE TABLE other (id int); ALTER PUBLICATION tombolo_default ADD TABLE other")
    feeder.feed()
    items.sql("INSERT INTO other SELECT n FROM generate_series(1, 100) n")
    transactions, position = feeder.transactions()
    commit_lsn, = struct.unpack_from(">Q", transactions[-1][0], 1)
    assert feeder.send(transactions[-1], fragments=2) > 2
    feeder.heartbeat(commit_lsn)
    node = make_node().start(wait=False)

    def catching_up():
        return node.get("/v1/health").json().get("catching_up", 0) > 0

    wait_for(lambda: node.process.alive and node.health() == "starting" and catching_up(), 60)
    assert node.get("/v1/health").status == 202
    refused = node.post("/v1/sync?replica=a", {"shapes": [{"table": "items"}]})
    assert refused.status == 503 and b"catching up" in refused.body
    feeder.send(transactions[-1])
    feeder.heartbeat(position)
    node.wait_until("active", 60)
    assert not catching_up()


# ---- what is away --------------------------------------------------------------------------------


def test_live_clients_go_on_while_postgres_is_away_and_first_rows_wait(kafka, prefix, own_postgres,
                                                                       tmp_path):
    database = own_postgres.create_database("away")
    database.sql("CREATE TABLE items (id int PRIMARY KEY, what text);"
                 " CREATE TABLE others (id int PRIMARY KEY)")
    with Feeder(kafka, database, prefix) as feeder:
        node = Bridge(database, data_dir=tmp_path / "node", keepalive="200ms",
                      source=f"kafka://{kafka.brokers}/{prefix}")
        with feeder.running():
            node.start(deadline=60)
            stream = Stream(node, {"table": "items"}, live=True).open()
            database.sql("INSERT INTO items VALUES (1, 'before')")
            stream.read(lambda s: len(s.shapes[0].rows) == 1)
        feeder.feed()
        database.sql("INSERT INTO items VALUES (2, 'not yet published')")
        transactions, position = feeder.transactions()
        own_postgres.stop()
        for messages in transactions:
            feeder.send(messages)
        feeder.heartbeat(position)
        stream.read(lambda s: len(s.shapes[0].rows) == 2)
        assert node.get("/v1/shape?table=others&offset=-1", timeout=60).status == 503
        own_postgres.start()
        with feeder.running():
            node.wait_until("active", 60)
            wait_for(lambda: node.get("/v1/shape?table=others&offset=-1").status == 200, 60)
            database.sql("INSERT INTO items VALUES (3, 'after')")
            stream.read(lambda s: len(s.shapes[0].rows) == 3)
        stream.close()
        node.stop()


def test_node_goes_on_when_the_broker_is_back(kafka, items, publisher, make_node, make_replica):
    replica = make_replica(make_node().start(deadline=60))
    caught_up(replica, items)
    kafka.kill9()
    items.sql("INSERT INTO items VALUES (7, 'while it is away')")
    kafka.start()
    caught_up(replica, items)
    assert publisher.alive


# ---- several nodes -------------------------------------------------------------------------------


@pytest.fixture
def two_nodes(publisher, make_node, tmp_path):
    (tmp_path / "rules.ini").write_text(RULES)
    nodes = [make_node(f"node{n}", config=str(tmp_path / "rules.ini")).start(deadline=60)
             for n in range(2)]
    assert publisher.alive
    return nodes


def test_change_has_the_same_offset_on_both_nodes(items, two_nodes):
    handles = [ShapeReader(node, table="items").catch_up().handle for node in two_nodes]
    items.sql("UPDATE items SET what = 'new' WHERE id = 1")
    items.sql("DELETE FROM items WHERE id > 3")
    seen = []
    for node, handle in zip(two_nodes, handles):
        reader = ShapeReader(node, table="items")
        wait_for(lambda reader=reader: len(reader.catch_up().held) == 3, 60)
        log = ShapeApi(node).get(table="items", offset="0_0", handle=handle).json()
        seen.append([m for m in log if "lsn" in m["headers"]])
    assert len(seen[0]) == 3 and seen[0] == seen[1]


def test_both_nodes_ask_for_new_tables_at_once(items, two_nodes):
    names = [f"t{n}" for n in range(6)]
    for name in names:
        items.sql(f"CREATE TABLE {name} (id int PRIMARY KEY, v int);"
                  f" INSERT INTO {name} VALUES (1, 0)")
    streams = [Stream(node, {"table": name}, live=True, replica=f"{node.port}{name}")
               for name in names for node in two_nodes]
    threads = [threading.Thread(target=stream.open) for stream in streams]
    for thread in threads:
        thread.start()
    for name in names:
        items.sql(f"INSERT INTO {name} VALUES (2, 0); UPDATE {name} SET v = 1 WHERE id = 1")
    for thread in threads:
        thread.join()
    want = [("1", "1"), ("2", "0")]
    for stream in streams:
        stream.read(lambda s: sorted((r["id"], r["v"]) for r in s.shapes[0].rows) == want)
        stream.close()


def test_writes_through_any_node_come_back_through_both(items, two_nodes, make_replica):
    replicas = [make_replica(node, f"replica{n}") for n, node in enumerate(two_nodes)]
    for replica in replicas:
        caught_up(replica, items)
    for n, replica in enumerate(replicas):
        with contextlib.closing(sqlite3.connect(replica.db_path, timeout=60)) as connection:
            with connection:
                connection.execute("INSERT INTO items VALUES (?, 'local')", (50 + n,))
                connection.execute("UPDATE items SET what = ? WHERE id = ?", (f"local {n}", n + 1))
    wait_for(lambda: items.value("SELECT count(*) FROM items WHERE what LIKE 'local%%'") == 4, 60)
    for replica in replicas:
        caught_up(replica, items)


def test_replica_that_comes_to_another_node_holds_the_right_rows(items, two_nodes, make_replica):
    replica = make_replica(two_nodes[0])
    caught_up(replica, items)
    replica.stop()
    items.sql("DELETE FROM items WHERE id = 2; INSERT INTO items VALUES (60, 'elsewhere')")
    replica.url = two_nodes[1].url
    replica.start()
    caught_up(replica, items)
