"""POST /v1/write over real HTTP, with a real Postgres behind the bridge. What the statements do is
test_write_apply.py's; here is what the wire, the workers and the bridge's life add."""

import concurrent.futures
import contextlib
import itertools
import json
import random
import signal
import time

import pytest
from harness import Bridge, Proxy, wait_for
from harness.http_raw import Connection, request
from harness.token import SECRET, token
from test_write_apply import insert, named, pause, txn, update

pytestmark = [pytest.mark.sanitized]

RULES = """
[write items]
operations = insert, update, delete
conflict.qty = counter
"""
OWNED = """
[write items]
operations = insert, update, delete
check = owner = auth.sub
set.owner = auth.sub
"""


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, qty int, note text, owner text)")
    return database


@pytest.fixture
def make_bridge(make_bridge):
    def make(postgres, rules=RULES, **settings):
        return make_bridge(postgres, rules=rules, **settings).start()

    return make


@pytest.fixture
def bridge(items, make_bridge):
    return make_bridge(items)


@pytest.fixture
def owned(items, make_bridge):
    return make_bridge(items, OWNED, token_secret=SECRET, secret="s3cret")


def bearer(text):
    return {"authorization": f"Bearer {text}"}


def body(*txns, replica="r1", **fields):
    return {"replica": replica, "transactions": list(txns), **fields}


def post(bridge, *txns, headers=None, **fields):
    return bridge.post("/v1/write", body(*txns, **fields), timeout=60.0, **(headers or {}))


def results(bridge, *txns, **fields):
    answer = post(bridge, *txns, **fields)
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["results"]


def rows(database, columns="id, qty"):
    return database.sql(f"SELECT {columns} FROM items ORDER BY 1")


def ask(bridge, *nonces, headers=None, **fields):
    return bridge.post("/v1/write", {"replica": "r1", "decided": [str(n) for n in nonces],
                                     **fields}, **(headers or {}))


# ---- answers ---------------------------------------------------------------------------------


def test_a_write_is_in_postgres_when_it_is_answered(items, bridge):
    answer = post(bridge, txn(1, insert(1, qty="5")),
                  txn(2, insert(1), update(1, {"qty": "6"}, {"qty": "5"})))
    assert answer.status == 200
    said = answer.json()
    one, two = said["results"]
    assert said["last"] == 2
    assert (one["id"], one["status"], "repeated" in one) == (1, "applied", False)
    assert int(one["xid"]) > 0 and int(one["lsn"]) > 0
    assert (two["id"], two["status"]) == (2, "partly")
    assert [(r["mutation"], r["code"], r["sqlstate"]) for r in two["rejected"]] == [
        (0, "refused", "23505")]
    assert "duplicate key" in two["rejected"][0]["message"]
    assert rows(items) == [(1, 6)]


def test_a_repeated_request_is_answered_alike_and_changes_nothing(items, bridge):
    same = [txn(1, insert(1, qty="5")), txn(2, insert(1))]
    first, again = results(bridge, *same), results(bridge, *same)
    assert [r["status"] for r in first] == [r["status"] for r in again] == ["applied", "rejected"]
    assert all(r["repeated"] for r in again) and again[1]["rejected"] == first[1]["rejected"]
    assert rows(items) == [(1, 5)]


def test_a_body_that_is_wrong_is_refused_with_the_place(bridge):
    for wrong, place in [
            (b"{", "body"), (b"[]", "body"), ({"transactions": []}, "replica"),
            (body(replica="a/b"), "replica"), (body({"id": 1, "nonce": "n"}), "transactions[0]."
                                                                              "mutations"),
            (body(txn(1, insert(1, qty=5))), "transactions[0].mutations[0].values.qty"),
            (body(more=1), "more")]:
        answer = bridge.post("/v1/write", wrong)
        assert (answer.status, answer.json()["place"]) == (400, place), answer
        assert answer.json()["message"]


def test_what_is_too_large_is_refused_and_changes_nothing(items, bridge):
    large = post(bridge, txn(1, insert(1, note="x" * 9 * 1024 * 1024)))
    assert (large.status, large.json()["place"]) == (413, "body")
    many = post(bridge, *[txn(i, insert(i)) for i in range(1, 10_001)])
    assert (many.status, many.json()["place"]) == (413, "transactions")
    crowd = post(bridge, txn(1, *[insert(i) for i in range(10_001)]))
    assert (crowd.status, crowd.json()["place"]) == (413, "transactions[0].mutations")
    for deep in (b"[" * 1_000_000, b'{"a":' * 1_000_000):
        answer = bridge.post("/v1/write", deep)
        assert (answer.status, answer.json()["place"]) == (413, "body")
    assert rows(items) == []
    assert results(bridge, *[txn(i, insert(i)) for i in range(1, 1001)])[-1]["id"] == 1000


