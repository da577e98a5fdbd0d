"""kill -9 of bridge, replicas and Postgres at random moments: no row is lost, none comes twice."""

import pytest
from oracle import World
from oracle.chaos import Chaos


def trouble(world, times):
    Chaos(world, world.rng.random(), times).suffer()


def suffer(world, times, rounds):
    for _ in range(4):
        world.add_replica()
    world.add_stream()
    for _ in range(rounds):
        trouble(world, times // rounds)
    print(f"{world.transactions} transactions, {world.looks} reads and {world.cuts} cuts checked")


def test_whatever_is_killed_no_row_is_lost_and_none_comes_twice(own_postgres, tmp_path, seed):
    with World(own_postgres, tmp_path, seed, writers=2, pause=0.01) as world:
        suffer(world, times=36, rounds=3)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_whatever_is_killed_hundreds_of_times(own_postgres, tmp_path, seed):
    with World(own_postgres, tmp_path, seed, writers=3) as world:
        suffer(world, times=600, rounds=40)


@pytest.fixture
def quiet(own_postgres, tmp_path, seed):
    """A world in which nothing truncates: no shape ever has to be fetched again."""
    with World(own_postgres, tmp_path, seed, writers=2, pause=0.01, truncates=0) as world:
        # With the default identity a new key for a row with a large value may end a shape.
        world.database.sql("ALTER TABLE docs REPLICA IDENTITY FULL")
        for _ in range(3):
            world.add_replica()
        world.batch(2)
        world.check()
        yield world


def restarts(world, ends):
    before = world.handles()
    assert all(handle for _, _, handle in before)
    for end in ends:
        def restart(end=end):
            end()
            world.bridge.start()
        world.batch(0, restart)
        world.check()
    assert world.handles() == before


def test_no_trouble_ends_a_handle(quiet):
    """Of a shape whose table nobody truncated or altered."""
    before = quiet.handles()
    assert all(handle for _, _, handle in before)
    trouble(quiet, times=12)
    assert quiet.handles() == before


def test_bridge_that_is_stopped_keeps_every_handle(quiet):
    restarts(quiet, [quiet.bridge.stop] * 3)


def test_bridge_that_is_killed_keeps_every_handle(quiet):
    restarts(quiet, [quiet.bridge.kill9] * 5)


def test_restarted_or_killed_postgres_ends_no_handle(quiet):
    def restart():
        quiet.server.restart("fast")
        quiet.bridge.kill9()

    def crash():
        quiet.server.kill9()
        quiet.server.start()
        quiet.bridge.kill9()

    restarts(quiet, [restart, crash, crash])
