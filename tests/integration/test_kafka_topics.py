"""The tables' topics: what Debezium's readers find in them."""

import base64
import datetime
import json
from decimal import Decimal

import pytest
from harness import Upserted, decimal_of, read_events, topic_events, wait_for

PLACEHOLDER = "__debezium_unavailable_value"


@pytest.fixture
def make_publisher(database, kafka, prefix, make_bridge):
    """A bridge that publishes tables' topics; `settings` are of [kafka] unless named otherwise."""
    def make(name="bridge", start=True, **settings):
        bridge = make_bridge(database, name, kafka_brokers=kafka.brokers, kafka_topics="true",
                             kafka_prefix=prefix, catalog_interval="1s",
                             **{f"kafka_{key}": value for key, value in settings.items()})
        return bridge.start() if start else bridge

    return make


def ops(events):
    return [event.op for event in events]


def test_rows_are_there_first_as_they_were_and_then_each_change(database, kafka, prefix,
                                                               make_publisher):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, name text);"
                 "INSERT INTO items VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    make_publisher()
    topic = f"{prefix}.public.items"
    first = topic_events(kafka, topic, 3)
    assert ops(first) == ["r"] * 3
    assert [event.after for event in first] == [
        {"id": 1, "name": "one"}, {"id": 2, "name": "two"}, {"id": 3, "name": "three"}]
    assert [event.value["source"]["snapshot"] for event in first] == [
        "first_in_data_collection", "true", "last_in_data_collection"]
    database.sql("INSERT INTO items VALUES (4, 'four')")
    database.sql("UPDATE items SET name = 'uno' WHERE id = 1")
    database.sql("DELETE FROM items WHERE id = 2")
    database.sql("UPDATE items SET id = 30 WHERE id = 3")
    events = topic_events(kafka, topic, 10)[3:]
    assert ops(events) == ["c", "u", "d", "tombstone", "d", "tombstone", "c"]
    created, updated, deleted, _, gone, tombstone, come = events
    assert (created.key, created.before, created.after) == ({"id": 4}, None,
                                                            {"id": 4, "name": "four"})
    assert (updated.before, updated.after) == (None, {"id": 1, "name": "uno"})
    assert (deleted.before, deleted.after) == ({"id": 2}, None)
    assert gone.headers == {"__debezium.newkey": '{"id":30}'}
    assert (tombstone.key, tombstone.value) == ({"id": 3}, None)
    assert (come.key, come.headers) == ({"id": 30}, {"__debezium.oldkey": '{"id":3}'})
    source = created.value["source"]
    assert (source["connector"], source["name"], source["db"], source["schema"],
            source["table"], source["snapshot"]) == (
        "postgresql", prefix, database.name, "public", "items", "false")
    assert Upserted(first + events).values("id", "name") == database.sql(
        "SELECT * FROM items ORDER BY 1")


def test_records_lie_where_java_s_producer_puts_their_keys(database, kafka, prefix,
                                                           make_publisher):
    database.sql("CREATE TABLE items (id int PRIMARY KEY);"
                 "INSERT INTO items SELECT generate_series(1, 40)")
    make_publisher(partitions="5")
    topic_events(kafka, f"{prefix}.public.items", 40)
    ours = {record.key: record.partition for record in kafka.consume(f"{prefix}.public.items")}
    kafka.create_topic(f"{prefix}.java", partitions=5)
    kafka.produce_by_java(f"{prefix}.java", [key.decode() for key in ours])
    theirs = {record.key: record.partition for record in kafka.consume(f"{prefix}.java")}
    assert ours == theirs and set(ours.values()) == {0, 1, 2, 3, 4}


def test_without_a_snapshot_changes_alone_are_published(database, kafka, prefix, make_publisher):
    database.sql("CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)")
    make_publisher(snapshot="never")
    wait_for(lambda: database.value("SELECT count(*) FROM pg_publication_tables"), 60, "the table")
    database.sql("INSERT INTO items VALUES (2)")
    (event,) = topic_events(kafka, f"{prefix}.public.items", 1)
    assert (event.op, event.key) == ("c", {"id": 2})


