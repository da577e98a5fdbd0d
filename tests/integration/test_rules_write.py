"""Who may write what: [write TABLE] with a token's claims, and those who try for more."""

import itertools

import pytest
from harness import Bridge
from harness.token import SECRET, bearer, token

pytestmark = pytest.mark.sanitized

RULES = """
[write notes]
operations = insert, update, delete
columns = id, qty, owner, tags, seen, best, body
check = owner = auth.sub AND qty < 1000
set.team = auth.app.team
conflict.qty = counter
conflict.tags = union
conflict.seen = max
conflict.body = app.longer

[write public."Odd Table"]
operations = insert, update
check = tenant = ANY (auth.tenants)
set.tenant = auth.tenant
conflict = keep
skip_missing = update

[write rooms]
operations = insert, update, delete
columns = id, owner, during
check = owner = auth.sub

[write ratios]
operations = update, delete
check = 100 / of > 0 AND owner = auth.sub

[write pages]
operations = update, delete
conflict = app.merge_page

[write notices]
operations = insert
check = auth.kind = 'editor'
"""


@pytest.fixture(scope="module")
def db(module_database):
    module_database.sql("""
        CREATE SCHEMA app;
        CREATE FUNCTION app.longer(current jsonb, base jsonb, new jsonb) RETURNS jsonb LANGUAGE sql
            AS $$ SELECT CASE WHEN length(new::text) > length(current::text) THEN new
                              ELSE current END $$;
        CREATE FUNCTION app.merge_page(current jsonb, base jsonb, new jsonb) RETURNS jsonb
            LANGUAGE sql AS $$ SELECT jsonb_build_object('title', new->>'title' || '+') $$;
        CREATE TABLE notes (id int PRIMARY KEY, owner text, qty int, team text, tags text[],
                            seen timestamptz, best int, body text, hidden text DEFAULT 'mine');
        CREATE TABLE "Odd Table" (id int PRIMARY KEY, tenant int, "some text" text,
                                  made int GENERATED ALWAYS AS (id * 2) STORED,
                                  number int GENERATED ALWAYS AS IDENTITY);
        CREATE TABLE pages (id int PRIMARY KEY, title text, views int DEFAULT 0);
        CREATE TABLE closed (id int PRIMARY KEY);
        CREATE TABLE notices (id int PRIMARY KEY);
        CREATE TABLE rooms (id int PRIMARY KEY, owner text NOT NULL, during int4range,
                            code text DEFAULT 'hidden', EXCLUDE USING gist (during WITH &&),
                            CHECK (id < 1000));
        CREATE TABLE old_rooms () INHERITS (rooms);
        CREATE TABLE ratios (id int PRIMARY KEY, owner text, of int);
        INSERT INTO ratios VALUES (2, 'bob', 0)""")
    return module_database


@pytest.fixture(autouse=True)
def rows(db):
    db.sql("""TRUNCATE notes, "Odd Table", pages, closed, rooms;
              INSERT INTO rooms VALUES (1, 'ann', '[1,5)'), (2, 'bob', '[10,20)');
              INSERT INTO old_rooms VALUES (1, 'bob', '[30,40)');
              INSERT INTO pages VALUES (1, 'one');
              INSERT INTO notes VALUES
                  (1, 'ann', 10, 't1', '{a,b}', '2024-01-01', 1, 'short', 'h'),
                  (2, 'bob', 20, 't2', '{a,b}', '2024-01-01', 1, 'short', 'h')""")


@pytest.fixture(scope="module")
def make_bridge(db, make_module_bridge):
    def make(rules=RULES, **settings):
        return make_module_bridge(db, rules=rules, secret="the operator's", token_secret=SECRET,
                                  **settings).start()

    return make


@pytest.fixture(scope="module")
def bridge(make_bridge):
    return make_bridge()


DRAFT = "[write draft]\noperations = insert\nset.owner = auth.sub\n"
REPLICAS = (f"replica{n}" for n in itertools.count())
ANN = {"sub": "ann", "app": {"team": "t1"}, "tenants": [1, 2], "tenant": 1}


def op(kind, table="notes", key=1, **fields):
    """A mutation; `key` is the id."""
    return {"table": table, "op": kind, "key": {"id": str(key)}, **fields}


