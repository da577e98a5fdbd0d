"""/v1/shape: offsets and chunks, live requests, the cursor, messages, values, SSE, the end of shapes.

Endpoints, parameters, status codes and headers are in test_shape_contract.py.
"""

import itertools
import json
import re
import time
from datetime import datetime, timezone

import pytest
from harness import Connection, ShapeReader, wait_for

MUST_REFETCH = b'[{"headers":{"control":"must-refetch"}}]'
NAMES = (f"t{n}" for n in itertools.count(1))
EPOCH = datetime(2024, 10, 9, tzinfo=timezone.utc)


@pytest.fixture
def table(module_database):
    """A table of its own for a test, empty."""
    name = next(NAMES)
    module_database.sql(f"CREATE TABLE {name} (id int PRIMARY KEY, v text, n int)")
    return name


@pytest.fixture
def sql(module_database):
    return module_database.sql


@pytest.fixture
def read(shape_bridge):
    """read(table=...): a ShapeReader that is up to date."""
    readers = []

    def make(**definition):
        readers.append(ShapeReader(shape_bridge, **definition).catch_up())
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()


def changes(reply):
    return [message for message in reply.json() if "operation" in message["headers"]]


def control(message):
    return message["headers"].get("control")


def drain(api, reader, expected, **definition):
    """The changes behind the reader's offset, until there are so many; moves the reader."""
    found = []

    def more():
        reply = api.get(offset=reader.offset, handle=reader.handle, **definition)
        assert reply.status == 200, reply
        found.extend(changes(reply))
        reader.offset = reply["electric-offset"]
        return len(found) >= expected

    wait_for(more, 60, lambda: f"{expected} changes, there are {found}")
    assert len(found) == expected, found
    return found


# ---- 5: offsets ---------------------------------------------------------------------------------


def test_empty_table_answers_with_the_end_of_its_snapshot_alone(api, table):
    reply = api.get(table=table, offset="-1")
    (end,) = reply.json()
    assert control(end) == "snapshot-end"
    assert set(end["headers"]) == {"control", "xmin", "xmax", "xip_list"}
    assert isinstance(end["headers"]["xmin"], str) and isinstance(end["headers"]["xip_list"], list)
    assert reply["electric-offset"] == "0_0" and "electric-up-to-date" not in reply


def test_behind_the_snapshot_there_is_the_end_of_the_log(api, table):
    handle = api.get(table=table, offset="-1")["electric-handle"]
    reply = api.get(table=table, offset="0_0", handle=handle)
    (end,) = reply.json()
    assert control(end) == "up-to-date" and end["headers"]["global_last_seen_lsn"].isdigit()
    assert reply["electric-offset"] == "0_inf" and reply["electric-up-to-date"] == ""
    assert reply["electric-has-data"] in (None, "false", "true")


def test_offset_now_answers_with_the_end_of_the_log_alone(api, table, sql, read):
    sql(f"INSERT INTO {table} VALUES (1)")
    reply = api.get(table=table, offset="now")
    assert [control(message) for message in reply.json()] == ["up-to-date"]
    assert reply["electric-offset"] == "0_inf" and reply["electric-has-data"] == "false"
    assert "electric-schema" in reply and "electric-up-to-date" in reply
    reader = read(table=table)
    sql(f"INSERT INTO {table} VALUES (2)")
    wait_for(lambda: reader.catch_up() and len(reader.rows()) == 2, 60)
    assert api.get(table=table, offset="now")["electric-offset"] == reader.offset


def test_log_is_answered_from_any_offset_within_it(api, table, sql, read):
    reader = read(table=table)
    for n in (1, 2, 3):
        sql(f"INSERT INTO {table} VALUES ({n})")
    found = drain(api, reader, 3, table=table)
    lsns = [int(message["headers"]["lsn"]) for message in found]
    for offset, expected in ((f"{lsns[0]}_0", 2), (f"{lsns[0] - 1}_0", 3), (f"{lsns[0]}_inf", 2),
                             (f"{lsns[1]}_0", 1), ("0_inf", 3), (f"{lsns[2]}_0", 0)):
        reply = api.get(table=table, offset=offset, handle=reader.handle)
        assert len(changes(reply)) == expected, offset
        assert reply["electric-offset"] == f"{lsns[2]}_0"


