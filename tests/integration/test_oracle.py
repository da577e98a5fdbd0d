"""Random work in Postgres; every replica holds exactly what it should, at every position.

--seed N repeats a run's choices (threads still take turns as they like). How the checks are exact:
oracle/__init__.py.
"""

import contextlib
import threading

import pytest
from oracle import World


def disturb(world, rng):
    """What people do while rows change: new replicas, stopped ones, a bridge restarted."""
    for replica in rng.sample(world.replicas, 2):
        replica.stop()
        replica.start()
    world.add_replica(rng.randint(1, 5))
    victim = rng.choice(world.replicas)
    victim.kill9()
    victim.start()


def run(world, batches, seconds, add_until):
    for _ in range(4):
        world.add_replica()
    world.add_stream()
    for n in range(batches):
        if n % 2 and len(world.replicas) < add_until:
            world.batch(0, lambda: disturb(world, world.rng))
        world.batch(seconds)
        world.check()
    print(f"{world.transactions} transactions, {world.looks} reads and {world.cuts} cuts checked")


def test_replicas_hold_exactly_what_postgres_held_at_every_position(own_postgres, tmp_path, seed):
    with World(own_postgres, tmp_path, seed) as world:
        run(world, batches=6, seconds=6, add_until=7)
        assert world.transactions > 100 and world.looks > 100 and world.cuts > 100


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_replicas_hold_exactly_what_postgres_held_for_long(own_postgres, tmp_path, seed):
    with World(own_postgres, tmp_path, seed, writers=6, pause=0) as world:
        run(world, batches=60, seconds=20, add_until=16)


class Counter(threading.Thread):
    """Counts a table's rows over and over; what it saw, in order, each number once."""

    def __init__(self, replica, table):
        super().__init__(daemon=True)
        self.replica, self.table = replica, table
        self.seen = []
        self.ended = threading.Event()

    def run(self):
        with contextlib.closing(self.replica.connect()) as connection:
            while not self.ended.is_set():
                (count,), = connection.execute(f"SELECT count(*) FROM {self.table}")
                if self.seen[-1:] != [count]:
                    self.seen.append(count)

    def end(self):
        self.ended.set()
        self.join()
        return self.seen


@pytest.fixture
def counted(database, bridge, make_replica):
    """A table of 20,000 rows in a live replica, and who counts them there."""
    database.sql("CREATE TABLE t (id int PRIMARY KEY, v int)")
    database.sql("INSERT INTO t SELECT n, 0 FROM generate_series(1, 20000) n")
    replica = make_replica(["t"]).once().start()
    counter = Counter(replica, "t")
    counter.start()
    yield database, replica, counter
    counter.end()


def test_table_that_is_filled_anew_is_never_seen_empty(counted):
    database, replica, counter = counted
    for n in range(1, 4):
        database.sql(f"TRUNCATE t; INSERT INTO t SELECT n, {n} FROM generate_series(1, 20000) n")
        replica.wait_for(lambda n=n: replica.sql("SELECT DISTINCT v FROM t") == [(n,)], 60)
    assert counter.end() == [20000]


def test_table_with_a_new_column_is_never_seen_empty_or_missing(counted):
    database, replica, counter = counted
    database.sql("ALTER TABLE t ADD w int DEFAULT 7")
    database.sql("UPDATE t SET v = 1 WHERE id = 1")
    replica.wait_for(lambda: replica.rows("t")[0] == (1, 1, 7), 60)
    assert counter.end() == [20000]


def test_truncated_table_is_seen_full_or_empty_and_nothing_else(counted):
    database, replica, counter = counted
    database.sql("TRUNCATE t")
    replica.wait_for(lambda: replica.rows("t") == [], 60)
    assert counter.end() == [20000, 0]
