"""Who may read what: tokens, shapes by name, and those who try for more."""

import json
import signal
import time

import pytest
from harness import Connection, NodeClient, ShapeApi, Stream, request, target, wait_for
from harness.nginx import Nginx
from harness.token import SECRET, bearer, part, signature, token

pytestmark = pytest.mark.sanitized

SHARED = "the operator's secret"
RULES = """
[shape mine]
table = public.notes
where = owner = auth.sub
columns = id, owner, qty

[shape team]
table = notes
where = team = ANY (auth.app.teams) AND qty >= 0

[shape tenant]
table = notes
where = tenant = auth.tenant

[shape wide]
table = notes
where = owner = auth.sub OR owner = auth.boss OR team = auth.team OR qty = tenant * 1000

[shape everyone]
table = notes
columns = id, qty
"""


@pytest.fixture(scope="module")
def db(module_database):
    module_database.sql("""
        CREATE TABLE notes (id int PRIMARY KEY, owner text, team text, qty int, tenant int,
                            hidden text);
        INSERT INTO notes SELECT n, (ARRAY['ann', 'bob'])[n % 2 + 1], 't' || n % 3, n, n % 4,
               'hidden ' || n FROM generate_series(1, 12) n""")
    return module_database


@pytest.fixture(scope="module")
def make_bridge(db, make_module_bridge):
    """make_bridge(rules, **settings): a bridge that has these rules, and takes tokens."""
    def make(rules=RULES, start=True, postgres=db, **settings):
        settings = {"secret": SHARED, "token_secret": SECRET, "token_audience": "notes",
                    "token_leeway": "0s", **settings}
        bridge = make_module_bridge(postgres, rules=rules, **settings)
        return bridge.start() if start else bridge

    return make


@pytest.fixture(scope="module")
def bridge(make_bridge):
    return make_bridge(allow_delete="true", long_poll_timeout="1h")


@pytest.fixture
def api(bridge):
    return ShapeApi(bridge)


def who(sub="ann", **claims):
    return bearer(sub=sub, aud="notes", **claims)


def rows(reply):
    assert reply.status == 200, reply
    return [m["value"] for m in reply.json() if m["headers"].get("operation") == "insert"]


def ids(reply):
    return sorted(int(row["id"]) for row in rows(reply))


def subset_ids(reply):
    assert reply.status == 200, reply
    return sorted(int(m["value"]["id"]) for m in reply.json()["data"])


def expected(db, where):
    return [row[0] for row in db.sql(f"SELECT id FROM notes WHERE {where} ORDER BY id")]


def message(reply, status):
    assert reply.status == status, reply
    return reply.json()["message"]


# ---- what a bearer has ----


def test_each_bearer_has_the_rows_of_his_claims(db, api):
    for sub in ("ann", "bob"):
        reply = api.get(who(sub), shape="mine", offset="-1")
        assert ids(reply) == expected(db, f"owner = '{sub}'")
        assert {tuple(row) for row in rows(reply)} == {("id", "owner", "qty")}
    assert ids(api.get(who(app={"teams": ["t1", "t2"]}), shape="team", offset="-1")) == \
        expected(db, "team IN ('t1', 't2')")
    assert ids(api.get(who(tenant=3), shape="tenant", offset="-1")) == expected(db, "tenant = 3")
    assert ids(api.get(who(), shape="everyone", offset="-1")) == expected(db, "true")


def test_bearers_with_equal_claims_share_a_shape(api):
    one = api.get(who("ann", jti="1"), shape="mine", offset="-1")
    two = api.get(who("ann", jti="2"), shape="mine", offset="-1")
    assert one["electric-handle"] == two["electric-handle"]


def test_operator_has_every_table_and_the_shapes_without_claims(db, api):
    assert ids(api.get(table="notes", offset="-1", secret=SHARED)) == expected(db, "true")
    assert ids(api.get(bearer(SHARED), table="notes", where="owner = 'bob'", offset="-1")) == \
        expected(db, "owner = 'bob'")
    assert ids(api.get(shape="everyone", offset="-1", secret=SHARED)) == expected(db, "true")
    assert "sub" in message(api.get(shape="mine", offset="-1", secret=SHARED), 403)


