"""Every type, by each way that a value comes: what SQLite holds, taken back to Postgres's text, is
Postgres's text.

The way back is written here anew from the rules (the table in replica/types.h): it shares
no line with the program. Documented losses: -0 becomes 0.
"""

import contextlib
import io
import json
import sqlite3

import pytest

SETTINGS = ("SET DateStyle = 'ISO, DMY'; SET TimeZone = 'UTC'; SET IntervalStyle = 'iso_8601';"
            " SET extra_float_digits = 1; SET bytea_output = 'hex'")

TYPES = """
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy', '[]', '');
    CREATE DOMAIN small AS int CHECK (VALUE < 1000);
    CREATE DOMAIN smaller AS small CHECK (VALUE < 10);
    CREATE DOMAIN label AS varchar(20);
    CREATE DOMAIN ids AS int[];
    CREATE TYPE pair AS (a int, b text);
    CREATE TYPE nested AS (p pair, q pair[]);
    CREATE TYPE span AS RANGE (subtype = timestamptz);
"""

# type: its values, as SQL. A name in front of the colon where the type has no plain one.
MATRIX = {
    "bool": ["true", "false"],
    "int2": ["0", "-32768", "32767"],
    "int4": ["0", "-2147483648", "2147483647"],
    "int8": ["0", "-9223372036854775808", "9223372036854775807", "9007199254740993"],
    "oid": ["0", "4294967295"],
    "float4": ["0.1", "'1e-45'", "'3.4028235e38'", "'NaN'", "'Infinity'", "'-Infinity'", "'-0'",
               "16777217", "1e10", "'1.17549435e-38'", "123456.7"],
    "float8": ["0.1", "'5e-324'", "'1.7976931348623157e308'", "'NaN'", "'Infinity'", "'-Infinity'",
               "'-0'", "9007199254740993", "1e15", "1e16", "1.0/3", "-2.5", "123456789012345680"],
    "numeric": ["0", "1.10", "-0.000000000000000000000000001", "'NaN'", "1e40", "1e-40", "100",
                "12345678901234567890.123456789012345678901234567890"],
    "numeric(10,2)": ["1.1", "-99999999.99", "'NaN'"],
    "money": ["'$12.34'", "'-92233720368547758.08'", "0"],
    "text": ["''", "'a'", "E'tab\\t nl\\n cr\\r quote\\' dq\" back\\\\ nul-less'", "'NULL'", "'ß漢字🙂'",
             "'[1,2]'", "'1.10'", "'0042'", "'NaN'", "repeat('long ', 5000)", "E'\\x01\\x1f\\x7f'",
             "E'\\u2028\\ufeff'"],
    "varchar(5)": ["'abc'", "''", "'ab   '"],
    "char(4)": ["'ab'", "''", "'abcd'", "' b'"],
    '"char"': ["'x'", "''"],
    "name": ["'pg_class'"],
    "bytea": ["''", "'\\x00ff'", "'\\xdeadbeef'", "convert_to('text', 'UTF8')",
              "decode(repeat('00ff', 5000), 'hex')"],
    "uuid": ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'00000000-0000-0000-0000-000000000000'",
             "'1e500000-0000-0000-0000-000000000000'"],
    "date": ["'2024-02-28'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'4713-01-01 BC'",
             "'5874897-12-31'", "'0001-01-01'", "'10000-01-01'"],
    "time": ["'00:00:00'", "'24:00:00'", "'19:32:03.5'", "'23:59:59.999999'"],
    "time(2)": ["'19:32:03.129'"],
    "timetz": ["'12:00:00+05:30'", "'24:00:00-15:59'", "'19:32:03.5+02'", "'19:32:03+15:59:59'"],
    "timestamp": ["'2024-02-28 19:32:03'", "'2024-02-28 19:32:03.5'", "'infinity'", "'-infinity'",
                  "'0044-03-15 12:00:00 BC'", "'294276-12-31 23:59:59.999999'",
                  "'4713-01-01 00:00:00 BC'", "'9999-12-31 23:59:59.999999'", "'0001-01-01'",
                  "'10000-01-01 00:00:00.1'", "'2024-02-28 19:32:03.000001'"],
    "timestamp(0)": ["'2024-02-28 19:32:03.6'"],
    "timestamptz": ["'2024-02-28 19:32:03+02'", "'2024-02-28 19:32:03.123450+00'", "'infinity'",
                    "'-infinity'", "'4714-11-24 00:00:00+00 BC'", "'0044-03-15 12:00:00+00 BC'",
                    "'294276-12-31 23:59:59.999999+00'", "'1883-11-18 12:03:58-04:56:02'"],
    "interval": ["'1 year 2 mons 3 days 04:05:06.7'", "'0'", "'-1 days +02:03:00'",
                 "'-1 year -2 mons +3 days'", "'178000000 years'", "'0.000001 s'", "'-00:00:00.5'"],
    "interval year to month": ["'1 year 2 months'"],
    "json": ["'{\"b\": 1,  \"a\":[1.10, null, \"x\\ty\"], \"b\": 2}'", "'1'", "'null'", "'\" \"'",
             "'12345678901234567890.10'"],
    "jsonb": ["'{\"b\": 1, \"a\":[1.10, null, \"\\u00e9\"]}'", "'[]'", "'null'", "'\"\"'",
              "'12345678901234567890.10'"],
    "jsonpath": ["'$.a[*] ? (@ > 1)'"],
    "xml": ["'<a b=\"c\">&lt;</a>'", "''"],
    "bit(3)": ["B'101'"],
    "bit varying": ["B''", "B'10101010101'"],
    "inet": ["'192.168.0.1'", "'192.168.0.1/24'", "'::1'", "'2001:db8::/32'"],
    "cidr": ["'10.0.0.0/8'", "'2001:db8::/32'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "macaddr8": ["'08:00:2b:01:02:03:04:05'"],
    "point": ["'(1.5,-2)'", "'(NaN,Infinity)'"],
    "line": ["'{1,2,3}'"],
    "lseg": ["'[(0,0),(1,1)]'"],
    "box": ["'(1,1),(0,0)'"],
    "path": ["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"],
    "polygon": ["'((0,0),(1,1),(1,0))'"],
    "circle": ["'<(0,0),1.5>'"],
    "tsvector": ["'a:1A fat:2B,3 cat''s'", "''"],
    "tsquery": ["'fat & (rat | !cat:AB)'"],
    "pg_lsn": ["'16/B374D848'", "'0/0'"],
    "pg_snapshot": ["'10:20:10,14,15'"],
    "xid8": ["'18446744073709551615'"],
    "int4range": ["'[1,5)'", "'empty'", "'(,)'", "'[1,]'"],
    "numrange": ["'(1.10,2.5]'"],
    "tstzrange": ["'[2024-01-01 00:00+00,infinity)'"],
    "daterange": ["'[2024-01-01,)'"],
    "span": ["'[2024-01-01 00:00+00,2024-01-02 00:00+00]'"],
    "int4multirange": ["'{[1,3),[5,8)}'", "'{}'"],
    "mood": ["'sad'", "'very happy'", "'[]'", "''"],
    "small": ["7", "-1"],
    "smaller": ["7"],
    "label": ["'a'", "'[1]'"],
    "ids": ["'{1,2}'", "'[0:1]={1,2}'", "'{}'"],
    "pair": ["(1,'q')", "(NULL,'')", "(NULL,NULL)", "(2,E'a \"quoted\", (b)\\\\')"],
    "nested": ["ROW(ROW(1,'x')::pair, ARRAY[ROW(2,'y')::pair])"],
    "bool[]": ["'{t,f,NULL}'", "'{}'", "'{{t},{f}}'"],
    "int4[]": ["'{1,NULL,-3}'", "'{}'", "'{{1,2},{3,NULL}}'", "'[0:1]={1,2}'",
               "'[-2:-1][5:6]={{1,2},{3,4}}'", "'{{{1},{2}},{{3},{4}}}'"],
    "int8[]": ["'{9223372036854775807,-9223372036854775808}'"],
    "float8[]": ["'{0.1,NaN,Infinity,-Infinity,1e300,5e-324,NULL}'", "'{1e16,-2.5}'"],
    "float4[]": ["'{0.1,3.4028235e38}'"],
    "numeric[]": ["'{1.10,12345678901234567890.1234567890,NULL}'", "'{NaN}'", "'{-0.10,1e40}'"],
    "text[]": ["'{}'", "'{\"\",NULL,\"NULL\",null,\"null\"}'", "ARRAY['a b','a,b','{x}','\"','\\']",
               "ARRAY[E'tab\\t', E'nl\\n', 'ß漢🙂', '[1]', ' lead', E'\\x01']", "ARRAY[['a'],['b']]",
               "'[3:3]={x}'", "'{NULL}'"],
    "varchar(9)[]": ["'{a,\"b c\"}'"],
    "char(3)[]": ["'{a,bcd}'"],
    "bytea[]": ["ARRAY['\\x00ff'::bytea, '', NULL]"],
    "uuid[]": ["'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'"],
    "date[]": ["'{2024-02-28,infinity,\"0044-03-15 BC\"}'"],
    "timestamp[]": ["'{\"2024-02-28 19:32:03.5\",infinity}'"],
    "timestamptz[]": ["'{\"2024-02-28 19:32:03+02\",-infinity,\"0044-03-15 12:00:00+00 BC\"}'"],
    "interval[]": ["'{\"1 day\",\"02:03:00\"}'"],
    "json[]": ["ARRAY['{\"a\": 1}', '[1, 2]', 'null']::json[]"],
    "jsonb[]": ["ARRAY['{\"a\": 1}', '\"x\"']::jsonb[]"],
    "box[]": ["'{(1,1),(0,0);(3,3),(2,2)}'"],
    "point[]": ["'{\"(1,2)\",\"(3,4)\"}'"],
    "mood[]": ["ARRAY['sad','very happy','']::mood[]"],
    "small[]": ["'{1,2}'"],
    "pair[]": ["ARRAY[(1,'a b'),(2,NULL)]::pair[]"],
    "int4range[]": ["'{\"[1,3)\",empty}'"],
    "money[]": ["'{$1.50,\"$1,234.00\"}'"],
    "inet[]": ["'{10.0.0.1,::1}'"],
    "bit(2)[]": ["'{01,10}'"],
}

