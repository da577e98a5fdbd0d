"""Random work in Postgres; every replica holds exactly what it should, at every position.

--seed N repeats a run's choices (threads still take turns as they like). How the checks are exact:
oracle/__init__.py.
"""

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
