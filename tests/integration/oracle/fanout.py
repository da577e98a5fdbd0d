"""A world whose clients are spread over fan-out nodes, and its troubles.

    with FanoutWorld(server, kafka, folder, seed) as world:
        ...

The bridge reads the slot and publishes, with an odd seed in Kafka transactions; replicas and
streams are given the nodes in turn.
"""

import itertools

from harness import Bridge, Proxy

from .chaos import Chaos
from .world import World


class FanoutWorld(World):
    def __init__(self, server, kafka, folder, seed, nnodes=2, **settings):
        prefix = f"oracle_{seed}"
        super().__init__(server, folder, seed, kafka_brokers=kafka.brokers, kafka_prefix=prefix,
                         kafka_stream="true",
                         kafka_transactions="true" if seed % 2 else "false", **settings)
        self.kafka = kafka
        self.nodes = [Bridge(self.bridge.postgres, data_dir=folder / f"node{n}", keepalive="200ms",
                             source=f"kafka://{kafka.brokers}/{prefix}") for n in range(nnodes)]
        self.doors = [Proxy(node.port).start() for node in self.nodes]
        self._turns = itertools.cycle(zip(self.nodes, self.doors))

    def __enter__(self):
        super().__enter__()
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_until("active", 60)
        return self

    def __exit__(self, *exc):
        super().__exit__(*exc)
        for node in self.nodes:
            node.kill9()
        for door in self.doors:
            door.stop()

    def place(self):
        return next(self._turns)

    def bridges(self):
        return [self.bridge, *self.nodes]


class FanoutChaos(Chaos):
    def verbs(self):
        return [self._kill_bridge] * 3 + [self._kill_node] * 4 + [self._kill_replica] * 2 + [
            self._kill_kafka, self._kill_postgres, self._stop_node, self._stop_postgres,
            self._cut_bridge, self._cut_clients]

    def _kill_node(self):
        node = self.rng.choice(self.world.nodes)
        node.kill9()
        self._down()
        node.start(wait=False)

    def _stop_node(self):
        node = self.rng.choice(self.world.nodes)
        node.stop()
        self._down()
        node.start(wait=False)

    def _kill_kafka(self):
        self.world.kafka.kill9()
        self._down()
        self.world.kafka.start()

    def _cut_clients(self):
        self.rng.choice(self.world.doors).cut()
