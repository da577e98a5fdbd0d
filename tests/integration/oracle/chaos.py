"""Trouble at random moments: kill -9, servers stopped, connections cut, silence."""

import random
import threading


class Chaos(threading.Thread):
    """`times` troubles, `pause` seconds (a pair: from, to) between them; `done` says which."""

    def __init__(self, world, seed, times, pause=(0.1, 1.0)):
        super().__init__(name="chaos", daemon=True)
        self.world, self.rng, self.times, self.pause = world, random.Random(seed), times, pause
        self.done = []
        self.failure = None
        self._ended = threading.Event()

    def verbs(self):
        """What may happen, each as often as it is likely."""
        return [self._kill_bridge] * 4 + [self._kill_replica] * 4 + [self._kill_postgres] * 2 + [
            self._stop_bridge, self._stop_replica, self._stop_postgres, self._cut_replicas,
            self._cut_bridge, self._cut_bridge, self._silence]

    def run(self):
        verbs = self.verbs()
        try:
            while len(self.done) < self.times and not self._ended.is_set():
                self._ended.wait(self.rng.uniform(*self.pause))
                verb = self.rng.choice(verbs)
                self.done.append(verb.__name__.strip("_"))
                self._alive()
                verb()
            self._alive()
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure

    def suffer(self, deadline=90.0):
        """All of it while there is work; in the end everything is as it should be."""
        self.start()
        self.world.batch(0, self.join)
        print(" ".join(self.done))
        if self.failure:
            raise self.failure
        self.world.check(deadline=deadline)

    def end(self):
        """After the trouble under way; what was ended is running again."""
        self._ended.set()
        self.join()

    def _alive(self):
        """Nobody has ended who was not killed."""
        for process in self.world.processes():
            assert process.alive, f"{process.name} ended with {process.returncode} by itself\n" \
                                  f"{process.log_tail()}"

    def _down(self):
        """Something stays away for a moment."""
        self._ended.wait(self.rng.choice((0, 0.05, 0.4)))

    def _kill_bridge(self):
        self.world.bridge.kill9()
        self._down()
        self.world.bridge.start(wait=False)

    def _stop_bridge(self):
        self.world.bridge.stop()
        self._down()
        self.world.bridge.start(wait=False)

    def _kill_replica(self):
        replica = self.rng.choice(self.world.replicas)
        replica.kill9()
        self._down()
        replica.start()

    def _stop_replica(self):
        self.rng.choice(self.world.replicas).restart()

    def _kill_postgres(self):
        self.world.server.kill9()
        self._down()
        self.world.server.start()

    def _stop_postgres(self):
        self.world.server.restart(self.rng.choice(("fast", "immediate")))

    def _cut_replicas(self):
        self.world.near.cut()

    def _cut_bridge(self):
        self.world.far.cut()

    def _silence(self):
        with self.rng.choice((self.world.near, self.world.far)).drop_traffic():
            self._ended.wait(1.0)