def test_row_that_changes_hands_leaves_and_comes(db, make_bridge):
    db.sql("INSERT INTO notes VALUES (100, 'cid', 't9', 1, 9, 'x')")
    api = ShapeApi(make_bridge(), shape="mine", replica="full")
    first = {sub: api.get(who(sub), offset="-1") for sub in ("cid", "dan")}
    assert ids(first["cid"]) == [100] and ids(first["dan"]) == []
    db.sql("UPDATE notes SET owner = 'dan', qty = 77 WHERE id = 100")

    def next_of(sub):
        reply = first[sub]
        return api.get(who(sub), offset=reply["electric-offset"], handle=reply["electric-handle"],
                       live="true")

    left, came = next_of("cid").json(), next_of("dan").json()
    assert left[0]["headers"]["operation"] == "delete"
    assert "77" not in json.dumps(left) and "dan" not in json.dumps(left)
    assert came[0]["headers"]["operation"] == "insert"
    assert "cid" not in json.dumps(came) and "hidden" not in json.dumps(came)


# ---- those who try for more ----


@pytest.mark.parametrize("more", [
    {"where": "true"}, {"table": "notes"}, {"columns": "id,hidden"}, {"params[1]": "bob"},
    {"queryable_columns": "id,hidden"},
])
def test_nothing_is_added_to_a_named_shape(api, more):
    for headers in (who(), bearer(SHARED)):
        reply = api.get(headers, shape="mine", offset="-1", **more)
        assert reply.status == 400, reply
        assert "can't be given together with shape" in reply.body.decode()


@pytest.mark.parametrize("body", [
    {"table": "notes"}, {"shape": "everyone", "table": "notes"}, {"columns": ["hidden"]},
    {"subset": {"where": "true"}, "where": "true"}, {"subset": {}, "params": {"1": "bob"}},
])
def test_nothing_is_added_to_a_named_shape_by_a_body(api, body):
    reply = api.post(json.dumps(body).encode(), who(), shape="mine", offset="-1")
    assert reply.status == 400, reply
    assert "bob" not in reply.body.decode() and "hidden 1" not in reply.body.decode()


def test_free_tables_need_the_secret(api, bridge):
    assert "needs the secret" in message(api.get(who(), table="notes", offset="-1"), 403)
    assert "needs the secret" in message(
        api.post(b'{"table":"notes","where":"owner = \'ann\'"}', who(), offset="-1"), 403)
    body = {"shapes": [{"shape": "mine"}, {"table": "notes"}], "live": False}
    reply = bridge.post("/v1/sync?replica=r1", body, **dict(who()))
    assert reply.status == 403 and b"needs the secret" in reply.body


@pytest.mark.parametrize("where", [
    "true", "owner = 'bob'", "true) OR (true", "1=1 OR owner='bob'", "id > 0 -- ",
    "qty IS NOT NULL"])
def test_subset_stays_inside_the_shape(db, api, where):
    mine = expected(db, "owner = 'ann'")
    common = {"shape": "mine", "offset": "now", "log": "changes_only"}
    for reply in (api.get(who(), subset__where=where, **common),
                  api.post(json.dumps({"where": where}).encode(), who(), **common),
                  api.post(json.dumps({"subset": {"where": where}}).encode(), who(), **common)):
        assert reply.status == 400 or set(subset_ids(reply)) <= set(mine), reply


@pytest.mark.parametrize("where", [
    "id = 1 AND 1 / (qty - 1) = 1", "id = 1 AND owner::int = 1", "qty + 2147483640 > 0",
    "owner LIKE 'bo\\'", "id = 1 AND owner LIKE ANY (ARRAY['x', 'bo\\'])"])
