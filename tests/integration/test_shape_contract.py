"""/v1/shape: endpoints, CORS, the secret, parameters, status codes and headers.

The contract is Electric's wire protocol; its clients compare these texts and headers. What flows
(offsets, messages, values, SSE) is in test_shape_flow.py.
"""

import contextlib
import json

import pytest
from harness import Bridge, Connection, ShapeApi, free_port, request, wait_for

EXPOSED = ("electric-cursor,electric-handle,electric-has-data,electric-offset,electric-schema,"
           "electric-up-to-date,electric-internal-known-error,retry-after")
MUST_REFETCH = b'[{"headers":{"control":"must-refetch"}}]'
UNAUTHORIZED = b'{"message":"Unauthorized - Invalid API secret"}'


@pytest.fixture(scope="module", autouse=True)
def tables(module_database):
    module_database.sql("CREATE TABLE items (id int PRIMARY KEY, v text, n int)")
    module_database.sql("INSERT INTO items VALUES (1, 'one', 1), (2, 'two', 2)")
    module_database.sql('CREATE TABLE "My Table" (id int PRIMARY KEY)')
    module_database.sql("CREATE TABLE two_keys (b int, a int, v text, PRIMARY KEY (b, a))")
    module_database.sql("CREATE TABLE no_key (a int, b text)")
    module_database.sql("CREATE VIEW a_view AS SELECT * FROM items")
    module_database.sql("CREATE TABLE no_columns ()")
    module_database.sql("CREATE TABLE generated (id int PRIMARY KEY, v int, "
                        "w int GENERATED ALWAYS AS (v * 2) STORED)")


@pytest.fixture
def handle(api):
    """Of the shape of all items."""
    return api.get(table="items", offset="-1")["electric-handle"]


@pytest.fixture(scope="module")
def locked(module_database, tmp_path_factory):
    """A bridge with a secret, where shapes cannot be deleted; not waited for."""
    bridge = Bridge(module_database, data_dir=tmp_path_factory.mktemp("locked") / "bridge",
                    secret="s3cret", stream_id="locked", long_poll_timeout="1s").start()
    yield bridge
    bridge.stop()


# ---- 1: endpoints -------------------------------------------------------------------------------


def test_root_is_empty_and_open(locked):
    for method in ("GET", "HEAD"):
        reply = request(locked.port, method, "/")
        assert (reply.status, reply.body) == (200, b"")


def test_health_is_active_uncached_and_open(locked):
    reply = request(locked.port, "GET", "/v1/health")
    assert (reply.status, reply.body) == (200, b'{"status":"active"}')
    assert reply["cache-control"] == "no-cache, no-store, must-revalidate"
    assert request(locked.port, "HEAD", "/v1/health").status == 200


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/shapes", "/v2/shape", "/x"])
def test_unknown_path_is_404_without_asking_for_the_secret(locked, path):
    reply = request(locked.port, "GET", path)
    assert (reply.status, reply.body) == (404, b"Not found")


def test_head_has_the_headers_of_get_and_no_body(api, handle):
    params = {"table": "items", "offset": "-1", "handle": handle}
    got, head = api.get(**params), api.get(method="HEAD", **params)
    own = ("date", "x-request-id", "content-length", "transfer-encoding", "connection",
           "cache-control", "electric-has-data")
    assert head.status == 200 and head.body == b""
    assert [line for line in got.lines if line[0].lower() not in own] == \
           [line for line in head.lines if line[0].lower() not in own]


@pytest.mark.parametrize("path", ["/v1/shape/", "/v1//shape", "/v1/%73hape", "//v1/shape",
                                  "/%76%31/shape"])
def test_path_is_normalised_before_it_is_matched_and_guarded(locked, path):
    asked = path + "?table=items&offset=-1"
    assert request(locked.port, "GET", asked).status == 401
    assert request(locked.port, "GET", asked + "&secret=s3cret").status == 200
    options = request(locked.port, "OPTIONS", path)
    assert options["access-control-allow-methods"] == "GET, POST, HEAD, DELETE, OPTIONS"


def test_empty_post_is_a_get(api, handle):
    reply = api.post(b"", table="items", offset="-1")
    assert (reply.status, reply["electric-handle"]) == (200, handle)
    assert reply.json() == api.get(table="items", offset="-1").json()


