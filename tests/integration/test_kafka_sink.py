"""The tables' topics read by programs that no one here wrote: Kafka Connect's JSON converter and
Debezium's JDBC sink, with its unwrap transform and without."""

import random

from harness import Bridge, ConnectWorker, wait_for

COLUMNS = """(id int PRIMARY KEY, name text, n numeric(12, 3), big numeric, i8 bigint, i2 smallint,
    yes boolean, f8 double precision, day date, clock time, moment timestamp, zoned timestamptz,
    bytes bytea, u uuid, doc jsonb)"""
INSERT = """INSERT INTO {table} SELECT %(id)s, 'é"\\n' || %(id)s, %(x)s / 7.0, %(x)s * 1e20 + 0.125,
    %(x)s * 10000000000::bigint, %(x)s %% 1000, %(x)s %% 2 = 0, %(x)s / 3.0::float8,
    date '2024-02-29' + %(x)s %% 5000, time '00:00:00.000001' + %(x)s * interval '1.5 s',
    timestamp '1969-12-31 23:59:59.999999' + %(x)s * interval '1 h 7 us',
    timestamptz '2024-01-01 00:00:00+02' + %(x)s * interval '1 h 3 ms',
    decode(md5((%(x)s)::text), 'hex'), md5((%(x)s)::text)::uuid, jsonb_build_object('x', %(x)s)
    ON CONFLICT (id) DO NOTHING"""
CHANGES = [  # as often as they stand here
    INSERT, INSERT, INSERT,
    "UPDATE {table} SET name = name || '!', n = -n, moment = NULL WHERE id = %(id)s",
    "UPDATE {table} SET big = -big, bytes = '', doc = NULL WHERE id %% 5 = %(x)s %% 5",
    "DELETE FROM {table} WHERE id = %(id)s",
    "DELETE FROM {table} WHERE id %% 17 = %(x)s %% 17",
    "UPDATE {table} SET id = %(id)s + 1000 WHERE id = %(id)s"
    " AND NOT EXISTS (SELECT FROM {table} WHERE id = %(id)s + 1000)",
]


def run_transactions(database, tables, choice, count):
    connection = database.connect(autocommit=False)
    with connection.cursor() as cursor:
        for _ in range(count):
            for _ in range(choice.randrange(1, 6)):
                values = {"id": choice.randrange(60), "x": choice.randrange(-30000, 30000)}
                cursor.execute(choice.choice(CHANGES).format(table=choice.choice(tables)), values)
            if choice.random() < 0.9:
                connection.commit()
            else:
                connection.rollback()
    connection.close()


def test_a_jdbc_sink_s_table_becomes_the_source_s(database, kafka, tmp_path, seed):
    choice = random.Random(seed)
    sink = database.server.create_database(f"{database.name}_sink")
    prefix = database.name
    database.sql(f"CREATE TABLE items {COLUMNS}; CREATE TABLE flat {COLUMNS};"
                 "ALTER TABLE flat REPLICA IDENTITY FULL")
    sink.sql(f"CREATE TABLE items {COLUMNS}; CREATE TABLE {prefix}_public_flat {COLUMNS}")
    run_transactions(database, ["items", "flat"], choice, 30)
    worker = ConnectWorker(kafka, tmp_path)
    worker.jdbc_sink("items", sink, f"{prefix}[.]public[.]items")
    worker.jdbc_sink("flat", sink, f"{prefix}[.]public[.]flat", unwrap=True)
    worker.start()
    bridge = Bridge(database, data_dir=tmp_path / "bridge", kafka_brokers=kafka.brokers,
                    kafka_topics="true", kafka_prefix=prefix, kafka_schemas_enable="true").start()
    wait_for(lambda: bridge.process.log_contains("first rows of a table are published", times=2),
             60, "the first rows")
    run_transactions(database, ["items", "flat"], choice, 150)

    def are_equal():
        worker.assert_running()
        pairs = (("items", "items"), ("flat", f"{prefix}_public_flat"))
        return all(database.sql(f"TABLE {ours} ORDER BY id")
                   == sink.sql(f"TABLE {theirs} ORDER BY id") for ours, theirs in pairs)

    try:
        wait_for(are_equal, 300, f"the sink's tables to be as the source's (seed {seed})", 0.5)
        assert database.value("SELECT count(*) FROM items") > 5
    finally:
        worker.process.kill9()
        bridge.stop()
        sink.drop()