def test_subset_tells_nothing_of_other_rows_by_an_error(db, api, where):
    mine = expected(db, "owner = 'ann'")
    db.sql("UPDATE notes SET qty = 0 WHERE owner = 'ann'")
    reply = api.get(who(boss="-", team="-"), shape="wide", offset="now", subset__where=where)
    db.sql("UPDATE notes SET qty = id")
    assert set(subset_ids(reply)) <= set(mine)


@pytest.mark.parametrize("ask", [
    {"subset__where": "hidden LIKE 'hidden 1%'"}, {"subset__where": "tenant = 1"},
    {"subset__order_by": "hidden", "subset__limit": "1"},
    {"subset__where": "hidden = $1", "subset__params": '{"1":"hidden 1"}'},
])
def test_subset_tells_nothing_of_columns_that_are_not_shown(api, ask):
    reply = api.get(who(), shape="mine", offset="now", log="changes_only", **ask)
    assert reply.status == 400, reply


def test_handle_of_another_bearers_shape_opens_nothing(db, api):
    theirs = api.get(who("bob"), shape="mine", offset="-1")
    handle = theirs["electric-handle"]
    for params in ({"offset": "0_0"}, {"offset": theirs["electric-offset"]},
                   {"offset": theirs["electric-offset"], "live": "true"},
                   {"offset": theirs["electric-offset"], "live": "true", "live_sse": "true"},
                   {"offset": "now", "subset__where": "true"}):
        reply = api.get(who("ann"), shape="mine", handle=handle, **params)
        if "subset__where" in params:
            assert set(subset_ids(reply)) <= set(expected(db, "owner = 'ann'"))
            continue
        assert reply.status == 409, (params, reply)
        assert reply.json() == [{"headers": {"control": "must-refetch"}}]
        assert reply["electric-handle"] != handle
        assert reply["cache-control"].startswith("private"), reply
    reply = api.get(who("ann") + [("if-none-match", theirs["etag"])], shape="mine", offset="-1")
    assert ids(reply) == expected(db, "owner = 'ann'")
    lines = sync_lines(api, who("ann"), [{"shape": "mine", "handle": handle, "offset": "1_inf"}])
    assert ids_of_lines(lines) == expected(db, "owner = 'ann'")
    assert "handle" in lines[1]["open"] and lines[1]["open"]["handle"] != handle


def sync_lines(api, headers, shapes, replica="r1"):
    body = json.dumps({"shapes": shapes, "live": False}).encode()
    reply = request(api.port, "POST", target("/v1/sync", replica=replica), headers, body)
    assert reply.status == 200, reply
    return [json.loads(line) for line in reply.body.splitlines()]


def ids_of_lines(lines):
    held = set()
    for message in (m for line in lines for m in line.get("messages", ())):
        there = message["headers"]["operation"] != "delete"
        (held.add if there else held.discard)(int(message["value"]["id"]))
    return sorted(held)


def ids_of_sync(api, headers, shapes):
    return ids_of_lines(sync_lines(api, headers, shapes))


def test_electrics_client_follows_a_named_shape_with_a_token(db, bridge, tmp_path):
    db.sql("DELETE FROM notes WHERE owner = 'eve'")
    headers = {"Authorization": who("eve")[0][1]}
    url = f"{bridge.url}/v1/shape"
    with NodeClient(tmp_path, url, {"shape": "mine"}, headers=headers) as client:
        client.wait_for_rows([])
        db.sql("INSERT INTO notes VALUES (200, 'eve', 't', 5), (201, 'ann', 't', 5)")
        client.wait_for_rows([{"id": 200, "owner": "eve", "qty": 5}])
        db.sql("UPDATE notes SET owner = 'ann' WHERE id = 200")
        client.wait_for_rows([])
    db.sql("DELETE FROM notes WHERE id >= 200")


def test_sync_gives_the_same_rows_by_name(db, api):
    shapes = [{"shape": "mine"}]
    for sub in ("ann", "bob"):
        assert ids_of_sync(api, who(sub), shapes) == expected(db, f"owner = '{sub}'")
    assert ids_of_sync(api, bearer(SHARED), [{"shape": "everyone"}]) == expected(db, "true")