def send(bridge, *mutations, replica=None, **claims):
    body = {"replica": replica or next(REPLICAS), "transactions": [
        {"id": 1, "nonce": "n1", "marked": True, "mutations": list(mutations)}]}
    return bridge.post("/v1/write", body, **dict(bearer(**{**ANN, **claims})))


def applied(bridge, *mutations, **claims):
    answer = send(bridge, *mutations, **claims)
    assert answer.status == 200, answer.body
    [result] = answer.json()["results"]
    assert result["status"] == "applied", result


def refused(bridge, *mutations, **claims):
    """The code; and that nothing was written is for the test to see."""
    answer = send(bridge, *mutations, **claims)
    assert answer.status == 200, answer.body
    [result] = answer.json()["results"]
    assert result["status"] == "rejected", result
    return result["rejected"][0]["code"]


def everything(db):
    return [db.sql(f"SELECT * FROM {table} ORDER BY id")
            for table in ("notes", '"Odd Table"', "pages", "closed")]


def note(db, key, columns):
    return db.sql(f"SELECT {columns} FROM notes WHERE id = {key}")[0]


# ---- what is allowed ----


def test_what_is_set_comes_from_the_token(db, bridge):
    applied(bridge, op("insert", key=3, values={"id": "3", "owner": "ann", "qty": "1"}))
    assert note(db, 3, "owner, team, qty, hidden") == ("ann", "t1", 1, "mine")
    applied(bridge, op("update", values={"qty": "11"}, base={"qty": "10"}), app={"team": "t9"})
    assert note(db, 1, "team, qty") == ("t9", 11)


def test_each_column_meets_another_writer_as_its_rule_says(db, bridge):
    base = {"qty": "10", "tags": "{a,b}", "seen": "2024-01-01 00:00:00+00", "best": "1",
            "body": "short"}
    db.sql("UPDATE notes SET qty = 15, tags = '{a,b,c}', seen = '2024-03-01', best = 2,"
           " body = 'a long text of another' WHERE id = 1")
    applied(bridge, op("update", base=base, values={
        "qty": "12", "tags": "{b,d}", "seen": "2024-02-01 00:00:00+00", "best": "3",
        "body": "mine"}))
    qty, tags, seen, best, body = note(db, 1, "qty, tags, seen::date::text, best, body")
    assert (qty, sorted(tags), seen, best, body) == \
        (17, ["b", "c", "d"], "2024-03-01", 3, "a long text of another")


def test_kind_for_a_table_is_one_for_each_column(db, bridge):
    odd = 'public."Odd Table"'
    applied(bridge, op("insert", odd, 1, values={"id": "1", "some text": "x"}))
    db.sql('UPDATE "Odd Table" SET "some text" = \'theirs\'')
    applied(bridge, op("update", odd, 1, values={"some text": "ours"}, base={"some text": "x"}))
    assert db.sql('SELECT tenant, "some text", made FROM "Odd Table"') == [(1, "theirs", 2)]
    applied(bridge, op("update", odd, 77, values={"some text": "x"}, base={"some text": "y"}))
    assert refused(bridge, op("delete", odd, 1)) == "not_allowed"


def test_function_for_a_table_gets_rows(db, bridge):
    db.sql("UPDATE pages SET title = 'two'")
    applied(bridge, op("update", "pages", 1, values={"title": "three"}, base={"title": "one"}))
    assert db.sql("SELECT title FROM pages") == [("three+",)]


# ---- those who try for more ----

