"""What clients should not send, and what a bridge should not be started with: each is refused in
plain words that name the place, and the bridge serves whoever comes next."""

import contextlib
import json
import resource
import socket

import pytest
from harness import Process, Replica, wait_for
from harness.process import environment, program

pytestmark = pytest.mark.sanitized

MB = 1024 * 1024
ROWS = [(1, 7, "nails"), (2, 8, "wood")]
SECRET = "a-long-random-text"


@pytest.fixture
def orders(database):
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, owner int NOT NULL, what text)")
    for row in ROWS:
        database.sql("INSERT INTO orders VALUES (%s, %s, %s)", *row)
    return database


@pytest.fixture
def make_bridge(orders, make_bridge, tmp_path):
    """make_bridge(**settings): a running bridge beside `orders`, which serves on at the end."""
    made = []

    def make(**settings):
        made.append(make_bridge(orders, f"bridge{len(made)}", **settings).start())
        return made[-1]

    yield make
    for bridge in made:
        serves_on(bridge, tmp_path)


@pytest.fixture
def bridge(make_bridge):
    """One that gives a replica its rows when the test is over, too."""
    return make_bridge()


def serves_on(bridge, folder):
    assert bridge.alive, bridge.process.log_tail()
    settings = {"secret": SECRET} if "TOMBOLO_SECRET" in bridge.settings else {}
    replica = Replica(bridge, folder / f"{bridge.data_dir.name}.db", ["orders"], **settings)
    assert replica.once().rows("orders") == ROWS


def sync(bridge, body, **headers):
    """The status and the body's JSON of /v1/sync; lines of a stream as a list."""
    answer = bridge.post("/v1/sync?replica=bad", body, timeout=60, **headers)
    lines = [json.loads(line) for line in answer.body.splitlines()]
    return answer.status, lines if answer.status == 200 else lines[0]


def refusals(bridge, bodies):
    """{name: "place: text"} of requests that must each be a 400 of exactly one error."""
    said = {}
    for name, body in bodies.items():
        status, answer = sync(bridge, body)
        assert status == 400, f"{name}: {status} {answer}"
        assert answer["message"] == "Invalid request", f"{name}: {answer}"
        ((place, (text,)),) = answer["errors"].items()
        said[name] = f"{place}: {text}"
    return said


def check(said, expected):
    """Each answer begins with what is expected; all that do not are shown."""
    wrong = {name: text for name, text in said.items() if not text.startswith(expected[name])}
    assert not wrong


def shape(**fields):
    return {"shapes": [{"table": "orders", **fields}], "live": False}


def test_malformed_json_is_refused_with_the_byte(bridge):
    check(refusals(bridge, {
        "nothing": b"",
        "cut": b'{"shapes": [{"table": "orders"',
        "words": b"shapes=orders",
        "two": b'{"shapes": []} {"shapes": []}',
        "comment": b'{"shapes": [] /* none */}',
        "not UTF-8": b'{"shapes": [{"table": "\xff"}]}',
        "deep": b"[" * 100_000,
    }), {
        "nothing": "body: ",
        "cut": "body: is not JSON: ",
        "words": "body: is not JSON: unexpected character, expected a valid root value at byte 0",
        "two": "body: is not JSON: unexpected content after document at byte 15",
        "comment": "body: is not JSON: ",
        "not UTF-8": "body: is not JSON: ",
        "deep": "body: is not JSON: ",
    })