@pytest.mark.parametrize("more", [{"table": "notes"}, {"where": "true"}, {"columns": ["hidden"]},
                                  {"params": {"1": "bob"}}])
def test_sync_adds_nothing_to_a_named_shape(bridge, more):
    body = {"shapes": [{"shape": "mine", **more}]}
    reply = bridge.post("/v1/sync?replica=r1", body, **dict(who()))
    assert reply.status == 400 and b"can't be given together with shape" in reply.body, reply


CLAIMS = [
    ("mine", {"sub": None}, "sub"),
    ("mine", {"sub": {"a": 1}}, None),
    ("team", {}, "app.teams"),
    ("team", {"app": {"teams": None}}, "app.teams"),
    ("team", {"app": {"teams": {"t1": True}}}, "app.teams"),
    ("team", {"app": "t1"}, "app.teams"),
    ("team", {"app.teams": ["t1"]}, "app.teams"),
    ("team", {"app": {"teams": "t1"}}, "do not fit"),
    ("tenant", {}, "tenant"),
    ("tenant", {"tenant": "three"}, "do not fit"),
    ("tenant", {"tenant": "1 OR true"}, "do not fit"),
    ("tenant", {"tenant": [1, 2]}, "do not fit"),
    ("tenant", {"tenant": 1.5}, "do not fit"),
    ("tenant", {"tenant": True}, "do not fit"),
]


@pytest.mark.parametrize("shape,claims,said", CLAIMS)
def test_without_the_right_claims_there_are_no_rows(bridge, api, shape, claims, said):
    claims = {"sub": "ann", "aud": "notes", **claims}
    headers = bearer(**{k: v for k, v in claims.items() if not (k == "sub" and v is None)})
    reply = api.get(headers, shape=shape, offset="-1")
    assert reply.status in (401, 403), reply
    assert said is None or said in reply.json()["message"], reply
    assert reply["cache-control"] == "no-store" or reply.status == 401
    again = bridge.post("/v1/sync?replica=r1", {"shapes": [{"shape": shape}]}, **dict(headers))
    assert again.status == reply.status, again.body


@pytest.mark.parametrize("claim", [
    "' OR true --", "ann' OR 'a'='a", "ann\" OR true", "auth.sub", "$1", "NULL", "", "ann\\", "%"])
def test_sql_in_a_claim_is_a_value(api, claim):
    reply = api.get(who(claim), shape="mine", offset="-1")
    assert reply.status == 200 and rows(reply) == [], reply
    teams = api.get(who(app={"teams": [claim, "},t1,{"]}), shape="team", offset="-1")
    assert rows(teams) == []


def test_empty_list_of_teams_is_no_rows(api):
    assert rows(api.get(who(app={"teams": []}), shape="team", offset="-1")) == []


def broken_tokens():
    header, claims, mark = token(sub="ann", aud="notes").split(".")
    bob = part({"sub": "bob", "aud": "notes", "exp": 4000000000})
    none = part({"alg": "none"})
    return {
        "nothing": "", "words": "let me in", "dots": "..", "cut": f"{header}.{claims}",
        "another's claims": f"{header}.{bob}.{mark}",
        "signed with another key": token(secret="x" * 40, sub="ann", aud="notes"),
        "signed with the shared secret": token(secret=SHARED, sub="ann", aud="notes"),
        "alg none": f"{none}.{bob}.",
        "alg none, signed": f"{none}.{bob}.{signature(f'{none}.{bob}')}",
        "alg none in another case": f"{part({'alg': 'nOnE'})}.{bob}.",
        "RS256 with the secret": token(header={"alg": "RS256"}, sub="ann", aud="notes"),
        "crit": token(header={"alg": "HS256", "crit": ["exp"]}, sub="ann", aud="notes"),
        "expired": token(sub="ann", aud="notes", seconds=-1),
        "never expires": token(sub="ann", aud="notes", exp=None),
        "not yet": token(sub="ann", aud="notes", nbf=int(time.time()) + 1000),
        "another audience": token(sub="ann", aud="orders"),
        "no audience": token(sub="ann"),
        "long": token(sub="ann", aud="notes", filler="x" * 10000),
    }