def test_offset_of_a_message_is_its_lsn_and_op_position(api, table, sql, read):
    reader = read(table=table)
    sql(f"INSERT INTO {table} VALUES (1); INSERT INTO {table} VALUES (2)")
    first, second = drain(api, reader, 2, table=table)
    assert first["headers"]["lsn"] == second["headers"]["lsn"]
    assert (first["headers"]["op_position"], second["headers"]["op_position"]) == (0, 2)
    assert "last" not in first["headers"] and second["headers"]["last"] is True
    assert reader.offset == f"{second['headers']['lsn']}_2"


def test_offset_beyond_the_end_waits_and_is_then_out_of_bounds(api, table):
    handle = api.get(table=table, offset="-1")["electric-handle"]
    for live in ({}, {"live": "true"}):
        reply = api.get(table=table, offset="99999999999999_0", handle=handle, **live)
        assert reply.status == 400, reply
        assert reply.json() == {"message": "Invalid request",
                                "errors": {"offset": ["out of bounds for this shape"]}}


def read_chunks(api, table, handle, offset):
    """Every response until the end of the log."""
    replies = []
    while not replies or "electric-up-to-date" not in replies[-1]:
        reply = api.get(table=table, offset=offset, handle=handle)
        assert reply.status == 200, reply
        handle, offset = reply["electric-handle"], reply["electric-offset"]
        replies.append(reply)
    return replies


def test_snapshot_comes_in_chunks_of_the_threshold_that_never_change(api, table, sql):
    sql(f"INSERT INTO {table} SELECT n, repeat('x', 50), n FROM generate_series(1, 500) n")
    replies = read_chunks(api, table, None, "-1")
    assert [reply["electric-offset"] for reply in replies[:3]] == ["0_0", "0_1", "0_2"]
    *full, last, end = replies
    assert len(full) >= 2
    assert all(8000 < len(reply.body) < 12000 for reply in full), [len(r.body) for r in full]
    assert len(last.body) < 11000 and control(last.json()[-1]) == "snapshot-end"
    assert [control(message) for message in end.json()] == ["up-to-date"]
    assert sum(len(changes(reply)) for reply in replies) == 500
    handle = replies[0]["electric-handle"]
    assert [reply.body for reply in read_chunks(api, table, handle, "-1")[:-1]] == \
           [reply.body for reply in replies[:-1]]


def test_row_as_large_as_a_chunk_closes_it(api, table, sql):
    """The end of the snapshot is not counted: it comes alone in the next chunk."""
    sql(f"INSERT INTO {table} VALUES (1, repeat('x', 20000))")
    first, second, _ = read_chunks(api, table, None, "-1")
    assert len(changes(first)) == 1 and len(first.json()) == 1
    assert [control(message) for message in second.json()] == ["snapshot-end"]


def test_log_comes_in_chunks_of_the_threshold_that_never_change(api, table, sql, read):
    reader = read(table=table)
    sql(f"INSERT INTO {table} SELECT n, repeat('x', 50), n FROM generate_series(1, 300) n")
    wait_for(lambda: reader.catch_up() and len(reader.rows()) == 300, 60)
    replies = read_chunks(api, table, reader.handle, "0_inf")
    *full, last = replies
    assert len(full) >= 2
    assert all(8000 < len(reply.body) < 12000 for reply in full), [len(r.body) for r in full]
    assert len(last.body) < 11000
    assert not [reply for reply in full if "electric-up-to-date" in reply]
    ends = [reply["electric-offset"] for reply in full]
    lsn = reader.offset.split("_")[0]
    assert all(end.startswith(f"{lsn}_") for end in ends), ends
    messages = [m for reply in replies for m in changes(reply)]
    assert len(messages) == 300
    assert [m["headers"].get("last") for m in messages] == [None] * 299 + [True]
    sql(f"INSERT INTO {table} SELECT n, repeat('y', 50), n FROM generate_series(1001, 1300) n")
    wait_for(lambda: reader.catch_up() and len(reader.rows()) == 600, 60)
    again = read_chunks(api, table, reader.handle, "0_inf")
    assert [reply.body for reply in again[:len(full)]] == [reply.body for reply in full]
    assert [reply["electric-offset"] for reply in again[:len(full)]] == ends