def test_connection_is_kept_for_further_requests(api, handle):
    with Connection(api.port) as connection:
        for _ in range(60):
            reply = connection.request("GET", api.target(table="items", offset="-1", handle=handle))
            assert reply.status == 200


def test_url_has_room_for_16_kilobytes(api):
    """Electric takes 10,000 characters."""
    def of_length(n):
        start = api.target(table="items", offset="-1", where="v <> ''")
        return start.replace("%27%27", f"%27{'x' * (n - len(start))}%27")

    for n, status in ((10_000, 200), (16 * 1024, 200), (16 * 1024 + 1, 414), (32 * 1024, 414)):
        asked = of_length(n)
        reply = request(api.port, "GET", asked)
        assert (len(asked), reply.status) == (n, status)
        if status == 200:
            assert [row["value"]["v"] for row in reply.json() if "value" in row] == ["one", "two"]


def test_head_has_room_for_32_kilobytes(api):
    def padded(n):
        frame = len("GET / HTTP/1.1\r\nhost: bridge\r\nx: \r\nconnection: close\r\n\r\n")
        return request(api.port, "GET", "/", [("x", "y" * (n - frame))]).status

    assert (padded(32 * 1024 - 1), padded(32 * 1024 + 1)) == (200, 431)


def test_every_response_names_server_and_request(api):
    for target in ("/", "/nothing", "/v1/health", api.target(), api.target(table="items",
                                                                           offset="-1")):
        reply = request(api.port, "GET", target)
        assert reply["electric-server"] == "ElectricSQL/1.7.12 (Tombolo)", reply
        assert len(reply["x-request-id"]) >= 20, reply
        assert "set-cookie" not in reply


def test_request_id_is_echoed_when_it_is_a_sound_one(api):
    given = "abcdefghij-0123456789-ABCDEF"
    assert request(api.port, "GET", "/", [("x-request-id", given)])["x-request-id"] == given
    for odd in ("x" * 201, 'a"b c'):
        assert request(api.port, "GET", "/", [("x-request-id", odd)])["x-request-id"] != odd


def test_default_cache_control_is_there_where_no_other_is(locked, api):
    default = "max-age=0, private, must-revalidate"
    for port, method, target, body in ((api.port, "GET", "/", None),
                                       (api.port, "GET", "/nothing", None),
                                       (locked.port, "GET", "/v1/shape", None)):
        assert request(port, method, target, body=body)["cache-control"] == default


# ---- 1.2: CORS ----------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [None, "https://app.example"])
def test_cors_allows_every_origin_in_the_same_words(api, origin):
    """Not an echo of the one that asks: what a cache has must do for pages of all origins."""
    headers = [("origin", origin)] if origin else []
    for target, methods in ((api.target(table="items", offset="-1"),
                             "GET, POST, HEAD, DELETE, OPTIONS"),
                            (api.target(), "GET, POST, HEAD, DELETE, OPTIONS"),
                            ("/v1/health", "GET, HEAD"), ("/nothing", "GET, HEAD")):
        reply = request(api.port, "GET", target, headers)
        assert reply["access-control-allow-origin"] == "*", reply
        assert reply["access-control-allow-methods"] == methods, reply
        assert reply["access-control-expose-headers"] == EXPOSED, reply


def test_preflight_is_204_and_allows_what_is_asked(locked):
    reply = request(locked.port, "OPTIONS", "/v1/shape", [
        ("origin", "https://app.example"), ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization,if-none-match,x-mine")])
    assert (reply.status, reply.body) == (204, b"")
    assert reply["access-control-allow-origin"] == "*"
    assert reply["access-control-max-age"] == "86400"
    assert "cache-control" not in reply
    allowed = {name.strip().lower() for name in reply["access-control-allow-headers"].split(",")}
    assert {"authorization", "if-none-match", "x-mine"} <= allowed


def test_preflight_keeps_the_connection(api):
    with Connection(api.port) as connection:
        for _ in range(2):
            assert connection.request("OPTIONS", "/v1/shape").status == 204


# ---- 1.3: the secret ----------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"secret": "wrong"}, {"secret": ""}, {"secret": True},
                                    {"api_secret": "wrong"}, {"secret": "s3cret2"}])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