@pytest.mark.parametrize("why", broken_tokens())
def test_token_that_is_not_right_opens_nothing(api, bridge, why):
    headers = bearer(broken_tokens()[why] or " ")
    for params in ({"shape": "mine"}, {"shape": "everyone"}, {"table": "notes"}):
        reply = api.get(headers, offset="-1", **params)
        assert message(reply, 401).startswith("Unauthorized - "), reply
        assert reply["access-control-allow-origin"] == "*"
        assert SECRET not in reply.body.decode() and SHARED not in reply.body.decode()
    sync = bridge.post("/v1/sync?replica=r1", {"shapes": [{"shape": "mine"}]}, **dict(headers))
    assert sync.status == 401
    assert "Bearer" in sync.headers["www-authenticate"]


def test_no_token_and_no_secret_opens_nothing(api):
    assert api.get(shape="everyone", offset="-1").status == 401
    good = token(sub="ann", aud="notes")
    assert api.get(shape="everyone", offset="-1", secret=good).status == 401


def test_delete_needs_the_secret(db, api):
    reply = api.get(who(), shape="everyone", offset="-1")
    handle = reply["electric-handle"]
    for params in ({"handle": handle}, {"table": "notes"}, {"shape": "everyone", "handle": handle}):
        assert message(api.get(who(), "DELETE", **params), 403) == "DELETE needs the secret"
    assert api.get(who(), shape="everyone", offset="-1")["electric-handle"] == handle
    assert api.get(method="DELETE", handle=handle, secret=SHARED).status == 202


def test_bearer_cannot_have_a_shape_begun_anew_for_everybody(bridge):
    first = Stream(bridge, {"shape": "everyone"}, headers=who("ann")).read().shapes[0]
    refused = {"shape": "everyone", "handle": first.handle, "refused": "it is odd"}
    again = Stream(bridge, refused, headers=who("bob")).read().shapes[0]
    assert again.handle == first.handle
    assert "at a token's word; refused because: it is odd" in again.refetched[0]


def test_unknown_shape_is_said(api, bridge):
    errors = api.errors(headers=who(), shape="yours", offset="-1")
    assert errors == {"shape": ['there is no shape "yours"']}
    reply = bridge.post("/v1/sync?replica=r1", {"shapes": [{"shape": "yours"}]}, **dict(who()))
    assert reply.status == 400 and "shapes[0].shape" in reply.json()["errors"]


# ---- caches ----


def test_what_came_by_a_token_is_nobody_elses_to_keep(api):
    first = api.get(who(), shape="mine", offset="-1")
    at = {"shape": "mine", "offset": first["electric-offset"], "handle": first["electric-handle"]}
    for reply in (first, api.get(who(), **at), api.get(who(), shape="mine", offset="now"),
                  api.get(who() + [("accept-encoding", "gzip")], shape="everyone", offset="-1"),
                  api.get(who() + [("if-none-match", first["etag"])], shape="mine", offset="-1")):
        control = reply["cache-control"]
        assert "private" in control and "s-maxage" not in control and "public" not in control
        assert "authorization" in reply["vary"], reply
    refused = api.get(bearer("x"), shape="mine", offset="-1")
    assert "private" in refused["cache-control"]


def test_shared_cache_keeps_two_bearers_apart(db, bridge, tmp_path):
    nginx = Nginx(bridge, tmp_path).start()
    try:
        for _ in range(2):
            for sub in ("ann", "bob"):
                reply = request(nginx.port, "GET", target("/v1/shape", shape="mine", offset="-1"),
                                who(sub))
                assert ids(reply) == expected(db, f"owner = '{sub}'")
                assert reply["x-cache-status"] != "HIT"
        nobody = request(nginx.port, "GET", target("/v1/shape", shape="mine", offset="-1"))
        assert nobody.status == 401
    finally:
        nginx.stop()


# ---- the end of a token ----