def test_a_hundred_megabytes_are_refused_by_their_head(bridge):
    connection = Connection(bridge.port)
    connection.send("POST", "/v1/write", [("content-length", str(100 * 1024 * 1024))])
    reply = connection.receive()
    assert reply.status == 413 and reply.json()["place"] == "body"
    connection.close()


def test_how_much_a_request_may_have_is_a_setting(items, make_bridge):
    bridge = make_bridge(items, write_max_body="1KB", write_max_transactions="1",
                         write_max_mutations="2")
    assert post(bridge, txn(1, insert(1, note="x" * 1024))).status == 413
    assert post(bridge, txn(1, insert(1)), txn(2, insert(2))).status == 413
    assert post(bridge, txn(1, insert(1), insert(2), insert(3))).status == 413
    assert results(bridge, txn(1, insert(1), insert(2)))[0]["status"] == "applied"


def test_a_browser_may_ask_from_anywhere(bridge):
    reply = request(bridge.port, "OPTIONS", "/v1/write",
                    [("access-control-request-headers", "authorization")])
    assert reply.status == 204
    assert reply["access-control-allow-methods"] == "POST, OPTIONS"
    assert bridge.get("/v1/write").status == 405


def test_without_rules_nothing_can_be_written(items, make_bridge):
    bridge = make_bridge(items, "")
    answer = post(bridge, txn(1, insert(1)))
    assert answer.status == 403 and answer.json()["message"]
    assert items.value("SELECT to_regclass('tombolo.replicas')") is None
    assert rows(items) == []


# ---- who -------------------------------------------------------------------------------------


def test_each_subject_writes_its_own_rows_under_its_own_replicas(items, owned):
    alice, bob = bearer(token(sub="alice")), bearer(token(sub="bob"))
    assert results(owned, txn(1, insert(1, qty="1")), headers=alice)[0]["status"] == "applied"
    refused = post(owned, txn(2, insert(2)), headers=bob)
    assert refused.status == 403 and "another subject" in refused.json()["message"]
    [other] = results(owned, txn(1, update(1, {"qty": "9"})), replica="r2", headers=bob)
    assert other["rejected"][0]["code"] == "missing"
    assert rows(items, "id, qty, owner") == [(1, 1, "alice")]


ROLES = """
[write app.items]
operations = insert
role = auth.role
"""


@pytest.fixture
def two_roles(database):
    """Both may write to the table, but only the first may use its schema."""
    roles = [f"{kind}_{database.name}" for kind in ("inside", "outside")]
    database.sql(f"""CREATE ROLE {roles[0]} NOLOGIN; CREATE ROLE {roles[1]} NOLOGIN;
        CREATE SCHEMA app; CREATE TABLE app.items (id int PRIMARY KEY);
        GRANT ALL ON app.items TO PUBLIC; GRANT USAGE ON SCHEMA app TO {roles[0]}""")
    yield roles
    for role in roles:
        database.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_what_one_role_has_prepared_is_not_anothers(database, two_roles, make_bridge):
    bridge = make_bridge(database, ROLES, token_secret=SECRET, secret="s3cret",
                         write_connections=1)
    said = [[results(bridge, txn(n, insert(10 * n + i, "app.items")), replica=role,
                     headers=bearer(token(sub=role, role=role)))[0]["status"] for n in (1, 2, 3)]
            for i, role in enumerate(two_roles)]
    assert said == [["applied"] * 3, ["rejected"] * 3]


