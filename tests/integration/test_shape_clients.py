"""Electric's own clients in Node, unchanged: @electric-sql/client and TanStack DB's collection.

Their versions are in tests/clients/package-lock.json. In every test the client's rows must come to
equal Postgres's; follow.mjs also checks each message as it comes.
"""

import contextlib
import json
import random
import threading
import time

import pytest
from harness import Bridge, NodeClient, Proxy, ShapeApi, wait_for

LIVE = [{}, {"liveSse": True}]
LIVE_IDS = ["long poll", "sse"]


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, v text, n int)")
    database.sql("INSERT INTO items SELECT i, 'v' || i, i % 10 FROM generate_series(1, 300) i")
    return database


@pytest.fixture
def bridge(items, tmp_path):
    """Small chunks, so that there are several; short long polls."""
    bridge = Bridge(items, data_dir=tmp_path / "bridge", chunk_size="5000",
                    long_poll_timeout="2s", allow_delete="true").start()
    yield bridge
    bridge.stop()


@pytest.fixture
def follow(bridge, tmp_path):
    """follow(params, **options): a client, started."""
    clients = []

    def start(params=None, url=None, **options):
        url = (url or bridge.url) + "/v1/shape"
        clients.append(NodeClient(tmp_path, url, params or {"table": "items"},
                                  name=f"client{len(clients)}", **options).start())
        return clients[-1]

    yield start
    for client in clients:
        client.stop()


def rows(database, query="SELECT * FROM items"):
    """As JSON has them."""
    return [row for (row,) in database.sql(f"SELECT to_jsonb(found) FROM ({query}) found")]


def change(database, round_no=0):
    """One of each, and a transaction with several."""
    base = 1000 * (round_no + 1)
    database.sql(f"INSERT INTO items VALUES ({base}, 'new', {round_no})")
    database.sql(f"UPDATE items SET v = 'changed {round_no}' WHERE id % 7 = {round_no % 7}")
    database.sql(f"UPDATE items SET id = {base + 1} WHERE id = {20 + round_no}")
    database.sql(f"DELETE FROM items WHERE id = {40 + round_no}; "
                 f"UPDATE items SET n = n + 1 WHERE n = {round_no % 10}; "
                 f"INSERT INTO items VALUES ({base + 2}, NULL, NULL)")


@pytest.mark.parametrize("live", LIVE, ids=LIVE_IDS)
def test_client_holds_what_postgres_holds(items, follow, live):
    client = follow(**live)
    client.wait_for_rows(rows(items))
    for n in range(5):
        change(items, n)
        client.wait_for_rows(rows(items))
    assert not client.errors() and not client.controls("must-refetch")


@pytest.mark.parametrize("live", LIVE, ids=LIVE_IDS)
def test_client_with_columns_and_a_clause_with_params(items, follow, live):
    client = follow({"table": "items", "columns": ["id", "n"], "where": "n = $1 OR v = $2",
                     "params": ["3", "new"]}, **live)
    wanted = "SELECT id, n FROM items WHERE n = 3 OR v = 'new'"
    client.wait_for_rows(rows(items, wanted))
    for n in range(3):
        change(items, n)
        client.wait_for_rows(rows(items, wanted))


def test_client_with_replica_full_gets_old_values(items, follow):
    client = follow({"table": "items", "replica": "full"}, messages=True)
    client.wait_for_rows(rows(items))
    items.sql("UPDATE items SET v = 'changed' WHERE id = 5")
    client.wait_for_rows(rows(items))
    (message,) = [said["message"] for said in client.said if "message" in said
                  and said["message"]["headers"]["operation"] == "update"]
    assert message["value"] == {"id": 5, "v": "changed", "n": 5}
    assert message["old_value"] == {"v": "v5"}


def test_types_are_parsed_by_the_schema(items, follow):
    items.sql("CREATE TABLE types (id int8 PRIMARY KEY, b bool NOT NULL, f float8, j jsonb, "
              "a int[], t timestamptz)")
    insert = ("INSERT INTO types VALUES ({}, true, 1.5, '{{\"a\": [1]}}', '{{1,2,NULL}}', "
              "'2024-01-01 12:00+00')")
    items.sql(insert.format(1))
    client = follow({"table": "types"})
    expected = {"b": True, "f": 1.5, "j": {"a": [1]}, "a": [1, 2, None],
                "t": "2024-01-01 12:00:00+00"}
    client.wait_for_rows([{"id": "1", **expected}])
    items.sql(insert.format(2))
    client.wait_for_rows([{"id": "1", **expected}, {"id": "2", **expected}])