COLUMNS = {f"c{n}": name for n, name in enumerate(MATRIX)}
ROUNDS = max(map(len, MATRIX.values())) + 1  # one more: all NULL
INTEGERS = {"int2", "int4", "int8", "oid", "small", "smaller"}
FLOATS = {"float4", "float8"}


def base(name):
    return name.removesuffix("[]").split("(")[0]


# ---- from SQLite back to Postgres's text --------------------------------------------------------

def from_timestamp(text, ours, zone):
    """2024-02-28 19:32:03.500000+00:00 was 2024-02-28 19:32:03.5+00; other texts are Postgres's."""
    stem = text.removesuffix(ours)
    if len(text) != 26 + len(ours) or stem + ours != text or not stem[:4].isdigit():
        return text
    seconds, _, fraction = stem.partition(".")
    fraction = fraction.rstrip("0")
    return seconds + (f".{fraction}" if fraction else "") + zone


def from_text(text, kind):
    if kind == "timestamptz":
        return from_timestamp(text, "+00:00", "+00")
    if kind == "timestamp":
        return from_timestamp(text, "", "")
    return text


def quoted(element):
    """As array_out() quotes."""
    if element and element.upper() != "NULL" and not set(element) & set('{}",\\ \t\n\r\v\f'):
        return element
    return '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Number(str):
    """A number in JSON, as it was written."""