def test_only_chosen_tables_are_published_new_ones_too(database, kafka, prefix, make_publisher):
    database.sql("CREATE SCHEMA sales; CREATE TABLE sales.orders (id int PRIMARY KEY);"
                 "CREATE TABLE sales.secrets (id int PRIMARY KEY);"
                 "INSERT INTO sales.orders VALUES (1); INSERT INTO sales.secrets VALUES (1)")
    make_publisher(tables="sales.order*")
    topic_events(kafka, f"{prefix}.sales.orders", 1)
    database.sql("CREATE TABLE sales.order_items (a int, b text); "
                 "INSERT INTO sales.order_items VALUES (1, 'x')")
    (event,) = topic_events(kafka, f"{prefix}.sales.order_items", 1)
    assert (event.key, event.op, event.after) == (None, "r", {"a": 1, "b": "x"})
    # It has no key: so that it can be updated it was given REPLICA IDENTITY FULL.
    database.sql("UPDATE sales.order_items SET b = 'y'")
    event = topic_events(kafka, f"{prefix}.sales.order_items", 2)[1]
    assert (event.key, event.before, event.after) == (None, {"a": 1, "b": "x"},
                                                      {"a": 1, "b": "y"})
    assert not kafka.has_topic(f"{prefix}.sales.secrets")


def test_a_change_of_the_table_changes_its_events_from_there_on(database, kafka, prefix,
                                                               make_publisher):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, n numeric(6, 2))")
    bridge = make_publisher()
    topic = f"{prefix}.public.items"
    wait_for(lambda: "first rows of a table are published" in bridge.log(), 60, "no first rows")
    database.sql("INSERT INTO items VALUES (1, 1.5)")
    database.sql("ALTER TABLE items ADD COLUMN note text DEFAULT 'none';"
                 "ALTER TABLE items ALTER COLUMN n TYPE numeric(6, 4)")
    database.sql("INSERT INTO items VALUES (2, 2.5, 'new')")
    database.sql("ALTER TABLE items RENAME COLUMN id TO ident; ALTER TABLE items DROP COLUMN n")
    database.sql("INSERT INTO items VALUES (3, 'last')")
    one, two, three = topic_events(kafka, topic, 3)
    assert decimal_of(one.after.pop("n"), 2) == Decimal("1.5")
    assert decimal_of(two.after.pop("n"), 4) == Decimal("2.5")
    assert (one.after, two.after, three.after) == (
        {"id": 1}, {"id": 2, "note": "new"}, {"ident": 3, "note": "last"})
    assert (two.key, three.key) == ({"id": 2}, {"ident": 3})


def test_rows_of_partitions_are_their_root_s(database, kafka, prefix, make_publisher):
    # The partition has the columns in another order.
    database.sql("CREATE TABLE parts (id int, region text, v text, PRIMARY KEY (id, region))"
                 " PARTITION BY LIST (region);"
                 "CREATE TABLE parts_eu (v text, region text NOT NULL, id int NOT NULL,"
                 " PRIMARY KEY (id, region));"
                 "ALTER TABLE parts ATTACH PARTITION parts_eu FOR VALUES IN ('eu');"
                 "CREATE TABLE parts_us PARTITION OF parts FOR VALUES IN ('us');"
                 "INSERT INTO parts VALUES (1, 'eu', 'a'), (2, 'us', 'b')")
    bridge = make_publisher(skipped_operations="none")
    topic = f"{prefix}.public.parts"
    topic_events(kafka, topic, 2)
    database.sql("INSERT INTO parts VALUES (3, 'eu', 'c')")
    database.sql("CREATE TABLE parts_as PARTITION OF parts FOR VALUES IN ('as');"
                 "INSERT INTO parts VALUES (4, 'as', 'd')")
    database.sql("UPDATE parts SET region = 'us' WHERE id = 3")  # to another partition
    events = topic_events(kafka, topic, 7)
    assert ops(events) == ["r", "r", "c", "c", "d", "tombstone", "c"]
    assert list(events[2].after.items()) == [("id", 3), ("region", "eu"), ("v", "c")]
    assert list(events[2].key.items()) == [("id", 3), ("region", "eu")]
    assert {event.value["source"]["table"] for event in events if event.value} == {"parts"}
    assert Upserted(events).values("id", "region", "v") == database.sql(
        "SELECT id, region, v FROM parts ORDER BY 1")
    database.sql("TRUNCATE parts_eu")  # a part is nothing that a reader could be told
    wait_for(lambda: "some partitions were truncated" in bridge.log(), 60, "the warning")
    database.sql("TRUNCATE parts")
    assert ops(topic_events(kafka, topic, 8))[7:] == ["t"]