def test_idle_sse_client_makes_three_requests_and_hears_one_up_to_date(items, follow):
    client = follow({"table": "items", "where": "n = 3"}, liveSse=True)
    client.wait_for_rows(rows(items, "SELECT * FROM items WHERE n = 3"))
    client.wait_for(lambda: len(client.requests()) >= 3, "the live request")
    items.sql("INSERT INTO items VALUES (9003, 'x', 3)")  # what comes next, so nothing came before
    client.wait_for_rows(rows(items, "SELECT * FROM items WHERE n = 3"))
    asked = [(r["query"].get("offset"), r["query"].get("live")) for r in client.requests()]
    assert asked == [("-1", None), ("0_0", None), ("0_inf", "true")]
    assert client.controls("up-to-date") == 2


@pytest.mark.parametrize("live", LIVE, ids=LIVE_IDS)
def test_truncate_makes_the_client_fetch_again(items, follow, live):
    client = follow(**live)
    client.wait_for_rows(rows(items))
    for n in range(3):
        items.sql(f"TRUNCATE items; INSERT INTO items VALUES ({n}, 'anew', 1)")
        client.wait_for_rows(rows(items))
    assert client.controls("must-refetch") >= 3 and not client.errors()


@pytest.mark.parametrize("live", LIVE, ids=LIVE_IDS)
def test_client_goes_on_through_restarts_and_kills_of_the_bridge(items, bridge, follow, live):
    """No must-refetch comes of it: the handle lives on."""
    client = follow(**live)
    client.wait_for_rows(rows(items))
    for n, end in enumerate((bridge.stop, bridge.kill9, bridge.kill9)):
        change(items, 2 * n)
        end()
        change(items, 2 * n + 1)
        bridge.start()
        client.wait_for_rows(rows(items), 60)
    assert not client.controls("must-refetch") and not client.errors()


@pytest.mark.parametrize("live", LIVE, ids=LIVE_IDS)
def test_client_goes_on_after_its_connections_are_cut(items, bridge, follow, live):
    with Proxy(bridge.port) as proxy:
        client = follow(url=proxy.url, **live)
        client.wait_for_rows(rows(items))
        for n in range(4):
            change(items, n)
            proxy.cut()
            client.wait_for_rows(rows(items))
    assert not client.controls("must-refetch")


def test_storm_of_refetches_ends_with_the_right_rows(items, bridge, follow):
    """Shapes are ended again and again under five clients; none gives up, none keeps old rows."""
    clients = [follow(liveSse=n % 2 == 1) for n in range(5)]
    for client in clients:
        client.wait_for_rows(rows(items))
    api = ShapeApi(bridge)
    for n in range(8):
        change(items, n)
        assert api.get(method="DELETE", table="items").status in (202, 404)
        # Five requests at one offset in 500 ms are a loop to the client: it begins anew without
        # telling its subscribers, who then keep the rows of before. That is not ours to test.
        time.sleep(0.25)
    for client in clients:
        client.wait_for_rows(rows(items), 60)
        assert client.controls("must-refetch") and not client.errors()
    change(items, 8)
    for client in clients:
        client.wait_for_rows(rows(items))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_subset_snapshots_are_merged_with_the_log(items, follow, method):
    client = follow(log="changes_only", subsetMethod=method)
    client.wait_for(lambda: client.controls("up-to-date"), "it to be up to date")
    assert not client.rows
    found = client.do("snapshot", params={"where": "n = $1", "params": {"1": "4"},
                                          "orderBy": "id DESC", "limit": 5})
    assert len(found["data"]) == 5
    first = "SELECT * FROM items WHERE n = 4 ORDER BY id DESC LIMIT 5"
    wanted = rows(items, first)
    client.wait_for_rows(wanted)
    items.sql("UPDATE items SET v = 'seen' WHERE id = 294; DELETE FROM items WHERE id = 284")
    client.wait_for_rows([{**row, "v": "seen"} if row["id"] == 294 else row for row in wanted
                          if row["id"] != 284])