def from_array(value, kind):
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "{" + ",".join(from_array(element, kind) for element in value) + "}"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, Number):
        return str(value)
    return quoted(from_text(value, kind))


def from_sqlite(value, name):
    """What Postgres printed, from what SQLite holds; floats as floats."""
    kind = base(name)
    if value is None:
        return None
    if name.endswith("[]") or name == "ids":
        assert isinstance(value, str)
        with contextlib.suppress(json.JSONDecodeError):
            return from_array(json.loads(value, parse_int=Number, parse_float=Number), kind)
        return value
    if kind == "bool":
        assert value in (0, 1)
        return "t" if value else "f"
    if kind in INTEGERS:
        assert isinstance(value, int)
        return str(value)
    if kind in FLOATS:
        assert isinstance(value, float) or value == "NaN"
        return value
    if kind == "bytea":
        assert isinstance(value, bytes)
        return "\\x" + value.hex()
    assert isinstance(value, str)
    return from_text(value, kind)


# ---- what Postgres has --------------------------------------------------------------------------

UNESCAPE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}


def from_copy(field):
    if field == "\\N":
        return None
    pieces = iter(field)
    return "".join(UNESCAPE[next(pieces)] if c == "\\" else c for c in pieces)


def in_postgres(database, table="m"):
    """{id: {column: Postgres's text}}; by COPY, which takes the types' own output functions."""
    out = io.StringIO()
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(SETTINGS)
        cursor.copy_expert(f"COPY (SELECT * FROM {table} ORDER BY id) TO STDOUT", out)
    rows = (line.split("\t") for line in out.getvalue().split("\n")[:-1])
    return {int(id_): dict(zip(COLUMNS, map(from_copy, values), strict=True))
            for id_, *values in rows}


