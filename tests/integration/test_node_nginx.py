"""Several nodes behind nginx, as docs/nginx.conf has it: each client at one node, always the same,
and at another one when that is gone."""

import json
import threading

import pytest
from harness import Bridge, Replica, ShapeReader, Stream, request, target, wait_for
from harness.nginx import Nginx

ITEMS = {"table": "items"}
JSON = [("content-type", "application/json")]


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, v text, owner int)")
    database.sql("INSERT INTO items SELECT n, 'x', n % 20 FROM generate_series(1, 100) n")
    return database


@pytest.fixture
def nodes(items, tmp_path):
    """Two bridges beside one database: their shapes have handles of their own, by which it shows
    who answers."""
    pair = [Bridge(items, data_dir=tmp_path / name, stream_id=name,
                   rules="[write items]\noperations = insert\n").start() for name in ("one", "two")]
    yield pair
    for node in pair:
        node.stop()


@pytest.fixture
def nginx(nodes, tmp_path):
    nginx = Nginx(nodes, tmp_path).start()
    yield nginx
    nginx.stop()


def streamed(nginx, name):
    """The handle that the replica `name` is given."""
    return Stream(nginx, ITEMS, replica=name).read().shapes[0].handle


def asked(nginx, headers=(("authorization", "past the cache"),), **shape):
    reply = request(nginx.port, "GET", target("/v1/shape", offset="-1", **shape), list(headers))
    assert reply.status == 200, reply
    return reply["electric-handle"]


def test_replica_is_always_at_the_same_node_and_replicas_are_at_all(nginx):
    first = {f"r{n}": streamed(nginx, f"r{n}") for n in range(20)}
    assert len(set(first.values())) == 2
    assert {name: streamed(nginx, name) for name in first} == first


@pytest.mark.parametrize("shape", [
    pytest.param(lambda n: {"table": "items", "where": f"owner = {n}"}, id="clause"),
    pytest.param(lambda n: {"table": "items", "where": "owner = $1", "params": {"1": str(n)}},
                 id="params"),
])
def test_clients_of_a_shape_are_at_one_node_and_shapes_are_at_all(nginx, nodes, shape):
    before = [served(node) for node in nodes]
    for n in range(20):
        handles = {asked(nginx, **shape(n)) for _ in range(4)}
        assert len(handles) == 1
    assert all(served(node) > was + 8 for node, was in zip(nodes, before))


def served(node):
    """How many requests it has answered."""
    return sum(value for name, value in node.metrics().items()
               if name.startswith("tombolo_http_requests_total"))


def test_writes_go_through_any_node_and_once(nginx, items):
    mutation = {"table": "items", "op": "insert", "key": {"id": "1000"},
                "values": {"id": "1000", "v": "new", "owner": "7"}}
    body = json.dumps({"replica": "writer", "transactions": [
        {"id": 1, "nonce": "n1", "marked": True, "mutations": [mutation]}]}).encode()
    for _ in range(4):
        answer = request(nginx.port, "POST", "/v1/write", JSON, body)
        assert answer.status == 200 and answer.json()["results"][0]["status"] == "applied", answer
    assert items.value("SELECT count(*) FROM items WHERE id = 1000") == 1


def parked(node):
    return node.metrics()["tombolo_http_connections"] - 1  # but for the one that asks


def test_clients_of_a_node_that_is_killed_go_on_at_the_other(nginx, nodes, items, tmp_path):
    files = [Replica(nodes[0], tmp_path / f"r{n}.db", ["items"], url=nginx.url).start()
             for n in range(6)]
    readers = [ShapeReader(nginx, table="items", where=f"owner = {n}").catch_up()
               for n in range(12)]
    for file in files:
        file.wait_for_rows("items", everything(items))
    assert all(node.metrics()["tombolo_clients"] > 0 for node in nodes)
    at_first = [asked(nginx, table="items", where=f"owner = {n}") for n in range(12)]
    assert [reader.handle for reader in readers] == at_first

    polls = [threading.Thread(target=reader.poll) for reader in readers]
    for poll in polls:
        poll.start()
    wait_for(lambda: sum(parked(node) for node in nodes) >= len(files) + len(readers))
    lost = {asked(nodes[0], table="items", where=f"owner = {n}") for n in range(12)}
    nodes[0].kill9()
    items.sql("INSERT INTO items SELECT 1000 + n, 'new', n FROM generate_series(0, 19) n")
    for poll in polls:
        poll.join(60)
    for n, reader in enumerate(readers):
        new = f'"public"."items"/"{1000 + n}"'
        wait_for(lambda reader=reader, new=new: new in reader.catch_up().rows(), what=new)
        assert len(reader.rows()) == 6
        assert reader.refetches == (at_first[n] in lost)  # the other node's clients noticed nothing
    for file in files:
        file.wait_for_rows("items", everything(items))

    nodes[0].start()
    items.sql("UPDATE items SET v = 'again'")
    for file in files:
        file.wait_for_rows("items", everything(items))
    # nginx looks at it again 10 s after it failed.
    wait_for(lambda: len({streamed(nginx, f"r{n}") for n in range(6)}) == 2,
             what="its clients to come back")
    for file in files:
        file.stop()


def everything(items):
    return items.sql("SELECT * FROM items")