def test_same_catch_up_request_is_304_while_nothing_was_appended(api, table, sql, read):
    reader = read(table=table)
    sql(f"INSERT INTO {table} VALUES (1)")
    wait_for(lambda: reader.catch_up() and reader.rows(), 60)
    asked = {"table": table, "offset": "0_inf", "handle": reader.handle}
    reply = api.get(**asked)
    tag = [("if-none-match", reply["etag"])]
    assert reply["etag"] == f'"{reader.handle}:0_inf:{reader.offset}"'
    assert api.get(headers=tag, **asked).status == 304
    sql(f"INSERT INTO {table} VALUES (2)")
    wait_for(lambda: reader.catch_up() and len(reader.rows()) == 2, 60)
    assert len(changes(api.get(headers=tag, **asked))) == 2


def test_tag_of_the_beginning_stays_after_writes(api, table, sql, read):
    tag = api.get(table=table, offset="-1")["etag"]
    reader = read(table=table)
    sql(f"INSERT INTO {table} VALUES (1)")
    wait_for(lambda: reader.catch_up() and reader.rows(), 60)
    assert api.get(table=table, offset="-1")["etag"] == tag


def test_live_request_is_held_until_a_commit(api, table, sql, read):
    reader = read(table=table)
    asked = {"table": table, "offset": reader.offset, "handle": reader.handle}
    parked = api.live(**asked)
    sql(f"INSERT INTO {table} VALUES (1), (2)")
    while not changes(reply := parked.receive()):  # the time-out may come first
        parked.send("GET", api.target(live="true", **asked))
    parked.close()
    assert reply.status == 200 and len(changes(reply)) == 2
    end = reply.json()[-1]
    lsn = changes(reply)[-1]["headers"]["lsn"]
    assert end == {"headers": {"control": "up-to-date", "global_last_seen_lsn": lsn}}
    assert reply["electric-offset"] == f"{lsn}_2"
    assert reply["electric-up-to-date"] == "" and reply["electric-has-data"] == "true"
    assert "electric-schema" not in reply and reply["electric-cursor"].isdigit()


def test_live_request_of_one_who_is_behind_is_answered_at_once(api, table, sql, read):
    reader = read(table=table)
    sql(f"INSERT INTO {table} VALUES (1)")
    drain(api, reader, 1, table=table)
    reply = api.get(table=table, offset="0_inf", handle=reader.handle, live="true")
    assert len(changes(reply)) == 1 and "electric-up-to-date" in reply


def test_live_request_without_news_ends_with_the_time_out(api, table, read):
    reader = read(table=table)
    reply = api.get(table=table, offset=reader.offset, handle=reader.handle, live="true")
    assert re.fullmatch(rb'\[\{"headers":\{"control":"up-to-date","global_last_seen_lsn":"\d+"\}\}\]',
                        reply.body), reply
    assert reply["electric-offset"] == reader.offset and reply["electric-has-data"] == "false"
    assert reply["electric-up-to-date"] == ""


def test_live_request_hears_nothing_of_other_shapes(api, table, sql, read):
    mine, other = read(table=table, where="n = 1"), read(table=table, where="n = 2")
    parked = api.live(table=table, where="n = 1", offset=mine.offset, handle=mine.handle)
    sql(f"INSERT INTO {table} VALUES (1, 'x', 2)")
    wait_for(lambda: other.catch_up() and other.rows(), 60)
    reply = parked.receive()
    parked.close()
    assert not changes(reply) and reply["electric-has-data"] == "false"


def test_schema_of_a_wide_table_fits_the_header(api, sql):
    table = next(NAMES)
    columns = [f"a_column_with_a_rather_long_name_{n}" for n in range(800)]
    sql(f"CREATE TABLE {table} (id int PRIMARY KEY, {' int, '.join(columns)} int)")
    reply = api.get(table=table, offset="-1")
    assert reply.status == 200, reply
    assert set(json.loads(reply["electric-schema"])) == {"id", *columns}


def test_last_seen_lsn_of_those_who_are_up_to_date_passes_other_tables(api, table, sql, read):
    reader = read(table=table)
    other = next(NAMES)
    sql(f"CREATE TABLE {other} (id int PRIMARY KEY)")
    watcher = read(table=other)
    sql(f"INSERT INTO {other} VALUES (1)")
    wait_for(lambda: watcher.catch_up() and watcher.rows(), 60)
    lsn = int(watcher.offset.split("_")[0])
    reply = api.get(table=table, offset=reader.offset, handle=reader.handle)
    assert int(reply.json()[-1]["headers"]["global_last_seen_lsn"]) >= lsn


# ---- 6: the cursor ------------------------------------------------------------------------------


