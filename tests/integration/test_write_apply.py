"""What /v1/write does in Postgres, without HTTP: tests/tools/apply_write.c applies request bodies
under rules that the test makes."""

import contextlib
import itertools
import json
import os
import random
import subprocess
import threading
from pathlib import Path

import pytest
from harness import wait_for
from harness.process import ROOT, environment

pytestmark = [pytest.mark.sanitized]

NONCES = (f"n{i}" for i in itertools.count(1))


def tool():
    path = Path(os.environ.get("TOMBOLO_BUILD", ROOT / "build")) / "tests" / "apply_write"
    assert path.exists(), f"there is no {path}: build it with ./dev build"
    return path


def pause(seconds, times):
    """How long to wait for the next trouble after so many: long enough, in the end, for any machine
    to get something done in between."""
    return seconds * (1 + times / 20)


class Writer:
    """The tool on a connection of its own. `rules` is the tool's; apply() sends transactions."""

    def __init__(self, database, rules, replica="r1"):
        self.rules, self.replica = rules, replica
        self.child = subprocess.Popen([tool(), database.conninfo], stdin=subprocess.PIPE, text=True,
                                      stdout=subprocess.PIPE, env=environment())

    def send(self, body):
        self.child.stdin.write(json.dumps({"rules": self.rules, "body": body}) + "\n")
        self.child.stdin.flush()

    def receive(self):
        line = self.child.stdout.readline()
        return json.loads(line) if line else None

    def body(self, txns, **fields):
        return json.dumps({"replica": self.replica, "incarnation": "i", "transactions": txns,
                           **fields})

    def apply(self, *txns, **fields):
        self.send(self.body(txns, **fields))
        answer = self.receive()
        assert answer, "the tool ended"
        return answer

    def results(self, *txns, **fields):
        answer = self.apply(*txns, **fields)
        assert answer.get("outcome") == "done", answer
        return answer["results"]

    def ask(self, *nonces, **fields):
        self.send(json.dumps({"replica": self.replica, "decided": [str(n) for n in nonces],
                              **fields}))
        return self.receive()

    def prune(self, ms, replicas=0):
        self.child.stdin.write(json.dumps({"prune": ms, "replicas": replicas}) + "\n")
        self.child.stdin.flush()
        assert self.receive() == {"pruned": True}

    def close(self):
        self.child.stdin.close()
        self.child.stdout.close()
        assert self.child.wait(60) == 0


@pytest.fixture
def make_writer(database):
    writers = []

    def make(rules, replica="r1"):
        writers.append(Writer(database, rules, replica))
        return writers[-1]

    yield make
    for writer in writers:
        if writer.child.poll() is None:
            writer.close()


def rules(*tables, subject="alice", **more):
    return {"subject": subject, "tables": list(tables), **more}


def table(name="items", **more):
    return {"schema": "public", "table": name, "ops": ["insert", "update", "delete"], **more}


def txn(number, *mutations, nonce=None, **more):
    return {"id": number, "nonce": nonce or next(NONCES), "mutations": list(mutations), **more}


def insert(key, name="items", **values):
    return {"table": name, "op": "insert", "key": {"id": str(key)}, "values": values}


def update(key, values, base=None, name="items"):
    return {"table": name, "op": "update", "key": {"id": str(key)}, "values": values,
            "base": base or {}}


def delete(key, base=None, name="items"):
    return {"table": name, "op": "delete", "key": {"id": str(key)}, "base": base or {}}


def named(nonce, mutation):
    return {**mutation, "nonce": str(nonce)}


def codes(result):
    return [(r["mutation"], r["code"], r["sqlstate"]) for r in result["rejections"]]


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, qty int, note text, owner text)")
    return database


def rows(database, columns="id, qty, note, owner", name="items"):
    return database.sql(f"SELECT {columns} FROM {name} ORDER BY 1")


# ---- once ------------------------------------------------------------------------------------


def test_inserts_updates_and_deletes_arrive_with_their_position(items, make_writer):
    writer = make_writer(rules(table()))
    before = items.value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    [one, two, three] = writer.results(
        txn(1, insert(1, qty="5", note="a"), insert(2, qty="6", note=None)),
        txn(2, update(1, {"note": "b'; DROP TABLE items; --"}, {"note": "a"})),
        txn(3, delete(2)))
    assert [one["status"], two["status"], three["status"]] == ["applied"] * 3
    assert rows(items) == [(1, 5, "b'; DROP TABLE items; --", None)]
    assert one["lsn"] > before and one["xid"] > 0
    assert items.sql("SELECT replica, subject, last_id, incarnation FROM tombolo.replicas") == [
        ("r1", "alice", 3, "i")]


def test_a_repeated_request_changes_nothing(items, make_writer):
    writer = make_writer(rules(table(conflict={"qty": "counter"})))
    first = [txn(1, insert(1, qty="0")), txn(2, update(1, {"qty": "3"}, {"qty": "0"})),
             txn(3, insert(1, qty="9"))]
    done = writer.results(*first)
    again = writer.results(*first)
    assert [r["status"] for r in again] == ["applied", "applied", "rejected"]
    assert all(r["repeated"] for r in again)
    assert codes(again[2]) == codes(done[2]) == [(0, "refused", "23505")]
    more = writer.results(*first[1:], txn(4, update(1, {"qty": "4"}, {"qty": "3"})))
    assert [r["repeated"] for r in more] == [True, True, False]
    assert rows(items, "id, qty") == [(1, 4)]


def test_an_idle_request_may_only_acknowledge(items, make_writer):
    writer = make_writer(rules(table()))
    writer.results(txn(1, update(1, {"qty": "1"})), txn(2, update(2, {"qty": "1"})))
    count = "SELECT array_agg(id ORDER BY id) FROM tombolo.rejections"
    assert items.value(count) == [1, 2]
    assert writer.results(acknowledged=1) == []
    assert items.value(count) == [2]


def test_a_copy_of_the_file_is_a_fork(items, make_writer):
    writer = make_writer(rules(table()))
    writer.results(txn(1, insert(1)), txn(2, insert(2), nonce="mine"))
    for request in ([txn(2, insert(3))], [txn(1, insert(3))], [txn(4, insert(3))],
                    [txn(1, insert(3)), txn(2, insert(4)), txn(3, insert(5))]):
        answer = writer.apply(*request)
        assert (answer["outcome"], answer["last"]) == ("fork", 2)
    assert writer.apply(txn(3, insert(3)), after="other")["outcome"] == "fork"
    assert rows(items, "id") == [(1,), (2,)]
    assert writer.results(txn(3, insert(3)), after="mine")[0]["status"] == "applied"


def test_what_was_decided_is_known_by_family_and_nonce(items, make_writer):
    writer = make_writer(rules(table()))
    writer.results(txn(1, named(-5, insert(1)), named(6, insert(2))),
                   txn(2, named(7, insert(1))), txn(3, insert(9)))
    later = make_writer(rules(table()), replica="r2")
    later.results(txn(1, named(8, insert(3))), family="r1")
    assert sorted(later.ask(-5, 6, 7, 8, 9, family="r1")["decided"]) == ["-5", "6", "7", "8"]
    assert writer.ask(-5, 9)["decided"] == ["-5"]
    assert writer.ask()["decided"] == []
    assert later.ask(-5)["decided"] == []  # of its own family: none
    assert items.value("SELECT count(*) FROM tombolo.decided") == 2