@pytest.mark.parametrize("kind", ["STABLE", "IMMUTABLE"])
def test_whom_a_policy_takes_a_bearer_for_is_not_kept(items, make_bridge, kind):
    """Also where its function says by mistake that it gives the same to everybody."""
    role = f"app_{items.name}"
    items.sql(f"""CREATE ROLE {role} NOLOGIN; GRANT ALL ON items TO {role};
        CREATE FUNCTION me() RETURNS text LANGUAGE sql {kind} AS
        $$ SELECT current_setting('request.jwt.claims')::json->>'sub' $$;
        ALTER TABLE items ENABLE ROW LEVEL SECURITY;
        CREATE POLICY mine ON items TO {role} USING (owner = me())""")
    bridge = make_bridge(items, f"[write items]\noperations = insert\nrole = {role}\n",
                         token_secret=SECRET, secret="s3cret", write_connections=1)

    def write(who, number, owner):
        [result] = results(bridge, txn(number, insert(1000 * len(who) + number, owner=owner)),
                           replica=who, headers=bearer(token(sub=who)))
        return result["status"]

    try:
        assert {write("ann", n, "ann") for n in range(1, 20)} == {"applied"}
        said = [write("robert", n, owner) for n, owner in enumerate(["robert", "ann", "robert"], 1)]
        assert said == ["applied", "rejected", "applied"]
    finally:
        items.sql(f"DROP POLICY mine ON items; DROP OWNED BY {role}; DROP ROLE {role}")


def test_who_is_nobody_cannot_write(items, owned):
    assert post(owned, txn(1, insert(1))).status == 401
    assert post(owned, txn(1, insert(1)), headers=bearer("nonsense")).status == 401
    late = bearer(token(sub="alice", seconds=-99))
    assert post(owned, txn(1, insert(1)), headers=late).status == 401
    nobody = post(owned, txn(1, insert(1)), headers=bearer(token()))
    assert nobody.status == 403 and "sub" in nobody.json()["message"]
    assert rows(items) == []


def test_the_operator_has_no_claims(items, owned):
    [result] = results(owned, txn(1, insert(1)), headers=bearer("s3cret"))
    assert result["rejected"][0]["code"] == "not_allowed"
    assert rows(items) == []


def test_replicas_of_a_subject_are_limited_by_a_setting(items, make_bridge):
    bridge = make_bridge(items, OWNED, token_secret=SECRET, secret="s3cret", write_max_replicas="1")
    ann, bob = (bearer(token(sub=sub)) for sub in ("ann", "bob"))
    assert results(bridge, txn(1, insert(1)), replica="a1", headers=ann)
    refused = post(bridge, txn(1, insert(2)), replica="a2", headers=ann)
    assert refused.status == 403 and "max_replicas" in refused.json()["message"]
    assert post(bridge, replica="a3", headers=ann).json() == {"last": 0, "results": []}
    assert results(bridge, txn(2, insert(3)), replica="a1", headers=ann)
    assert results(bridge, txn(1, insert(4)), replica="b1", headers=bob)
    assert items.sql("SELECT replica FROM tombolo.replicas ORDER BY 1") == [("a1",), ("b1",)]


# ---- forks -----------------------------------------------------------------------------------


def test_a_fork_is_told_what_was_decided_and_goes_on_as_another(items, bridge):
    """A file is copied; both copies write. The second is refused, asks, and takes another id."""
    results(bridge, txn(1, named(11, insert(1))))
    written, = results(bridge, txn(2, named(12, insert(2)), named(13, insert(1))))
    clone = post(bridge, txn(2, named(12, insert(2)), named(14, insert(3))))
    assert clone.status == 409
    assert {**clone.json(), "message": ""} == {"message": "", "fork": True, "last": 2}
    known = ask(bridge, 12, 14, family="r1").json()
    assert known["decided"] == ["12"]
    assert int(known["since"]) <= time.time() * 1e6
    assert int(known["lsn"]) >= int(written["lsn"])
    assert results(bridge, txn(1, named(14, insert(3))), replica="r1x",
                   family="r1")[0]["status"] == "applied"
    assert ask(bridge, 11, 12, 13, 14, family="r1").json()["decided"] == ["11", "12", "13", "14"]
    assert rows(items, "id") == [(1,), (2,), (3,)]


def test_only_its_own_subject_is_told_what_was_decided(owned):
    results(owned, txn(1, named(5, insert(1))), headers=bearer(token(sub="alice")))
    assert ask(owned, 5, headers=bearer(token(sub="alice"))).json()["decided"] == ["5"]
    assert ask(owned, 5, headers=bearer(token(sub="bob"))).status == 403
    assert ask(owned, 5, replica="r2", family="r1",
               headers=bearer(token(sub="bob"))).json()["decided"] == []


# ---- groups ----------------------------------------------------------------------------------