def test_cursor_is_the_end_of_the_window_and_moves_past_the_given_one(api, table, read):
    reader = read(table=table)
    asked = {"table": table, "offset": reader.offset, "handle": reader.handle, "live": "true"}
    before = (datetime.now(timezone.utc) - EPOCH).total_seconds()
    cursor = int(api.get(**asked)["electric-cursor"])
    after = (datetime.now(timezone.utc) - EPOCH).total_seconds()
    assert before <= cursor <= after + 1
    ahead = cursor + 100_000
    assert ahead < int(api.get(cursor=ahead, **asked)["electric-cursor"]) <= ahead + 3600
    for odd in ("x", "-5", "1.5"):
        assert abs(int(api.get(cursor=odd, **asked)["electric-cursor"]) - cursor) < 60


# ---- 7: messages --------------------------------------------------------------------------------


def test_snapshot_row(api, table, sql):
    sql(f"INSERT INTO {table} VALUES (1, NULL, 5)")
    row, _ = api.get(table=table, offset="-1").json()
    assert row == {"key": f'"public"."{table}"/"1"', "value": {"id": "1", "v": None, "n": "5"},
                   "headers": {"operation": "insert", "relation": ["public", table]}}


@pytest.mark.parametrize("replica", ["default", "full"])
def test_log_entries(api, table, sql, read, replica):
    sql(f"INSERT INTO {table} VALUES (1, 'a', 5)")
    shape = {"table": table, "replica": replica}
    reader = read(**shape)
    for statement in (f"INSERT INTO {table} VALUES (2, 'b', NULL)",
                      f"UPDATE {table} SET v = 'c' WHERE id = 1",
                      f"UPDATE {table} SET v = v WHERE id = 1",
                      f"DELETE FROM {table} WHERE id = 1"):
        sql(statement)
    insert, update, delete = drain(api, reader, 3, **shape)
    full = replica == "full"
    assert insert["value"] == {"id": "2", "v": "b", "n": None}
    assert update["value"] == ({"id": "1", "v": "c", "n": "5"} if full else {"id": "1", "v": "c"})
    assert update.get("old_value") == ({"v": "a"} if full else None)
    assert delete["value"] == ({"id": "1", "v": "c", "n": "5"} if full else {"id": "1"})
    for message, operation in ((insert, "insert"), (update, "update"), (delete, "delete")):
        headers = message["headers"]
        assert headers["operation"] == operation
        assert headers["relation"] == ["public", table] and headers["last"] is True
        assert isinstance(headers["txids"][0], int) and isinstance(headers["op_position"], int)
        assert headers["lsn"].isdigit()


def test_changed_key_is_a_delete_and_an_insert_that_name_each_other(api, table, sql, read):
    sql(f"INSERT INTO {table} VALUES (1, 'a', 5)")
    reader = read(table=table)
    sql(f"UPDATE {table} SET id = 2 WHERE id = 1")
    delete, insert = drain(api, reader, 2, table=table)
    old, new = f'"public"."{table}"/"1"', f'"public"."{table}"/"2"'
    assert (delete["key"], insert["key"]) == (old, new)
    assert delete["headers"]["operation"] == "delete"
    assert delete["headers"]["key_change_to"] == new and "last" not in delete["headers"]
    assert insert["headers"]["operation"] == "insert"
    assert insert["headers"]["key_change_from"] == old and insert["headers"]["last"] is True
    assert insert["value"] == {"id": "2", "v": "a", "n": "5"}
    assert insert["headers"]["op_position"] == delete["headers"]["op_position"] + 1


def test_row_that_enters_and_leaves_by_the_clause(api, table, sql, read):
    sql(f"INSERT INTO {table} VALUES (1, 'a', 1)")
    shape = {"table": table, "where": "n = 2"}
    reader = read(**shape)
    sql(f"UPDATE {table} SET n = 2")
    sql(f"UPDATE {table} SET n = 3")
    insert, delete = drain(api, reader, 2, **shape)
    assert insert["headers"]["operation"] == "insert"
    assert insert["value"] == {"id": "1", "v": "a", "n": "2"}
    assert delete["headers"]["operation"] == "delete" and delete["value"] == {"id": "1"}
    assert not {"key_change_to", "key_change_from"} & {*insert["headers"], *delete["headers"]}