def test_transactions_are_told_apart_and_counted(database, kafka, prefix, make_publisher):
    database.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    bridge = make_publisher(provide_transaction_metadata="true", heartbeat_interval="1s")
    wait_for(lambda: bridge.process.log_contains("first rows of a table are published", times=2),
             60, "both tables")
    database.sql("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); "
                 "SELECT pg_logical_emit_message(true, 'app', 'hello');"
                 "UPDATE a SET id = 2; INSERT INTO b VALUES (2)")
    (message,) = topic_events(kafka, f"{prefix}.message", 1)
    assert (message.key, message.op) == ({"prefix": "app"}, "m")
    assert base64.b64decode(message.value["message"]["content"]) == b"hello"
    begin, end = topic_events(kafka, f"{prefix}.transaction", 2)
    assert (begin.value["status"], begin.value["event_count"]) == ("BEGIN", None)
    counts = {entry["data_collection"]: entry["event_count"]
              for entry in end.value["data_collections"]}
    assert (end.value["status"], end.value["event_count"], counts) == (
        "END", 6, {"public.a": 3, "public.b": 2, "LOGICAL_DECODING_MESSAGE": 1})
    blocks = [event.value["transaction"] for table in "ab"
              for event in read_events(kafka, f"{prefix}.public.{table}") if event.value]
    assert {block["id"] for block in blocks} == {begin.key["id"]}
    assert [(block["total_order"], block["data_collection_order"]) for block in blocks] == [
        (1, 1), (4, 2), (5, 3), (2, 1), (6, 2)]
    heartbeats = f"__debezium-heartbeat.{prefix}"
    wait_for(lambda: read_events(kafka, heartbeats), 60, "a heartbeat")
    assert read_events(kafka, heartbeats)[0].key == {"serverName": prefix}