def test_a_group_whose_commit_fails_keeps_what_was_not_at_fault(items, bridge):
    """A constraint trigger that fires at the commit alone, whatever is set immediate."""
    items.sql("""CREATE FUNCTION no_seven() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF (SELECT count(*) FROM items WHERE qty = 7) > 0 THEN
                 RAISE EXCEPTION 'seven'; END IF; RETURN NULL; END $$;
                 CREATE CONSTRAINT TRIGGER seven AFTER INSERT ON items
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no_seven()""")
    said = results(bridge, *[txn(i, insert(i, qty=str(i))) for i in range(1, 101)])
    assert [r["id"] for r in said if r["status"] != "applied"] == [7]
    assert said[6]["rejected"][0]["sqlstate"] == "P0001"
    assert [i for i, _ in rows(items)] == [i for i in range(1, 101) if i != 7]
    assert items.value("SELECT last_id FROM tombolo.replicas") == 100


def test_a_deferred_constraint_waits_for_the_triggers_of_a_write(items, bridge):
    """One that is not deferred would refuse the trigger's row: its item is not there yet."""
    items.sql("""CREATE TABLE log (item int REFERENCES items DEFERRABLE INITIALLY DEFERRED);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO log VALUES (NEW.id); RETURN NEW; END $$;
        CREATE TRIGGER note BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION note()""")
    for n in range(1, 4):
        [result] = results(bridge, txn(n, insert(n)))
        assert result["status"] == "applied", result
    assert items.sql("SELECT item FROM log ORDER BY 1") == [(1,), (2,), (3,)]


def test_a_refused_write_holds_up_none_behind_it(items, bridge):
    said = results(bridge, txn(1, insert(1)), txn(2, insert(1)), txn(3, {
        "table": "secrets", "op": "insert", "key": {"id": "1"}}), txn(4, insert(2)))
    assert [r["status"] for r in said] == ["applied", "rejected", "rejected", "applied"]
    assert said[2]["rejected"][0]["code"] == "not_allowed"
    assert items.sql("SELECT id, mutation, subject FROM tombolo.rejections ORDER BY 1") == [
        (2, 0, ""), (3, 0, "")]
    results(bridge, acknowledged=3)
    assert items.sql("SELECT id FROM tombolo.rejections") == []


# ---- many at a time --------------------------------------------------------------------------


def test_replicas_that_write_at_once_share_commits_and_not_what_is_refused(items, bridge):
    items.sql("INSERT INTO items VALUES (0)")
    replicas = [f"r{n}" for n in range(16)]
    kinds = {0: (insert(0), "refused"), 1: (update(-1, {"note": "x"}), "missing")}
    expected = {0}

    def write(turn, n):
        mutation, code = kinds.get((turn + n) % 4, (insert(turn * 100 + n + 1), None))
        [result] = results(bridge, txn(turn, mutation), replica=replicas[n])
        assert [r["code"] for r in result.get("rejected", [])] == ([code] if code else [])
        if not code:
            expected.add(turn * 100 + n + 1)
        return None if code else result["xid"]

    with concurrent.futures.ThreadPoolExecutor(len(replicas)) as threads:
        for turn in range(1, 100):
            xids = [x for x in threads.map(lambda n, t=turn: write(t, n), range(16)) if x]
            if turn > 5 and len(set(xids)) < len(xids):
                break
    assert len(set(xids)) < len(xids)
    assert {key for key, in rows(items, "id")} == expected


def test_what_shares_a_commit_is_not_much_more_than_the_largest_request(items, make_bridge):
    """A trigger keeps the only worker while the others come."""
    items.sql("""CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.id = 0 THEN PERFORM pg_advisory_xact_lock(1); END IF; RETURN NEW; END $$;
        CREATE TRIGGER waits BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION waits()""")
    bridge = make_bridge(items, write_connections=1, write_max_body="10KB")
    for n in range(8):
        results(bridge, txn(1, insert(100 + n)), replica=f"r{n}")
    with contextlib.closing(items.connect(autocommit=False)) as holder, \
            concurrent.futures.ThreadPoolExecutor(8) as threads:
        holder.cursor().execute("SELECT pg_advisory_xact_lock(1)")
        held = threads.submit(post, bridge, txn(2, insert(0)), replica="r0")
        others = [threads.submit(results, bridge, txn(2, insert(n, note="x" * 9000)),
                                 replica=f"r{n}") for n in range(1, 8)]
        wait_for(lambda: held.done() or bridge.metrics()["tombolo_writes_waiting"] == 7, 60,
                 "the others to wait")
        holder.rollback()
        xids = [other.result()[0]["xid"] for other in others]
        held.result()
    assert max(xids.count(xid) for xid in xids) <= 2