def test_clause_and_key_change_at_once_is_a_plain_insert_or_delete(api, table, sql, read):
    sql(f"INSERT INTO {table} VALUES (1, 'a', 1)")
    shape = {"table": table, "where": "n = 2"}
    reader = read(**shape)
    sql(f"UPDATE {table} SET n = 2, id = 10")
    sql(f"UPDATE {table} SET n = 3, id = 11")
    insert, delete = drain(api, reader, 2, **shape)
    assert (insert["key"][-4:], delete["key"][-4:]) == ('"10"', '"10"')
    assert not {"key_change_to", "key_change_from"} & {*insert["headers"], *delete["headers"]}


def test_update_of_columns_that_are_not_selected_is_dropped(api, table, sql, read):
    sql(f"INSERT INTO {table} VALUES (1, 'a', 1)")
    shape = {"table": table, "columns": "id,v"}
    reader = read(**shape)
    sql(f"UPDATE {table} SET n = 2")
    sql(f"UPDATE {table} SET v = 'b'")
    (update,) = drain(api, reader, 1, **shape)
    assert update["value"] == {"id": "1", "v": "b"}


def test_unchanged_toasted_value_is_filled_in(api, table, sql, read):
    sql(f"ALTER TABLE {table} ALTER v SET STORAGE EXTERNAL")
    sql(f"INSERT INTO {table} VALUES (1, repeat('x', 5000), 1)")
    shape = {"table": table, "replica": "full"}
    reader = read(**shape)
    sql(f"UPDATE {table} SET n = 2")
    (update,) = drain(api, reader, 1, **shape)
    assert update["value"] == {"id": "1", "v": "x" * 5000, "n": "2"}
    assert update["old_value"] == {"n": "1"}


def test_table_without_key_has_all_columns_as_key(api, sql, read):
    name = next(NAMES)
    sql(f"CREATE TABLE {name} (a int, b text); INSERT INTO {name} VALUES (1, 'x'), (2, NULL)")
    rows = changes(api.get(table=name, offset="-1"))
    assert sorted(row["key"] for row in rows) == [f'"public"."{name}"/"1"/"x"',
                                                  f'"public"."{name}"/"2"/_']
    reader = read(table=name)
    sql(f"UPDATE {name} SET b = 'y' WHERE a = 1")
    delete, insert = drain(api, reader, 2, table=name)
    assert (delete["headers"]["operation"], delete["value"]) == ("delete", {"a": "1", "b": "x"})
    assert (insert["headers"]["operation"], insert["value"]) == ("insert", {"a": "1", "b": "y"})


def test_key_escapes_slashes_and_takes_the_order_of_the_index(api, sql):
    name = next(NAMES)
    sql(f"CREATE TABLE {name} (b text, a text, PRIMARY KEY (b, a))")
    sql(f"INSERT INTO {name} VALUES ('x/y', '\"q\".')")
    (row,) = changes(api.get(table=name, offset="-1"))
    assert row["key"] == f'"public"."{name}"/"x//y"/""q"."'


def test_changes_only_has_no_rows_and_then_every_change(api, table, sql, read):
    sql(f"INSERT INTO {table} VALUES (1, 'a', 1)")
    shape = {"table": table, "log": "changes_only"}
    reply = api.get(offset="-1", **shape)
    assert [control(message) for message in reply.json()] == ["snapshot-end"]
    handle, offset = reply["electric-handle"], "0_inf"
    sql(f"UPDATE {table} SET v = 'b'")
    reply = wait_for(lambda: (lambda r: r if changes(r) else None)(
        api.get(offset=offset, handle=handle, **shape)), 60)
    assert changes(reply)[0]["headers"]["operation"] == "update"


# ---- 7: subsets ---------------------------------------------------------------------------------


def test_subset_has_rows_in_order_a_mark_and_where_it_stands(api, table, sql):
    sql(f"INSERT INTO {table} SELECT n, 'x', n % 3 FROM generate_series(1, 9) n")
    handle = api.get(table=table, offset="-1")["electric-handle"]
    reply = api.get(table=table, offset="0_inf", handle=handle, subset__where="n = $1",
                    subset__params='{"1":"1"}', subset__order_by="id DESC", subset__limit="2",
                    subset__offset="1")
    assert reply.status == 200 and reply["electric-snapshot"] == "true"
    assert reply["electric-handle"] == handle and "electric-offset" in reply
    assert "electric-schema" in reply and "etag" not in reply and "electric-has-data" not in reply
    answer = reply.json()
    assert set(answer) == {"metadata", "data"}
    metadata = answer["metadata"]
    assert set(metadata) == {"snapshot_mark", "xmin", "xmax", "xip_list", "database_lsn"}
    assert 0 <= metadata["snapshot_mark"] < 2**31 and metadata["database_lsn"].isdigit()
    assert [row["value"]["id"] for row in answer["data"]] == ["4", "1"]
    assert {row["headers"]["snapshot_mark"] for row in answer["data"]} == \
        {metadata["snapshot_mark"]}
    assert answer["data"][0]["key"] == f'"public"."{table}"/"4"'


