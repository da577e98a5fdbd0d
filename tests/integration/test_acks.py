"""What a replica's stream says of its own writes: in order with the data, and nothing is lost when
the bridge or the connection is."""

import contextlib
import http.client
import itertools
import random
import signal
import threading
import time

import pytest
from harness import Bridge, Proxy, Stream, wait_for
from harness.stream import Refused
from harness.token import SECRET, token
from test_write_apply import insert, pause, txn, update

pytestmark = [pytest.mark.sanitized]

RULES = """
[write items]
operations = insert, update, delete
"""


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, qty int, owner text)")
    database.sql("INSERT INTO items VALUES (0, 0)")
    return database


@pytest.fixture
def make_bridge(items, make_bridge):
    return lambda rules=RULES, **settings: make_bridge(items, rules=rules, **settings).start()


@pytest.fixture
def bridge(make_bridge):
    return make_bridge()


ITEMS = {"table": "items"}


def follow(bridge, *shapes, replica="r1", **options):
    return Stream(bridge, *(shapes or [ITEMS]), replica=replica, writes=True, **options)


def write(bridge, *txns, replica="r1", headers=None, **fields):
    answer = bridge.post("/v1/write", {"replica": replica, "transactions": list(txns), **fields},
                         **(headers or {}))
    assert answer.status == 200, answer
    return answer.json()["results"]


def ids(ack):
    return [(r["id"], r["mutation"], r["code"]) for r in ack["rejected"]]


# ---- what they say ---------------------------------------------------------------------------


def test_who_has_written_nothing_is_told_so(bridge):
    assert follow(bridge).read().acks == [{"last": 0, "rejected": []}]


def test_nobody_is_told_who_does_not_ask(bridge):
    write(bridge, txn(1, insert(1)))
    Stream(bridge, ITEMS, replica="r1").read()  # an ack would fail there


def test_an_ack_says_what_is_decided_and_what_was_refused(items, bridge):
    write(bridge, txn(1, insert(1)), txn(2, insert(0), insert(2)), txn(3, update(99, {"qty": "1"}),
                                                                       nonce="third"))
    write(bridge, txn(1, insert(7)), replica="r2")
    [ack] = follow(bridge).read().acks
    assert (ack["last"], ack["nonce"]) == (3, "third")
    assert ids(ack) == [(2, 0, "refused"), (3, 0, "missing")]
    assert ack["rejected"][0]["sqlstate"] == "23505"
    assert "duplicate" in ack["rejected"][0]["message"]
    assert ids(follow(bridge, replica="r2").read().acks[-1]) == []


def test_what_is_acknowledged_is_not_said_again(bridge):
    write(bridge, txn(1, insert(0)), txn(2, insert(0)))
    write(bridge, acknowledged=1)
    assert ids(follow(bridge).read().acks[-1]) == [(2, 0, "refused")]


def test_each_stream_says_all_once_and_then_what_is_new(items, bridge):
    write(bridge, txn(1, insert(0)))
    stream = follow(bridge).read()
    stream.live = True
    stream.read(until=lambda s: len(s.acks) == 2)
    write(bridge, txn(2, insert(2)), txn(3, insert(0)))
    stream.read(until=lambda s: s.acks[-1]["last"] == 3).close()
    refused = [(1, 0, "refused")], [(1, 0, "refused")], [(3, 0, "refused")]
    assert [(ack["last"], ids(ack)) for ack in stream.acks] == list(zip((1, 1, 3), refused))


def test_a_stream_that_goes_on_knows_where_the_replica_stood(items, bridge):
    """Long behind the snapshot of the feed, whose log is not read again from its beginning."""
    stream = follow(bridge).read()
    for number in range(1, 30):
        write(bridge, txn(number, insert(number), nonce=f"n{number}"))
    stream.read()
    assert (stream.acks[-1]["last"], stream.acks[-1]["nonce"]) == (29, "n29")
    assert follow(bridge).read().acks[-1] == stream.read().acks[-1] == stream.acks[-2]


def test_a_refused_write_alone_is_acknowledged_too(bridge):
    stream = follow(bridge, live=True).read(until=lambda s: s.acks)
    write(bridge, txn(1, insert(0)))
    stream.read(until=lambda s: len(s.acks) == 2).close()
    assert (stream.acks[1]["last"], ids(stream.acks[1])) == (1, [(1, 0, "refused")])


