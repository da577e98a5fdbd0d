"""What every integration test can ask for.

    database      a fresh database in a running server, once for each version of --pg
    module_database   the same, one for all tests of a file
    shape_bridge, api   a bridge beside `module_database` and its /v1/shape, likewise
    kafka         a running broker, one for all tests
    prefix        of the test's topics there
    own_postgres  a server of the test's own, to be stopped and killed, once for each version
    bridge        a running bridge beside `database`
    make_bridge   make_bridge(postgres, name="bridge", **settings): a Bridge in the folder of that
                  name, not started, and stopped with exit code 0 at the end
    make_module_bridge   the same for a file, each with a folder and a stream of its own
    make_replica  make_replica(shapes, name="replica"): a Replica of that bridge, not started

A test that fails shows the end of the logs of all that it started. A sanitizer report in one
of those logs fails the test.
"""

import itertools
import random
import uuid

import pytest
from harness import Bridge, Kafka, Postgres, Process, Replica, ShapeApi
from harness.postgres_builds import default_version

SERVERS = {}  # version: the running Postgres that the tests share
SHARED = []  # what else outlives a test, even one that has restarted it
RUN = uuid.uuid4().hex[:8]  # so that the topics of an earlier run in the same brokers are others
NAMES = (f"test_{RUN}_{n}" for n in itertools.count(1))
PREFIXES = (f"shop_{RUN}_{n}" for n in itertools.count(1))


def pytest_addoption(parser):
    parser.addoption("--pg", default=None, help="versions of Postgres, as 15,16,17,18; "
                     "default: the newest that the distribution has")
    parser.addoption("--seed", type=int, help="of the random tests, to repeat one; default: any")
    parser.addoption("--soak", action="store_true", help="also the tests that take long")


def pytest_generate_tests(metafunc):
    if "pg_version" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--pg")
        versions = [int(v) for v in asked.split(",")] if asked else [default_version()]
        metafunc.parametrize("pg_version", versions, ids=lambda v: f"pg{v}", scope="session")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--soak"):
        return
    long = [item for item in items if item.get_closest_marker("soak")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        servers = [s.process for s in SERVERS.values() if "database" in item.fixturenames]
        for process in dict.fromkeys(Process.started + servers):
            report.sections.append((f"{process.name}: {process.log_path}", process.log_tail()))


@pytest.hookimpl(trylast=True)  # after what is left of the modules' fixtures
def pytest_sessionfinish():
    for server in SERVERS.values():
        server.destroy()


@pytest.fixture(autouse=True)
def processes():
    """Ends what the test left running, after all other fixtures, and looks for reports."""
    Process.started.clear()
    yield
    servers = [server.process for server in SERVERS.values()]
    mine = [process for process in Process.started if process not in servers + SHARED]
    for process in mine:
        process.kill9()
    reports = [report for process in mine if (report := process.sanitizer_report())]
    assert not reports, "a sanitizer reports:\n" + "\n".join(reports)


@pytest.fixture
def seed(request):
    """What a test's random choices come from."""
    given = request.config.getoption("--seed")
    return random.randrange(10**6) if given is None else given


def fresh_database(pg_version):
    if pg_version not in SERVERS:
        SERVERS[pg_version] = Postgres(pg_version).start()
    database = SERVERS[pg_version].create_database(next(NAMES))
    yield database
    database.drop()


database = pytest.fixture(fresh_database)
# For files of many small tests that share what they run against.
module_database = pytest.fixture(fresh_database, scope="module")


@pytest.fixture(scope="session")
def kafka():
    """A broker for all tests; each has topics of its own."""
    with Kafka() as broker:
        SHARED.append(broker.process)
        yield broker


@pytest.fixture
def prefix():
    """What the names of the test's topics begin with; of no other test, nor of another run."""
    return next(PREFIXES)


@pytest.fixture(scope="module")
def shape_bridge(module_database, tmp_path_factory):
    """A bridge for the contract's tests: chunks of 10,000 bytes, long polls of a second."""
    bridge = Bridge(module_database, data_dir=tmp_path_factory.mktemp("shape") / "bridge",
                    chunk_size="10000", long_poll_timeout="1s", allow_delete="true").start()
    yield bridge
    bridge.stop()
    assert not bridge.process.sanitizer_report(), bridge.process.sanitizer_report()


@pytest.fixture
def api(shape_bridge):
    """A bridge that a test ends is started again, so that the next tests have one."""
    yield ShapeApi(shape_bridge)
    if not shape_bridge.alive:
        code, tail = shape_bridge.process.returncode, shape_bridge.process.log_tail()
        shape_bridge.start()
        pytest.fail(f"the bridge ended with {code}\n{tail}")


@pytest.fixture
def own_postgres(pg_version):
    server = Postgres(pg_version).start()
    yield server
    server.destroy()


@pytest.fixture
def make_bridge(tmp_path):
    made = []

    def make(postgres, name="bridge", **settings):
        made.append(Bridge(postgres, data_dir=tmp_path / name, **settings))
        return made[-1]

    yield make
    for bridge in made:
        bridge.stop()


@pytest.fixture(scope="module")
def make_module_bridge(tmp_path_factory):
    made = []

    def make(postgres, **settings):
        settings.setdefault("stream_id", f"stream{len(made)}")
        made.append(Bridge(postgres, data_dir=tmp_path_factory.mktemp("bridge") / "bridge",
                           **settings))
        return made[-1]

    yield make
    for bridge in made:
        bridge.stop()
        assert not bridge.process.sanitizer_report(), bridge.process.sanitizer_report()


@pytest.fixture
def bridge(database, make_bridge):
    return make_bridge(database).start()


@pytest.fixture
def make_replica(bridge, tmp_path):
    made = []

    def make(shapes, name="replica", **options):
        replica = Replica(bridge, tmp_path / f"{name}.db", shapes, **options)
        made.append(replica)
        return replica

    yield make
    for replica in made:
        replica.stop()