def test_subset_stays_within_a_shape_whose_clause_is_an_or(api, table, sql):
    """The shape's clause is bracketed: its OR does not leak rows of others."""
    sql(f"INSERT INTO {table} SELECT n, 'x', n FROM generate_series(1, 4) n")
    reply = api.get(table=table, where="n = 1 OR n = 2", offset="-1", subset__where="id = 2")
    assert [row["value"]["id"] for row in reply.json()["data"]] == ["2"]


@pytest.mark.parametrize("order, said", [
    ("lower(v)", "FuncCall"), ("v::int", "TypeCast"), ("(SELECT 1)", "SubLink"),
    ("CASE WHEN true THEN 1 END", "CaseExpr")])
def test_order_by_takes_columns_only(api, table, order, said):
    ((message,),) = api.errors(table=table, offset="-1", subset__order_by=order)["subset"].values()
    assert re.fullmatch(rf"At location \d+: {said} expressions are not allowed in ORDER BY clauses",
                        message)


@pytest.mark.parametrize("order, said", [
    ("$1", "parameter $1 is not supported in ORDER BY clauses"), ("id; DROP TABLE x",
                                                                 "Unexpected `;` in order by"),
    ("nope", "unknown reference nope")])
def test_order_by_that_is_none_is_refused(api, table, order, said):
    ((message,),) = api.errors(table=table, offset="-1", subset__order_by=order)["subset"].values()
    assert said in message


def test_wrong_label_of_an_enum_is_told_by_postgres(api, sql):
    name = next(NAMES)
    sql(f"CREATE TYPE mood_{name} AS ENUM ('sad'); CREATE TABLE {name} "
        f"(id int PRIMARY KEY, m mood_{name})")
    errors = api.errors(table=name, offset="-1", subset__where="m = 'odd'")
    assert isinstance(errors["subset"]["where"], str) and "odd" in errors["subset"]["where"]


def test_subset_uses_queryable_columns_only(api, table):
    shape = {"table": table, "offset": "-1", "columns": "id,v", "queryable_columns": "id,v"}
    assert api.get(subset__where="v = 'x'", **shape).status == 200
    assert "subset" in api.errors(subset__where="n = 1", **shape)


def test_subset_clause_has_a_limit(api, table):
    where = "v = '" + "x" * 66000 + "'"
    reply = api.post(json.dumps({"where": where}).encode(), table=table, offset="-1")
    assert reply.status == 400 and b"bigger than maximum size" in reply.body


# ---- 8: values ----------------------------------------------------------------------------------