def test_the_ack_comes_between_the_data_and_the_commit(items, bridge):
    stream = follow(bridge, live=True).read(until=lambda s: s.acks and s.consistent)
    seen = []
    take = stream._take  # pylint: disable=protected-access
    stream._take = lambda line: (seen.append(next(iter(line))), take(line))
    write(bridge, txn(1, insert(1), insert(2)))
    stream.read(until=lambda s: seen and seen[-1] == "commit").close()
    assert [what for what in seen if what != "keepalive"] == ["shape", "ack", "commit"]


def test_an_ack_does_not_wait_for_a_table_that_is_being_fetched(make_bridge, items):
    """Whoever truncates it commits while another already waits for it, who then has it before the
    bridge can."""
    items.sql("CREATE TABLE others (id int PRIMARY KEY); INSERT INTO others VALUES (1)")
    bridge = make_bridge(snapshot_timeout="10min", lock_timeout="10min", keepalive="100ms")
    stream = follow(bridge, ITEMS, {"table": "others"}, live=True).read(
        until=lambda s: s.acks and s.consistent)
    with contextlib.closing(items.connect(autocommit=False)) as first, \
            contextlib.closing(items.connect(autocommit=False)) as second:
        first.cursor().execute("TRUNCATE others")
        waiting = threading.Thread(target=second.cursor().execute, args=("LOCK others",))
        waiting.start()
        wait_for(lambda: items.value("SELECT count(*) FROM pg_locks WHERE NOT granted AND"
                                     " relation = 'others'::regclass"), 60, "the second to wait")
        first.commit()
        waiting.join(60)
        stream.read(until=lambda s: not s.consistent)
        write(bridge, txn(1, insert(0)), txn(2, insert(5)))
        stream.read(until=lambda s: s.acks[-1]["last"] == 2)
        assert ids(stream.acks[-1]) == [(1, 0, "refused")]
        stream.read(until=lambda s: not s.consistent)
        assert {row["id"] for row in stream.shapes[0].rows} == {"0", "5"}
        second.rollback()
    stream.read(until=lambda s: s.consistent).close()
    assert stream.shapes[1].refetched and stream.shapes[1].rows == []


def test_open_lines_say_what_may_be_written(make_bridge, items):
    items.sql("CREATE TABLE others (id int PRIMARY KEY)")
    bridge = make_bridge("[write items]\noperations = update, insert\n")
    stream = follow(bridge, ITEMS, {"table": "others"}).read()
    assert [shape.writes for shape in stream.shapes] == [["insert", "update"], None]


OWNED = """
[shape all]
table = items
[write items]
operations = insert
check = owner = auth.sub
set.owner = auth.sub
"""


def test_acks_are_of_the_subject_alone(make_bridge, items):
    bridge = make_bridge(OWNED, token_secret=SECRET, secret="s3cret")
    alice, bob = ({"authorization": f"Bearer {token(sub=sub)}"} for sub in ("alice", "bob"))
    write(bridge, txn(1, insert(1)), txn(2, insert(0)), headers=alice)
    shape = {"shape": "all"}
    [ack] = follow(bridge, shape, headers=alice).read().acks
    assert (ack["last"], ids(ack)) == (2, [(2, 0, "refused")])
    stream = follow(bridge, shape, headers=bob).read()
    assert stream.acks == [{"last": 0, "rejected": []}]
    assert stream.shapes[0].writes == ["insert"]
    nobody = {"authorization": f"Bearer {token()}"}
    stream = follow(bridge, shape, headers=nobody).read()
    assert stream.acks == [] and stream.shapes[0].writes is None


def test_replicas_of_a_subject_share_its_feeds_and_hear_of_their_own_writes(make_bridge, items):
    """However many it makes up."""
    bridge = make_bridge(OWNED, token_secret=SECRET, secret="s3cret")
    ann = {"authorization": f"Bearer {token(sub='ann')}"}
    streams = [follow(bridge, {"shape": "all"}, replica=f"made-up-{n}", headers=ann, live=True)
               .read(until=lambda s: s.acks) for n in range(12)]
    assert bridge.metrics()["tombolo_shapes"] == 3
    for n in (3, 7):
        write(bridge, txn(1, insert(n), nonce=f"n{n}"), txn(2, insert(0)), replica=f"made-up-{n}",
              headers=ann)
        streams[n].read(until=lambda s: s.acks[-1]["last"] == 2)
        assert ids(streams[n].acks[-1]) == [(2, 0, "refused")]
    write(bridge, acknowledged=2, replica="made-up-3", headers=ann)
    for n, stream in enumerate(streams):
        stream.close()
        again = follow(bridge, {"shape": "all"}, replica=f"made-up-{n}", headers=ann).read()
        again = again.acks[-1]
        assert (again["last"], len(again["rejected"])) == {3: (2, 0), 7: (2, 1)}.get(n, (0, 0))
        assert len(stream.acks) == (2 if n in (3, 7) else 1)


