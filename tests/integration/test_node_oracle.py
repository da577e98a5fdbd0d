"""The main job through Kafka: a publisher and two fan-out nodes, clients on both, everything killed
at random. Every client holds exactly what it should, at every position."""

import pytest
from oracle.fanout import FanoutChaos, FanoutWorld


def suffer(world, times, rounds):
    for _ in range(4):
        world.add_replica()
    for _ in world.nodes:
        world.add_stream()
    world.batch(3)
    world.check()
    for _ in range(rounds):
        FanoutChaos(world, world.rng.random(), times // rounds).suffer(deadline=120)
    print(f"{world.transactions} transactions, {world.looks} reads and {world.cuts} cuts checked")


def test_whatever_is_killed_the_clients_of_both_nodes_hold_what_postgres_held(
        own_postgres, kafka, tmp_path, seed):
    with FanoutWorld(own_postgres, kafka, tmp_path, seed, writers=2, pause=0.01) as world:
        suffer(world, times=16, rounds=2)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_whatever_is_killed_for_long(own_postgres, kafka, tmp_path, seed):
    with FanoutWorld(own_postgres, kafka, tmp_path, seed, writers=3) as world:
        suffer(world, times=300, rounds=20)
