"""Replicas that are thrown from node to node go on where they are: what a node has of a shape is
exactly what follows, or it is fetched again, and never when it need not be."""

import contextlib
import re
import shutil
import sqlite3
import threading
import time
from collections import Counter

import pytest
from harness import Bridge, Proxy, Replica, wait_for
from harness.nginx import Nginx
from oracle.fanout import FanoutChaos, FanoutWorld

AGAIN = re.compile(r'fetching a shape again" table=(\w+|"(?:\\.|[^"])*") ')


def fetched_again(replicas):
    """How often, by (replica, table)."""
    return Counter((replica.db_path.stem, table) for replica in replicas
                   for table in AGAIN.findall(replica.process.log_path.read_text()))


class MovingWorld(FanoutWorld):
    """Each replica has a door of its own, which leads to one node after the other."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.own_doors = []

    def place(self):
        node, _ = super().place()
        self.own_doors.append(Proxy(node.port).start())
        return node, self.own_doors[-1]

    def __exit__(self, *exc):
        super().__exit__(*exc)
        for door in self.own_doors:
            door.stop()

    def move(self, door):
        other = [node.port for node in self.nodes if node.port != door.target[1]]
        door.target = (door.target[0], self.rng.choice(other))
        door.cut()

    def move_all(self):
        """Until each shape has the handle of another node."""
        before = self.handles()
        for door in self.own_doors:
            self.move(door)
        wait_for(lambda: all(now[2] not in (None, was[2])
                             for now, was in zip(self.handles(), before)), 60,
                 lambda: f"they were {before}, and are {self.handles()}")

    def fetched_again(self):
        return fetched_again(self.replicas)


class MovingChaos(FanoutChaos):
    def verbs(self):
        return [self._move] * 10 + [self._kill_node] * 3 + [self._stop_node] * 2 + [
            self._kill_replica] * 2

    def _move(self):
        self.world.move(self.rng.choice(self.world.own_doors))


@pytest.fixture
def world(own_postgres, kafka, tmp_path, seed):
    """Replicas that have been at both nodes, and nothing that ends a shape."""
    with MovingWorld(own_postgres, kafka, tmp_path, seed, writers=2, pause=0.01,
                     truncates=0) as made:
        made.database.sql("ALTER TABLE docs REPLICA IDENTITY FULL")
        for _ in range(4):
            made.add_replica()
        made.batch(1)
        made.check()
        made.batch(0, made.move_all)
        made.check()
        yield made


def trouble(world, times):
    chaos = MovingChaos(world, world.rng.random(), times, pause=(0.05, 0.5))
    chaos.start()
    world.batch(0, chaos.join)
    print(" ".join(chaos.done))
    if chaos.failure:
        raise chaos.failure
    world.check(deadline=120)


def lose_folder(world, node):
    """Its replicas go to the other node meanwhile."""
    node.kill9()
    shutil.rmtree(node.data_dir)
    for door in world.own_doors:
        if door.target[1] == node.port:
            world.move(door)
    node.start(wait=False)
    node.wait_until("active", 60)


def test_replicas_thrown_between_nodes_fetch_again_only_what_a_lost_folder_held(world):
    before = world.fetched_again()
    trouble(world, 20)
    assert world.fetched_again() == before
    world.batch(0, lambda: lose_folder(world, world.nodes[0]))
    world.check()
    assert world.fetched_again() == before
    for _ in range(3):
        world.batch(0, world.move_all)
        world.check()
    again = world.fetched_again() - before
    assert again and max(again.values()) == 1
    print(f"{world.transactions} transactions, {world.looks} reads checked")


# ---- local writes, and nginx ---------------------------------------------------------------------

RULES = """
[write notes]
operations = insert

[write counters]
operations = update
conflict.n = counter
"""


@pytest.fixture
def notes(database):
    database.sql("CREATE TABLE notes (id text PRIMARY KEY, what text);"
                 " CREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL);"
                 " INSERT INTO counters VALUES (1, 0), (2, 0)")
    return database


@contextlib.contextmanager
def running(kafka, notes, prefix, tmp_path, intervals):
    """Two nodes, which compare the catalogue so often."""
    (tmp_path / "rules.ini").write_text(RULES)
    config = str(tmp_path / "rules.ini")
    publisher = Bridge(notes, data_dir=tmp_path / "publisher", kafka_brokers=kafka.brokers,
                       kafka_prefix=prefix, kafka_stream="true").start(deadline=60)
    made = [Bridge(notes, data_dir=tmp_path / f"node{n}", keepalive="200ms", config=config,
                   catalog_interval=interval, source=f"kafka://{kafka.brokers}/{prefix}")
            for n, interval in enumerate(intervals)]
    for node in made:
        node.start(wait=False)
    for node in made:
        node.wait_until("active", 60)
    yield made
    for bridge in [*made, publisher]:
        bridge.kill9()


@pytest.fixture
def nodes(kafka, notes, prefix, tmp_path):
    with running(kafka, notes, prefix, tmp_path, ("10s", "10s")) as made:
        yield made


def agree(replica, database):
    for table in ("notes", "counters"):
        wait_for(lambda table=table: replica.rows(table) ==
                 sorted(database.sql(f"SELECT * FROM {table}")), 60,
                 lambda: replica.process.log_tail())


class Program(threading.Thread):
    """Writes to a replica's file: notes of its own, and adds to its counter."""

    def __init__(self, replica, counter):
        super().__init__(daemon=True)
        self.replica, self.counter = replica, counter
        self.written, self.ended = 0, threading.Event()

    def run(self):
        with contextlib.closing(sqlite3.connect(self.replica.db_path, timeout=60)) as connection:
            while not self.ended.wait(0.02):
                with connection:
                    connection.execute("INSERT INTO notes VALUES (?, 'x')",
                                       (f"{self.counter}-{self.written}",))
                    connection.execute("UPDATE counters SET n = n + 1 WHERE id = ?",
                                       (self.counter,))
                self.written += 1