def test_fields_of_a_wrong_type_are_refused_by_name(bridge):
    second = [{"table": "orders"}, {"table": "orders", "where": 7}]
    check(refusals(bridge, {
        "array": [], "text": b'"orders"', "no shapes": {}, "shapes": {"shapes": "orders"},
        "none": {"shapes": []}, "live": {"shapes": second[:1], "live": 1},
        "shape": {"shapes": ["orders"]}, "no table": {"shapes": [{}]},
        "table": shape(table=1), "blank table": shape(table=""), "second": {"shapes": second},
        "columns": shape(columns="id"), "column": shape(columns=["id", 1]),
        "no columns": shape(columns=[]), "params": shape(params=["7"]),
        "param": shape(where="owner = $1", params={"1": 7}),
        "param's name": shape(where="owner = $1", params={"owner": "7"}),
        "param's gap": shape(where="owner = $2", params={"2": "7"}),
        "handle": shape(handle=1, offset="0_inf"), "offset": shape(handle="x", offset="now"),
        "offset alone": shape(offset="0_inf"), "huge": shape(handle="x", offset="9" * 30 + "_inf"),
        "NUL": shape(where="what = 'a\0b'"),
    }), {
        "array": "body: must be a JSON object", "text": "body: must be a JSON object",
        "no shapes": "shapes: must be a list", "shapes": "shapes: must be a list",
        "none": "shapes: must be a list of at least one", "live": "live: must be true or false",
        "shape": "shapes[0]: must be an object", "no table": "shapes[0].table: can't be blank",
        "table": "shapes[0].table: must be a string",
        "blank table": "shapes[0].table: can't be blank",
        "second": "shapes[1].where: must be a string",
        "columns": "shapes[0].columns: must be a list", "column": "shapes[0].columns: must be a",
        "no columns": "shapes[0].columns: must be a list",
        "params": "shapes[0].params: must be an object",
        "param": "shapes[0].params: Parameters must be strings",
        "param's name": "shapes[0].params: Parameters can only use numbers",
        "param's gap": "shapes[0].params: Parameters must be numbered sequentially",
        "handle": "shapes[0].handle: must be a string",
        "offset": "shapes[0].offset: has invalid format",
        "offset alone": "shapes[0].handle: can't be blank",
        "huge": "shapes[0].offset: has invalid format",
        "NUL": "shapes[0].where: must not contain a NUL",
    })


def test_tables_and_columns_that_are_not_there_are_named(bridge, orders):
    orders.sql("CREATE VIEW all_orders AS SELECT * FROM orders")
    said = refusals(bridge, {
        "table": shape(table="nowhere"), "schema": shape(table="other.orders"),
        "case": shape(table='"Orders"'), "syntax": shape(table="orders; DROP TABLE orders"),
        "column": shape(columns=["id", "wat"]), "no key": shape(columns=["owner"]),
        "view": shape(table="all_orders"), "in where": shape(where="owner = 7 AND wat = 1"),
    })
    check(said, {name: f"shapes[0].{place}: " for name, place in {
        "table": "table", "schema": "table", "case": "table", "syntax": "table",
        "column": "columns", "no key": "columns", "view": "table", "in where": "where"}.items()})
    for name, word in {"table": "nowhere", "schema": "other", "case": "Orders", "column": "wat",
                       "no key": "id", "view": "all_orders", "in where": "wat"}.items():
        assert word in said[name], said


def test_clauses_that_cannot_be_evaluated_say_where_and_why(bridge):
    said = refusals(bridge, {name: shape(where=clause) for name, clause in {
        "syntax": "owner = = 7", "open": "what = 'nails", "paren": "(owner = 7",
        "two": "owner = 7; SELECT 1", "not boolean": "owner + 1", "text": "what",
        "function": "pg_sleep(10) IS NULL", "subquery": "owner IN (SELECT 1)",
        "types": "owner = 'seven'", "operator": "owner @@@ 7", "aggregate": "count(*) > 1",
        "volatile": "random() < 0.5", "param": "owner = $1", "empty": " ",
    }.items()})
    assert all(text.startswith("shapes[0].where: ") for text in said.values()), said
    words = {"syntax": "syntax error", "open": "unterminated", "paren": "syntax error",
             "two": "", "not boolean": "boolean", "text": "boolean", "function": "pg_sleep",
             "subquery": "", "types": "seven", "operator": "@@@", "aggregate": "aggregat",
             "volatile": "random", "param": "$1", "empty": ""}
    wrong = {name: said[name] for name, word in words.items() if word not in said[name]}
    assert not wrong