def test_a_row_that_somebody_holds_holds_up_nobody_who_would_share_the_commit(items, bridge):
    items.sql("INSERT INTO items VALUES (0, 0)")
    add_one = txn(2, update(0, {"qty": "1"}, {"qty": "0"}))
    for n in range(8):
        results(bridge, txn(1, insert(100 + n)), replica=f"r{n}")
    with contextlib.closing(items.connect(autocommit=False)) as holder, \
            concurrent.futures.ThreadPoolExecutor(8) as threads:
        holder.cursor().execute("SELECT FROM items WHERE id = 0 FOR UPDATE")
        held = threads.submit(post, bridge, add_one, replica="r0")
        others = [threads.submit(results, bridge, txn(2, insert(n)), replica=f"r{n}")
                  for n in range(1, 8)]
        assert {other.result()[0]["status"] for other in others} == {"applied"}
        holder.rollback()
        held.result()
    wait_for(lambda: results(bridge, add_one, replica="r0")[0]["status"] == "applied", 60,
             "the row to be free")
    assert rows(items)[0] == (0, 1)


def test_requests_of_one_replica_run_one_at_a_time_and_leave_room_for_others(items, bridge):
    """Someone holds the replica's row; the others of the replica must not take the connections."""
    results(bridge, txn(1, insert(1)))
    same = txn(2, insert(2))
    with contextlib.closing(items.connect(autocommit=False)) as holder, \
            concurrent.futures.ThreadPoolExecutor(8) as pool:
        holder.cursor().execute("SELECT FROM tombolo.replicas WHERE replica = 'r1' FOR UPDATE")
        waiting = [pool.submit(results, bridge, same) for _ in range(8)]
        wait_for(lambda: bridge.metrics()["tombolo_writes_waiting"] == 7, 60, "seven to wait")
        assert results(bridge, txn(1, insert(3)), replica="r2")[0]["status"] == "applied"
        holder.rollback()
    said = [future.result()[0] for future in waiting]
    assert sorted("repeated" in r for r in said) == [False] + [True] * 7
    assert rows(items, "id") == [(1,), (2,), (3,)]


def test_one_subject_with_many_replicas_leaves_room_for_others(items, owned):
    """Its writes wait for a row that somebody holds: on two of the four connections."""
    items.sql("INSERT INTO items VALUES (1, 0, '', 'ann')")
    ann, bob = bearer(token(sub="ann")), bearer(token(sub="bob"))
    with contextlib.closing(items.connect(autocommit=False)) as holder, \
            concurrent.futures.ThreadPoolExecutor(6) as pool:
        holder.cursor().execute("SELECT FROM items FOR UPDATE")
        asked = [pool.submit(post, owned, txn(1, update(1, {"qty": "1"})), replica=f"a{n}",
                             headers=ann) for n in range(6)]
        wait_for(lambda: owned.metrics()["tombolo_writes_waiting"] == 4, 60, "four to wait")
        [result] = results(owned, txn(1, insert(2)), replica="b1", headers=bob)
        assert result["status"] == "applied"
        holder.rollback()
    assert {future.result().status for future in asked} <= {200, 503}


def test_one_subject_cannot_fill_the_queue(items, make_bridge):
    bridge = make_bridge(items, OWNED, token_secret=SECRET, secret="s3cret", write_max_body="1KB")
    items.sql("INSERT INTO items VALUES (1, 0, '', 'ann')")
    ann, bob = bearer(token(sub="ann")), bearer(token(sub="bob"))
    long = txn(1, update(1, {"note": "x" * 600}))
    with contextlib.closing(items.connect(autocommit=False)) as holder, \
            concurrent.futures.ThreadPoolExecutor(7) as pool:
        holder.cursor().execute("SELECT FROM items FOR UPDATE")

        def one_is_turned_away():
            said = pool.map(lambda n: post(bridge, long, replica=f"a{n}", headers=ann), range(7))
            return any(b"of this subject" in answer.body for answer in said)

        wait_for(one_is_turned_away, 60, "one to be turned away")
        [result] = results(bridge, txn(1, insert(2)), replica="b1", headers=bob)
        assert result["status"] == "applied"
        holder.rollback()