def test_truncate_is_an_event_when_it_is_not_skipped(database, kafka, prefix, make_publisher):
    database.sql("CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
    make_publisher(skipped_operations="u,d")
    topic_events(kafka, f"{prefix}.public.a", 1)
    database.sql("UPDATE a SET id = 1")
    database.sql("DELETE FROM a")
    database.sql("TRUNCATE a")
    event = topic_events(kafka, f"{prefix}.public.a", 2)[1]
    assert (event.op, event.key, event.before, event.after) == ("t", None, None, None)


def test_a_large_value_that_was_not_touched_is_a_placeholder(database, kafka, prefix,
                                                            make_publisher):
    database.sql("CREATE TABLE a (id int PRIMARY KEY, n int, t text, b bytea, l int[]);"
                 "ALTER TABLE a ALTER COLUMN t SET STORAGE EXTERNAL,"
                 " ALTER COLUMN b SET STORAGE EXTERNAL, ALTER COLUMN l SET STORAGE EXTERNAL;"
                 "CREATE TABLE f (LIKE a INCLUDING ALL); ALTER TABLE f REPLICA IDENTITY FULL;"
                 "INSERT INTO a SELECT 1, 1, repeat('x', 9000), repeat('y', 9000)::bytea,"
                 " array_agg(i) FROM generate_series(1, 3000) i;"
                 "INSERT INTO f SELECT * FROM a")
    make_publisher()
    for table in "af":
        topic_events(kafka, f"{prefix}.public.{table}", 1)
    database.sql("UPDATE a SET n = 2; UPDATE f SET n = 2")
    after = topic_events(kafka, f"{prefix}.public.a", 2)[1].after
    assert (after["n"], after["t"]) == (2, PLACEHOLDER)
    assert base64.b64decode(after["b"]).decode() == PLACEHOLDER
    assert bytes(after["l"]).decode() == PLACEHOLDER
    whole = topic_events(kafka, f"{prefix}.public.f", 2)[1]
    assert (whole.after["n"], whole.after["t"]) == (2, "x" * 9000)
    assert whole.before == {**whole.after, "n": 1}


# ---- values, in each mode, back again --------------------------------------------------------

EPOCH = datetime.datetime(1970, 1, 1)
VALUES = """
    CREATE EXTENSION IF NOT EXISTS hstore;
    CREATE DOMAIN price AS numeric(8, 3);
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TABLE v (id int PRIMARY KEY, n numeric, p numeric(9, 2), d price, m money,
        day date, t3 time(3), t6 time, ts3 timestamp(3), ts6 timestamp, tz timestamptz,
        i interval, b bytea, h hstore, bits bit(10), yes boolean, f8 double precision,
        e mood, u uuid, j jsonb, l int[], dl price[]);
    INSERT INTO v VALUES (1, 12345678901234567890.0123456789, -1.28, 3.125, 12.34,
        '2024-02-29', '12:34:56.789', '12:34:56.789012', '2018-06-20 13:37:03.123',
        '2018-06-20 13:37:03.123456', '2018-06-20 13:37:03.5+02',
        '1 year 2 mons 3 days 04:05:06.78', '\\x00ff10fb', 'a=>1,b=>NULL', B'1000000001', true,
        0.1, 'glad', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1, 2]}', '{1,NULL,3}',
        '{1.5,2.25}');
    INSERT INTO v (id, n, day, ts6, tz) VALUES (2, -0.5, 'infinity', '-infinity', 'infinity')
"""


def check_numbers(row, mode):
    expected = {"n": "12345678901234567890.0123456789", "p": "-1.28", "d": "3.125", "m": "12.34"}
    if mode == "precise":
        got = {"n": decimal_of(row["n"]["value"], row["n"]["scale"]), "p": decimal_of(row["p"], 2),
               "d": decimal_of(row["d"], 3), "m": decimal_of(row["m"], 2)}
        assert got == {name: Decimal(text) for name, text in expected.items()}
    elif mode == "string":
        assert {name: row[name] for name in expected} == expected
    else:
        assert {name: row[name] for name in expected} == {
            name: float(text) for name, text in expected.items()}


def check_times(row, mode):
    micros, millis = "microseconds", "milliseconds"
    time3 = micros if mode == "adaptive_time_microseconds" else millis
    time6 = millis if mode == "connect" else micros
    ts6 = millis if mode == "connect" else micros
    assert EPOCH + datetime.timedelta(days=row["day"]) == datetime.datetime(2024, 2, 29)
    assert EPOCH + datetime.timedelta(**{time3: row["t3"]}) == EPOCH.replace(
        hour=12, minute=34, second=56, microsecond=789000)
    assert EPOCH + datetime.timedelta(**{time6: row["t6"]}) == EPOCH.replace(
        hour=12, minute=34, second=56, microsecond=789012 if time6 == micros else 789000)
    moment = datetime.datetime(2018, 6, 20, 13, 37, 3)
    assert EPOCH + datetime.timedelta(milliseconds=row["ts3"]) == moment.replace(microsecond=123000)
    assert EPOCH + datetime.timedelta(**{ts6: row["ts6"]}) == moment.replace(
        microsecond=123456 if ts6 == micros else 123000)
    assert row["tz"] == "2018-06-20T11:37:03.5Z"


def check_others(row, binary, interval, hstore):
    decode = {"bytes": base64.b64decode, "base64": base64.b64decode, "hex": bytes.fromhex,
              "base64-url-safe": base64.urlsafe_b64decode}[binary]
    assert decode(row["b"]) == bytes.fromhex("00ff10fb")
    assert row["i"] == ("P1Y2M3DT4H5M6.78S" if interval == "string" else 37091106780000)
    pairs = json.loads(row["h"]) if hstore == "json" else row["h"]
    assert pairs == {"a": "1", "b": None}
    assert int.from_bytes(base64.b64decode(row["bits"]), "little") == 0b1000000001
    assert (row["yes"], row["f8"], row["e"], json.loads(row["j"]), row["l"]) == (
        True, 0.1, "glad", {"a": [1, 2]}, [1, None, 3])
    assert row["dl"] == ["1.500", "2.250"]  # what is made of domains is text
    assert row["u"] == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


@pytest.mark.parametrize("decimal,time,binary,interval,hstore", [
    ("precise", "adaptive", "bytes", "numeric", "json"),
    ("string", "adaptive_time_microseconds", "hex", "string", "map"),
    ("double", "connect", "base64-url-safe", "numeric", "json"),
])
def test_values_read_back_equal(database, kafka, prefix, make_publisher, decimal, time, binary,
                                interval, hstore):
    database.sql(VALUES)
    make_publisher(decimal_handling_mode=decimal, time_precision_mode=time,
                   binary_handling_mode=binary, interval_handling_mode=interval,
                   hstore_handling_mode=hstore)
    topic_events(kafka, f"{prefix}.public.v", 2)
    database.sql("UPDATE v SET id = id + 10")  # the stream's texts go the same way as COPY's
    rows = [event.after for event in topic_events(kafka, f"{prefix}.public.v", 8)
            if event.value and event.after]
    first, infinite, again, _ = rows
    assert again == {**first, "id": 11}
    check_numbers(first, decimal)
    check_times(first, time)
    check_others(first, binary, interval, hstore)
    assert (infinite["day"], infinite["ts6"], infinite["tz"]) == (
        2**31 - 1, -9223372036832400000, "infinity")