def test_handle_that_is_not_known_costs_a_refetch_and_no_error(bridge):
    for handle, offset in (("12345-678", "1_inf"), ("x" * 10_000, "1_inf"), ("../etc", "0_inf"),
                           ("12345-678", f"{2**64 - 1}_inf")):
        status, lines = sync(bridge, shape(handle=handle, offset=offset))
        assert status == 200, lines
        assert lines[0]["refetch"]["reason"], lines
        opened = next(line["open"] for line in lines if "open" in line)
        assert opened["snapshot"] and opened["handle"] != handle
        assert sum(len(line.get("messages", ())) for line in lines) == len(ROWS)


def test_long_clause_is_answered_up_to_a_limit_that_is_named(bridge):
    many = ",".join(map(str, range(100_000, 109_000)))
    status, lines = sync(bridge, shape(where=f"owner IN (7,{many})"))
    assert status == 200, lines
    assert [m["key"] for line in lines for m in line.get("messages", ())] \
        == ['"public"."orders"/"1"']
    size = MB - 200
    for text in ("owner IN (" + "1," * (size // 2) + "1)", "(" * size, "NOT " * (size // 4),
                 "owner = 7 OR " * (size // 13), "-" * size, "what = '" + "x" * size + "'x",
                 "(" * 60_000, "NOT " * 15_000 + "true", "-" * 60_000 + "1 = 1"):
        status, answer = sync(bridge, shape(where=text))
        assert (status, list(answer["errors"])) == (400, ["shapes[0].where"]), answer
        assert len(text) < MB / 2 or "65536" in answer["errors"]["shapes[0].where"][0], answer
        assert len(json.dumps(answer)) < 2000, "an error is no echo"


def test_body_over_a_megabyte_is_refused_before_it_is_read(bridge):
    answer = bridge.post("/v1/sync?replica=a", shape(where="x" * MB))
    assert (answer.status, answer.body) == (413, b"body too large")
    with connected(bridge, HEAD + b"content-length: 1048577\r\n\r\n") as client:
        assert status_of(rest(client)) == 413
    with connected(bridge, HEAD + b"transfer-encoding: chunked\r\n\r\n") as client:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        assert status_of(rest(client)) in (413, None)


def test_thousand_shapes_in_one_request_are_refused_and_may_be_allowed(bridge, make_bridge):
    asked = {"shapes": [{"table": "orders", "where": f"owner = {n}"} for n in range(1000)],
             "live": False}
    check(refusals(bridge, {"many": asked}),
          {"many": "shapes: must not have more than 100 shapes"})
    wide = make_bridge(max_shapes_per_request=1000, stream_id="wide")
    status, lines = sync(wide, asked)
    assert status == 200, lines
    assert sum("open" in line for line in lines) == 1000
    assert [line["shape"] for line in lines if line.get("messages")] == [7, 8]


def test_one_bad_shape_of_many_is_named_by_its_number(bridge):
    shapes = [{"table": "orders", "where": f"owner = {n}"} for n in range(100)]
    shapes[63]["where"] = "owner = = 63"
    check(refusals(bridge, {"one": {"shapes": shapes}}), {"one": "shapes[63].where: "})


def test_replica_ids_of_other_characters_are_refused(bridge):
    for query in ("", "?replica=", "?replica=a%20b", "?replica=a/b", "?replica=%00",
                  "?replica=a%0Ab", "?replica=%C3%A4", "?replica=" + "a" * 129, "?other=a",
                  "?replica=a%00", "?replica=%zz"):
        answer = bridge.post("/v1/sync" + query, shape())
        assert answer.status == 400, query
        assert b"replica" in answer.body or query.endswith("%zz"), answer.body
    for good in ("a", "a" * 128, "A-Z.a_z:09"):
        assert bridge.post(f"/v1/sync?replica={good}", shape()).status == 200, good


# ---- the secret ----------------------------------------------------------------------------------


def test_secret_is_wanted_for_rows_and_not_for_health(make_bridge):
    bridge = make_bridge(secret=SECRET)
    for wrong in ({}, {"authorization": SECRET}, {"authorization": "Bearer"},
                  {"authorization": "Bearer "}, {"authorization": f"Bearer {SECRET}x"},
                  {"authorization": f"Bearer {SECRET[:-1]}"},
                  {"authorization": f"Bearer {SECRET}{SECRET}"},
                  {"authorization": f"Basic {SECRET}"}):
        answer = bridge.post("/v1/sync?replica=a", b"not even JSON", **wrong)
        assert (answer.status, answer.json()) == (401, {"message": "Unauthorized"}), wrong
        assert answer.headers["www-authenticate"] == "Bearer"
    assert sync(bridge, shape(), authorization=f"Bearer {SECRET}")[0] == 200
    assert bridge.get("/v1/health").status == 200
    assert SECRET not in bridge.log()


def test_replica_with_a_wrong_secret_ends_and_says_so(make_bridge, tmp_path):
    bridge = make_bridge(secret=SECRET)
    replica = Replica(bridge, tmp_path / "replica.db", ["orders"], secret="wrong")
    assert replica.try_once() not in (0, None)
    assert "secret" in replica.process.log().lower(), replica.process.log_tail()
    assert Replica(bridge, tmp_path / "right.db", ["orders"],
                   secret=SECRET).once().rows("orders") == ROWS


def start_badly(tmp_path, **settings):
    """The exit code and all that a bridge says that must not start."""
    process = Process("refused", tmp_path / "refused.log")
    before = len(process.log())
    process.start([program(), "serve", "--data-dir", tmp_path / "data"], environment(**settings))
    return process.wait(), process.log()[before:]


def test_bridge_wants_either_a_secret_or_to_be_insecure(tmp_path):
    url = "postgresql://postgres@127.0.0.1:1/none"
    both = {"TOMBOLO_SECRET": SECRET, "TOMBOLO_INSECURE": "true"}
    for settings, words in (({}, ("TOMBOLO_SECRET", "TOMBOLO_INSECURE")),
                            (both, ("both", "secret", "insecure")),
                            ({"TOMBOLO_INSECURE": "false"}, ("TOMBOLO_SECRET",))):
        code, said = start_badly(tmp_path, DATABASE_URL=url, **settings)
        assert code == 2, said
        assert all(word in said for word in words), said
        assert SECRET not in said
    code, said = start_badly(tmp_path, TOMBOLO_INSECURE="true")
    assert code == 2 and "DATABASE_URL" in said, said
    assert not (tmp_path / "data").exists()


# ---- below HTTP ----------------------------------------------------------------------------------


@contextlib.contextmanager
def connected(bridge, data=b""):
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=60) as client:
        client.sendall(data)
        yield client


def rest(client):
    """All that comes until the other side closes."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            got += piece
    return got


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


HEAD = b"POST /v1/sync?replica=s HTTP/1.1\r\nhost: x\r\n"
HIDDEN = b"GET /v1/health HTTP/1.1\r\nhost: hidden\r\n\r\n"


FRAMINGS = [
    (b"content-length: 4\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n"),
    (b"transfer-encoding: chunked\r\ncontent-length: 4\r\n", b"0\r\n\r\n"),
    (b"content-length: 2\r\ncontent-length: 50\r\n", b"{}"),
    (b"content-length: 2\r\ncontent-length: 2\r\n", b"{}"),
    (b"content-length : 2\r\n", b"{}"),
    (b"transfer-encoding : chunked\r\n", b"0\r\n\r\n"),
    (b"x: a\r\n content-length: 50\r\ncontent-length: 2\r\n", b"{}"),
    (b"x: a\r\n\ttransfer-encoding: chunked\r\n", b""),
    (b"transfer-encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    (b"transfer-encoding: xchunked\r\n", b"0\r\n\r\n"),
    (b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n"),
    (b"content-length: +2\r\n", b"{}"),
    (b"content-length: 0x2\r\n", b"{}"),
    (b"content-length: 2, 2\r\n", b"{}"),
    (b"content-length: 99999999999999999999999\r\n", b"{}"),
    (b"transfer-encoding: chunked\r\n", b"-1\r\n\r\n"),
    (b"transfer-encoding: chunked\r\n", b"fffffffffffffffff\r\n"),
    (b"transfer-encoding: chunked\r\n", b"2\r\n{}XX0\r\n\r\n"),
    (b"host: y\r\ncontent-length: 2\r\n", b"{}"),
    (b"x\0y: 1\r\ncontent-length: 2\r\n", b"{}"),
    (b"x: a\nb: c\r\ncontent-length: 2\r\n", b"{}"),
]


def test_smuggled_framing_is_refused_and_nothing_behind_it_answered(bridge):
    for head, body in FRAMINGS:
        with connected(bridge, HEAD + head + b"\r\n" + body + HIDDEN) as client:
            answer = rest(client)
        assert status_of(answer) in (400, 413, 501), (head, body, answer)
        assert answer.count(b"HTTP/1.1 ") == 1, (head, body, answer)
        assert b"active" not in answer, (head, body, answer)
    assert bridge.health() == "active"


def test_other_bytes_than_http_are_refused(bridge):
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,  # TLS
                 b"\0\0\0\x08\x04\xd2\x16\x2f", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                 b"GET /v1/health HTTP/9.9\r\n\r\n", b"GET /v1/health\r\n\r\n",
                 b"GET / HTTP/1.1\r\n\r\n",
                 b"GET /" + b"x" * 100_000, b"GET / HTTP/1.1\r\nx: " + b"y" * 1_000_000):
        with connected(bridge) as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(data)
            answer = rest(client)
        assert status_of(answer) in (400, 414, 431, 505, None), (data[:60], answer)


def test_paths_and_methods_that_are_not_there(bridge):
    assert bridge.get("/v1/nothing").status == 404
    assert bridge.get("/v1/health%00").status == 404
    assert bridge.get("/v1/sync?replica=a").status == 405
    assert bridge.post("/v1/health", {}).status == 405
    assert bridge.get("/metrics").status == 404, "it has a listener of its own"


def dripped(client, data):
    """Sends a byte each time that the other side stays silent for a moment; what it says in the end."""
    client.settimeout(0.02)
    for byte in data:
        with contextlib.suppress(TimeoutError):
            if not client.recv(1, socket.MSG_PEEK):
                break
            break
        client.sendall(bytes([byte]))
    client.settimeout(60)
    return rest(client)


def test_dripped_header_and_body_end_at_the_deadline(make_bridge):
    bridge = make_bridge(header_timeout="300ms", body_timeout="300ms")
    endless = b"x: " + b"y" * 10_000
    with connected(bridge) as client:
        answer = dripped(client, b"GET / HTTP/1.1\r\nhost: x\r\n" + endless)
    assert status_of(answer) == 408, answer
    with connected(bridge, HEAD + b"content-length: 100000\r\n\r\n") as client:
        answer = dripped(client, b"x" * 10_000)
    assert status_of(answer) == 408, answer
    with connected(bridge, HEAD + b"transfer-encoding: chunked\r\n\r\n") as client:
        answer = dripped(client, b"1\r\nx\r\n" * 2_000)
    assert status_of(answer) == 408, answer


def test_dripped_request_that_ends_in_time_is_answered(bridge):
    body = json.dumps(shape()).encode()
    head = HEAD + f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with connected(bridge) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head + body:
            client.sendall(bytes([byte]))
        answer = rest(client)
    assert status_of(answer) == 200 and b"nails" in answer, answer


def test_bridge_takes_as_many_files_as_the_hard_limit_allows(make_bridge):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1000), hard))
    try:
        bridge = make_bridge()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_thousand_silent_connections_keep_nobody_out_and_are_closed(make_bridge, tmp_path):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most > 1200, "raise the limit of open files (ulimit -n)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    bridge = make_bridge(header_timeout="4s")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(bridge)) for _ in range(1000)]
        wait_for(lambda: bridge.metrics()["tombolo_http_connections"] >= 1000, 60,
                 "all to be accepted")
        serves_on(bridge, tmp_path)
        for client in clients:
            assert status_of(rest(client)) in (408, None)
    wait_for(lambda: bridge.metrics()["tombolo_http_connections"] < 10, 60, "none to be left")
