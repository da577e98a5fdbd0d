"""Behind nginx with a cache, as docs/nginx.conf has it: asked once for all, and never the wrong thing."""

import gzip
import json
import threading

import pytest
from harness import Bridge, Connection, NodeClient, ShapeReader, request, target, wait_for
from harness.nginx import Nginx

CLIENTS = 10


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, v text, owner int)")
    database.sql("INSERT INTO items SELECT n, 'secret of ' || n % 2, n % 2 "
                 "FROM generate_series(1, 100) n")
    return database


@pytest.fixture
def site(items, tmp_path):
    """site(**settings): nginx before a bridge with these."""
    started = []

    def make(**settings):
        bridge = Bridge(items, data_dir=tmp_path / "bridge", **settings).start()
        started.append(bridge)
        nginx = Nginx(bridge, tmp_path).start()
        started.append(nginx)
        return nginx

    yield make
    for process in reversed(started):
        process.stop()


class Asking:
    """Requests through nginx. `seen`: how the cache answered each, every answer looked at."""

    def __init__(self, nginx):
        self.port, self.seen = nginx.port, []

    def get(self, headers=(), **params):
        return self.look(request(self.port, "GET", target("/v1/shape", **params), headers))

    def look(self, reply):
        assert "set-cookie" not in reply, reply
        self.seen.append(reply["x-cache-status"])
        return reply


def served(bridge):
    """How many requests it has answered before this one, which counts for the next."""
    return sum(value for name, value in bridge.metrics().items()
               if name.startswith("tombolo_http_requests_total"))


def test_ten_waiting_clients_cost_one_request(site, items):
    nginx = site(long_poll_timeout="20s")
    ask = Asking(nginx)
    handle = ask.get(table="items", offset="-1")["electric-handle"]
    live = target("/v1/shape", table="items", offset="0_inf", handle=handle, live="true",
                  cursor="12345")
    before = served(nginx.bridge)
    parked = [Connection(nginx.port).send("GET", live) for _ in range(CLIENTS)]
    items.sql("INSERT INTO items VALUES (1000, 'new', 0)")
    replies = [ask.look(connection.receive()) for connection in parked]
    assert {reply.body for reply in replies} == {replies[0].body}
    assert replies[0].json()[0]["value"]["id"] == "1000"
    assert sorted(ask.seen[1:]) == ["HIT"] * (CLIENTS - 1) + ["MISS"]
    assert served(nginx.bridge) - before - 1 == 1