def test_another_subject_is_not_told_what_was_decided(items, make_writer):
    make_writer(rules(table())).results(txn(1, named(5, insert(1))))
    other = rules(table(), subject="bob")
    assert make_writer(other).ask(5) == {"outcome": "forbidden"}
    assert make_writer(other, replica="r2").ask(5, family="r1")["decided"] == []


def test_the_question_waits_for_what_is_under_way(items, make_writer):
    make_writer(rules(table())).results(txn(1, named(5, insert(1))))
    busy, asking = make_writer(rules(table())), make_writer(rules(table()))
    with contextlib.closing(items.connect(autocommit=False)) as holder:
        holder.cursor().execute("LOCK items IN EXCLUSIVE MODE")
        busy.send(busy.body([txn(2, named(6, insert(2)))]))
        # By itself: together with others it would have waited 100 ms at most, and let go.
        wait_for(lambda: items.sql(WAITING + " AND clock_timestamp() - query_start > '300 ms'"), 60,
                 "the writer to wait")
        asking.send(json.dumps({"replica": "r1", "decided": ["5", "6"]}))
        wait_for(lambda: len(items.sql(WAITING)) == 2, 60, "the question to wait")
        holder.commit()
    assert sorted(asking.receive()["decided"]) == ["5", "6"]
    assert busy.receive()["outcome"] == "done"


def test_what_is_forgotten_is_said_to_be(items, make_writer):
    writer = make_writer(rules(table()))
    writer.results(txn(1, named(5, insert(1))))
    since = writer.ask()["since"]
    writer.prune(3600 * 1000)
    assert writer.ask(5) == {"decided": ["5"], "since": since}
    writer.results(txn(2, named(6, insert(2))))
    writer.results(txn(3, named(7, insert(3))))
    items.sql("UPDATE tombolo.decided SET at = at - interval '2 h' WHERE id = 1;"
              # A little more is kept than is promised.
              "UPDATE tombolo.decided SET at = at - interval '63 min' WHERE id = 3")
    items.sql("UPDATE tombolo.memory SET since = since - interval '3 h'")
    writer.prune(3600 * 1000)
    answer = writer.ask(5, 6, 7)
    assert sorted(answer["decided"]) == ["6", "7"]
    hour_ago = items.value("SELECT (extract(epoch FROM now()) * 1000000)::bigint") - 3600 * 10**6
    assert hour_ago - 60 * 10**6 < answer["since"] <= hour_ago
    writer.prune(7200 * 1000)
    assert writer.ask()["since"] == answer["since"]


def test_who_writes_nothing_leaves_no_row(items, make_writer):
    writer = make_writer(rules(table()))
    assert writer.results() == [] and writer.results(acknowledged=7, contact="1") == []
    assert writer.ask(5)["decided"] == []
    assert items.value("SELECT count(*) FROM tombolo.replicas") == 0
    writer.results(txn(1, insert(1)))
    assert writer.apply()["last"] == 1
    assert make_writer(rules(table(), subject="bob")).apply()["outcome"] == "forbidden"


def test_a_subject_has_as_many_replicas_as_it_may(items, make_writer):
    for subject, most in (("alice", 2), ("bob", 2), ("", 9)):  # "": the operator has no limit
        for n in range(1, 5):
            writer = make_writer(rules(table(), subject=subject, replicas=2), f"{subject}-{n}")
            answer = writer.apply(txn(1, insert(f"{n}{len(subject)}")))
            assert answer["outcome"] == ("done" if n <= most else "crowded"), answer
    again = make_writer(rules(table(), subject="alice", replicas=2), "alice-1")
    assert again.results(txn(2, insert(99)))[0]["status"] == "applied"
    assert items.value("SELECT count(*) FROM items") == 2 + 2 + 4 + 1


YEAR = 365 * 24 * 3600


def micros(database, ago):
    return str(database.value("SELECT (extract(epoch FROM now()) * 1000000)::bigint") - ago * 10**6)