def expected(text, name):
    if text is not None and name in FLOATS and text != "NaN":
        return float(text)  # -0 == 0
    return text


def in_replica(replica, table="m"):
    return {id_: dict(zip(COLUMNS, values, strict=True))
            for id_, *values in replica.sql(f"SELECT * FROM {table} ORDER BY id")}


def check(database, replica, ids):
    theirs, ours = in_postgres(database), in_replica(replica)
    assert list(theirs) == list(ours) == sorted(ids)
    wrong = [
        f"row {id_}, {COLUMNS[column]}: Postgres {want!r:.200}, replica {ours[id_][column]!r:.200}"
        for id_, row in theirs.items() for column, text in row.items()
        if from_sqlite(ours[id_][column], COLUMNS[column]) !=
        (want := expected(text, COLUMNS[column]))]
    assert not wrong, "\n".join(wrong)


# ---- the tests ----------------------------------------------------------------------------------

def literals(round_):
    """A value for each column: NULL where the type has no so-manieth."""
    return [f"({values[round_]})::{name}" if round_ < len(values) else "NULL"
            for name, values in MATRIX.items()]


def insert(database, first_id):
    for round_ in range(ROUNDS):
        database.sql(f"INSERT INTO m VALUES ({first_id + round_}, {', '.join(literals(round_))})")


def update(database, first_id):
    for round_ in range(ROUNDS):
        values = ", ".join(f"{column} = {literal}" for column, literal
                           in zip(COLUMNS, literals(round_), strict=True))
        database.sql(f"UPDATE m SET {values} WHERE id = {first_id + round_}")


def ids(*firsts):
    return [first + round_ for first in firsts for round_ in range(ROUNDS)]


@pytest.fixture
def matrix(database):
    database.sql(TYPES)
    columns = ", ".join(f"{column} {name}" for column, name in COLUMNS.items())
    database.sql(f"CREATE TABLE m (id int PRIMARY KEY, {columns})")
    return database


@pytest.mark.sanitized
def test_snapshot_keeps_every_value(matrix, make_replica):
    insert(matrix, 100)
    check(matrix, make_replica(["m"]).once(), ids(100))