def test_without_the_secret_it_is_401_without_cors(locked, method, params):
    reply = ShapeApi(locked).get(method=method, table="items", offset="-1", **params,
                                 body=b'{"secret":"s3cret"}' if method == "POST" else None)
    assert reply.status == 401
    assert reply.body == (b"" if method == "HEAD" else UNAUTHORIZED)
    assert not [name for name, _ in reply.lines if name.lower().startswith("access-control")]


@pytest.mark.parametrize("name", ["secret", "api_secret"])
def test_secret_in_the_query_lets_in(locked, name):
    assert ShapeApi(locked).get(table="items", offset="-1", **{name: "s3cret"}).status == 200


# ---- 1.4: order ---------------------------------------------------------------------------------


def test_secret_is_asked_for_before_anything_is_looked_at(locked):
    assert ShapeApi(locked).get(offset="nonsense").status == 401
    assert ShapeApi(locked).get(offset="nonsense", secret="s3cret").status == 400


# ---- 2: parameters ------------------------------------------------------------------------------

BLANK = ["can't be blank"]
LIVE_AT_START = ["can't be true when offset == -1"]
RELATION = "If the table name contains capitals or special characters you must quote it."
START = {"table": "items", "offset": "-1"}


def refused(field, message):
    return {field: [message]}