ATTACKS = {
    "another's row": ("missing", op("update", key=2, values={"qty": "0"}, base={"qty": "20"})),
    "another's row deleted": ("missing", op("delete", key=2)),
    "another's row with a base that lies": (
        "missing", op("update", key=2, values={"qty": "0"}, base={"qty": "20", "owner": "ann"})),
    "a row given away": ("check", op("update", values={"owner": "bob"}, base={"owner": "ann"})),
    "a row for another": ("check", op("insert", key=9, values={"id": "9", "owner": "bob"})),
    "a row for nobody": ("check", op("insert", key=9, values={"id": "9"})),
    "another's row taken": (
        "missing", op("update", key=2, values={"owner": "ann"}, base={"owner": "bob"})),
    "another's key taken over": (
        "refused", op("update", values={"id": "2"}, base={"id": "1"})),
    "another's row replaced": (
        "refused", op("insert", key=2, values={"id": "2", "owner": "ann", "qty": "1"})),
    "outside of the check": (
        "check", op("update", values={"qty": "5000"}, base={"qty": "10"})),
    "a set column": ("not_allowed", op("update", values={"team": "t2"}, base={"team": "t1"})),
    "a set column at an insert": (
        "not_allowed", op("insert", key=9, values={"id": "9", "owner": "ann", "team": "t2"})),
    "a column that is not allowed": (
        "not_allowed", op("update", values={"hidden": "x"}, base={"hidden": "h"})),
    "a column that is not allowed at an insert": (
        "not_allowed", op("insert", key=9, values={"id": "9", "owner": "ann", "hidden": "x"})),
    "a table without a section": ("not_allowed", op("insert", "closed", values={"id": "1"})),
    "an operation without a rule": ("not_allowed", op("insert", "pages", 2, values={"id": "2"})),
    "the bridge's own tables": ("not_allowed", op("delete", "tombolo.replicas", 1)),
    "the catalogue": ("not_allowed", op("delete", "pg_catalog.pg_class", 1)),
    "SQL for a table": ("not_allowed", op("delete", 'public."notes; DROP TABLE notes"', 1)),
    "SQL for a column": (
        "invalid", op("update", values={'qty" = 0 WHERE true --': "1"}, base={})),
    "SQL for a value": (
        "refused", op("update", values={"qty": "(SELECT 1)"}, base={"qty": "10"})),
    "SQL for a key": ("refused", op("delete", key="1 OR true")),
    "SQL in a base": (
        "refused", op("update", values={"qty": "1"}, base={"qty": "10) OR (true"})),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_the_rules_do_not_allow_changes_nothing(db, bridge, attack):
    before = everything(db)
    code, mutation = ATTACKS[attack]
    assert refused(bridge, mutation) == code
    assert everything(db) == before


def test_good_neighbour_in_a_transaction_does_not_help(db, bridge):
    before = everything(db)
    good = op("update", values={"qty": "11"}, base={"qty": "10"})
    bad = op("update", key=2, values={"qty": "0"}, base={"qty": "20"})
    assert refused(bridge, good, bad) == "missing"
    assert everything(db) == before


@pytest.mark.parametrize("attack", [
    op("update", "rooms", values={"during": "[11,12)"}), op("insert", "rooms", 2000, values={
        "id": "2000", "owner": "ann"}),
    op("update", "rooms", key=1, values={"id": "1000"}),
    op("insert", "rooms", 3, values={"id": "3", "owner": "ann", "during": "[19,20)"}),
    op("update", "rooms", values={"owner": None})])
def test_broken_constraint_tells_of_no_row(bridge, attack):
    answer = send(bridge, attack)
    assert b'"code":"refused","sqlstate":"23' in answer.body, answer.body
    assert b"constraint" in answer.body
    for secret in (b"hidden", b"[10,20)", b"[1,5)"):
        assert secret not in answer.body, answer.body


@pytest.mark.parametrize("key", [2, 3])
@pytest.mark.parametrize("change", [{"kind": "update", "values": {"of": "1"}}, {"kind": "delete"}])
def test_check_that_raises_tells_of_no_hidden_row(bridge, key, change):
    assert refused(bridge, op(table="ratios", key=key, **change)) == "missing"


@pytest.mark.parametrize("change", [op("update", "rooms", values={"during": "[2,3)"}),
                                    op("delete", "rooms")])
def test_rows_of_a_table_that_inherits_are_none_of_this_one(db, bridge, change):
    applied(bridge, change)
    assert db.sql("SELECT owner, during::text FROM old_rooms") == [("bob", "[30,40)")]
    left = db.sql("SELECT during::text FROM ONLY rooms WHERE id = 1")
    assert left == ([("[2,3)",)] if change["op"] == "update" else [])



@pytest.mark.parametrize("claims", [
    {"app": None}, {"app": {}}, {"app": {"team": None}}, {"app": {"team": {"a": 1}}},
    {"app": "t1"}, {"app": ["t1"]}])
def test_without_the_claim_the_table_takes_no_writes(db, bridge, claims):
    before = everything(db)
    good = op("update", values={"qty": "11"}, base={"qty": "10"})
    assert refused(bridge, good, **claims) == "not_allowed"
    assert everything(db) == before


@pytest.mark.parametrize("tenants", ["1", ["one"], 1, [[1]], True, "{1", ["1 OR true"]])
def test_claim_of_the_wrong_type_opens_no_table(db, bridge, tenants):
    odd = op("insert", 'public."Odd Table"', 1, values={"id": "1"})
    assert refused(bridge, odd, tenants=tenants) == "not_allowed"
    assert db.sql('SELECT * FROM "Odd Table"') == []


def test_check_of_claims_alone_is_asked_of_each_of_many_rows(db, bridge):
    """Two rows in each transaction. A replica's first goes another way than those behind it."""
    def txn(i):
        rows = [op("insert", "notices", n, values={"id": str(n)}) for n in (2 * i, 2 * i + 1)]
        return {"id": i, "nonce": f"n{i}", "marked": i != 2, "mutations": rows}

    for kind, status, n in [("viewer", "rejected", 0), ("editor", "applied", 8)]:
        replica, after = next(REPLICAS), {}
        for ids in ([1], [2, 3], [4]):
            body = {"replica": replica, **after, "transactions": [txn(i) for i in ids]}
            answer = bridge.post("/v1/write", body, **dict(bearer(**ANN, kind=kind)))
            assert {r["status"] for r in answer.json()["results"]} == {status}, answer.body
            after = {"after": f"n{ids[-1]}"}
        assert db.value("SELECT count(*) FROM notices") == n


@pytest.mark.parametrize("sub", ["' OR true --", "ann' OR 'a'='a", "$1", "ann\\", "owner"])
def test_sql_in_a_claim_is_a_value(db, bridge, sub):
    before = everything(db)
    assert refused(bridge, op("delete"), sub=sub) == "missing"
    assert everything(db) == before


def test_operator_gets_the_sections_without_claims(db, bridge):
    def post(mutation):
        body = {"replica": next(REPLICAS), "transactions": [
            {"id": 1, "nonce": "n", "mutations": [mutation]}]}
        answer = bridge.post("/v1/write", body, authorization="Bearer the operator's")
        return answer.json()["results"][0]["status"]

    assert post(op("delete")) == "rejected"
    assert post(op("update", "pages", values={"title": "x"}, base={"title": "one"})) == "applied"


@pytest.mark.parametrize("headers", [
    {}, dict(bearer("x.y.z")), dict(bearer(token(secret="x" * 40, sub="ann"))),
    dict(bearer(token(seconds=-100, sub="ann"))), dict(bearer(token(header={"alg": "none"})))])
def test_who_is_nobody_is_not_let_in(db, bridge, headers):
    before = everything(db)
    body = {"replica": "r", "transactions": [{"id": 1, "nonce": "n", "mutations": [op("delete")]}]}
    assert bridge.post("/v1/write", body, **headers).status == 401
    assert everything(db) == before


# ---- Postgres as the second wall ----

WIDE = """
[write notes]
operations = insert, update, delete
role = {role}

[write closed]
operations = insert
role = {role}
"""


@pytest.fixture
def walled(db):
    db.sql("""
        DO $$ BEGIN CREATE ROLE app_user; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        GRANT USAGE ON SCHEMA public TO app_user;
        GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO app_user;
        ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
        DROP POLICY IF EXISTS own ON notes;
        CREATE POLICY own ON notes TO app_user
            USING (owner = current_setting('request.jwt.claims')::json->>'sub')""")
    yield db
    db.sql("DROP POLICY own ON notes; ALTER TABLE notes DISABLE ROW LEVEL SECURITY")


def test_rule_that_is_too_wide_does_not_pass_row_level_security(walled, make_bridge):
    bridge = make_bridge(WIDE.format(role="app_user"))
    before = everything(walled)
    assert refused(bridge, op("delete", key=2)) == "missing"
    theirs = op("update", key=2, values={"qty": "0"}, base={"qty": "20"})
    assert refused(bridge, theirs) == "missing"
    assert refused(bridge, op("insert", key=9, values={"id": "9", "owner": "bob"})) == "refused"
    assert refused(bridge, op("insert", "closed", 1, values={"id": "1"})) == "refused"
    assert everything(walled) == before
    applied(bridge, op("delete", key=1))


@pytest.mark.parametrize("role", [
    "none", "NONE", "", "nobody_at_all", "pg_monitor; --", None, ["a"]])
def test_role_of_a_token_is_no_way_around(walled, make_bridge, role):
    bridge = make_bridge(WIDE.format(role="auth.role"))
    before = everything(walled)
    claims = {} if role is None else {"role": role}
    assert refused(bridge, op("delete", key=2), **claims) == "not_allowed"
    assert b"writes" not in bridge.get("/v1/health").body
    assert everything(walled) == before
    applied(bridge, op("delete", key=1), role="app_user")


# ---- tables that change ----


def test_table_that_was_altered_takes_writes_again_when_it_fits(db, make_bridge):
    db.sql("CREATE TABLE draft (id int PRIMARY KEY, owner text, qty int)")
    bridge = make_bridge("[write draft]\noperations = insert\ncolumns = id, owner\n",
                         catalog_interval="200ms")

    def write(key, **values):
        return op("insert", "draft", key, values={"id": str(key), **values})

    applied(bridge, write(1, owner="ann"))
    db.sql("ALTER TABLE draft RENAME owner TO author")
    bridge.process.wait_for(lambda: bridge.log_contains("a table takes no writes"), 60,
                            "the rule that does not fit to be found")
    for mutation in (write(2), write(2, owner="ann"), write(2, author="ann")):
        assert refused(bridge, mutation) == "not_allowed"
    db.sql("ALTER TABLE draft RENAME author TO owner; ALTER TABLE draft ADD more text")
    bridge.process.wait_for(lambda: bridge.log_contains("a table takes writes again"), 60,
                            "the rule to fit again")
    applied(bridge, write(3, owner="ann"))
    assert refused(bridge, write(4, more="x")) == "not_allowed"
    assert db.sql("SELECT id FROM draft ORDER BY id") == [(1,), (3,)]


# ---- the start ----


def test_rules_count_as_soon_as_postgres_is_there(own_postgres, tmp_path):
    own_postgres.sql("CREATE TABLE draft (id int PRIMARY KEY, owner text)")
    own_postgres.stop()
    bridge = Bridge(own_postgres, data_dir=tmp_path / "bridge", rules=DRAFT,
                    secret="the operator's", token_secret=SECRET).start(wait=False)
    bridge.wait_until("starting")
    mutation = op("insert", "draft", values={"id": "1"})
    assert send(bridge, mutation, replica="r").status == 503
    own_postgres.start()
    bridge.wait_until("active")
    bridge.process.wait_for(lambda: send(bridge, mutation, replica="r").status == 200, 60,
                            "the write to be taken")
    assert own_postgres.sql("SELECT id, owner FROM draft") == [(1, "ann")]
    bridge.stop()


def test_rules_that_turn_out_wrong_say_why_and_count_once_they_fit(own_postgres, tmp_path):
    """Postgres was away at the start, which would have refused them."""
    own_postgres.sql("CREATE TABLE draft (id int PRIMARY KEY)")
    own_postgres.stop()
    bridge = Bridge(own_postgres, data_dir=tmp_path / "bridge", rules=DRAFT,
                    secret="the operator's", token_secret=SECRET,
                    catalog_interval="200ms").start(wait=False)
    bridge.wait_until("starting")
    mutation = op("insert", "draft", values={"id": "1"})
    assert "held against the catalogue" in bridge.get("/v1/health").json()["writes"]
    own_postgres.start()
    bridge.wait_until("active")

    def reasons():
        answer = send(bridge, mutation, replica="r")
        assert answer.status == 503, answer
        return answer.json()["message"], bridge.get("/v1/health").json()["writes"]

    bridge.process.wait_for(lambda: all('rules.ini:3' in reason for reason in reasons()), 60,
                            "the reason")
    assert all("owner" in reason and str(tmp_path) not in reason for reason in reasons())
    own_postgres.sql("ALTER TABLE draft ADD owner text")
    bridge.process.wait_for(lambda: send(bridge, mutation, replica="r").status == 200, 60,
                            "the write to be taken")
    assert "writes" not in bridge.get("/v1/health").json()
    assert own_postgres.sql("SELECT id, owner FROM draft") == [(1, "ann")]
    bridge.stop()
