"""The tables' topics when things go on at once, or do not go on: first rows under writers, bridges
that are killed, Kafka transactions, records that are too large."""

import collections
import random
import threading
import time

import pytest
from harness import Bridge, Postgres, Upserted, read_events, wait_for

DONE = "first rows of a table are published"


@pytest.fixture
def make_publisher(database, kafka, make_bridge):
    def make(**settings):
        return make_bridge(database, kafka_brokers=kafka.brokers, kafka_topics="true",
                           kafka_prefix=database.name, catalog_interval="1s",
                           **{f"kafka_{key}": value for key, value in settings.items()})

    return make


class Writers:
    """Threads that write until they are told to stop, each its own rows; each write has a number
    that is higher than any before."""

    COUNT = 3

    def __init__(self, database, tables, seed, rows=30):
        self.database, self.tables, self.rows = database, tables, rows
        self.ended = threading.Event()
        self.failures = []
        self.committed = collections.Counter()
        database.sql("CREATE SEQUENCE versions; " + "".join(
            f"CREATE TABLE {table} (id int PRIMARY KEY, v bigint);" for table in tables))
        self.threads = [threading.Thread(target=self._run, args=(n, random.Random(seed + n)))
                        for n in range(self.COUNT)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        assert not self.failures, self.failures

    def _run(self, n, choice):
        try:
            connection = self.database.connect(autocommit=False)
            with connection.cursor() as cursor:
                while not self.ended.is_set():
                    self._transaction(cursor, n, choice)
                    connection.commit()
                    self.committed[n] += 1
            connection.close()
        except Exception as failure:  # told by __exit__
            self.failures.append(failure)

    def _transaction(self, cursor, n, choice):
        for _ in range(choice.randrange(1, 5)):
            table, key = choice.choice(self.tables), choice.randrange(self.rows) * self.COUNT + n
            if choice.random() < 0.15:
                cursor.execute(f"DELETE FROM {table} WHERE id = {key}")
            else:
                cursor.execute(f"INSERT INTO {table} VALUES ({key}, nextval('versions'))"
                               " ON CONFLICT (id) DO UPDATE SET v = nextval('versions')")
            if choice.random() < 0.1:
                time.sleep(choice.random() * 0.05)  # open for longer


def rows_of(database, table):
    return database.sql(f"SELECT id, v FROM {table} ORDER BY id")


def wait_for_equal(database, kafka, tables, seed):
    """Until the topics' readers have what the tables have; the events by table."""
    events = {}

    def are_equal():
        for table in tables:
            events[table] = read_events(kafka, f"{database.name}.public.{table}")
        return all(Upserted(events[table]).values("id", "v") == rows_of(database, table)
                   for table in tables)

    def differences():
        found = {}
        for table in tables:
            ours = set(Upserted(events[table]).values("id", "v"))
            theirs = set(rows_of(database, table))
            found[table] = (sorted(ours - theirs)[:5], sorted(theirs - ours)[:5])
        return f"the topics to have what the tables have, seed {seed}: {found}"

    wait_for(are_equal, 120, differences, 0.5)
    return events


def test_first_rows_among_writers_lose_and_repeat_nothing(database, kafka, make_publisher, seed):
    tables = ["one", "two", "three"]
    with Writers(database, tables, seed) as writers:
        wait_for(lambda: sum(writers.committed.values()) > 100, 60, "some writes")
        bridge = make_publisher().start()
        wait_for(lambda: bridge.process.log_contains(DONE, times=len(tables)), 60, "first rows")
        before = sum(writers.committed.values())
        wait_for(lambda: sum(writers.committed.values()) > before + 300, 60, "more writes")
    for table, events in wait_for_equal(database, kafka, tables, seed).items():
        assert {"r", "c", "u", "d"} <= {event.op for event in events}, table
        versions = {}
        for event in events:
            if event.op in "rcu":
                key, version = event.after["id"], event.after["v"]
                # Neither an older one nor the same once more.
                assert version > versions.get(key, 0), (table, seed, event)
                versions[key] = version


@pytest.fixture
def away(pg_version):
    """A server whose commits with synchronous_commit are sent to the stream, and seen by nobody."""
    with Postgres(pg_version, {"synchronous_standby_names": "nobody",
                               "synchronous_commit": "local"}) as server:
        yield server


def queries(server, pattern):
    """When the survey's connection began queries like this one."""
    return {began for (began,) in server.sql(
        "SELECT query_start FROM pg_stat_activity WHERE application_name = 'tombolo kafka'"
        " AND query LIKE %s", pattern)}


def commit_unseen(server, sql):
    """Runs it in a transaction whose commit is in the WAL when this returns; what lets it go."""
    connection = server.connect(autocommit=False)
    with connection.cursor() as cursor:
        cursor.execute(sql)
        cursor.execute("SET LOCAL synchronous_commit = on")
    commit = threading.Thread(target=connection.commit)
    commit.start()
    waits = ("SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'")
    wait_for(lambda: server.value(waits, connection.info.backend_pid), 60, "the commit to wait")

    def let_go():
        server.sql("SELECT pg_cancel_backend(%s)", connection.info.backend_pid)
        commit.join()
        connection.close()

    return let_go


def test_first_rows_wait_for_a_commit_that_went_by_unseen(away, kafka, prefix, tmp_path):
    away.sql("CREATE TABLE a_seen (id int PRIMARY KEY); CREATE TABLE b_late (id int PRIMARY KEY)")
    settings = {"kafka_brokers": kafka.brokers, "kafka_topics": "true", "kafka_prefix": prefix,
                "lock_timeout": "60s"}
    bridge = Bridge(away, data_dir=tmp_path / "bridge", kafka_tables="public.a_seen", **settings)
    bridge.start()  # the slot could not be made beside an open transaction
    noted = bridge.data_dir / "kafka_tables"  # what is not noted comes again
    wait_for(lambda: noted.exists() and " done " in noted.read_text(), 60, "the other table")
    bridge.stop()
    writer = away.connect(autocommit=False)
    writer.cursor().execute("INSERT INTO b_late VALUES (0)")
    bridge = Bridge(away, data_dir=tmp_path / "bridge", **settings).start()
    # It waits for the writer from before, and for no later one.
    wait_for(lambda: queries(away, "%virtualtransaction = ANY%"), 60, "the wait for writers")
    let_go = commit_unseen(away, "INSERT INTO a_seen VALUES (1); INSERT INTO b_late VALUES (1)")
    wait_for(lambda: kafka.end_offset(f"{prefix}.public.a_seen") == 1, 60, "the commit to be read")
    writer.close()
    tries, late = set(), f'"{DONE}" table=public.b_late'

    def are_many():
        tries.update(queries(away, "ROLLBACK"))  # each ends a snapshot
        return len(tries) >= 3 or late in bridge.log()

    wait_for(are_many, 60, "snapshots", 0.001)
    let_go()
    wait_for(lambda: late in bridge.log(), 60, "the first rows")
    away.sql("INSERT INTO b_late VALUES (2)")
    wait_for(lambda: kafka.end_offset(f"{prefix}.public.b_late") >= 2, 60, "the last row")
    assert [(event.op, event.key["id"]) for event in
            read_events(kafka, f"{prefix}.public.b_late")] == [("r", 1), ("c", 2)]
    bridge.stop()


def test_a_bridge_killed_among_first_rows_publishes_them_again(database, kafka, make_publisher,
                                                               seed):
    topic = f"{database.name}.public.one"
    with Writers(database, ["one"], seed) as writers:
        database.sql("INSERT INTO one SELECT i, nextval('versions')"
                     " FROM generate_series(1000, 16000) i")
        bridge = make_publisher()
        for _ in range(5):
            before = kafka.end_offset(topic)
            bridge.start(wait=False)
            wait_for(lambda: kafka.end_offset(topic) > before, 60, "some first rows", 0.005)
            bridge.kill9()
            if DONE not in bridge.log():
                break
        bridge.start()
        wait_for(lambda: DONE in bridge.log(), 90, "the first rows")
        bridge.kill9()  # they are there; they need not be noted
        before = sum(writers.committed.values())
        bridge.start()
        wait_for(lambda: sum(writers.committed.values()) > before + 100, 60, "more writes")
    wait_for_equal(database, kafka, ["one"], seed)
    # What is noted is not published again.
    noted = bridge.data_dir / "kafka_tables"
    wait_for(lambda: " done " in noted.read_text(), 60, "it to be noted")
    bridge.restart()
    database.sql("INSERT INTO one VALUES (-1, 0)")
    events = wait_for_equal(database, kafka, ["one"], seed)["one"]
    database.sql("UPDATE one SET v = 1 WHERE id = -1")
    more = wait_for_equal(database, kafka, ["one"], seed)["one"][len(events):]
    assert "r" not in {event.op for event in more}


def test_kafka_transactions_show_each_transaction_once_and_whole(database, kafka, make_publisher,
                                                                seed):
    choice = random.Random(seed)
    tables = ["one", "two"]
    with Writers(database, tables, seed, rows=500) as writers:
        bridge = make_publisher(stream="true", transactions="true",
                                provide_transaction_metadata="true").start()
        wait_for(lambda: bridge.process.log_contains(DONE, times=2), 90, "the first rows")
        for _ in range(3):
            before = sum(writers.committed.values())
            wait_for(lambda: sum(writers.committed.values()) > before + 30 + choice.randrange(100),
                     60, "some writes")
            bridge.kill9()
            bridge.start()
    events = wait_for_equal(database, kafka, tables, seed)
    blocks = collections.defaultdict(list)
    for event in (event for of_table in events.values() for event in of_table):
        if event.value and event.op != "r":
            block = event.value["transaction"]
            blocks[block["id"]].append(block["total_order"])
    ends = collections.Counter()
    for record in read_events(kafka, f"{database.name}.transaction"):
        if record.value["status"] == "END":
            assert record.key["id"] not in ends, "twice"
            ends[record.key["id"]] = record.value["event_count"]
    assert {txn: sorted(orders) for txn, orders in blocks.items()} == {
        txn: list(range(1, count + 1)) for txn, count in ends.items()}
    assert len(ends) > 90


def test_a_record_that_is_too_large_stops_the_publisher_and_says_so(database, kafka,
                                                                   make_publisher):
    database.sql("CREATE TABLE big (id int PRIMARY KEY, t text);"
                 "ALTER TABLE big REPLICA IDENTITY FULL; INSERT INTO big VALUES (7, 'small')")
    bridge = make_publisher(message_max="20000").start()
    wait_for(lambda: DONE in bridge.log(), 60, "the first rows")
    database.sql("UPDATE big SET t = repeat('x', 12000)")
    database.sql("UPDATE big SET t = repeat('y', 12000)")

    words = ("too large", f'"{database.name}.public.big"', '{"id":7}')

    def has_failed():  # it is tried again, and is something else meanwhile
        health = bridge.get("/v1/health").json()["kafka"]
        return health["state"] == "failed" and all(word in health["error"] for word in words)

    wait_for(has_failed, 60, bridge.process.log_tail)
    bridge.stop()
    bridge = make_publisher(message_max="20000", too_large="without_before").start()
    topic = f"{database.name}.public.big"
    wait_for(lambda: Upserted(read_events(kafka, topic)).values("t") == [("y" * 12000,)], 60,
             "the row without before")
    last = read_events(kafka, topic)[-1]
    assert (last.op, last.before, last.key) == ("u", None, {"id": 7})


def test_topics_that_were_off_meanwhile_begin_with_first_rows(database, kafka, make_publisher,
                                                             tmp_path):
    database.sql("CREATE TABLE one (id int PRIMARY KEY, v int); INSERT INTO one VALUES (1, 1)")
    topic = f"{database.name}.public.one"
    bridge = make_publisher().start()
    wait_for(lambda: kafka.end_offset(topic) == 1, 60, "the first row")
    noted = bridge.data_dir / "kafka_tables"
    wait_for(lambda: " done " in noted.read_text(), 60, "it to be noted")
    bridge.stop()
    without = Bridge(database, data_dir=tmp_path / "bridge").start()
    database.sql("UPDATE one SET v = 2")
    without.stop()
    bridge.start()
    wait_for(lambda: kafka.end_offset(topic) == 2, 60, "the first row again")
    event = read_events(kafka, topic)[1]
    assert (event.op, event.after) == ("r", {"id": 1, "v": 2})