def test_clients_in_step_cost_one_request_a_window(site, items):
    """Readers that follow the protocol, cursor and all; each sees every row."""
    nginx = site(long_poll_timeout="20s")
    readers = [ShapeReader(nginx, table="items", where="owner = 1") for _ in range(CLIENTS)]
    for reader in readers:
        reader.catch_up()
    before, rounds = served(nginx.bridge), 5

    def follow(reader):
        while len(reader.rows()) < 50 + rounds:
            reader.poll()

    threads = [threading.Thread(target=follow, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for n in range(rounds):
        items.sql(f"INSERT INTO items VALUES ({1001 + 2 * n}, 'new', 1)")
        wait_for(lambda n=n: all(len(r.rows()) > 50 + n for r in readers), 60, "all to see it")
    for thread in threads:
        thread.join(60)
    # One each round, and one more for each window that began meanwhile (20 s: perhaps one).
    assert rounds <= served(nginx.bridge) - before - 1 <= rounds + 3
    assert all(reader.refetches == 0 for reader in readers)


def test_electrics_clients_work_behind_it(site, items, tmp_path):
    nginx = site(long_poll_timeout="2s")
    clients = [NodeClient(tmp_path, f"{nginx.url}/v1/shape", {"table": "items"}, f"c{sse}",
                          liveSse=sse).start() for sse in (False, True)]

    def check():
        wanted = [row for (row,) in items.sql("SELECT to_jsonb(items) FROM items")]
        for client in clients:
            client.wait_for_rows(wanted)

    check()
    for n in range(3):
        items.sql(f"UPDATE items SET v = 'x{n}' WHERE id % 3 = {n}; DELETE FROM items WHERE id = {n + 1}")
        check()
    items.sql("TRUNCATE items; INSERT INTO items VALUES (1, 'anew', 1)")
    check()
    nginx.bridge.restart()
    items.sql("INSERT INTO items VALUES (2, 'after', 1)")
    check()
    for client in clients:
        client.stop()


def test_nothing_of_one_shape_is_served_to_another(site, items):
    nginx = site()
    ask = Asking(nginx)
    for _ in range(2):
        for owner in (0, 1):
            for where in ({"where": f"owner = {owner}"},
                          {"where": "owner = $1", "params": {"1": owner}}):
                reply = ask.get(table="items", offset="-1", **where)
                owners = {row["value"]["owner"] for row in reply.json() if "key" in row}
                assert owners == {str(owner)}
    assert ask.seen == ["MISS"] * 4 + ["HIT"] * 4


def test_who_has_not_the_secret_finds_nothing(site):
    """Also not what was cached for who has it; a refusal is not cached for who has it either."""
    nginx = site(secret="right")
    ask = Asking(nginx)
    shape = {"table": "items", "offset": "-1"}
    for _ in range(2):
        assert ask.get(secret="right", **shape).status == 200
        for params in ({}, {"secret": "wrong"}, {"secret": ""}, {"secret": "rightx"}):
            reply = ask.get(**shape, **params)
            assert reply.status == 401 and b"secret of" not in reply.body
    assert [seen for seen in ask.seen if seen == "HIT"] == ["HIT"]
    bearer = [("authorization", "Bearer right")]
    assert ask.get(bearer, **shape).status in (200, 401)
    assert ask.get(**shape).status == 401


def test_pages_of_every_origin_share_an_answer(site):
    ask = Asking(site())
    for origin in ("https://a.example", "https://b.example", None):
        reply = ask.get([("origin", origin)] if origin else [], table="items", offset="-1")
        assert reply["access-control-allow-origin"] == "*"
        assert "electric-handle" in reply["access-control-expose-headers"]
    assert ask.seen == ["MISS", "HIT", "HIT"]


def test_each_encoding_is_cached_for_itself(site):
    ask = Asking(site())
    for _ in range(3):
        plain = ask.get(table="items", offset="-1")
        gzipped = ask.get([("accept-encoding", "gzip")], table="items", offset="-1")
        assert "content-encoding" not in plain and len(plain.json()) == 101
        assert gzipped["content-encoding"] == "gzip"
        assert gzip.decompress(gzipped.body) == plain.body
    assert ask.seen.count("MISS") <= 2 and ask.seen[-2:] == ["HIT", "HIT"]


def test_stale_answer_is_served_while_a_new_one_is_fetched(site, items):
    nginx = site(cache_max_age="1s", cache_stale_age="300s")
    ask = Asking(nginx)
    handle = ask.get(table="items", offset="-1")["electric-handle"]
    asked = {"table": "items", "offset": "0_0", "handle": handle}
    assert "lsn" not in ask.get(**asked).body.decode().replace("last_seen_lsn", "")
    items.sql("INSERT INTO items VALUES (1000, 'new', 0)")
    wait_for(lambda: b'"1000"' in ask.get(**asked).body, 60, "the new row", 0.1)
    wait_for(lambda: ask.get(**asked) and {"HIT", "STALE"} <= set(ask.seen), 60,
             lambda: f"what is kept, and what was: {ask.seen}", 0.1)
    assert "EXPIRED" not in ask.seen


def test_answer_that_still_holds_is_revalidated_without_a_body(site, items):
    nginx = site(cache_max_age="1s", cache_stale_age="0")
    ask = Asking(nginx)
    handle = ask.get(table="items", offset="-1")["electric-handle"]
    reader = ShapeReader(nginx.bridge, table="items").catch_up()
    items.sql("INSERT INTO items VALUES (1000, 'new', 0)")
    wait_for(lambda: reader.catch_up() and len(reader.rows()) == 101, 60)
    asked = {"table": "items", "offset": "0_0", "handle": handle}
    first = ask.get(**asked)
    wait_for(lambda: ask.get(**asked)["x-cache-status"] == "REVALIDATED", 60,
             lambda: f"a revalidation: {ask.seen}", 0.1)
    assert ask.get(**asked).body == first.body
    metrics = nginx.bridge.metrics()
    assert metrics['tombolo_http_requests_total{class="3xx"}'] >= 1, json.dumps(metrics)


def test_end_of_a_shape_passes_through_the_cache(site, items):
    nginx = site(long_poll_timeout="20s")
    reader = ShapeReader(nginx, table="items").catch_up()
    old = reader.handle
    thread = threading.Thread(target=reader.poll)
    thread.start()
    items.sql("TRUNCATE items; INSERT INTO items VALUES (7, 'anew', 0)")
    thread.join(60)
    wait_for(lambda: reader.catch_up() and reader.values() and reader.handle != old, 60)
    assert [row["id"] for row in reader.rows().values()] == ["7"] and reader.refetches >= 1