def test_writes_of_replicas_that_move_are_applied_once_and_nothing_is_fetched_again(
        notes, nodes, tmp_path):
    doors = [Proxy(nodes[n].port).start() for n in range(2)]
    replicas = [Replica(nodes[n], tmp_path / f"r{n}.db", ["notes", "counters"],
                        url=doors[n].url).start() for n in range(2)]

    def move(door, to):
        door.target = (door.target[0], to.port)
        door.cut()

    for replica in replicas:
        agree(replica, notes)
        replica.wait_for(lambda replica=replica: replica.process.log_path.read_text().count(
            "local writes are captured") == 2)
    notes.sql("INSERT INTO notes VALUES ('behind both first rows', 'x')")
    for replica in replicas:
        agree(replica, notes)
    before = fetched_again(replicas)
    assert not before
    programs = [Program(replica, n + 1) for n, replica in enumerate(replicas)]
    for program in programs:
        program.start()
    for turn in range(12):
        there = nodes[turn % 2]
        for n, door in enumerate(doors):
            move(door, nodes[(turn + n) % 2])
        if turn % 4 == 3:
            there.kill9()
            there.start(wait=False)
        written = [program.written for program in programs]
        wait_for(lambda written=written: all(program.written > was + 3 for program, was in
                                             zip(programs, written)))
    for program in programs:
        program.ended.set()
        program.join()
    for replica, program in zip(replicas, programs):
        wait_for(lambda replica=replica: replica.pending() == 0, 60,
                 lambda replica=replica: replica.process.log_tail())
        assert notes.value("SELECT n FROM counters WHERE id = %s", program.counter) == \
            program.written
    assert notes.value("SELECT count(*) FROM notes") == 1 + sum(p.written for p in programs)
    for replica in replicas:
        agree(replica, notes)
        replica.stop()
    assert fetched_again(replicas) == before
    for door in doors:
        door.stop()


def test_replicas_of_a_node_that_dies_behind_nginx_fetch_nothing_again(notes, nodes, tmp_path):
    with contextlib.ExitStack() as ends:
        nginx = Nginx(nodes, tmp_path).start()
        ends.callback(nginx.stop)
        replicas = []
        # By their ids, which are random: until each node has three or more.
        while min(node.metrics()["tombolo_clients"] for node in nodes) < 3:
            replica = Replica(nodes[0], tmp_path / f"r{len(replicas)}.db", ["notes", "counters"],
                              url=nginx.url).start()
            ends.callback(replica.kill9)
            agree(replica, notes)
            replicas.append(replica)
        notes.sql("INSERT INTO notes VALUES ('a', 'before')")
        for replica in replicas:
            agree(replica, notes)
        nodes[0].kill9()
        notes.sql("INSERT INTO notes VALUES ('b', 'without it')")
        for replica in replicas:
            agree(replica, notes)
        assert nodes[1].metrics()["tombolo_clients"] == len(replicas)
        assert not fetched_again(replicas)


def test_what_only_the_other_node_has_noticed_is_fetched_again_there(
        kafka, notes, prefix, tmp_path):
    """Rows that were rewritten without a word in the stream, by DDL that no trigger tells of. The
    node that has seen it has taken its first rows anew; at the other one the replica goes on with
    the old ones, and so comes to a position behind those first rows."""
    with running(kafka, notes, prefix, tmp_path, ("100ms", "1h")) as (knows, sleeps):
        for trigger in ("tombolo_ddl", "tombolo_drop", "tombolo_rewrite"):
            notes.sql(f"ALTER EVENT TRIGGER {trigger} DISABLE")
        door = Proxy(sleeps.port).start()
        replica = Replica(sleeps, tmp_path / "r.db", ["notes", "counters"], url=door.url).start()
        other = Replica(knows, tmp_path / "other.db", ["notes", "counters"]).start()
        notes.sql("INSERT INTO notes VALUES ('a', 'old')")
        for one in (replica, other):
            agree(one, notes)
        time.sleep(2)  # in which the node that sleeps looks a last time: the rows were published
        notes.sql("ALTER TABLE notes ALTER what TYPE text USING 'new'")
        agree(other, notes)
        notes.sql("INSERT INTO notes VALUES ('b', 'behind it')")
        wait_for(lambda: len(replica.rows("notes")) == 2, 60, lambda: replica.process.log_tail())
        print(replica.rows("notes"))
        door.target = (door.target[0], knows.port)
        door.cut()
        agree(replica, notes)
        assert fetched_again([replica]) == {("r", "notes"): 1}
        for one in (replica, other):
            one.kill9()
        door.stop()