@pytest.mark.parametrize("params, errors", [  # test ids would be as long as the parameters
    ({"table": "items"}, {"offset": BLANK}),
    ({"table": "items", "offset": ""}, {"offset": BLANK}),
    *[({"table": "items", "offset": offset}, {"offset": ["has invalid format"]})
      for offset in ("10", "1_2_3", "1_2 ", "-2", "1_-2", "_", "1_", "_2", "inf", "1_infx", "-1_1x")],
    *[({"table": "items", "offset": offset}, {"handle": ["can't be blank when offset != -1"]})
      for offset in ("0_0", "0_02", "12_inf", "0_inf")],
    ({**START, "live": "true"}, {"live": LIVE_AT_START}),
    ({**START, "live": True}, {"live": LIVE_AT_START}),
    ({**START, "live": "0"}, {"live": LIVE_AT_START}),
    ({"table": "items", "offset": "now", "live": "true"},
     {"live": ["can't be true when offset is 'now'"]}),
    ({**START, "live_sse": "true"}, {"live_sse": ["can't be true unless live is also true"]}),
    ({**START, "experimental_live_sse": "true"},
     {"live_sse": ["can't be true unless live is also true"]}),
    ({"offset": "-1"}, {"table": BLANK}),
    ({"offset": "-1", "table": ""}, {"table": BLANK}),
    ({**START, "replica": "some"}, {"replica": ["is invalid"]}),
    ({**START, "log": "some"}, {"log": ["is invalid"]}),
    ({**START, "params": "x"}, {"params": ["is invalid"]}),
    ({**START, "where": "n = $1", "params": {"x": 1}},
     {"params": ["Parameters can only use numbers as keys"]}),
    ({**START, "where": "n = $2", "params": {"2": 1}},
     {"params": ["Parameters must be numbered sequentially, starting from 1"]}),
    ({**START, "where": "n = $1"}, {"where": ["At location 4: parameter $1 was not provided"]}),
    # 2.1: table
    ({"offset": "-1", "table": "foo.bar.baz"},
     {"table": ["Invalid relation identifier, too many delimiters: foo.bar.baz"]}),
    ({"offset": "-1", "table": '""'}, {"table": ["Invalid zero-length delimited identifier"]}),
    ({"offset": "-1", "table": "x" * 64},
     {"table": ["Identifier is too long (max length is 63)"]}),
    ({"offset": "-1", "table": "it ems"},
     {"table": ["Invalid unquoted identifier contains special characters: it ems"]}),
    ({"offset": "-1", "table": '"a"b"'},
     {"table": ['Invalid identifier with unescaped quote: a"b']}),
    ({"offset": "-1", "table": "nope"},
     {"table": [f'Table "public"."nope" does not exist. {RELATION}']}),
    ({"offset": "-1", "table": "elsewhere.nope"},
     {"table": [f'Table "elsewhere"."nope" does not exist. {RELATION}']}),
    ({"offset": "-1", "table": "a_view"},
     {"table": [f'Table "public"."a_view" does not exist. {RELATION}']}),
    ({"offset": "-1", "table": "no_columns"},
     {"table": [f'Table "public"."no_columns" does not exist. {RELATION}']}),
    # 2.3: columns
    ({**START, "columns": "v"}, {"columns": [
        "The list of columns must include all primary key columns, missing: id"]}),
    ({**START, "columns": "id,nope"}, {"columns": [
        "The following columns are not found on the table: nope"]}),
    ({**START, "columns": "id,"}, {"columns": ["Invalid zero-length delimited identifier"]}),
    ({**START, "columns": "id,v w"}, {"columns": [
        "Invalid unquoted identifier contains special characters: v w"]}),
    ({"offset": "-1", "table": "two_keys", "columns": "v"}, {"columns": [
        "The list of columns must include all primary key columns, missing: b, a"]}),
    ({"offset": "-1", "table": "no_key", "columns": "a"}, {"columns": [
        "The list of columns must include all primary key columns, missing: b"]}),
    ({"offset": "-1", "table": "generated", "columns": "id,w"}, {"columns": [
        "The following columns are generated and cannot be included in the shape: w"]}),
    ({"offset": "-1", "table": "generated"}, {"columns": [
        "The following columns are generated and cannot be included in the shape: w. You can "
        "exclude them from the shape by explicitly listing which columns to fetch in the 'columns' "
        "query param"]}),
    ({**START, "queryable_columns": "v"}, {"queryable_columns": [
        "The list of queryable columns must include all primary key columns, missing: id"]}),
    ({**START, "queryable_columns": "id,nope"}, {"queryable_columns": [
        "The following queryable columns are not found on the table: nope"]}),
    # 9: where
    ({**START, "where": "1 x 1"}, {"where": ['At location 17: syntax error at or near "x"']}),
    ({**START, "where": "test = 1"}, {"where": ["At location 0: unknown reference test"]}),
    ({**START, "where": "n"}, {"where": ["WHERE clause must return a boolean"]}),
    # 2.4: subsets
    ({**START, "subset__limit": "0", "subset__order_by": "id"},
     {"subset": {"limit": ["must be greater than 0"]}}),
    ({**START, "subset__limit": "x"}, {"subset": {"limit": ["is invalid"]}}),
    ({**START, "subset__offset": "-1", "subset__order_by": "id"},
     {"subset": {"offset": ["must be greater than or equal to 0"]}}),
    ({**START, "subset__limit": "1"},
     {"subset": {"order_by": ["order_by is required when limit or offset is present"]}}),
    ({**START, "subset__params": "[1]"}, {"subset": {"params": ["params must be a JSON object"]}}),
    ({**START, "subset__params": "{"}, {"subset": {"params": ["params must be valid JSON"]}}),
    ({**START, "subset__where": "nope = 1"},
     {"subset": {"where": ["At location 0: unknown reference nope"]}}),
    ({**START, "subset__where": "id IN (SELECT 1)"},
     {"subset": {"where": ["Subqueries are not allowed in subsets"]}}),
])
def test_wrong_parameters_are_told(api, params, errors):
    assert api.errors(**params) == errors


def test_400_is_never_stored(api):
    reply = api.get(table="items")
    assert reply["cache-control"] == "no-store" and reply["surrogate-control"] == "no-store"
    assert "electric-has-data" not in reply


@pytest.mark.parametrize("params", [
    {"live": "false"}, {"offset": "-1_0"}, {"handle": "whatever-1"},
    {"cache-buster": "123"}, {"expired_handle": "x"}, {"custom": "1"}, {"database_id": "x"},
    {"table": "public.items"}, {"table": '"items"'}, {"table": "ITEMS"},
    {"table": '"public"."items"'}, {"replica": "default"}, {"log": "full"}, {"where": ""},
    {"columns": ""}, {"params": {"1": "unused"}}, {"experimental_compaction": "true"},
], ids=lambda value: json.dumps(value))
def test_these_change_nothing_of_the_shape(api, handle, params):
    reply = api.get(**{"table": "items", "offset": "-1", **params})
    assert (reply.status, reply["electric-handle"]) == (200, handle), reply


