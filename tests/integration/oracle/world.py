"""A database, a bridge, replicas and those who write and watch: in batches, each checked.

    with World(server, folder, seed) as world:
        world.add_replicas(6)
        for _ in range(5):
            world.batch(seconds=6)      # writers at work; meanwhile whatever the caller does
            world.check()               # waits until all are up to date, then compares
"""

import random
import threading
import time

from harness import Bridge, Proxy, Replica, wait_for

from . import clauses, tables
from .history import History
from .http_readers import ShapeClient
from .watchers import Reader, Stream, settled
from .writers import Writer


class World:
    """`server`: a Postgres. Replicas reach the bridge through the proxy `near`, and the bridge
    reaches Postgres through `far`: who wants to cut them finds them there."""

    def __init__(self, server, folder, seed, writers=3, pause=0.002, truncates=0.004, **settings):
        print(f"seed {seed}")
        self.server, self.folder, self.seed = server, folder, seed
        self.rng = random.Random(seed)
        self.nwriters, self.pause, self.truncates = writers, pause, truncates
        self.database = server.create_database(f"oracle_{seed}")
        tables.create(self.database)
        self.history = History(self.database)
        self.far = Proxy(server.port).start()
        settings.setdefault("keepalive", "200ms")
        self.bridge = Bridge(self.database.through(self.far), data_dir=folder / "bridge",
                             **settings)
        self.near = Proxy(self.bridge.port).start()
        self.replicas, self.readers, self.streams = [], [], []
        self.transactions = self.looks = self.cuts = 0

    def __enter__(self):
        self.bridge.start()
        return self

    def __exit__(self, *exc):
        for watcher in self.readers + self.streams:
            watcher.end()
        for replica in self.replicas:
            replica.kill9()
        self.bridge.kill9()
        self.near.stop()
        self.far.stop()

    def place(self):
        """The bridge that the next client is given, and the proxy before it."""
        return self.bridge, self.near

    def bridges(self):
        return [self.bridge]

    def add_replica(self, ntables=5):
        """One with shapes of so many tables, started."""
        shapes = clauses.shapes(self.rng, ntables)
        path = self.folder / f"replica{len(self.replicas)}.db"
        print(f"{path.name}: {clauses.described(shapes)}")
        bridge, near = self.place()
        replica = Replica(bridge, path, [shape.text for shape in shapes], url=near.url).start()
        self.replicas.append(replica)
        self.readers.append(Reader(replica, shapes))
        self.readers[-1].start()

    def add_stream(self, ntables=6):
        """A client that checks each commit line; half of its clauses with params."""
        shapes, requests = clauses.shapes(self.rng, ntables), []
        for i, shape in enumerate(shapes):
            request = shape.request()
            if shape.table not in tables.MONEY and self.rng.random() < 0.5:
                shapes[i], request = clauses.with_params(self.rng, shape)
            requests.append(request)
        print(f"stream: {clauses.described(shapes)}")
        bridge, near = self.place()
        self.streams.append(Stream(bridge, requests, shapes, near.host, near.port))
        self.streams[-1].start()

    def add_clients(self, ntables=8):
        """Clients of /v1/shape, one a shape; every other one takes events."""
        shapes = clauses.shapes(self.rng, ntables)
        print(f"clients: {clauses.described(shapes)}")
        for n, shape in enumerate(shapes):
            _, near = self.place()
            client = ShapeClient(shape, self.rng.random(), n % 2 == 1, near.host, near.port)
            self.streams.append(client)
            client.start()

    def batch(self, seconds, meanwhile=None):
        """Writers at work so long, or until meanwhile() returns."""
        stop = threading.Event()
        writers = [Writer(self.database, self.rng.random(), stop, self.pause, self.truncates)
                   for _ in range(self.nwriters)]
        for writer in writers:
            writer.start()
        try:
            if meanwhile:
                meanwhile()
            else:
                time.sleep(seconds)
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        for writer in writers:
            if writer.failure:
                raise writer.failure
        self.transactions += sum(writer.done for writer in writers)

    def check(self, deadline=60.0):
        """All up to date, then: each file as Postgres is, and every moment seen as it was."""
        position = self.database.value(
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        self.database.sql("SELECT pg_logical_emit_message(true, 'oracle', 'fence')")
        watchers = self.readers + self.streams
        wait_for(lambda: self._settled(watchers, position), deadline,
                 lambda: "\n".join(f"{watcher.name} at {watcher.position} "
                                   f"{'' if watcher.consistent else 'not '}consistent, to come to "
                                   f"{position}" for watcher in watchers))
        self.history.update()
        for reader in self.readers:
            self.looks += reader.check(self.history)
            reader.check_now(self.history)
        for stream in self.streams:
            self.cuts += stream.check(self.history)

    def _settled(self, watchers, position):
        for process in self.processes():
            assert process.alive, f"{process.name} has ended\n{process.log_tail()}"
        return all(settled(watcher, position) for watcher in watchers)

    def processes(self):
        return [holder.process for holder in self.bridges() + self.replicas]

    def handles(self):
        """[(replica, table, handle)]"""
        return [(replica.db_path.name, *row) for replica in self.replicas
                for row in replica.sql("SELECT local, handle FROM _tombolo_shapes ORDER BY local")]