@contextlib.contextmanager
def writing(database, table, ids):
    """Somebody who inserts, updates and deletes at random all the time."""
    end, done = threading.Event(), [0]

    def write():
        with contextlib.closing(database.connect()) as connection:
            cursor = connection.cursor()
            while not end.is_set():
                at = random.randrange(ids)
                cursor.execute(
                    f"UPDATE {table} SET n = n + 1 WHERE id IN ({at}, {at * 7 % ids});"
                    f"DELETE FROM {table} WHERE id = {at * 13 % ids};"
                    f"INSERT INTO {table} VALUES ({at * 17 % ids}, 'written', {done[0]})"
                    " ON CONFLICT (id) DO UPDATE SET v = excluded.v")
                done[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield done
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("live", LIVE, ids=LIVE_IDS)
def test_snapshots_of_a_table_that_is_written_to_lose_no_change(database, bridge, follow, live):
    """Each answer's offset becomes the client's: it must not be past changes of rows that the
    client has from elsewhere."""
    total, part = 20000, 500
    database.sql("CREATE TABLE large (id int PRIMARY KEY, v text, n int);"
                 f"INSERT INTO large SELECT i, 'v' || i, 0 FROM generate_series(0, {total - 1}) i")
    client = follow({"table": "large"}, log="changes_only", offset="now", quiet=True, **live)
    client.wait_for(lambda: client.controls("up-to-date"), "it to be up to date")

    def snapshots(starts):
        """The writer must have come on since: this client takes five requests at one offset for a
        loop, and begins anew, from "now"."""
        before = done[0]
        wait_for(lambda: done[0] > before, 60, "the writer")
        return client.do("snapshots", 60, each=[
            {"where": "id >= $1 AND id < $2", "params": {"1": str(i), "2": str(i + part)},
             "orderBy": "id"} for i in starts])

    with writing(database, "large", total) as done:
        for start in range(0, total, 4 * part):
            assert snapshots(range(start, start + 4 * part, part)) > part
        for _ in range(20):
            snapshots(random.randrange(total - part) for _ in range(2))
    assert done[0] > 100
    wanted = sorted(database.sql("SELECT id, v, n FROM large"))

    def held():
        return sorted((row["id"], row["v"], row["n"]) for row in client.do("rows"))
    wait_for(lambda: held() == wanted, 60,
             lambda: f"other than {sorted(set(held()) ^ set(wanted))[:10]}\n{client.tail()}",
             interval=0.5)
    assert not client.errors() and not client.controls("must-refetch")


def test_wrong_clause_is_an_error_and_not_a_loop(items, follow):
    client = follow({"table": "items", "where": "nope = 1"})
    client.wait_for(lambda: any(error["status"] == 400 for error in client.errors()), "the 400")
    assert len(client.requests()) == 1


def test_refresh_of_a_client_that_waits(items, follow):
    client = follow()
    client.wait_for_rows(rows(items))
    client.do("refresh")
    change(items)
    client.wait_for_rows(rows(items))


@pytest.mark.parametrize("mode", ["eager", "progressive"])
def test_collection_of_tanstack_holds_what_postgres_holds(items, follow, mode):
    client = follow(use="collection", syncMode=mode)
    client.wait_for_rows(rows(items))
    for n in range(3):
        change(items, n)
        client.wait_for_rows(rows(items))
    assert not client.errors()


def test_collection_sees_the_transaction_that_it_waits_for(items, follow):
    client = follow(use="collection")
    client.wait_for_rows(rows(items))
    (txid,), = items.sql("INSERT INTO items VALUES (5000, 'mine', 1) "
                         "RETURNING pg_current_xact_id()::xid::text::bigint")
    assert client.do("awaitTxId", txid=txid) is True
    client.wait_for_rows(rows(items))


def test_collection_on_demand_fetches_what_its_queries_ask_for(items, follow):
    client = follow(use="collection", syncMode="on-demand")
    found = client.do("query", below=2)
    assert [row["id"] for row in found] == [id for (id,) in items.sql(
        "SELECT id FROM items WHERE n < 2 ORDER BY id DESC")]
    assert any("subset__where" in request["query"] or request["method"] == "POST"
               for request in client.requests()), json.dumps(client.requests())