def test_quoted_table_keeps_its_case_and_spaces(api):
    assert api.get(table='"My Table"', offset="-1").status == 200


def test_order_and_repetition_of_columns_do_not_matter(api):
    handles = {api.get(columns=columns, **START)["electric-handle"]
               for columns in ("id,v", "v,id", '"v","id","v"')}
    assert len(handles) == 1


def test_queryable_columns_are_no_part_of_a_shape_but_its_columns_where_none_are_named(api):
    named = api.get(columns="id,v", **START)["electric-handle"]
    assert api.get(columns="id,v", queryable_columns="id,v,n", **START)["electric-handle"] == named
    reply = api.get(queryable_columns="id,n", **START)
    assert set(json.loads(reply["electric-schema"])) == {"id", "n"}
    assert api.get(where="v = 'one'", queryable_columns="id,n", **START).status == 200


def test_param_is_a_value_and_never_sql(api):
    rows = api.get(where="v = $1", params={"1": "one' OR '1'='1"}, **START).json()
    assert not [row for row in rows if "key" in row]
    rows = api.get(where="v = $1", params={"1": "one"}, **START).json()
    assert [row["value"]["id"] for row in rows if "key" in row] == ["1"]


def test_unknown_reference_is_placed_in_the_clause_as_given(api):
    assert api.errors(where="n > 0 AND nope = 1", **START) == \
        refused("where", "At location 10: unknown reference nope")


def test_subquery_is_refused_in_clear_words(api):
    ((field, (text,)),) = api.errors(where="id IN (SELECT id FROM no_key)", **START).items()
    assert field == "where" and "subquer" in text.lower()


def test_compaction_of_a_subquery_is_refused_as_that(api):
    errors = api.errors(where="id IN (SELECT id FROM items)", experimental_compaction="true",
                        **START)
    assert list(errors) in (["experimental_compaction"], ["where"])


# ---- 2.5: POST bodies ---------------------------------------------------------------------------


@pytest.mark.parametrize("body, status, said", [
    (b"{", 400, "Invalid JSON in request body"),
    (b"[1]", 400, "Request body must be a JSON object"),
    (b'"x"', 400, "Request body must be a JSON object"),
], ids=["not JSON", "an array", "a string"])
def test_bad_body_is_told(api, body, status, said):
    reply = api.post(body, **START)
    assert (reply.status, reply.json()["error"]) == (status, said)


def test_body_of_more_than_8_mb_is_413(api):
    with contextlib.closing(Connection(api.port)) as connection:
        connection.socket.sendall(b"POST /v1/shape HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n"
                                  b"content-type: application/json\r\n\r\n")
        reply = connection.receive()
    assert reply.status == 413 and reply.json() == {"error": "Request body too large"}


def test_where_in_a_body_is_the_subsets(api):
    reply = api.post(b'{"where":"id = 1"}', **START)
    assert reply.status == 200 and reply["electric-snapshot"] == "true"
    assert [row["value"]["id"] for row in reply.json()["data"]] == ["1"]


def test_body_adds_to_the_query(api):
    reply = api.post(b'{"table":"two_keys"}', offset="-1")
    assert reply.status == 200, reply
    assert set(json.loads(reply["electric-schema"])) == {"a", "b", "v"}


@pytest.mark.parametrize("member", [{"table": "two_keys"}, {"columns": "id"},
                                    {"subset": {}, "where": "n = 2"}], ids=json.dumps)
def test_body_does_not_get_around_what_a_proxy_put_into_the_query(api, member):
    """Electric lets the body win. Who allows shapes by the query would allow what they do not see."""
    query = {**START, "columns": "id,v", "where": "n = 1"}
    reply = api.post(json.dumps(member).encode(), **query)
    ((field, (text,)),) = reply.json()["errors"].items()
    assert reply.status == 400 and field in member and "not the same" in text, reply


def test_subset_object_leaves_the_other_members_to_the_shape(api):
    reply = api.post(json.dumps({"table": "items", "where": "n > 1", "subset": {
        "where": "id > 0", "order_by": "id DESC", "limit": 5}}).encode(), offset="-1")
    assert reply.status == 200, reply
    assert [row["value"]["id"] for row in reply.json()["data"]] == ["2"]


