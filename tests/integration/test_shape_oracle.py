"""The oracle's random work with clients of /v1/shape as readers.

No insert of a row that is there, no change of one that is not, nothing twice, nothing lost: whenever
a client is told that it is up to date it holds what Postgres held at the LSN that it is told. And no
409 that nobody caused. --seed N repeats a run's choices.
"""

import pytest
from oracle import World
from oracle.chaos import Chaos


def shapes_world(server, folder, seed, **options):
    """Chunks so small that transactions are split, polls so short that they time out."""
    return World(server, folder, seed, chunk_size="4000", long_poll_timeout="300ms", **options)


def clients(world):
    return world.streams


def test_clients_hold_exactly_what_postgres_held(own_postgres, tmp_path, seed):
    with shapes_world(own_postgres, tmp_path, seed) as world:
        world.add_clients()
        for _ in range(3):
            world.batch(4)
            world.check()
            world.add_clients(3)
        world.batch(3)
        world.check()
        print(f"{world.transactions} transactions, {world.cuts} cuts checked")
        assert world.transactions > 100 and world.cuts > 300


def suffer(world, times):
    Chaos(world, world.rng.random(), times, pause=(0.1, 0.8)).suffer()


def test_no_kill_or_cut_loses_a_row_or_ends_a_shape(own_postgres, tmp_path, seed):
    """Nobody truncates or alters here: nobody may be told to fetch again."""
    with shapes_world(own_postgres, tmp_path, seed, writers=2, pause=0.01, truncates=0) as world:
        world.add_clients()
        world.add_replica()
        world.batch(2)
        world.check()
        suffer(world, 16)
        assert {client.name: client.refetches for client in clients(world)
                if client.refetches} == {}
        print(f"{world.transactions} transactions, {world.cuts} cuts checked, "
              f"{sum(client.again for client in clients(world))} messages came again")


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_clients_through_hundreds_of_troubles(own_postgres, tmp_path, seed):
    with shapes_world(own_postgres, tmp_path, seed, writers=3) as world:
        for _ in range(3):
            world.add_clients()
        world.add_replica()
        for _ in range(20):
            suffer(world, 25)