@pytest.mark.sanitized
def test_inserts_and_updates_keep_every_value(matrix, make_replica):
    for round_ in range(ROUNDS):
        matrix.sql("INSERT INTO m (id) VALUES (%s)", 300 + round_)
    replica = make_replica(["m"]).once()
    insert(matrix, 200)
    update(matrix, 300)
    check(matrix, replica.once(), ids(200, 300))
    matrix.sql("UPDATE m SET id = id + 1000")  # new keys: nothing is lost on the way there
    matrix.sql("INSERT INTO m (id) SELECT id - 1000 FROM m")
    check(matrix, replica.once(), [*ids(200, 300), *ids(1200, 1300)])


def test_updates_with_full_identity_keep_every_value(matrix, make_replica):
    matrix.sql("ALTER TABLE m REPLICA IDENTITY FULL")
    insert(matrix, 300)
    replica = make_replica(["m where c0 or not c0 or c0 is null"]).once()
    matrix.sql("UPDATE m SET c1 = 5")
    check(matrix, replica.once(), ids(300))
    update(matrix, 300)
    check(matrix, replica.once(), ids(300))


def test_refetched_values_are_the_same(matrix, make_replica):
    insert(matrix, 100)
    replica = make_replica(["m"]).once()
    matrix.sql("TRUNCATE m")
    insert(matrix, 400)
    check(matrix, replica.once(), ids(400))


def test_minus_zero_is_the_only_float_that_changes(matrix, make_replica):
    matrix.sql("CREATE TABLE f (id int PRIMARY KEY, v float8)")
    matrix.sql("INSERT INTO f VALUES (1, '-0')")
    assert str(make_replica(["f"]).once().sql("SELECT v FROM f")[0][0]) == "0.0"


def test_sqlite_reads_the_dates_and_json_as_such(matrix, make_replica):
    matrix.sql("CREATE TABLE s (id int PRIMARY KEY, at timestamptz, tags text[], counts int[])")
    matrix.sql("INSERT INTO s VALUES (1, '2024-02-28 19:32:03.5+02', '{a,\"b c\"}', '{1,2,3}')")
    replica = make_replica(["s"]).once()
    assert replica.sql("SELECT datetime(at), strftime('%s', at) FROM s") == \
        [("2024-02-28 17:32:03", "1709141523")]
    assert replica.sql("SELECT value FROM s, json_each(tags)") == [("a",), ("b c",)]
    assert replica.sql("SELECT sum(value) FROM s, json_each(counts)") == [(6,)]


def test_columns_are_declared_with_sqlites_own_types(matrix, make_replica):
    replica = make_replica(["m"]).once()
    declared = {row[2] for row in replica.sql("PRAGMA table_info(m)")}
    assert declared <= {"INTEGER", "REAL", "TEXT", "BLOB"}


def test_values_of_every_type_find_their_row_as_a_key(matrix, make_replica):
    """Each type as the primary key: what is updated and deleted is the right row."""
    simple = {name: values for name, values in MATRIX.items()
              if name not in {"json", "xml", "point", "line", "lseg", "box", "path", "polygon",
                              "circle", "jsonpath", "json[]", "box[]", "point[]", "nested",
                              "pg_snapshot"}}
    tables = {f"k{n}": (name, values) for n, (name, values) in enumerate(simple.items())}
    create = [f"CREATE TABLE {table} (k {name} PRIMARY KEY, v int);"
              for table, (name, _) in tables.items()]
    fill = [f"INSERT INTO {table} VALUES (({value})::{name}, {n});"
            for table, (name, values) in tables.items() for n, value in enumerate(values)
            if "repeat" not in value]
    matrix.sql("".join(create + fill))
    replica = make_replica(list(tables)).once()
    matrix.sql("".join(f"UPDATE {table} SET v = v + 100 WHERE v > 0; DELETE FROM {table} WHERE v = 0;"
                       for table in tables))
    replica.once()
    for table, (name, _) in tables.items():
        assert sorted(replica.sql(f"SELECT v FROM {table}")) == \
            sorted(matrix.sql(f"SELECT v FROM {table}")), name


def test_local_file_is_sound(matrix, make_replica):
    insert(matrix, 100)
    replica = make_replica(["m"]).once()
    with contextlib.closing(sqlite3.connect(replica.db_path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