# ---- 3: status codes ----------------------------------------------------------------------------


def test_unknown_handle_is_409_with_the_shapes_own(api, handle):
    reply = api.get(table="items", offset="0_0", handle="1234-5678")
    assert (reply.status, reply.body) == (409, MUST_REFETCH)
    assert reply["electric-handle"] == handle
    assert reply["cache-control"] == "public, max-age=60, must-revalidate"


def test_handle_of_another_definition_is_409_with_a_new_shapes_own(api, handle):
    reply = api.get(table="items", where="n = 77", offset="0_0", handle=handle)
    assert (reply.status, reply.body) == (409, MUST_REFETCH)
    made = reply["electric-handle"]
    assert made and made != handle
    assert api.get(table="items", where="n = 77", offset="-1")["electric-handle"] == made


def test_delete_while_disabled_is_405_before_all_else(locked):
    reply = ShapeApi(locked).get(method="DELETE", secret="s3cret")
    assert (reply.status, reply.body) == (405, b'{"message":"DELETE not allowed"}')


def test_delete_of_nothing_named_is_400(api):
    assert api.errors(method="DELETE") == refused(
        "handle", "can't be blank when shape definition is missing")


def test_delete_of_an_unknown_shape_is_404(api):
    for params in ({"handle": "1-2"}, {"table": "items", "where": "n = 12345"}):
        reply = api.get(method="DELETE", **params)
        assert (reply.status, reply.body) == (404, b'{"message":"No existing shape found"}'), params


def test_delete_of_a_handle_of_another_definition_is_400(api, handle):
    reply = api.get(method="DELETE", table="items", where="n = 5", handle=handle)
    assert reply.status == 400
    assert reply.json()["message"] == (
        "The specified shape definition and handle do not match. Please ensure the shape "
        "definition is correct or omit the shape handle from the request to obtain a new one.")


@pytest.mark.parametrize("by", ["handle", "definition", "both"])
def test_deleted_shape_comes_back_with_a_new_handle(api, by):
    shape = {"table": "items", "where": f"n = 400 OR v = '{by}'"}
    old = api.get(offset="-1", **shape)["electric-handle"]
    named = {"handle": {"handle": old}, "definition": shape, "both": {**shape, "handle": old}}[by]
    reply = api.get(method="DELETE", **named)
    assert (reply.status, reply.body) == (202, b"")
    assert reply["cache-control"] == "no-cache"
    assert api.get(offset="-1", **shape)["electric-handle"] != old


def test_unreachable_database_is_503(tmp_path):
    """Nobody listens there: requests wait for the bridge to be ready, and not for ever."""
    class Nowhere:
        url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"

    bridge = Bridge(Nowhere, data_dir=tmp_path / "bridge").start(wait=False)
    bridge.wait_until("starting")
    reply = ShapeApi(bridge).get(**START)
    assert reply.status == 503 and reply.json()["message"].startswith("Timeout waiting for"), reply
    assert reply["retry-after"] == "5" and reply["cache-control"] == "no-store"
    bridge.stop()


def test_too_many_requests_of_known_shapes_are_503(module_database, tmp_path):
    """Rejected before any parameter is looked at; told to come again in 6 to 10 seconds."""
    bridge = Bridge(module_database, data_dir=tmp_path / "bridge", stream_id="narrow",
                    max_concurrent_existing="1", max_concurrent_initial="1").start()
    api = ShapeApi(bridge)
    handle = api.get(**START)["electric-handle"]
    parked = api.live(table="items", offset="0_inf", handle=handle)
    reply = wait_for(lambda: (lambda r: r if r.status == 503 else None)(
        api.get(offset="nonsense", handle=handle)), 60, "the second one to be refused")
    assert reply.json() == {
        "code": "concurrent_request_limit_exceeded",
        "message": "Concurrent existing request limit exceeded (limit: 1), please retry"}
    assert 6 <= int(reply["retry-after"]) <= 10
    assert reply["electric-internal-known-error"] == "true"
    assert reply["cache-control"] == reply["surrogate-control"] == "no-store"
    parked.close()
    wait_for(lambda: api.get(handle=handle, **START).status == 200, 60, "room again")
    bridge.stop()


# ---- 4: response headers ------------------------------------------------------------------------