def test_a_bridge_that_takes_no_writes_acknowledges_none(make_bridge):
    stream = follow(make_bridge("[shape all]\ntable = items\n")).read()
    assert stream.acks == [] and stream.shapes[0].writes is None


def test_a_stream_from_before_the_rules_ends_and_comes_again(make_bridge):
    bridge = make_bridge("[shape all]\ntable = items\n", keepalive="50ms")
    stream = follow(bridge, live=True).read(until=lambda s: s.consistent)
    bridge.rules.write_text(RULES)
    bridge.process.send_signal(signal.SIGHUP)
    assert stream.read().error == {"message": "the rules have changed", "retry": True}
    wait_for(lambda: follow(bridge).read().acks == [{"last": 0, "rejected": []}], 60, "an ack")


def test_tables_that_are_published_by_hand_are_named_where_they_lack(make_bridge, items):
    items.sql("ALTER TABLE items REPLICA IDENTITY FULL")
    items.sql("CREATE PUBLICATION tombolo_default FOR TABLE items")
    bridge = make_bridge(manual_table_publishing="true")
    write(bridge, txn(1, insert(1)))
    with pytest.raises(Refused) as refused:
        follow(bridge).read()
    assert refused.value.status == 503  # whichever of the two is looked at first
    assert any(f"tombolo.{table}" in refused.value.body for table in ("replicas", "rejections"))
    items.sql("ALTER PUBLICATION tombolo_default ADD TABLE tombolo.replicas, tombolo.rejections")
    wait_for(lambda: follow(bridge).read().acks[-1]["last"] == 1, 60, "the acknowledgement")


def test_the_tables_of_the_bridge_may_be_lost_under_a_stream(items, bridge):
    stream = follow(bridge, live=True).read(until=lambda s: s.acks)
    write(bridge, txn(1, insert(1)))
    stream.read(until=lambda s: s.acks[-1]["last"] == 1)
    items.sql("DROP TABLE tombolo.replicas, tombolo.rejections, tombolo.decided, tombolo.memory")
    wait_for(lambda: items.value("SELECT to_regclass('tombolo.memory')"), 60, "the tables")
    wait_for(lambda: bridge.post("/v1/write", {"replica": "r1", "transactions": [
        txn(1, insert(5), nonce="anew")]}).status == 200, 60, "the bridge")
    try:
        stream.read(until=lambda s: s.acks[-1].get("nonce") == "anew")
    except AssertionError:  # it ended, to be asked again
        pass
    stream.close()
    assert follow(bridge).read().acks[-1]["nonce"] == "anew"


# ---- exactly with the data -------------------------------------------------------------------


class Follower(Stream):
    """Takes lines as a replica does, all up to a commit line or none; at each commit line its rows
    are those of the writes that were acknowledged and not refused, and no others."""

    def __init__(self, bridge, number, txns, **options):
        super().__init__(bridge, {"table": "items", "where": f"qty = {number}"}, live=True,
                         replica=f"r{number}", writes=True, timeout=60.0, **options)
        self.number, self.wanted = number, txns
        self.last, self.refused, self.commits, self.streams = 0, set(), 0, 0
        self._lines = []

    def _take(self, line):
        if "error" in line:
            super()._take(line)
            return
        self._lines.append(line)
        if "commit" in line or "keepalive" in line:
            for each in self._lines:
                super()._take(each)
                if "ack" in each:
                    self._heed(each["ack"])
            self._lines = []
            self._check(line)

    def _heed(self, ack):
        assert ack["last"] >= self.last, f"{ack} after {self.last}"
        for rejected in ack["rejected"]:
            assert rejected["id"] <= ack["last"], ack
            self.refused.add(rejected["id"])
        self.last = ack["last"]
        if self.last:
            assert ack["nonce"] == self.wanted[self.last - 1]["nonce"], ack

    def _check(self, line):
        if not self.consistent:
            return
        self.commits += 1
        there = {int(row["id"]) - 1000 * self.number for row in self.rows()}
        said = set(range(1, self.last + 1)) - self.refused
        assert there == said, f"at {line}: too many {there - said}, missing {said - there}"
        assert self.refused <= {i for i in range(1, self.last + 1) if i % 7 == 0}

    def follow(self, deadline):
        """Until all its writes are acknowledged, through as many streams as it takes."""
        while self.last < len(self.wanted):
            assert time.monotonic() < deadline, f"r{self.number} is stuck behind {self.last}"
            self.streams += 1
            self._lines, self.error = [], None
            try:
                self.read(until=lambda s: s.last == len(s.wanted))
            except Refused as refused:
                assert refused.status == 503, refused
                time.sleep(0.02)
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.02)
            except AssertionError as ended:
                if "without a word" not in str(ended):
                    raise
            self.close()