def soon_expired(ask):
    """The headers of a token that ends within what ask(headers) begins, and what that gave; one
    that a busy machine lets end before it is asked with is followed by one that lives longer."""
    for seconds in (2, 4, 8, 16, 32):
        headers = who(exp=int(time.time()) + seconds)
        reply = ask(headers)
        if reply.status != 401:
            return headers, reply
    raise AssertionError(f"refused at once: {reply}")


@pytest.mark.parametrize("more", [{}, {"live_sse": "true"}], ids=["long poll", "events"])
def test_live_request_ends_with_the_token(api, more):
    first = api.get(who(), shape="mine", offset="now")
    headers, reply = soon_expired(lambda headers: api.get(
        headers, shape="mine", offset=first["electric-offset"],
        handle=first["electric-handle"], live="true", **more))
    assert reply.status == 200
    assert "expired" in message(api.get(headers, shape="mine", offset="-1"), 401)


def test_sync_ends_with_the_token_though_rows_keep_coming(db, bridge):
    body = json.dumps({"shapes": [{"shape": "everyone"}], "live": True}).encode()

    def ask(headers):
        connection.send("POST", "/v1/sync?replica=r2", headers, body)
        head = connection.receive_head()
        if head.status == 401:
            connection.receive_body(head)
        return head

    with Connection(bridge.port) as connection:
        assert soon_expired(ask)[1].status == 200
        lines, deadline = b"", time.monotonic() + 120
        while chunk := connection.receive_chunk():
            lines += chunk
            assert time.monotonic() < deadline, "the stream goes on without its token"
            db.sql("UPDATE notes SET qty = qty + 1 WHERE id = 12")
    last = json.loads(lines.splitlines()[-1])
    assert last["error"]["message"] == "the token has expired", last


# ---- the file ----


def test_rules_that_are_wrong_keep_the_bridge_from_starting(make_bridge):
    wrong = [
        ("[shape a]\ntable = nowhere\n", "rules.ini:2: [shape a] table"),
        ("[shape a]\ntable = notes\nwhere = ownr = auth.sub\n", "rules.ini:3: [shape a] where"),
        ("[shape a]\ntable = notes\nwhere = owner\n", "rules.ini:3: [shape a] where"),
        ("[shape a]\ntable = notes\ncolumns = id, secret\n", "rules.ini:3: [shape a] columns"),
        ("\n[write nowhere]\noperations = insert\n", "rules.ini:3: [write nowhere]"),
        ("[write notes]\noperations = insert\ncolumns = id, nope\n", "rules.ini:3: [write notes]"),
        ("[write notes]\noperations = insert\ncheck = nope = auth.sub\n",
         "rules.ini:3: [write notes] check"),
        ("[write notes]\noperations = insert\nset.nope = auth.sub\n", "rules.ini:3: [write notes]"),
        ("[write notes]\noperations = update\nconflict.owner = counter\n", "is no number"),
        ("[write notes]\noperations = update\nconflict = public.nope\n", "there is no function"),
        ("[write notes]\noperations = update\nrole = nope\n", "there is no role"),
        ("[write notes]\noperations = upsert\n", "rules.ini:2: [write notes] operations"),
        ("[token]\nsecret = short\n", "32"),
    ]
    for rules, said in wrong:
        settings = {} if "[token]" not in rules else {"token_secret": ""}
        bridge = make_bridge(rules, start=False, **settings)
        bridge.start(wait=False)
        assert bridge.process.wait() != 0
        assert said in bridge.log(), (said, bridge.process.log_tail())


def test_tokens_and_insecure_exclude_each_other(make_bridge):
    bridge = make_bridge(start=False, secret="", insecure="true")
    bridge.start(wait=False)
    assert bridge.process.wait() != 0
    assert "there are keys for tokens, but insecure" in bridge.log()