def test_first_response_has_what_clients_need(api, handle):
    reply = api.get(**START)
    assert reply["content-type"] == "application/json; charset=utf-8"
    assert (reply["electric-handle"], reply["electric-offset"]) == (handle, "0_0")
    assert json.loads(reply["electric-schema"]) == {
        "id": {"type": "int4", "pk_index": 0, "not_null": True}, "v": {"type": "text"},
        "n": {"type": "int4"}}
    assert " " not in reply["electric-schema"]
    assert reply["electric-has-data"] == "true"
    assert "electric-up-to-date" not in reply and "electric-cursor" not in reply


@pytest.mark.parametrize("params, expected", [
    ({"offset": "-1"}, "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"),
    ({"offset": "0_0"}, "public, max-age=60, stale-while-revalidate=300"),
    ({"offset": "now"}, "public, max-age=60, stale-while-revalidate=300"),
    ({"offset": "0_inf", "live": "true"}, "public, max-age=5, stale-while-revalidate=5"),
    ({"offset": "0_0", "method": "POST", "body": b""}, "no-cache"),
    ({"offset": "-1", "subset__where": "id = 1"}, "no-cache"),
], ids=["start", "catch-up", "now", "live", "post", "subset"])
def test_cache_control(api, handle, params, expected):
    assert api.get(table="items", handle=handle, **params)["cache-control"] == expected


def test_409_without_a_handle_is_kept_for_a_second(api):
    shape = {"table": "items", "where": "n = 901"}
    handle = api.get(offset="-1", **shape)["electric-handle"]
    parked = api.live(offset="0_inf", handle=handle, **shape)
    wait_for(lambda: api.get(method="DELETE", handle=handle).status in (202, 404), 60)
    reply = parked.receive()
    parked.close()
    assert (reply.status, reply.body) == (409, MUST_REFETCH)
    kept = 60 if "electric-handle" in reply else 1
    assert reply["cache-control"] == f"public, max-age={kept}, must-revalidate"


def test_etag_names_handle_and_both_offsets(api, handle):
    assert api.get(**START)["etag"] == f'"{handle}:-1:0_0"'
    tag = api.get(table="items", offset="0_0", handle=handle)["etag"]
    assert tag.startswith(f'"{handle}:0_0:') and tag.endswith('"')


@pytest.mark.parametrize("shown", ["{}", '"other", {}', "W/{}", '{} , "x"'])
def test_known_etag_is_304_with_the_same_headers(api, handle, shown):
    reply = api.get(table="items", offset="-1", headers=[
        ("if-none-match", shown.format(f'"{handle}:-1:0_0"'))])
    if shown == "W/{}" and reply.status == 200:
        return  # the contract trims quotes only: a weak tag need not match
    assert (reply.status, reply.body) == (304, b"")
    assert reply["electric-handle"] == handle and reply["electric-offset"] == "0_0"
    assert reply["cache-control"] == \
        "public, max-age=604800, s-maxage=3600, stale-while-revalidate=2629746"


def test_tag_of_a_body_without_changes_is_never_matched(api, handle):
    reply = api.get(table="items", offset="now")
    assert reply["electric-has-data"] == "false"
    again = api.get(table="items", offset="now", headers=[("if-none-match", reply["etag"])])
    assert again.status == 200 and again["etag"] != reply["etag"]


def test_encoded_body_says_that_it_varies(api, module_database):
    module_database.sql("CREATE TABLE wide (id int PRIMARY KEY, v text)")
    module_database.sql("INSERT INTO wide SELECT n, repeat('x', 100) FROM generate_series(1, 40) n")
    params = {"table": "wide", "offset": "-1"}
    plain = api.get(**params)
    gzipped = api.get(headers=[("accept-encoding", "gzip")], **params)
    assert "content-encoding" not in plain and gzipped["content-encoding"] == "gzip"
    assert gzipped["vary"].lower() == "accept-encoding"
    import gzip
    assert gzip.decompress(gzipped.body) == plain.body
    assert gzipped["etag"] != plain["etag"]
    for tag in (plain["etag"], gzipped["etag"]):
        again = api.get(headers=[("accept-encoding", "gzip"), ("if-none-match", tag)], **params)
        assert again.status in (200, 304)