class Writer:
    """Sends its transactions one after another, a few at a time, until each is decided."""

    def __init__(self, url, number, txns, choose):
        self.url, self.number, self.txns, self.choose = url, number, txns, choose
        self._ask = Bridge._ask  # pylint: disable=protected-access

    def write(self, deadline):
        at, upto = 0, 0
        while at < len(self.txns):
            assert time.monotonic() < deadline, f"r{self.number} cannot write behind {at}"
            upto = max(upto, at + self.choose.randint(1, 9))
            some = {"replica": f"r{self.number}", "transactions": self.txns[at:upto]}
            try:
                answer = Bridge.post(self, "/v1/write", some, timeout=5.0)
            except (OSError, ValueError, http.client.HTTPException):
                time.sleep(0.02)
                continue
            assert answer.status in (200, 503), answer
            if answer.status == 200:
                at = max([at] + [r["id"] for r in answer.json()["results"]
                                 if r["status"] != "again"])
            time.sleep(self.choose.uniform(0, 0.02))


def number_of(number):
    """Every seventh is refused."""
    return [txn(i, insert(0 if i % 7 == 0 else number * 1000 + i, qty=str(number)))
            for i in range(1, 151)]


class Crew:
    """Two writers and a follower each; a failure of one is raised at the end."""

    def __init__(self, bridge, seed, through=None):
        self.failures, self.followers, self.threads = [], [], []
        deadline = time.monotonic() + 200
        for number in (1, 2):
            txns = number_of(number)
            follower = Follower(through or bridge, number, txns)
            writer = Writer((through or bridge).url, number, txns, random.Random(seed + number))
            self.followers.append(follower)
            for work in (follower.follow, writer.write):
                self.threads.append(threading.Thread(target=self._run, args=(work, deadline)))

    def _run(self, work, deadline):
        try:
            work(deadline)
        except BaseException as failure:  # pylint: disable=broad-except
            self.failures.append(failure)

    def start(self):
        for thread in self.threads:
            thread.start()

    def busy(self):
        return any(thread.is_alive() for thread in self.threads) and not self.failures

    def check(self):
        for thread in self.threads:
            thread.join(210)
        if self.failures:
            raise self.failures[0]
        for follower in self.followers:
            assert follower.refused == {i for i in range(1, 151) if i % 7 == 0}


def test_an_ack_comes_exactly_with_its_data(items, bridge, seed):
    crew = Crew(bridge, seed)
    crew.start()
    crew.check()


def test_acks_are_exact_though_connections_are_cut(items, bridge, seed):
    choose = random.Random(seed)
    with Proxy(bridge.port) as proxy:
        crew = Crew(bridge, seed, through=proxy)
        crew.start()
        for n in itertools.count():
            if not crew.busy():
                break
            time.sleep(choose.uniform(0.0, pause(0.15, n)))
            proxy.cut()
        crew.check()
    assert sum(follower.streams for follower in crew.followers) > 4


def test_acks_are_exact_though_the_bridge_is_killed(items, bridge, seed):
    choose, kills = random.Random(seed), 0
    crew = Crew(bridge, seed)
    crew.start()
    while crew.busy() and kills < 8:
        time.sleep(choose.uniform(0.0, 0.4))
        bridge.kill9()
        bridge.start()
        kills += 1
    crew.check()
    assert kills


def test_acks_are_exact_though_the_shapes_begin_anew(items, bridge, seed):
    """The feeds' logs end under the streams: their snapshots are taken while writes go on."""
    choose = random.Random(seed)
    crew = Crew(bridge, seed)
    crew.start()
    for n in itertools.count():
        if not crew.busy():
            break
        time.sleep(choose.uniform(0.1, pause(0.4, n)))
        items.sql(choose.choice(["ALTER TABLE tombolo.replicas ALTER last_id TYPE numeric;"
                                 "ALTER TABLE tombolo.replicas ALTER last_id TYPE bigint",
                                 "VACUUM FULL tombolo.replicas", "VACUUM FULL tombolo.rejections"]))
    crew.check()