TYPES = [  # type, literal, snapshot, log (None: the same), schema
    ("bool", "true", "true", "t", {"type": "bool"}),
    ("int2", "7", "7", None, {"type": "int2"}),
    ("int8", "9007199254740993", "9007199254740993", None, {"type": "int8"}),
    ("float8", "1e300", "1e+300", None, {"type": "float8"}),
    ("float4", "'NaN'", "NaN", None, {"type": "float4"}),
    ("numeric(6,2)", "1.5", "1.50", None, {"type": "numeric", "precision": 6, "scale": 2}),
    ("varchar(20)", "'a'", "a", None, {"type": "varchar", "max_length": 20}),
    ("char(5)", "'ab'", "ab   ", None, {"type": "bpchar", "length": 5}),
    ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
     None, {"type": "uuid"}),
    ("bytea", r"'\x00ff'", r"\x00ff", None, {"type": "bytea"}),
    ("date", "'2024-02-28'", "2024-02-28", None, {"type": "date"}),
    ("time(3)", "'19:32:03.5'", "19:32:03.5", None, {"type": "time", "precision": 3}),
    ("timestamp", "'2024-02-28 19:32:03'", "2024-02-28 19:32:03", None, {"type": "timestamp"}),
    ("timestamptz", "'2024-02-28 20:32:03+01'", "2024-02-28 19:32:03+00", None,
     {"type": "timestamptz"}),
    ("timetz", "'19:32:03+02'", "19:32:03+02", None, {"type": "timetz"}),
    ("interval", "'1 year 2 mons 3 days 4:05:06.7'", "P1Y2M3DT4H5M6.7S", None,
     {"type": "interval"}),
    ("interval year", "'3 years'", "P3Y", None, {"type": "interval", "fields": "YEAR"}),
    ("interval day to second", "'1 day'", "P1D", None,
     {"type": "interval", "fields": "DAY TO SECOND"}),
    ("json", "'{\"a\":  1}'", '{"a":  1}', None, {"type": "json"}),
    ("jsonb", "'{\"a\":[true,null]}'", '{"a": [true, null]}', None, {"type": "jsonb"}),
    ("int[]", "'{1,2,NULL}'", "{1,2,NULL}", None, {"type": "int4", "dims": 1}),
    ("text[][]", "'{{\"a b\",\"NULL\"}}'", '{{"a b","NULL"}}', None, {"type": "text", "dims": 2}),
    ("bool[]", "'{true,false}'", "{t,f}", None, {"type": "bool", "dims": 1}),
    ("bit(3)", "B'101'", "101", None, {"type": "bit", "length": 3}),
    ("varbit", "B'10'", "10", None, {"type": "varbit", "length": -1}),
    ("point", "'(1.5,2)'", "(1.5,2)", None, {"type": "point"}),
    ("int4range", "'[1,5)'", "[1,5)", None, {"type": "int4range"}),
    ("inet", "'10.0.0.1'", "10.0.0.1", None, {"type": "inet"}),
]


def test_values_and_schema_of_every_type(api, sql, read):
    name = next(NAMES)
    columns = ", ".join(f"c{i} {row[0]}" for i, row in enumerate(TYPES))
    values = ", ".join(row[1] for row in TYPES)
    sql(f"CREATE TABLE {name} (id int8 PRIMARY KEY, {columns})")
    sql(f"INSERT INTO {name} VALUES (1, {values})")
    reader = read(table=name)
    (row,) = reader.rows().values()
    schema = json.loads(reader.schema)
    sql(f"INSERT INTO {name} VALUES (2, {values})")
    (logged,) = drain(api, reader, 1, table=name)
    assert schema.pop("id") == {"type": "int8", "pk_index": 0, "not_null": True}
    for i, (declared, _, snapshot, log, described) in enumerate(TYPES):
        assert row[f"c{i}"] == snapshot, declared
        assert logged["value"][f"c{i}"] == (log or snapshot), declared
        assert schema[f"c{i}"] == described, declared


def test_schema_has_the_selected_columns_and_the_places_in_the_key(api, sql):
    name = next(NAMES)
    sql(f"CREATE TABLE {name} (b int, a int, v text NOT NULL, w text, PRIMARY KEY (b, a))")
    schema = json.loads(api.get(table=name, columns="a,b,v", offset="-1")["electric-schema"])
    assert schema == {"b": {"type": "int4", "pk_index": 0, "not_null": True},
                      "a": {"type": "int4", "pk_index": 1, "not_null": True},
                      "v": {"type": "text", "not_null": True}}


# ---- 7: SSE -------------------------------------------------------------------------------------


class Events:
    """A stream of events, taken one at a time."""

    def __init__(self, api, reader, **definition):
        self.connection = Connection(api.port)
        self.connection.send("GET", api.target(
            offset=reader.offset, handle=reader.handle, live="true", live_sse="true",
            **definition))
        self.head, self.rest = None, b""

    def next(self):
        """The next event's bytes, without its empty line; None at the end."""
        self.head = self.head or self.connection.receive_head()
        while b"\n\n" not in self.rest:
            chunk = self.connection.receive_chunk()
            if not chunk:
                return None
            self.rest += chunk
        event, _, self.rest = self.rest.partition(b"\n\n")
        return event

    def message(self):
        event = self.next()
        assert event.startswith(b"data: ") and b"\n" not in event, event
        return json.loads(event[6:])