def test_wrong_rules_read_again_leave_the_old_ones_standing(db, make_bridge):
    bridge = make_bridge()
    api = ShapeApi(bridge)

    def reread(text, until):
        bridge.rules.write_text(text)
        bridge.process.send_signal(signal.SIGHUP)
        bridge.process.wait_for(lambda: bridge.log_contains(until), 60, until)

    reread("[shape mine]\ntable = notes\nwhere = owner = = auth.sub\n",
           "rules.ini:3: [shape mine] where: At location 23: syntax error")
    assert ids(api.get(who(), shape="mine", offset="-1")) == expected(db, "owner = 'ann'")
    reread("[shape mine]\ntable = notes\nwhere = ownr = auth.sub\n",
           "rules.ini:3: [shape mine] where: At location 0: unknown reference ownr")
    assert ids(api.get(who(), shape="mine", offset="-1")) == expected(db, "owner = 'ann'")
    reread("[shape mine]\ntable = notes\nwhere = owner = auth.sub AND qty > 6\n",
           "shapes=1 writes=0")

    def is_new():
        return ids(api.get(who(), shape="mine", offset="-1")) == \
            expected(db, "owner = 'ann' AND qty > 6")

    wait_for(is_new, 60, "the new rules to count")
    assert "there is no shape" in str(api.errors(headers=who(), shape="team", offset="-1"))


def live_sync(bridge, headers, *shapes):
    connection = Connection(bridge.port)
    body = json.dumps({"shapes": list(shapes), "live": True}).encode()
    connection.send("POST", "/v1/sync?replica=r3", headers, body)
    assert connection.receive_head().status == 200
    return connection


def until_end(connection):
    lines = b""
    while chunk := connection.receive_chunk():
        lines += chunk
    return [json.loads(line) for line in lines.splitlines()]


def test_live_streams_do_not_outlive_the_rules_that_opened_them(db, make_bridge):
    bridge = make_bridge(keepalive="100ms")
    stream = live_sync(bridge, who(), {"shape": "mine"})
    free = live_sync(bridge, bearer(SHARED), {"table": "notes"})
    bridge.rules.write_text(RULES.replace("owner = auth.sub", "owner = auth.sub AND qty < 0"))
    bridge.process.send_signal(signal.SIGHUP)
    assert until_end(stream)[-1]["error"] == {"message": "the rules have changed", "retry": True}
    assert ids_of_sync(ShapeApi(bridge), who(), [{"shape": "mine"}]) == []
    assert free.receive_chunk()
    for connection in (stream, free):
        connection.close()


def test_table_that_is_altered_takes_no_writes_until_the_rules_fit(db, make_bridge):
    db.sql("CREATE TABLE draft (id int PRIMARY KEY, owner text, qty int)")
    bridge = make_bridge("[write draft]\noperations = insert\ncheck = owner = auth.sub\n",
                         catalog_interval="200ms")
    db.sql("ALTER TABLE draft RENAME owner TO author")
    bridge.process.wait_for(lambda: bridge.log_contains("a table takes no writes"), 60,
                            "the rule that does not fit to be found")
    db.sql("ALTER TABLE draft RENAME author TO owner")


def test_keys_are_renewed_from_their_file(make_bridge, tmp_path):
    def key_set(secret):
        return json.dumps({"keys": [{"kty": "oct", "alg": "HS256", "k": part(secret.encode())}]})

    keys = tmp_path / "keys.json"
    keys.write_text(key_set("old " * 10))
    bridge = make_bridge(token_secret="", token_jwks_file=str(keys))
    api = ShapeApi(bridge, shape="mine", offset="-1")
    old, new = (bearer(token(secret=s * 10, sub="ann", aud="notes")) for s in ("old ", "new "))
    assert api.get(old).status == 200 and api.get(new).status == 401
    fresh = tmp_path / "fresh.json"
    fresh.write_text(key_set("new " * 10))
    fresh.rename(keys)
    wait_for(lambda: api.get(new).status == 200, 60, "the new key to count")
    assert api.get(old).status == 401
    metrics = bridge.metrics()
    assert metrics["tombolo_token_keys_reloaded_total"] == 1
    assert metrics["tombolo_tokens_refused_total"] >= 2 <= metrics["tombolo_tokens_verified_total"]