def test_a_replica_that_asks_too_often_at_once_is_told_to_come_again(items, bridge):
    results(bridge, txn(1, insert(1)))
    with contextlib.closing(items.connect(autocommit=False)) as holder, \
            concurrent.futures.ThreadPoolExecutor(12) as pool:
        holder.cursor().execute("SELECT FROM tombolo.replicas WHERE replica = 'r1' FOR UPDATE")
        asked = [pool.submit(post, bridge) for _ in range(12)]
        done, _ = concurrent.futures.wait(asked, 60, concurrent.futures.FIRST_COMPLETED)
        first = done.pop().result()
        assert first.status == 503 and first.headers["retry-after"]
        wait_for(lambda: sum(future.done() for future in asked) == 3, 60, "three to be refused")
        holder.rollback()
    assert sorted(future.result().status for future in asked) == [200] * 9 + [503] * 3


def test_duplicates_and_stragglers_of_one_replica_change_nothing(items, bridge, seed):
    """Prefixes of one growing queue, sent by several threads in any order."""
    choose = random.Random(seed)
    items.sql("INSERT INTO items VALUES (0, 0)")
    txns = [txn(i, update(0, {"qty": str(i)}, {"qty": str(i - 1)}), insert(i))
            for i in range(1, 41)]
    requests = [txns[:choose.randint(1, 40)] for _ in range(24)] + [txns]
    choose.shuffle(requests)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda some: post(bridge, *some), requests))
    assert {answer.status for answer in answers} <= {200, 409}, (answers, seed)
    assert results(bridge, *txns)[-1]["repeated"]
    assert rows(items) == [(0, 40)] + [(i, None) for i in range(1, 41)]


# ---- trouble ---------------------------------------------------------------------------------


def deliver(url, txns, choose, replica="r1", deadline=200.0):
    """What a replica does: sends what is not known to be decided until it is, whatever breaks."""
    at, upto, end = 0, 0, time.monotonic() + deadline
    while at < len(txns):
        assert time.monotonic() < end, f"{replica} is stuck behind {at}"
        upto = max(upto, at + choose.randint(1, 20))  # a repeat holds all that it held before
        some = body(*txns[max(0, at - choose.randint(0, 2)):upto], replica=replica)
        try:
            answer = Bridge.post(url, "/v1/write", some, timeout=5.0)
        except (OSError, ValueError):  # cut off, before the answer or in it
            time.sleep(0.01)
            continue
        assert answer.status in (200, 503), (replica, answer)
        if answer.status == 200:
            decided = [r["id"] for r in answer.json()["results"] if r["status"] != "again"]
            at = max(at, *decided)


class Through:
    """Bridge.post() by way of a proxy."""

    def __init__(self, proxy):
        self.url = proxy.url
        self._ask = Bridge._ask  # pylint: disable=protected-access


def counted(number, name="items"):
    """Each adds 1 to the counter and inserts a row of its own: once, or it shows."""
    first = number * 1000
    return [txn(i, update(number, {"qty": str(i)}, {"qty": str(i - 1)}, name=name),
                insert(first + i)) for i in range(1, 81)]


def check_counted(database, numbers):
    expected = [(n, 80) for n in numbers]
    expected += [(n * 1000 + i, None) for n in numbers for i in range(1, 81)]
    assert rows(database) == sorted(expected)


def trouble(database, bridge, seed, disturb):
    """Two replicas deliver while disturb(choose) happens again and again."""
    choose = random.Random(seed)
    database.sql("INSERT INTO items VALUES (1, 0), (2, 0)")
    with Proxy(bridge.port) as proxy, concurrent.futures.ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(deliver, Through(proxy), counted(n), random.Random(seed + n),
                               replica=f"r{n}") for n in (1, 2)]
        for n in itertools.count():
            if all(writer.done() for writer in writers):
                break
            time.sleep(choose.uniform(0.0, pause(0.08, n)))
            disturb(choose, proxy)
        for writer in writers:
            writer.result()
    check_counted(database, (1, 2))
    assert database.sql("SELECT replica, last_id FROM tombolo.replicas ORDER BY 1") == [
        ("r1", 80), ("r2", 80)]


def test_answers_that_are_cut_off_cost_no_write_and_double_none(items, bridge, seed):
    trouble(items, bridge, seed, lambda choose, proxy: proxy.cut())