def test_sse_sends_each_message_as_an_event_and_stays_open(api, table, sql, read):
    reader = read(table=table)
    events = Events(api, reader, table=table)
    for n in (1, 2, 3):
        sql(f"INSERT INTO {table} VALUES ({n}, E'a\\nb')")
        insert, end = events.message(), events.message()
        assert insert["value"]["id"] == str(n) and insert["headers"]["operation"] == "insert"
        assert end["headers"] == {"control": "up-to-date",
                                  "global_last_seen_lsn": insert["headers"]["lsn"]}
    assert events.head.status == 200
    assert events.head["content-type"] == "text/event-stream"
    assert events.head["cache-control"] == "public, max-age=59"
    assert events.head["electric-handle"] == reader.handle
    assert "electric-cursor" in events.head
    events.connection.close()


def test_sse_sends_what_is_pending_and_stays_open(api, table, sql, read):
    reader = read(table=table)
    sql(f"INSERT INTO {table} VALUES (1)")
    late = read(table=table)
    wait_for(lambda: late.catch_up() and late.rows(), 60)
    events = Events(api, reader, table=table)
    assert events.message()["value"]["id"] == "1"
    assert control(events.message()) == "up-to-date"
    sql(f"INSERT INTO {table} VALUES (2)")
    assert events.message()["value"]["id"] == "2"
    events.connection.close()


def test_sse_says_nothing_at_its_beginning(api, table, sql, read):
    reader = read(table=table)
    events = Events(api, reader, table=table)
    time.sleep(1.5)  # longer than a long poll: nothing may come, and there is no event to wait for
    sql(f"INSERT INTO {table} VALUES (1)")
    assert events.message()["headers"]["operation"] == "insert"
    events.connection.close()


def test_sse_ends_when_its_shape_does_and_the_next_request_is_409(api, table, sql, read):
    reader = read(table=table)
    events = Events(api, reader, table=table)
    sql(f"INSERT INTO {table} VALUES (1)")
    events.message(), events.message()
    sql(f"TRUNCATE {table}")
    while (event := events.next()) is not None:
        assert b"must-refetch" not in event, event
    reply = api.get(table=table, offset=reader.offset, handle=reader.handle)
    assert (reply.status, reply.body) == (409, MUST_REFETCH)
    events.connection.close()


# ---- 10: identity and rotation ------------------------------------------------------------------


def test_handle_is_not_used_again(api, table):
    seen = set()
    for _ in range(3):
        handle = api.get(table=table, offset="-1")["electric-handle"]
        assert handle not in seen
        seen.add(handle)
        assert api.get(method="DELETE", handle=handle).status == 202


@pytest.mark.parametrize("other", [{"where": "n = 1"}, {"columns": "id"}, {"replica": "full"},
                                   {"log": "changes_only"}], ids=json.dumps)
def test_these_make_another_shape(api, table, other):
    assert api.get(table=table, offset="-1")["electric-handle"] != \
        api.get(table=table, offset="-1", **other)["electric-handle"]


@pytest.mark.parametrize("trouble", ["TRUNCATE {0}", "ALTER TABLE {0} DROP n",
                                     "ALTER TABLE {0} RENAME v TO w",
                                     "ALTER TABLE {0} ALTER n TYPE bigint",
                                     "ALTER TABLE {0} ADD x int"])
def test_end_of_a_shape_wakes_who_waits_and_gives_a_new_handle(api, table, sql, trouble):
    sql(f"INSERT INTO {table} VALUES (1, 'a', 1)")
    handle = api.get(table=table, offset="-1")["electric-handle"]
    parked = api.live(table=table, offset="0_inf", handle=handle)
    sql(trouble.format(table))
    sql(f"INSERT INTO {table} (id) VALUES (2)")
    while (reply := parked.receive()).status == 200:  # the time-out may come first
        parked.send("GET", api.target(table=table, offset="0_inf", handle=handle, live="true"))
    parked.close()
    assert (reply.status, reply.body) == (409, MUST_REFETCH)
    fresh = api.get(table=table, offset="-1")
    assert fresh.status == 200 and fresh["electric-handle"] != handle


def test_dropped_table_is_a_clean_refusal(api, table, sql):
    handle = api.get(table=table, offset="-1")["electric-handle"]
    sql(f"DROP TABLE {table}")
    reply = wait_for(lambda: (lambda r: r if r.status != 200 else None)(
        api.get(table=table, offset="0_inf", handle=handle)), 60)
    assert reply.status in (400, 409), reply
    assert "table" in wait_for(lambda: (lambda r: r.status == 400 and r.json()["errors"])(
        api.get(table=table, offset="-1")), 60)