def test_a_replica_that_has_not_written_for_long_is_forgotten_and_repeats_nothing(items,
                                                                                 make_writer):
    now = micros(items, 0)
    writers = {name: make_writer(rules(table()), name) for name in ("quiet", "mute", "busy")}
    for n, (name, writer) in enumerate(writers.items()):
        fields = {} if name == "mute" else {"contact": now}
        writer.results(txn(1, named(n, insert(n)), nonce="one"), txn(2, insert(n)), **fields)
    items.sql(f"UPDATE tombolo.replicas SET seen_at = now() - interval '{2 * YEAR} s'"
              " WHERE replica <> 'busy'")
    items.sql(f"UPDATE tombolo.decided SET at = now() - interval '{2 * YEAR} s'")
    writers["quiet"].prune(YEAR // 10 * 1000, 3 * YEAR * 1000)
    assert items.value("SELECT count(*) FROM tombolo.replicas") == 3
    writers["quiet"].prune(YEAR // 10 * 1000, YEAR * 1000)
    # Who does not say how much it knows is kept, and so is what it was refused.
    assert items.sql("SELECT replica FROM tombolo.replicas ORDER BY 1") == [("busy",), ("mute",)]
    assert items.value("SELECT array_agg(replica ORDER BY replica) FROM tombolo.rejections") == [
        "busy", "mute"]
    quiet = writers["quiet"]
    # A copy of its file, from before its writes were decided; and it itself, long out of touch.
    for request in ([txn(1, named(0, insert(0)), nonce="one")], [txn(2, insert(7))],
                    [txn(3, insert(8))]):
        answer = quiet.apply(*request, contact=micros(items, 2 * YEAR + 60))
        assert (answer["outcome"], answer["last"]) == ("fork", 0)
    assert quiet.ask(0)["decided"] == [] and quiet.ask(0)["since"] > int(micros(items, YEAR))
    # It was in touch since, and has heard of all: its next write is that.
    answer = quiet.results(txn(3, insert(9)), acknowledged=2, after="two", contact=now)
    assert answer[0]["status"] == "applied"
    assert make_writer(rules(table()), "new").results(
        txn(1, insert(10)), contact=micros(items, 0))[0]["status"] == "applied"
    assert rows(items, "id") == [(0,), (1,), (2,), (9,), (10,)]


def test_another_subject_may_not_use_a_replica(items, make_writer):
    make_writer(rules(table())).results(txn(1, insert(1)))
    answer = make_writer(rules(table(), subject="bob")).apply(txn(2, insert(2)))
    assert answer["outcome"] == "forbidden" and answer["last"] == 0
    assert rows(items, "id") == [(1,)]
    assert items.value("SELECT subject FROM tombolo.replicas") == "alice"


def test_killed_at_any_moment_and_repeated_each_write_is_there_once(items, database, seed):
    choose = random.Random(seed)
    items.sql("INSERT INTO items VALUES (1, 0)")
    allowed = rules(table(conflict={"qty": "counter"}), group=4)
    txns = [txn(i, update(1, {"qty": str(i)}, {"qty": str(i - 1)}), insert(1000 + i))
            for i in range(1, 161)]
    at, kills = 0, 0
    while at < len(txns):
        writer = Writer(database, allowed)
        body = writer.body(txns[max(0, at - choose.randint(0, 3)):at + 40])
        writer.send(body)
        timer = threading.Timer(choose.uniform(0.001, pause(0.08, kills)), writer.child.kill)
        timer.start()
        answer = writer.receive()
        timer.cancel()
        writer.child.kill()
        writer.child.wait()
        with contextlib.suppress(BrokenPipeError):
            writer.child.stdin.close()
        writer.child.stdout.close()
        if answer:
            assert answer["outcome"] == "done", (answer, seed)
            at = answer["results"][-1]["id"]
        else:
            kills += 1
            # As a replica does: what has been acknowledged in its stream need not be sent again.
            made = database.value("SELECT to_regclass('tombolo.replicas')")
            at = made and database.value("SELECT max(last_id) FROM tombolo.replicas") or 0
    assert rows(items, "id, qty")[0] == (1, 160), f"seed {seed}, {kills} kills"
    assert items.value("SELECT count(*) FROM items") == 161
    assert items.value("SELECT count(*) FROM tombolo.rejections") == 0


def test_two_that_send_the_same_at_a_time_write_it_once(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 0)")
    both = [make_writer(rules(table(conflict={"qty": "counter"}), group=3)) for _ in range(2)]
    body = both[0].body([txn(i, update(1, {"qty": "1"}, {"qty": "0"})) for i in range(1, 31)])
    for writer in both:
        writer.send(body)
    answers = [writer.receive() for writer in both]
    for answer in answers:
        assert {r["status"] for r in answer["results"]} == {"applied"}
    assert rows(items, "qty") == [(30,)]


WAITING = ("SELECT pid FROM pg_stat_activity WHERE application_name = 'apply_write'"
           " AND wait_event_type = 'Lock' AND datname = current_database()")


def held(database, writer, statement, *txns):
    """What the writer answers when somebody who ran `statement` commits while it waits for him."""
    with contextlib.closing(database.connect(autocommit=False)) as holder:
        holder.cursor().execute(statement)
        writer.send(writer.body(txns))
        wait_for(lambda: database.sql(WAITING), 60, "the writer to wait")
        holder.commit()
    return writer.receive()["results"]


def test_what_another_worker_is_just_writing_is_waited_for(items, make_writer):
    writer = make_writer(rules(table()))
    writer.results(txn(1, insert(1)))
    same = txn(2, insert(2), nonce="same")
    [result] = held(items, writer, """UPDATE tombolo.replicas SET last_id = 2, nonce = 'same';
                    INSERT INTO items VALUES (2, 7)""", same)
    assert result["status"] == "applied" and result["repeated"]
    assert rows(items, "id, qty") == [(1, None), (2, 7)]


def test_the_first_request_of_a_replica_may_come_to_two_workers(items, make_writer):
    make_writer(rules(table()), "r0").results()
    results = held(items, make_writer(rules(table())), """INSERT INTO tombolo.replicas
                   VALUES ('r1', 'alice', 1, 'same', 'i', now())""",
                   txn(1, insert(1), nonce="same"), txn(2, insert(2)))
    assert [r["repeated"] for r in results] == [True, False]
    assert rows(items, "id") == [(2,)]


def test_a_commit_whose_answer_is_lost_is_found_when_it_is_sent_again(own_postgres):
    """A standby that never answers holds a commit after it was made here; the connection is cut."""
    database = own_postgres.create_database("lost")
    database.sql("CREATE TABLE items (id int PRIMARY KEY, qty int)")
    writer = Writer(database, rules(table()))
    writer.results(txn(1, insert(1)))
    own_postgres.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    own_postgres.sql("SELECT pg_reload_conf()")
    wait_for(lambda: own_postgres.value("SHOW synchronous_standby_names"), 60, "the reload")
    same = [txn(2, insert(2)), txn(3, insert(1))]
    writer.send(writer.body(same))
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    wait_for(lambda: own_postgres.sql(waiting), 60, "the commit to wait")
    own_postgres.sql(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) w")
    assert writer.receive()["class"] == "reconnect"
    writer.close()
    own_postgres.sql("ALTER SYSTEM RESET synchronous_standby_names")
    own_postgres.sql("SELECT pg_reload_conf()")
    again = Writer(database, rules(table()))
    results = again.results(*same)
    again.close()
    assert [r["status"] for r in results] == ["applied", "rejected"]
    assert all(r["repeated"] for r in results)
    assert codes(results[1]) == [(0, "refused", "23505")]
    assert rows(database, "id") == [(1,), (2,)]


# ---- tables ----------------------------------------------------------------------------------


def test_several_workers_make_the_tables_at_a_time(items, make_writer):
    writers = [make_writer(rules(table()), f"r{i}") for i in range(6)]
    for i, writer in enumerate(writers):
        writer.send(writer.body([txn(1, insert(i))]))
    assert [w.receive()["results"][0]["status"] for w in writers] == ["applied"] * 6


def test_without_the_right_to_make_the_tables_it_is_said_what_to_do(items):
    role = f"plain_{items.name}"
    items.sql(f"CREATE ROLE {role} LOGIN")
    try:
        done = subprocess.run([tool(), items.as_role(role).conninfo], input="", text=True,
                              timeout=60, capture_output=True, env=environment(), check=False)
        assert done.returncode == 1
        assert "could not create the tables of writes in schema tombolo" in done.stderr
        assert "grant CREATE on the database" in done.stderr
    finally:
        items.sql(f"DROP ROLE {role}")


# ---- groups ----------------------------------------------------------------------------------


def test_one_that_fails_leaves_those_beside_it(items, make_writer):
    writer = make_writer(rules(table()))
    results = writer.results(*[txn(i, insert(7 if i in (3, 5) else i + 100)) for i in range(1, 8)])
    assert [r["status"] for r in results] == ["applied"] * 4 + ["rejected"] + ["applied"] * 2
    assert codes(results[4]) == [(0, "refused", "23505")]
    assert len({r["xid"] for r in results}) == 1
    assert len(rows(items)) == 6


def begin(database, writer):
    """The first write, which goes by itself."""
    writer.results(txn(1, insert(0)))
    database.sql("DELETE FROM items")


def commands(database):
    """The rows by the statement of their transaction that made them."""
    return [n for (n,) in database.sql("SELECT count(*) FROM items GROUP BY cmin::text ORDER BY 1")]


def test_rows_of_one_table_go_in_one_statement(items, make_writer):
    writer = make_writer(rules(table()))
    begin(items, writer)
    results = writer.results(*[txn(i, insert(i, qty=str(i))) for i in range(2, 10)],
                             *[txn(i, insert(i, note="x")) for i in range(10, 14)],
                             txn(14, *[insert(i, qty=str(i)) for i in range(14, 16)]))
    assert {r["status"] for r in results} == {"applied"}
    assert commands(items) == [2, 4, 8]
    assert rows(items, "id") == [(i,) for i in range(2, 16)]


def test_one_of_the_rows_in_a_statement_is_refused_alone(items, make_writer):
    writer = make_writer(rules(table()))
    begin(items, writer)
    results = writer.results(*[txn(i, insert(i, qty="7" if i % 5 else "many"))
                               for i in range(2, 18)])
    assert [i for i, r in enumerate(results, 2) if r["status"] == "rejected"] == [5, 10, 15]
    assert {sum(codes(results[i - 2]), ()) for i in (5, 10, 15)} == {(0, "refused", "22P02")}
    assert len(rows(items)) == 13


FEW = """CREATE FUNCTION few() RETURNS bool LANGUAGE sql STABLE SECURITY DEFINER
    AS 'SELECT count(*) < 4 FROM public.items'"""


@pytest.mark.parametrize(("made", "refused"), [
    ("ALTER TABLE items ADD parent int REFERENCES items", {2: 3}),
    (f"{FEW}; ALTER TABLE items ADD CHECK (few())", dict.fromkeys((5, 6, 7, 8))),
    (f"""{FEW}; CREATE DOMAIN few_of AS text CHECK (few());
        ALTER TABLE items ALTER note TYPE few_of""", dict.fromkeys((5, 6, 7, 8))),
    (f"""{FEW}; CREATE DOMAIN inner_of AS text CHECK (few()); CREATE DOMAIN few_of AS inner_of;
        ALTER TABLE items ALTER note TYPE few_of""", dict.fromkeys((5, 6, 7, 8))),
    (f"{FEW}; ALTER TABLE items ALTER owner SET DEFAULT CASE WHEN few() THEN 'a' END,"
     " ADD CHECK (owner IS NOT NULL)", dict.fromkeys((5, 6, 7, 8))),
    (f"""{FEW}; CREATE TRIGGER few BEFORE INSERT ON items FOR EACH STATEMENT
        EXECUTE FUNCTION refuse_more()""", dict.fromkeys((5, 6, 7, 8))),
], ids=["foreign key", "check", "domain", "domain of a domain", "default", "trigger"])
def test_a_row_that_depends_on_those_before_it_has_its_own_statement(items, make_writer, made,
                                                                      refused):
    """Rows 1 to 8, of which four fit where their number is looked at."""
    items.sql("""CREATE FUNCTION refuse_more() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN IF (SELECT count(*) >= 4 FROM public.items) THEN RAISE 'no'; END IF;
        RETURN NULL; END$$""")
    items.sql(made)
    writer = make_writer(rules(table()))
    begin(items, writer)
    parents = [{"parent": str(refused.get(i, i))} if "parent" in made else {} for i in range(9)]
    results = writer.results(*[txn(i + 1, insert(i, note="x", **parents[i]))
                               for i in range(1, 9)])
    assert {i for i, r in enumerate(results, 1) if r["status"] == "rejected"} == set(refused)


def test_a_policy_sees_the_rows_before_a_new_one(guarded, make_writer):
    items, role = guarded
    items.sql(f"""{FEW}; CREATE POLICY few ON items AS RESTRICTIVE FOR INSERT WITH CHECK (few())""")
    writer = make_writer(rules(table(), role=role, claims=json.dumps({"sub": "alice"})))
    writer.results(txn(1, insert(3, owner="alice")))
    items.sql("DELETE FROM items WHERE id = 3")
    results = writer.results(*[txn(i, insert(i + 10, owner="alice")) for i in range(2, 10)])
    assert [r["status"] for r in results] == ["applied"] * 2 + ["rejected"] * 6


def test_one_bad_row_of_many_is_refused_alone_unless_they_are_marked(items, make_writer):
    writer = make_writer(rules(table()))
    bad = [insert(i) for i in range(1, 50)] + [insert(50, qty="many")] + [insert(51), insert(51)]
    [marked] = writer.results(txn(1, *bad, marked=True))
    assert marked["status"] == "rejected" and codes(marked) == [(49, "refused", "22P02")]
    assert rows(items) == []
    [unmarked] = writer.results(txn(2, *bad))
    assert unmarked["status"] == "partly"
    assert codes(unmarked) == [(49, "refused", "22P02"), (51, "refused", "23505")]
    assert rows(items, "id") == [(i,) for i in range(1, 52) if i != 50]


def test_a_few_bad_rows_of_many_cost_no_subtransaction_a_row(items, make_writer):
    """Each subtransaction that writes takes a transaction id."""
    writer = make_writer(rules(table()))
    bad = {1, 1234, 1235, 3000}
    many = [insert(i, qty="x" if i in bad else "1") for i in range(1, 3001)]
    before = items.value("SELECT txid_current()")
    [result] = writer.results(txn(1, *many))
    assert {m + 1 for m, _, _ in codes(result)} == bad
    assert items.value("SELECT count(*) FROM items") == 3000 - len(bad)
    assert items.value("SELECT txid_current()") - before < 100


def test_where_a_deferred_constraint_refuses_only_its_rows_are_refused(database, make_writer):
    database.sql("CREATE TABLE parts (id int PRIMARY KEY, whole int REFERENCES parts"
                 " DEFERRABLE INITIALLY DEFERRED)")
    writer = make_writer(rules(table("parts")))
    bad = {17, 18, 500}
    rows_of = [insert(i, "parts", whole="9999" if i in bad else str(i)) for i in range(1, 601)]
    before = database.value("SELECT txid_current()")
    [result] = writer.results(txn(1, *rows_of))
    assert {m + 1 for m, _, _ in codes(result)} == bad
    assert database.value("SELECT count(*) FROM parts") == 597
    assert database.value("SELECT txid_current()") - before < 100


def test_what_is_refused_for_want_of_a_refused_row_says_so(database, make_writer):
    """The third row is tried again when the first, on which it stands, is known to be refused."""
    database.sql("CREATE TABLE parts (id int PRIMARY KEY, whole int REFERENCES parts)")
    writer = make_writer(rules(table("parts")))
    [result] = writer.results(txn(1, insert(1, "parts", whole="x"), insert(2, "parts"),
                                  insert(3, "parts", whole="1"), insert(4, "parts", whole="2")))
    assert codes(result) == [(0, "refused", "22P02"), (2, "refused", "23503")]
    assert rows(database, "id, whole", "parts") == [(2, None), (4, 2)]


def test_a_deferred_constraint_refuses_its_own_transaction_alone(database, make_writer):
    database.sql("CREATE TABLE parts (id int PRIMARY KEY, whole int REFERENCES parts"
                 " DEFERRABLE INITIALLY DEFERRED)")
    writer = make_writer(rules(table("parts")))
    results = writer.results(
        txn(1, insert(1, "parts", whole="2"), insert(2, "parts")),
        txn(2, insert(3, "parts", whole="99"), insert(4, "parts"), marked=True),
        txn(3, insert(5, "parts", whole="6"), insert(6, "parts")))
    assert [r["status"] for r in results] == ["applied", "rejected", "applied"]
    assert len({r["xid"] for r in results}) == 1
    assert codes(results[1]) == [(-1, "refused", "23503")]
    assert database.sql("SELECT id, whole FROM parts ORDER BY id") == [
        (1, 2), (2, None), (5, 6), (6, None)]


def test_what_is_deferred_comes_behind_the_other_triggers_of_a_write(items, make_writer):
    items.sql("""CREATE TABLE said (n serial, what text);
        CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO said (what) VALUES (TG_ARGV[0] || NEW.id); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER a AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION say('end of ');
        CREATE TRIGGER b AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION say('row ')""")
    writer = make_writer(rules(table()))
    writer.results(txn(1, insert(1)))
    results = writer.results(txn(2, insert(2)), txn(3, insert(3)))
    assert [r["status"] for r in results] == ["applied"] * 2
    assert len({r["xid"] for r in results}) == 1
    assert [what for what, in items.sql("SELECT what FROM said ORDER BY n")] == [
        "row 1", "end of 1", "row 2", "end of 2", "row 3", "end of 3"]


DEFERRED = """
    CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN IF {condition} THEN RAISE EXCEPTION 'too many at once' USING ERRCODE = '23514'; END IF;
    RETURN NULL; END$$;
    CREATE CONSTRAINT TRIGGER judge AFTER UPDATE ON tombolo.replicas
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION judge()"""


def test_a_group_whose_commit_fails_is_done_again_one_by_one(items, make_writer):
    writer = make_writer(rules(table()))
    writer.results(txn(1, insert(1)))
    items.sql(DEFERRED.format(condition="NEW.last_id - OLD.last_id > 1"))
    results = writer.results(*[txn(i, insert(i)) for i in range(2, 7)])
    assert [r["status"] for r in results] == ["applied"] * 5
    assert len({r["xid"] for r in results}) == 5
    assert rows(items, "id") == [(i,) for i in range(1, 7)]


def test_what_cannot_be_committed_even_alone_is_rejected_and_blocks_nothing(items, make_writer):
    writer = make_writer(rules(table()))
    writer.results(txn(1, insert(1)))
    items.sql(DEFERRED.format(condition="EXISTS (SELECT FROM public.items WHERE id = 3)"))
    results = writer.results(*[txn(i, insert(i)) for i in range(2, 6)])
    assert [r["status"] for r in results] == ["applied", "rejected", "applied", "applied"]
    assert codes(results[1]) == [(-1, "refused", "23514")]
    assert rows(items, "id") == [(1,), (2,), (4,), (5,)]
    assert items.sql("SELECT id, mutation, message FROM tombolo.rejections") == [
        (3, -1, "too many at once")]


def test_a_row_that_somebody_holds_is_tried_again_later(items, make_writer):
    """By the replica: the connection is for others meanwhile, however many attempts there are."""
    items.sql("INSERT INTO items VALUES (1, 0), (2, 0)")
    writer = make_writer(rules(table(), lock_timeout=50, attempts=10000))
    request = [txn(1, update(2, {"qty": "1"})), txn(2, update(1, {"qty": "1"}))]
    with contextlib.closing(items.connect(autocommit=False)) as holder:
        holder.cursor().execute("UPDATE items SET qty = 5 WHERE id = 1")
        assert {r["status"] for r in writer.results(*request)} == {"again"}
        holder.rollback()
    assert rows(items, "qty") == [(0,), (0,)]
    assert {r["status"] for r in writer.results(*request)} == {"applied"}
    assert rows(items, "qty") == [(1,), (1,)]


def test_a_deadlock_is_tried_again(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 0), (2, 0)")
    items.sql("ALTER DATABASE \"%s\" SET deadlock_timeout = '10ms'" % items.name)
    writers = [make_writer(rules(table(conflict={"qty": "counter"}), attempts=50), f"r{i}")
               for i in range(2)]
    for number in range(1, 21):
        for i, writer in enumerate(writers):
            order = (1, 2) if i else (2, 1)
            writer.send(writer.body([txn(number, *[update(key, {"qty": "1"}, {"qty": "0"})
                                                   for key in order])]))
        for writer in writers:
            assert writer.receive()["results"][0]["status"] == "applied"
    assert rows(items, "qty") == [(40,), (40,)]


# ---- conflicts -------------------------------------------------------------------------------


def two_writers(make_writer, **more):
    return [make_writer(rules(table(**more)), f"r{i}") for i in range(2)]


def both_change(writers, values, base):
    """Both saw `base` and changed it: the first one's, then the second one's result."""
    return [writer.results(txn(1, update(1, value, base)))[0]
            for writer, value in zip(writers, values)]


def test_merge_writes_only_what_was_changed(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 5, 'a', 'x')")
    a, b = two_writers(make_writer)
    a.results(txn(1, update(1, {"qty": "6"}, {"qty": "5"})))
    b.results(txn(1, update(1, {"note": "b"}, {"note": "a"})))
    assert rows(items) == [(1, 6, "b", "x")]


def test_reject_refuses_what_has_changed_meanwhile(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 5, 'a', 'x'), (2, NULL, 'a', 'x')")
    writers = two_writers(make_writer, conflict={"qty": "reject"})
    first, second = both_change(writers, [{"qty": "6"}, {"qty": "7"}], {"qty": "5"})
    assert first["status"] == "applied" and codes(second) == [(0, "conflict", "")]
    a, b = writers
    assert a.results(txn(2, update(1, {"note": "c"}, {"note": "a"})))[0]["status"] == "applied"
    assert codes(b.results(txn(2, delete(1, {"qty": "5"})))[0]) == [(0, "conflict", "")]
    assert codes(b.results(txn(3, update(1, {"qty": "8"})))[0]) == [(0, "invalid", "")]
    assert b.results(txn(4, update(2, {"qty": "8"}, {"qty": None})))[0]["status"] == "applied"
    assert b.results(txn(5, delete(1, {"qty": "6"})))[0]["status"] == "applied"
    assert rows(items, "id, qty, note") == [(2, 8, "a")]


def test_two_that_want_the_same_do_not_conflict(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 5)")
    writers = two_writers(make_writer, conflict={"qty": "reject"})
    for result in both_change(writers, [{"qty": "6"}] * 2, {"qty": "5"}):
        assert result["status"] == "applied"


def test_what_changes_while_it_is_looked_at_is_a_conflict(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 5, 'a', 'alice')")
    writer = make_writer(rules(table(conflict={"qty": "reject"}, check="owner = 'alice'")))
    [result] = held(items, writer, "UPDATE items SET qty = 6",
                    txn(1, update(1, {"qty": "7"}, {"qty": "5"})))
    assert codes(result) == [(0, "conflict", "")]
    [result] = held(items, writer, "UPDATE items SET owner = 'bob'",
                    txn(2, update(1, {"note": "b"})))
    assert codes(result) == [(0, "missing", "")]
    items.sql("UPDATE items SET owner = 'alice'")
    [result] = held(items, writer, "UPDATE items SET owner = 'bob'",
                    txn(3, delete(1, {"qty": "6"})))
    assert codes(result) == [(0, "missing", "")]
    assert rows(items) == [(1, 6, "a", "bob")]


def test_reject_compares_values_and_not_their_texts(database, make_writer):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, n numeric(10, 2), j json, t timestamptz)")
    database.sql("""INSERT INTO items VALUES (1, 1.5, '{"a":1}', '2024-01-01 00:00:00+00')""")
    writer = make_writer(rules(table(conflict=dict.fromkeys("njt", "reject"))))
    [result] = writer.results(txn(1, update(
        1, {"n": "2", "j": "{}", "t": "2025-01-01"},
        {"n": "1.5000", "j": '{"a":1}', "t": "2024-01-01 01:00:00+01"})))
    assert result["status"] == "applied", result


def test_counters_never_lose_a_step(database, make_writer):
    types = {"a": "int2", "b": "int4", "c": "int8", "d": "numeric", "e": "float8"}
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    database.sql(f"CREATE TABLE items (id int PRIMARY KEY, {columns})")
    database.sql("INSERT INTO items VALUES (1, 10, 10, 10, 10, 10); INSERT INTO items VALUES (2)")
    writers = [make_writer(rules(table(conflict=dict.fromkeys(types, "counter"))), f"r{i}")
               for i in range(4)]
    for number in range(1, 26):
        for i, writer in enumerate(writers):
            step = {name: str(30000 + i) for name in types}
            writer.send(writer.body([
                txn(number, update(1, step, dict.fromkeys(types, "30000")),
                    update(2, dict.fromkeys(types, "1"), dict.fromkeys(types)))]))
        for writer in writers:
            assert [r["status"] for r in writer.receive()["results"]] == ["applied"]
    assert rows(database, "a, b, c, d, e") == [(100,) * 5, (160,) * 5]


def test_a_counter_that_overflows_or_becomes_null_is_refused(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 2147483647)")
    writer = make_writer(rules(table(conflict={"qty": "counter"})))
    over, null, none = writer.results(txn(1, update(1, {"qty": "1"}, {"qty": "0"})),
                                      txn(2, update(1, {"qty": None}, {"qty": "1"})),
                                      txn(3, update(1, {"qty": "1"})))
    assert codes(over) == [(0, "refused", "22003")]
    assert codes(null) == codes(none) == [(0, "invalid", "")]
    wide = writer.results(txn(4, update(1, {"qty": "-2147483648"}, {"qty": "2147483647"})))[0]
    assert wide["status"] == "applied" and rows(items, "qty") == [(-2147483648,)]


@pytest.mark.parametrize("kind, expected", [("min", 3), ("max", 9), ("keep", 5), ("merge", 3)])
def test_least_greatest_and_kept(items, make_writer, kind, expected):
    items.sql("INSERT INTO items VALUES (1, 5)")
    writers = two_writers(make_writer, conflict={"qty": kind})
    for result in both_change(writers, [{"qty": "9"}, {"qty": "3"}], {"qty": "5"}):
        assert result["status"] == "applied"
    assert rows(items, "qty") == [(expected,)]


def test_keep_still_says_that_a_row_is_missing(items, make_writer):
    writer = make_writer(rules(table(conflict={"qty": "keep"})))
    assert codes(writer.results(txn(1, update(1, {"qty": "1"})))[0]) == [(0, "missing", "")]


@pytest.mark.parametrize("kind, form", [
    ("int[]", "{{{}}}"), ("text[]", "{{{}}}"), ("varchar(5)[]", "{{{}}}"), ("jsonb", "[{}]")])
def test_unions_take_what_was_added_and_what_was_removed(database, make_writer, kind, form):
    database.sql(f"CREATE TABLE items (id int PRIMARY KEY, tags {kind})")
    database.sql("INSERT INTO items VALUES (1, %s), (2, NULL)", form.format("1,2,3"))
    writers = two_writers(make_writer, conflict={"tags": "union"})
    base = {"tags": form.format("1,2,3")}
    both_change(writers, [{"tags": form.format("1,3,4")}, {"tags": form.format("2,1,5,5,4")}], base)
    assert database.value("SELECT tags = %s FROM items WHERE id = 1", form.format("1,4,5"))
    a, b = writers
    a.results(txn(2, update(2, {"tags": form.format("7")}, {"tags": None})))
    b.results(txn(2, update(2, {"tags": form.format("8")}, {"tags": None})))
    assert database.value("SELECT tags = %s FROM items WHERE id = 2", form.format("7,8"))
    b.results(txn(3, update(2, {"tags": None}, {"tags": form.format("8")})))
    assert database.value("SELECT tags = %s FROM items WHERE id = 2", form.format("7"))


def test_a_function_of_a_column_decides(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 5, 'a', 'x')")
    items.sql("""CREATE FUNCTION joined(current jsonb, base jsonb, new jsonb) RETURNS jsonb
        LANGUAGE plpgsql AS $$ BEGIN
            IF new = '"stop"' THEN RAISE 'not this'; END IF;
            IF new = '"same"' THEN RETURN NULL; END IF;
            IF new = 'null' THEN RETURN 'null'; END IF;
            RETURN to_jsonb(concat_ws('|', current #>> '{}', base #>> '{}', new #>> '{}'));
        END$$""")
    writer = make_writer(rules(table(functions={"note": "joined"})))
    one, stop, same = writer.results(txn(1, update(1, {"note": "c"}, {"note": "b"})),
                                     txn(2, update(1, {"note": "stop"}, {"note": "b"})),
                                     txn(3, update(1, {"note": "same"}, {"note": None})))
    assert one["status"] == same["status"] == "applied"
    assert codes(stop) == [(0, "refused", "P0001")]
    assert rows(items, "note") == [("a|b|c",)]
    writer.results(txn(4, update(1, {"note": None}, {"note": "b"})))
    assert rows(items, "note") == [(None,)]


def test_a_function_of_the_table_decides_about_whole_rows(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 5, 'a', 'x')")
    items.sql("""CREATE FUNCTION whole(current jsonb, base jsonb, new jsonb) RETURNS jsonb
        LANGUAGE sql AS $$ SELECT jsonb_build_object('qty', (current->>'qty')::int +
            (new->>'qty')::int - (base->>'qty')::int,
            'note', current->>'owner', 'owner', 'gone') $$""")
    writer = make_writer(rules(table(function="whole", columns=["qty", "note"])))
    [result] = writer.results(txn(1, update(1, {"qty": "7"}, {"qty": "6"})))
    assert result["status"] == "applied", result
    assert rows(items) == [(1, 6, "x", "x")]


def test_rules_that_cannot_work_are_refused_with_the_column(items, make_writer):
    for bad, said in [({"conflict": {"note": "counter"}}, '"note" of table "items" is no number'),
                      ({"conflict": {"note": "union"}}, '"note" of table "items" is neither'),
                      ({"conflict": {"id": "counter"}}, '"id" of table "items" is part of the key'),
                      ({"functions": {"note": "nowhere"}}, 'no function "public"."nowhere"')]:
        assert said in make_writer(rules(table(**bad))).apply(txn(1, insert(1)))["error"]
    items.sql("CREATE TABLE bare (a int);"
              " CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
    assert '"id" of table "counted" is generated' in make_writer(
        rules(table("counted"))).apply()["error"]
    assert "has no primary key" in make_writer(rules(table("bare"))).apply()["error"]


# ---- what is allowed -------------------------------------------------------------------------


def test_tables_operations_and_columns_without_a_rule_are_refused(items, make_writer):
    items.sql("CREATE TABLE other (id int PRIMARY KEY)")
    items.sql("ALTER TABLE items ADD twice int GENERATED ALWAYS AS (qty * 2) STORED")
    items.sql("INSERT INTO items VALUES (1, 5, 'a', 'x')")
    writer = make_writer(rules({**table(columns=["qty"]), "ops": ["insert", "update"]}))
    tombolo = {"table": "tombolo.replicas", "op": "delete", "key": {"replica": "r1"}}
    results = writer.results(
        txn(1, insert(1, "other")), txn(2, delete(1)), txn(3, update(1, {"note": "b"})),
        txn(4, update(1, {"twice": "1"})), txn(5, insert(2, qty="1", twice="2")), txn(6, tombolo),
        txn(7, update(1, {"id": "9"})), txn(8, insert(3, note="b")))
    assert [codes(r) for r in results] == [[(0, "not_allowed", "")]] * 8
    assert "takes no writes" in results[0]["rejections"][0]["message"]
    assert '"twice" of table "items" is generated' in results[3]["rejections"][0]["message"]
    [nulls] = writer.results(txn(9, insert(4, qty="1", note=None, twice=None)))
    assert nulls["status"] == "applied"
    unknown, key, extra = writer.results(
        txn(10, update(1, {"qtty": "1"})),
        txn(11, {"table": "items", "op": "update", "key": {"qty": "5"}, "values": {"qty": "1"}}),
        txn(12, {"table": "items", "op": "update", "key": {"id": "1", "qty": "5"},
                 "values": {"qty": "1"}}))
    assert [codes(r) for r in (unknown, key, extra)] == [[(0, "invalid", "")]] * 3
    assert rows(items, "id, qty") == [(1, 5), (4, 1)]


def test_the_check_holds_for_the_old_row_and_the_new(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 5, 'a', 'alice'), (2, 5, 'b', 'bob')")
    writer = make_writer(rules(table(check="owner = 'alice'")))
    results = writer.results(
        txn(1, insert(3, owner="bob")), txn(2, insert(4)), txn(3, update(1, {"owner": "bob"})),
        txn(4, update(2, {"qty": "9"})), txn(5, update(2, {"owner": "alice"})), txn(6, delete(2)),
        txn(7, update(99, {"qty": "9"})), txn(8, delete(99)))
    assert [codes(r) for r in results] == [[(0, "check", "")]] * 3 + [[(0, "missing", "")]] * 5
    texts = {r["rejections"][0]["message"].split(":")[1] for r in results[3:]}
    assert len(texts) == 1  # whether there is such a row is not said
    assert {r["status"] for r in writer.results(
        txn(9, insert(5, owner="alice")), txn(10, update(1, {"qty": "6"})))} == {"applied"}
    assert rows(items, "id, qty, owner") == [(1, 6, "alice"), (2, 5, "bob"), (5, None, "alice")]


def test_the_check_is_of_the_row_that_triggers_have_made(items, make_writer):
    items.sql("""CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.owner := 'bob'; RETURN NEW; END$$;
        CREATE TRIGGER mine BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION mine()""")
    writer = make_writer(rules(table(check="owner = 'alice'")))
    assert codes(writer.results(txn(1, insert(1, owner="alice")))[0]) == [(0, "check", "")]


def test_a_check_of_a_delete_does_not_tell_who_refers_to_anothers_row(items, make_writer):
    items.sql("INSERT INTO items VALUES (2, 5, 'b', 'bob')")
    items.sql("CREATE TABLE refers (id int REFERENCES items)")
    items.sql("INSERT INTO refers VALUES (2)")
    writer = make_writer(rules(table(check="owner = 'alice'")))
    assert codes(writer.results(txn(1, delete(2)))[0]) == [(0, "missing", "")]


def test_set_columns_are_set_whatever_the_replica_says(items, make_writer):
    writer = make_writer(rules(table(columns=["qty"], set={"owner": "alice"})))
    results = writer.results(txn(1, insert(1)), txn(2, insert(2, owner=None)),
                             txn(3, insert(3, owner="alice")), txn(4, insert(4, owner="bob")),
                             txn(5, update(1, {"owner": "bob"})))
    assert [r["status"] for r in results] == ["applied"] * 3 + ["rejected"] * 2
    assert rows(items, "id, owner") == [(1, "alice"), (2, "alice"), (3, "alice")]
    items.sql("UPDATE items SET owner = 'bob'")
    writer.results(txn(6, update(1, {"qty": "1"})))
    assert rows(items, "id, owner") == [(1, "alice"), (2, "bob"), (3, "bob")]


def test_missing_rows_are_rejections_unless_the_rules_say_otherwise(items, make_writer):
    strict, lax = make_writer(rules(table())), make_writer(rules(table(skip=["delete"])), "r2")
    results = strict.results(txn(1, update(1, {"qty": "1"})), txn(2, delete(1)))
    assert [codes(r) for r in results] == [[(0, "missing", "")]] * 2
    update_one, delete_one = lax.results(txn(1, update(1, {"qty": "1"})), txn(2, delete(1)))
    assert update_one["status"] == "rejected" and delete_one["status"] == "applied"


def test_rows_that_the_check_hides_are_passed_over_like_missing_ones(items, make_writer):
    items.sql("INSERT INTO items VALUES (2, 5, 'b', 'bob')")
    writer = make_writer(rules(table(check="owner = 'alice'", skip=["update", "delete"])))
    results = writer.results(txn(1, update(2, {"qty": "9", "owner": "alice"})), txn(2, delete(2)),
                             txn(3, update(2, {"qty": "9"})))
    assert [r["status"] for r in results] == ["applied"] * 3
    assert rows(items, "id, qty, owner") == [(2, 5, "bob")]


def test_a_key_moves_and_the_next_mutation_finds_it(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 5)")
    writer = make_writer(rules(table()))
    [result] = writer.results(txn(1, update(1, {"id": "2"}), update(2, {"qty": "6"}), marked=True))
    assert result["status"] == "applied"
    assert rows(items, "id, qty") == [(2, 6)]


def test_composite_and_odd_keys_are_found_by_their_index(database, make_writer):
    database.sql("""CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN code AS varchar(9);
        CREATE TABLE "Odd ""t" ("a b" uuid, m mood, c code, n numeric, net cidr, "V" text,
        PRIMARY KEY (c, "a b", n, m, net))""")
    key = {"a b": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "m": "ok", "c": "x'$1", "n": "1.0",
           "net": "10.0.0.0/8"}
    name = '"Odd ""t"'
    writer = make_writer(rules(table('Odd "t')))
    results = writer.results(
        txn(1, {"table": name, "op": "insert", "key": key, "values": {"V": "$1 ' \" \\ ;"}}),
        txn(2, {"table": name, "op": "update", "key": {**key, "n": "1.00"}, "values": {"V": "b"}}),
        txn(3, {"table": name, "op": "delete", "key": key}))
    assert [r["status"] for r in results] == ["applied"] * 3, results


EVIL = ["'; DROP TABLE items; --", "$1", "\\'; SELECT pg_sleep(9)", '"', "\"; DROP TABLE items; --",
        "1); DELETE FROM items; --", "%s%n", "{\"a\": 1}"]


@pytest.mark.parametrize("evil", EVIL)
def test_sql_in_every_string_stays_a_string(items, make_writer, evil):
    items.sql("INSERT INTO items VALUES (1, 5, 'a', 'x')")
    writer = make_writer(rules(table(conflict={"note": "reject"}), subject=evil,
                               claims=json.dumps({"sub": evil})))
    writer.send(json.dumps({"replica": evil, "transactions": []}))
    assert writer.receive()["invalid"] == "replica"
    done = writer.results(txn(1, update(1, {"note": evil}, {"note": "a"}), nonce=evil),
                          incarnation=evil)
    assert done[0]["status"] == "applied"
    bad = writer.results(
        txn(2, {"table": "items", "op": "update", "key": {"id": evil}, "values": {"qty": "1"}}),
        txn(3, update(1, {evil: "1"})), txn(4, update(1, {"qty": evil}, {evil: "1"})),
        txn(5, update(1, {"qty": evil})), txn(6, delete(1, {"note": evil + "x"})), after=evil)
    assert [r["status"] for r in bad] == ["rejected"] * 5
    answer = writer.apply(txn(7, {"table": evil, "op": "delete", "key": {"id": "1"}}))
    assert "invalid" in answer or answer["results"][0]["status"] == "rejected"
    assert rows(items) == [(1, 5, evil, "x")]
    assert items.sql("SELECT replica, subject FROM tombolo.replicas") == [("r1", evil)]


# ---- Postgres's own rules --------------------------------------------------------------------


@pytest.fixture
def guarded(items):
    role = f"app_{items.name}"
    items.sql(f"""CREATE ROLE {role} NOLOGIN; GRANT USAGE ON SCHEMA public TO {role};
        GRANT SELECT, INSERT, DELETE, UPDATE (qty, note, owner) ON items TO {role};
        ALTER TABLE items ENABLE ROW LEVEL SECURITY;
        CREATE POLICY mine ON items
        USING (owner = current_setting('request.jwt.claims')::json->>'sub');
        INSERT INTO items VALUES (1, 5, 'a', 'alice'), (2, 5, 'b', 'bob')""")
    yield items, role
    items.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_row_security_and_grants_decide_under_rules_that_are_too_wide(guarded, make_writer):
    items, role = guarded
    items.sql("CREATE TABLE secret (id int PRIMARY KEY)")
    writer = make_writer(rules(table(), table("secret"), role=role,
                               claims=json.dumps({"sub": "alice"})))
    results = writer.results(
        txn(1, update(1, {"qty": "6"})), txn(2, update(2, {"qty": "6"})), txn(3, delete(2)),
        txn(4, insert(3, owner="bob")), txn(5, update(1, {"owner": "bob"})),
        txn(6, insert(1, "secret")), txn(7, update(1, {"id": "7"})),
        txn(8, insert(4, owner="alice")))
    assert [codes(r) for r in results] == [
        [], [(0, "missing", "")], [(0, "missing", "")], [(0, "refused", "42501")],
        [(0, "refused", "42501")], [(0, "refused", "42501")], [(0, "refused", "42501")], []]
    assert rows(items, "id, qty, owner") == [(1, 6, "alice"), (2, 5, "bob"), (4, None, "alice")]


def test_triggers_run_as_the_role_deferred_ones_too(guarded, make_writer):
    items, role = guarded
    items.sql(f"""CREATE TABLE seen (who text, claims text); GRANT INSERT ON seen TO {role};
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO seen VALUES (current_user, current_setting('request.jwt.claims')); RETURN NULL;
        END$$;
        CREATE TRIGGER now AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION see();
        CREATE CONSTRAINT TRIGGER later AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION see()""")
    claims = json.dumps({"sub": "alice"})
    writer = make_writer(rules(table(), role=role, claims=claims))
    assert writer.results(txn(1, insert(3, owner="alice")))[0]["status"] == "applied"
    assert items.sql("SELECT * FROM seen") == [(role, claims)] * 2


def test_a_role_that_is_not_there_stops_the_writes_and_rejects_nothing(items, make_writer):
    answer = make_writer(rules(table(), role="nobody_of_that_name")).apply(txn(1, insert(1)))
    assert "nobody_of_that_name" in answer["error"]
    assert items.sql("SELECT * FROM tombolo.replicas") == []


def test_a_table_that_was_dropped_is_a_rejection_that_tells_of_it(items, make_writer):
    writer = make_writer(rules(table(), group=1))
    items.sql("""CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM 1 FROM nowhere; RETURN NEW; END$$;
        CREATE TRIGGER gone BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION gone()""")
    answer = writer.apply(txn(1, insert(1)))
    assert answer["schema_changed"] and codes(answer["results"][0]) == [(0, "refused", "42P01")]


def test_a_server_that_only_reads_stops_the_writes_and_rejects_nothing(items, make_writer):
    writer = make_writer(rules(table()))
    writer.results(txn(1, insert(1)))
    items.sql("""CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE 'disk full' USING ERRCODE = '53100'; END$$;
        CREATE TRIGGER full_disk BEFORE INSERT ON items
        FOR EACH ROW EXECUTE FUNCTION full_disk()""")
    answer = writer.apply(txn(2, insert(2)), txn(3, insert(3)))
    assert (answer["class"], answer["sqlstate"]) == ("stop", "53100")
    items.sql("DROP TRIGGER full_disk ON items")
    assert items.value("SELECT last_id FROM tombolo.replicas") == 1
    assert items.value("SELECT count(*) FROM tombolo.rejections") == 0


def test_a_connection_that_is_cut_while_it_writes_is_said_to_be(items, make_writer):
    items.sql("INSERT INTO items VALUES (1, 0)")
    writer = make_writer(rules(table(), lock_timeout=0))
    with contextlib.closing(items.connect(autocommit=False)) as holder:
        holder.cursor().execute("UPDATE items SET qty = 5 WHERE id = 1")
        writer.send(writer.body([txn(1, update(1, {"qty": "1"}))]))
        # It waits a moment at first, and then for as long as it takes.
        wait_for(lambda: items.sql(f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) w"), 60,
                 "the writer to wait")
        assert writer.receive()["class"] == "reconnect"
    assert items.sql("SELECT * FROM tombolo.replicas") == []