def test_a_bridge_killed_in_mid_commit_costs_no_write_and_doubles_none(items, bridge, seed):
    kills = []

    def kill(choose, _):
        if not kills or (len(kills) < 12 and choose.random() < 0.5):
            bridge.kill9()
            bridge.start()
            kills.append(1)

    trouble(items, bridge, seed, kill)
    assert kills


def test_a_client_that_goes_is_not_missed(items, bridge):
    results(bridge, txn(1, insert(1)))
    with contextlib.closing(items.connect(autocommit=False)) as holder:
        holder.cursor().execute("LOCK items IN EXCLUSIVE MODE")
        connection = Connection(bridge.port)
        connection.send("POST", "/v1/write", [("content-type", "application/json")],
                        json.dumps(body(txn(2, insert(2)))).encode())
        wait_for(lambda: items.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type"
                                     " = 'Lock' AND datname = current_database()") == 1, 60,
                 "the write to wait")
        connection.close()
        holder.rollback()
    wait_for(lambda: rows(items, "id") == [(1,), (2,)], 60, "the write")


def test_without_postgres_writes_are_told_to_come_again_and_health_says_so(own_postgres,
                                                                            make_bridge):
    database = own_postgres.create_database("away")
    database.sql("CREATE TABLE items (id int PRIMARY KEY, qty int)")
    bridge = make_bridge(database)
    results(bridge, txn(1, insert(1)))
    own_postgres.stop()
    answer = post(bridge, txn(2, insert(2)))
    assert answer.status == 503 and int(answer.headers["retry-after"]) > 0
    assert "Postgres" in answer.json()["message"]
    assert bridge.get("/v1/health").json()["writes"]
    own_postgres.start()
    wait_for(lambda: post(bridge, txn(2, insert(2))).status == 200, 60, "Postgres")
    assert "writes" not in bridge.get("/v1/health").json()
    assert rows(database, "id") == [(1,), (2,)]


def test_a_connection_that_was_cut_is_made_anew_without_a_word(items, bridge):
    results(bridge, txn(1, insert(1)))
    items.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
              " WHERE application_name = 'tombolo write' AND datname = current_database()")
    assert results(bridge, txn(2, insert(2)))[0]["status"] == "applied"


def test_a_role_that_may_not_make_the_tables_says_so(items, make_bridge):
    items.sql("CREATE ROLE clerk LOGIN REPLICATION; GRANT ALL ON items TO clerk")
    items.sql(f"GRANT CREATE ON DATABASE {items.name} TO clerk; CREATE SCHEMA tombolo")
    bridge = make_bridge(items.as_role("clerk"), manual_table_publishing="true")
    answer = post(bridge, txn(1, insert(1)))
    assert answer.status == 503
    assert "permission denied" in bridge.get("/v1/health").json()["writes"]
    bridge.stop()
    items.sql("DROP OWNED BY clerk CASCADE; DROP ROLE clerk")


def test_stopping_does_not_wait_for_a_write_that_waits(items, bridge):
    with contextlib.closing(items.connect(autocommit=False)) as holder, \
            concurrent.futures.ThreadPoolExecutor(1) as pool:
        holder.cursor().execute("LOCK items IN EXCLUSIVE MODE")
        cut = pool.submit(post, bridge, txn(1, insert(1)))
        wait_for(lambda: items.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type"
                                     " = 'Lock' AND datname = current_database()") == 1, 60,
                 "the write to wait")
        bridge.stop()
        with contextlib.suppress(OSError, ValueError):
            assert cut.result().status == 503
    assert rows(items) == []


def test_writes_may_begin_at_a_reload(items, make_bridge):
    bridge = make_bridge(items, "[shape all]\ntable = items\n")
    same = txn(1, insert(1))
    assert post(bridge, same).status == 403
    bridge.rules.write_text(RULES)
    bridge.process.send_signal(signal.SIGHUP)
    wait_for(lambda: post(bridge, same).status == 200, 60, "the rules")
    assert rows(items, "id") == [(1,)]


def test_what_became_of_writes_is_counted(items, bridge):
    results(bridge, txn(1, insert(1)), txn(2, insert(1)), last := txn(3, insert(2), insert(1)))
    results(bridge, last)
    wait_for(lambda: bridge.metrics()["tombolo_write_requests_total"] == 2, 60, "both requests")
    metrics = bridge.metrics()
    for what in ("applied", "partly", "rejected", "repeated"):
        assert metrics[f'tombolo_writes_total{{result="{what}"}}'] == 1, what
    assert metrics["tombolo_write_seconds_total"] > 0
