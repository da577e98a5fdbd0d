"""Where clauses against Postgres itself.

Makes up clauses over a table with a column of every type and rows full of edge values, and asks
three times for each row: where_eval() (by tests/tools/evalcat.c), Postgres with the clause as it
is, Postgres with the SQL that where_put_sql() makes of it. All three must agree, on raising an
error too. What is refused is not compared, but it must not be most of it.

As a program, for long runs:  test_where_oracle.py --seed 1 --cases 20000
"""

import argparse
import collections
import contextlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import Postgres  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO, DMY'; SET IntervalStyle = 'iso_8601';
    SET extra_float_digits = 1; SET bytea_output = 'hex'; SET search_path = pg_catalog;
    SET client_min_messages = error; SET max_parallel_workers_per_gather = 0; SET jit = off;
"""

VALUES = {
    "bool": ["t", "f"],
    "int2": ["0", "1", "-1", "2", "7", "32767", "-32768"],
    "int4": ["0", "1", "-1", "2", "3", "42", "2147483647", "-2147483648", "32768", "65536"],
    "int8": ["0", "1", "-1", "5", "9223372036854775807", "-9223372036854775808", "4294967296"],
    "float4": ["0", "-0", "1", "1.5", "-2.25", "0.1", "3.4028235e+38", "1e-45", "NaN", "Infinity",
               "-Infinity", "16777216", "1e10"],
    "float8": ["0", "-0", "1", "-1", "0.1", "1.5", "2", "1e300", "-1e300", "5e-324", "1e23", "NaN",
               "Infinity", "-Infinity", "9007199254740993", "0.30000000000000004", "123456.789",
               "1e15", "1e-5"],
    "numeric": ["0", "0.00", "1", "1.0", "1.50", "-2.5", "0.1", "123456789.987654321", "NaN",
                "Infinity", "-Infinity", "1e40", "-1e-30", "99999999999999999999.99", "2.5", "3.5",
                "12345678901234567890123456789012345678901234567890.5", "0.000000001"],
    "text": ["", "a", "b", "A", "abc", "ABC", "a b", "é", "日本", "a%b", "a_b", "a\\b", "1", "-5",
             "true", "NULL", " x ", "x ", "aab", "it's", "{1,2}", "\U0001f600z", "42", "1.5"],
    "varchar": ["", "a", "abc", "ab", "abc ", "é", "1", "Z"],
    "bpchar": ["", "a", "a ", "abc", "ab", "1"],
    "name": ["", "a", "abc", "public", "Z"],
    "bytea": ["\\x", "\\x00", "\\x61", "\\xff00", "\\x616263", "\\x25"],
    "date": ["2024-02-29", "2023-02-28", "2000-01-01", "1999-12-31", "infinity", "-infinity",
             "0001-01-01", "0044-03-15 BC", "5874897-12-31", "4714-11-24 BC", "294276-12-31"],
    "time": ["00:00:00", "12:34:56", "23:59:59.999999", "24:00:00", "01:02:03.5"],
    "timestamp": ["2024-02-29 12:34:56", "2023-01-31 00:00:00", "2000-01-01 00:00:00", "infinity",
                  "-infinity", "1999-12-31 23:59:59.999999", "0044-03-15 12:00:00 BC",
                  "294276-12-31 23:59:59", "4714-11-24 00:00:00 BC", "2024-03-31 01:02:03.45"],
    "timestamptz": ["2024-02-29 12:34:56+00", "2023-01-31 00:00:00+00", "2000-01-01 00:00:00+00",
                    "infinity", "-infinity", "1969-12-31 23:59:59.5+00", "2024-03-31 02:30:00+05:30",
                    "0044-03-15 12:00:00+00 BC"],
    "interval": ["PT0S", "P1D", "PT24H", "P1M", "P30D", "P1Y2M3DT4H5M6.7S", "P-1DT2H3M",
                 "PT-0.5S", "P-1M30D", "PT1000000H", "P1M-1D", "P2000Y", "-1 day 02:03:04",
                 "1 year 2 mons", "PT0.000001S", "P178000000Y"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
             "ffffffff-ffff-ffff-ffff-ffffffffffff"],
}
ARRAYS = {
    "int4": ["{}", "{1,2,NULL}", "{1}", "{{1,2},{3,4}}", "[0:2]={5,6,7}", "{NULL}", "{3,2,1}",
             "{2147483647}"],
    "int8": ["{}", "{1,2}", "{NULL,9223372036854775807}"],
    "text": ["{}", '{a,"b c",NULL}', '{"","NULL",NULL}', '{"{",",","\\\\","\\""}', "{a}",
             "{{a,b},{c,d}}", "{é,日本}"],
    "varchar": ["{}", "{a,abc}"],
    "numeric": ["{}", "{1.0,NaN,2.50}", "{1}", "{1.00}"],
    "float8": ["{}", "{NaN,0,-0}", "{0.1,Infinity}"],
    "date": ["{}", "{2024-02-29,infinity}", "{NULL}"],
    "bool": ["{}", "{t,f,NULL}"],
    "uuid": ["{}", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"],
    "interval": ["{}", "{P1M,P30D}", "{P30D}"],
    "timestamptz": ["{}", '{"2024-02-29 12:34:56+00"}'],
}
NUMBERS = ["int2", "int4", "int8", "float4", "float8", "numeric"]
TEXTS = ["text", "varchar", "bpchar", "name"]
CASTS = ["bool", "bytea", "date", "float4", "float8", "int2", "int4", "int8", "numeric", "text",
         "time", "timestamp", "timestamptz", "uuid", "varchar", "interval"]
SQL_TYPES = {"bpchar": "char(5)", "varchar": "varchar(10)"}


def columns():
    """name, declared type, the generator's type, collation flags (is C, deterministic)."""
    for name in VALUES:
        for i in (1, 2):
            declared = SQL_TYPES.get(name, name)
            yield f"{name}_{i}", declared, name, (name == "name", True)
    for name in ARRAYS:
        for i in (1, 2):
            yield f"{name}_arr_{i}", f"{SQL_TYPES.get(name, name)}[]", name + "[]", (False, True)
    yield "text_c", 'text COLLATE "C"', "text", (True, True)
    yield "varchar_c", 'varchar COLLATE "C"', "varchar", (True, True)
    yield "bpchar_c", 'char(4) COLLATE "C"', "bpchar", (True, True)
    yield "text_arr_c", 'text[] COLLATE "C"', "text[]", (True, True)
    yield "text_icu", 'text COLLATE "und-x-icu"', "icu", (False, True)
    yield "text_fr", 'text COLLATE "fr-x-icu"', "icu", (False, True)
    yield "text_loose", "text COLLATE public.loose", "loose", (False, False)
    yield "mood", "public.mood", "enum", (False, True)
    yield "small_int", "public.small_int", "domain", (False, True)
    yield "doc", "json", "other", (False, True)
    yield "docb", "jsonb", "other", (False, True)
    yield "bits", "varbit", "other", (False, True)
    yield 'Odd "name"', "int4", "int4", (False, True)


def quote(text):
    return "'" + text.replace("'", "''") + "'"


# What Tombolo raises for rows where Postgres's majors differ: 15 gives a wrapped interval for the
# first, 17 an infinite one for the others.
OURS_ALONE = ("einterval out of range", "ecannot subtract infinite timestamps")


class Generator:
    """Makes clauses. A parameter stands as \\0n\\0 until it is known who asks."""

    def __init__(self, rng):
        self.rng = rng
        self.by_type = collections.defaultdict(list)
        for name, _, kind, (is_c, _) in columns():
            self.by_type[kind].append(name)
            if is_c and kind == "text":
                self.by_type["text_c"].append(name)
            if is_c and kind in ("varchar", "bpchar", "name"):
                self.by_type["text_c"].append(name)
        self.params = []

    def column(self, kind):
        name = self.rng.choice(self.by_type[kind])
        return '"' + name.replace('"', '""') + '"'

    def clause(self):
        self.params = []
        return self.bool(self.rng.choice([1, 2, 2, 3]))

    def text_of(self, kind):
        values = ARRAYS[kind[:-2]] if kind.endswith("[]") else VALUES[kind]
        return self.rng.choice(values)

    def literal(self, kind):
        text = self.text_of(kind)
        how = self.rng.random()
        if how < 0.1:
            return self.rng.choice(["NULL", f"NULL::{kind}"])
        if how < 0.25:
            self.params.append(text)
            return f"\0{len(self.params)}\0"
        if kind in ("int2", "int4", "int8", "numeric") and how < 0.7 and "N" not in text.upper():
            return text if not text.startswith("-") or self.rng.random() < 0.5 else f"({text})"
        if kind == "bool" and how < 0.7:
            return self.rng.choice(["true", "false"])
        if how < 0.55 or kind in ("bpchar", "name"):
            return quote(text)
        return f"{quote(text)}::{kind}"

    def number(self, depth):
        return self.value(self.rng.choice(NUMBERS), depth)

    def value(self, kind, depth):
        """An expression that is more or less of the kind."""
        r = self.rng.random()
        if depth <= 0 or r < 0.25:
            return self.column(kind) if self.rng.random() < 0.7 else self.literal(kind)
        made = getattr(self, "make_" + kind.replace("[]", "_array"), None)
        if kind in NUMBERS:
            made = self.make_number
        elif kind in TEXTS:
            made = self.make_text
        if made and r < 0.65:
            return made(kind, depth - 1)
        if kind.endswith("[]"):
            return self.make_array(kind, depth - 1)
        return self.make_any(kind, depth - 1)

    def make_any(self, kind, depth):
        r = self.rng.randrange(5)
        if r == 0:
            args = ", ".join(self.value(kind, depth) for _ in range(self.rng.randint(1, 3)))
            return f"coalesce({args})"
        if r == 1 and kind not in TEXTS:
            args = ", ".join(self.value(kind, depth) for _ in range(self.rng.randint(1, 3)))
            return f"{self.rng.choice(['greatest', 'least'])}({args})"
        if r == 2 and kind in CASTS:
            source = self.rng.choice([*NUMBERS, "bool", "date", "time", "timestamp", "timestamptz",
                                      "interval", "text", kind])
            return f"({self.value(source, depth)})::{kind}"
        if r == 3 and kind in ARRAYS:
            return f"({self.value(kind + '[]', depth)})[{self.index(depth)}]"
        return self.column(kind)

    def index(self, depth):
        return self.rng.choice(["1", "2", "0", "-1", "NULL", "3"]) if self.rng.random() < 0.7 \
            else self.value("int4", depth)

    def make_number(self, kind, depth):
        r = self.rng.random()
        other = self.rng.choice(NUMBERS) if self.rng.random() < 0.3 else kind
        if r < 0.2:
            return f"({self.rng.choice(['-', '+', '@', '~', '|/', '-'])} {self.value(kind, depth)})"
        op = self.rng.choice(["+", "-", "*", "+", "-", "*", "/", "^", "&", "|", "#"])
        return f"({self.value(kind, depth)} {op} {self.value(other, depth)})"

    def make_text(self, kind, depth):
        r = self.rng.randrange(6)
        if r == 0:
            return f"({self.value(kind, depth)} || {self.value('text', depth)})"
        if r == 1:
            other = self.rng.choice([*NUMBERS, "bool", "date", "timestamptz", "interval", "uuid",
                                     "bytea", "bpchar", "int4[]", "text[]", "other", "enum"])
            other = self.column(other) if other in ("other", "enum") else self.value(other, depth)
            return f"({self.value('text', depth)} || {other})"
        if r == 2:
            other = self.rng.choice([*VALUES, "int4[]", "bool[]"])
            other = self.value(other, depth)
            return f"concat({self.value('text', depth)}, {other}, {self.literal('text')})"
        if r == 3:
            return f"{self.rng.choice(['lower', 'upper'])}({self.c_text(depth)})"
        if r == 4:
            source = self.rng.choice([*VALUES, "other", "enum", "int4[]", "float8[]", "text[]"])
            inner = self.column(source) if source in ("other", "enum") else self.value(source, depth)
            return f"({inner})::{self.rng.choice(['text', 'varchar'])}"
        return f"({self.value(kind, depth)} COLLATE \"C\")"

    def c_text(self, depth):
        if self.rng.random() < 0.5:
            return self.column("text_c")
        return f"({self.value('text', depth)} COLLATE \"C\")"

    def make_date(self, kind, depth):
        op = self.rng.choice("+-")
        return f"({self.value(kind, depth)} {op} {self.value('int4', depth)})"

    def make_time(self, kind, depth):
        op = self.rng.choice("+-")
        return f"({self.value(kind, depth)} {op} {self.value('interval', depth)})"

    def make_timestamp(self, kind, depth):
        r = self.rng.random()
        if r < 0.2:
            return f"({self.value('date', depth)} + {self.value('time', depth)})"
        if r < 0.4:
            op = self.rng.choice("+-")
            return f"({self.value('date', depth)} {op} {self.value('interval', depth)})"
        if r < 0.55:
            return f"({self.value('timestamptz', depth)} AT TIME ZONE {self.zone()})"
        return self.make_time(kind, depth)

    def make_timestamptz(self, kind, depth):
        if self.rng.random() < 0.2:
            return f"({self.value('timestamp', depth)} AT TIME ZONE {self.zone()})"
        return self.make_time(kind, depth)

    def zone(self):
        return self.rng.choice(["'UTC'", "'utc'", "INTERVAL '05:30'", "INTERVAL '-01:00'",
                                "interval_1", "INTERVAL '1 day'"])

    def make_interval(self, kind, depth):
        r = self.rng.randrange(6)
        if r == 0:
            return f"({self.value(kind, depth)} * {self.value('float8', depth)})"
        if r == 1:
            return f"({self.number(0)} * {self.value(kind, depth)})"
        if r == 2:
            which = self.rng.choice(["days", "hours", "interval"])
            return f"justify_{which}({self.value(kind, depth)})"
        if r == 3:
            of = self.rng.choice(["timestamp", "timestamptz", "time"])
            return f"({self.value(of, depth)} - {self.value(of, depth)})"
        if r == 4:
            return f"(- {self.value(kind, depth)})"
        return f"({self.value(kind, depth)} {self.rng.choice('+-')} {self.value(kind, depth)})"

    def make_bytea(self, kind, depth):
        return f"({self.value(kind, depth)} || {self.value(kind, depth)})"

    def make_bool(self, _, depth):
        return "(" + self.bool(depth) + ")"

    def make_array(self, kind, depth):
        elem = kind[:-2]
        r = self.rng.randrange(8)
        if r == 0:
            items = ", ".join(self.value(elem, depth) for _ in range(self.rng.randint(1, 4)))
            return f"ARRAY[{items}]"
        if r == 1:
            return f"({self.value(kind, depth)} || {self.value(kind, depth)})"
        if r == 2:
            return f"({self.value(kind, depth)} || {self.value(elem, depth)})"
        if r == 3:
            return f"array_append({self.value(kind, depth)}, {self.value(elem, depth)})"
        if r == 4:
            return f"array_prepend({self.value(elem, depth)}, {self.value(kind, depth)})"
        if r == 5:
            low, high = self.rng.choice(["1", "2", "", "-1"]), self.rng.choice(["2", "", "1", "0"])
            return f"({self.value(kind, depth)})[{low}:{high}]"
        if r == 6:
            return f"ARRAY[[{self.value(elem, 0)}, {self.value(elem, 0)}]]"
        return f"array_cat({self.value(kind, depth)}, {self.value(kind, depth)})"

    def comparison(self, depth):
        kind = self.rng.choice([*VALUES, *NUMBERS, "int4", "text"])
        other = kind
        if kind in NUMBERS and self.rng.random() < 0.5:
            other = self.rng.choice(NUMBERS)
        if kind in ("date", "timestamp", "timestamptz") and self.rng.random() < 0.4:
            other = self.rng.choice(["date", "timestamp", "timestamptz"])
        if kind in TEXTS and self.rng.random() < 0.4:
            other = self.rng.choice(TEXTS)
        if self.rng.random() < 0.04:
            other = self.rng.choice(list(VALUES))
        ops = ["=", "<>", "!=", "<", ">", "<=", ">="]
        left, right = self.value(kind, depth), self.value(other, depth)
        if kind in TEXTS and self.rng.random() < 0.7:
            ops = ["=", "<>"] if self.rng.random() < 0.5 else ops
            left = self.c_text(depth)
        return left, self.rng.choice(ops), right, kind

    def bool(self, depth):
        r = self.rng.random()
        if depth > 1 and r < 0.3:
            op = self.rng.choice([" AND ", " OR "])
            terms = [f"({self.bool(depth - 1)})" for _ in range(self.rng.randint(2, 3))]
            return op.join(terms)
        if depth > 0 and r < 0.36:
            return f"NOT ({self.bool(depth - 1)})"
        if depth > 0 and r < 0.42:
            test = self.rng.choice(["TRUE", "FALSE", "UNKNOWN", "NULL"])
            return f"({self.bool(depth - 1)}) IS {self.rng.choice(['', 'NOT '])}{test}"
        makers = [self.compare, self.compare, self.compare, self.compare, self.null_test,
                  self.distinct, self.in_list, self.between, self.like, self.any, self.array_test,
                  self.odd]
        return self.rng.choice(makers)(depth - 1)

    def compare(self, depth):
        left, op, right, _ = self.comparison(depth)
        return f"{left} {op} {right}"

    def null_test(self, depth):
        kind = self.rng.choice([*VALUES, "int4[]", "other", "enum", "icu", "loose"])
        inner = self.column(kind) if kind in ("other", "enum", "icu", "loose") \
            else self.value(kind, depth)
        return f"({inner}) IS {self.rng.choice(['', 'NOT '])}NULL"

    def distinct(self, depth):
        left, _, right, _ = self.comparison(depth)
        return f"{left} IS {self.rng.choice(['', 'NOT '])}DISTINCT FROM {right}"

    def in_list(self, depth):
        kind = self.rng.choice(list(VALUES))
        items = [self.literal(kind) if self.rng.random() < 0.75 else self.value(kind, depth)
                 for _ in range(self.rng.randint(1, 6))]
        return f"{self.value(kind, depth)} {self.rng.choice(['', 'NOT '])}IN ({', '.join(items)})"

    def between(self, depth):
        kind = self.rng.choice([*NUMBERS, "date", "timestamp", "time", "interval", "uuid", "c"])
        low, high, of = (self.c_text(depth) if kind == "c" else self.value(kind, depth)
                         for _ in range(3))
        how = self.rng.choice(["", "NOT "]) + "BETWEEN" + self.rng.choice(["", " SYMMETRIC"])
        return f"{of} {how} {low} AND {high}"

    def like(self, depth):
        alphabet = ["a", "b", "A", "%", "_", "%", "\\", "\\%", "é", "日", "x", " ", ""]
        pattern = "".join(self.rng.choice(alphabet) for _ in range(self.rng.randint(0, 5)))
        negated = self.rng.choice(["", "NOT "])
        r = self.rng.random()
        if r < 0.1:
            return f"{self.value('bytea', depth)} {negated}LIKE {self.literal('bytea')}"
        if r < 0.3:
            return f"{self.c_text(depth)} {negated}ILIKE {quote(pattern)}"
        if r < 0.4:
            return f"{self.value('text', depth)} LIKE {self.value('text', depth)}"
        if r < 0.5:
            return f"like({self.value('text', depth)}, {quote(pattern)})"
        kind = self.rng.choice(["text", "varchar", "bpchar", "name", "icu"])
        of = self.column(kind) if kind == "icu" else self.value(kind, depth)
        return f"{of} {negated}LIKE {quote(pattern)}"

    def any(self, depth):
        elem = self.rng.choice(list(ARRAYS))
        op = self.rng.choice(["=", "<>", "<", ">=", "=", "<>"])
        if elem in TEXTS and op not in ("=", "<>"):
            op = "="
        which = self.rng.choice(["ANY", "ALL"])
        array = self.value(elem + "[]", depth)
        if self.rng.random() < 0.1 and elem == "text":
            return f"{self.value('text', depth)} LIKE {which} ({array})"
        return f"{self.value(elem, depth)} {op} {which} ({array})"

    def array_test(self, depth):
        kind = self.rng.choice(list(ARRAYS)) + "[]"
        op = self.rng.choice(["=", "<>", "@>", "<@", "&&"])
        if self.rng.random() < 0.1:
            return f"array_ndims({self.value(kind, depth)}) = 1"
        return f"{self.value(kind, depth)} {op} {self.value(kind, depth)}"

    def odd(self, _):
        """Things that stand alone."""
        return self.rng.choice([
            "small_int = int4_1", "small_int IN (1, 2, int4_2)", "coalesce(small_int, 3) * 2 = 6",
            "small_int::text = '1'", "- small_int > int8_1", "greatest(small_int, 2.5) > 2",
            "small_int = ANY (int4_arr_1)", "'a' || docb::text = 'a{}'", "text_1 || docb <> ''",
            "mood::text = 'ok'", "mood::text IN ('ok', 'sad')", "small_int + 1 = 2",
            "docb::text = '{}'", "text_icu = 'abc'", "text_icu <> text_1", "text_icu LIKE 'a_'",
            "text_icu = text_fr", "text_fr <> text_c", "text_icu IN ('abc', text_fr)",
            "coalesce(text_icu, text_fr) IS NULL", "coalesce(text_icu, text_fr) = 'abc'",
            'text_icu COLLATE "C" = text_fr', "text_c < text_1", "text_c || text_1 > 'b'",
            'text_loose COLLATE "C" = \'abc\'', "'1' = '1'", "'a' || 'b' = 'ab'", "NULL IS NULL",
            "NULL", "true", "bool_1", "1 + 1 = 2", "int4_1::bool", "bool_1::int4 = 1",
            "int4_arr_1[1][2] = 2", "int4_arr_1[1:1][2:2] = '{{2}}'", "int4_arr_1[1:2][1] IS NULL",
            "timezone('UTC', timestamp_1) = timestamptz_1", "ARRAY[]::int4[] = int4_arr_1",
            "int4_1 ^ 2 = 4", "text_1 || int4_arr_1 IS NULL", "date_1 - '2024-01-01' > 5",
            "'2024-01-01' - date_1 > 5", "int4_1 * '2' = 4", "int4_1 IN (1, '2', 3.0)",
            "int4_1 = ANY ('{1,2}')", "int4_arr_1 || '{7}' @> '{7}'", "text_arr_1 || 'x'::text @> '{x}'",
            "(NOT bool_1) = bool_2", "bool_1 < bool_2", "bytea_1 < bytea_2", "- int4_1 = 1",
            "interval_1 > '1 day'", "int2_1 + int2_2 > int4_1", "1 - -1 = 2", "- (- 3) = 3",
            "int4_1 = - /* x */ (5)", "int4_1 >= 0x1", "float4_1 = 0.1", "float8_1 = 0.1",
            "float4_1 = 0.1::float4", "numeric_1 = 1.0", "int8_1 = 9223372036854775807",
            "varchar_1 = bpchar_1", "text_1 = bpchar_1", "bpchar_1 LIKE 'a%'", "name_1 = varchar_1",
            "name_1 < 'b'", "uuid_1 = 'A0EEBC999C0B4EF8BB6D6BB9BD380A11'", "bool_1 = 'yes'",
            "coalesce(NULL, int4_1, 5) = 5", "coalesce(int4_1, numeric_1) = 1.0",
            "timestamptz_1 > '2024-01-01'", "timestamptz_1 > '2024-01-01T00:00:00Z'",
            "date_1 < timestamptz_1", "time_1 + date_1 > '2024-01-01'", "concat() = ''",
        ])


def substitute(clause, params, how):
    for i, text in enumerate(params, 1):
        clause = clause.replace(f"\0{i}\0", how(i, text))
    return clause


class Oracle:
    """A Postgres with the table, and the tool beside it."""

    def __init__(self, database, rng, nrows=24):
        self.connection = database.connect()
        self.cursor = self.connection.cursor()
        self.cursor.execute(SETTINGS)
        self.make_table(rng, nrows)
        self.describe()
        tool = Path(os.environ.get("TOMBOLO_BUILD", ROOT / "build")) / "tests" / "evalcat"
        self.tool = subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     text=True, encoding="utf-8")
        self.refused = collections.Counter()
        self.counts = collections.Counter()

    def make_table(self, rng, nrows):
        self.cursor.execute("""
            CREATE COLLATION IF NOT EXISTS public.loose
                (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
            CREATE TYPE public.mood AS ENUM ('sad', 'ok', 'happy');
            CREATE DOMAIN public.small_int AS int4 CHECK (VALUE < 100000);
        """)
        cols = ", ".join(f'"{n.replace(chr(34), chr(34) * 2)}" {declared}'
                         for n, declared, _, _ in columns())
        self.cursor.execute(f"CREATE TABLE public.t (row_id int4 PRIMARY KEY, {cols})")
        for row in range(nrows):
            values = [str(row)]
            for _, declared, kind, _ in columns():
                values.append(self.random_value(rng, declared, kind))
            marks = ", ".join(["%s"] * len(values))
            self.cursor.execute(f"INSERT INTO public.t VALUES ({marks})", values)

    @staticmethod
    def random_value(rng, declared, kind):
        special = {"icu": ["abc", "ABC", "é"], "loose": ["abc", "ABC"], "enum": ["ok", "sad"],
                   "domain": ["1", "2", "99999", "-5"],
                   "other": ["{}", "[1]"] if declared != "varbit" else ["101", "0"]}
        if rng.random() < 0.15:
            return None
        if kind in special:
            return rng.choice(special[kind])
        if kind.endswith("[]"):
            return rng.choice(ARRAYS[kind[:-2]])
        return rng.choice(VALUES[kind])[:4 if kind == "bpchar" else None]

    def describe(self):
        flags = {name: f for name, _, _, f in columns()}
        self.cursor.execute("""
            SELECT a.attname, t.oid, t.typname, t.typtype,
                   CASE WHEN t.typtype = 'd' THEN b.oid ELSE t.oid END,
                   CASE WHEN t.typtype = 'd' THEN b.typelem ELSE t.typelem END, a.attcollation
            FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid
                 LEFT JOIN pg_type b ON b.oid = t.typbasetype
            WHERE attrelid = 'public.t'::regclass AND attnum > 0 ORDER BY attnum""")
        self.columns = []
        for name, oid, typname, typtype, base, elem, collation in self.cursor.fetchall():
            is_c, deterministic = flags.get(name, (False, True))
            self.columns.append({"name": name, "typid": oid, "typname": typname, "class": typtype,
                                 "basetypid": base, "elemtypid": elem, "collation_is_c": is_c,
                                 "collation_deterministic": deterministic,
                                 "collation": collation})
        self.rows = self.stream_text()

    def stream_text(self):
        """The rows as the output functions print them: COPY's text, unescaped."""
        import io
        out = io.StringIO()
        self.cursor.copy_expert("COPY (SELECT * FROM public.t ORDER BY row_id) TO STDOUT", out)
        escapes = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

        def plain(field):
            if field == "\\N":
                return None
            text, i = [], 0
            while i < len(field):
                if field[i] == "\\":
                    i += 1
                    text.append(escapes.get(field[i], field[i]))
                else:
                    text.append(field[i])
                i += 1
            return "".join(text)

        return [[plain(f) for f in line.split("\t")] for line in out.getvalue().split("\n")[:-1]]

    def postgres(self, expr):
        """t, f, n or e for each row."""
        names = {True: "t", False: "f", None: "n"}
        query = f"SELECT ({expr})::bool FROM public.t"
        import psycopg2
        try:
            self.cursor.execute(query + " ORDER BY row_id")
            return [names[v] for (v,) in self.cursor.fetchall()], ""
        except psycopg2.Error as e:
            why = str(e)
        results = []
        for row in range(len(self.rows)):
            try:
                self.cursor.execute(f"{query} WHERE row_id = {row}")
                results.append(names[self.cursor.fetchone()[0]])
            except psycopg2.Error:
                results.append("e")
        return results, why

    def evaluate(self, clause, params):
        request = {"columns": self.columns, "where": clause, "params": params, "rows": self.rows}
        self.tool.stdin.write(json.dumps(request) + "\n")
        self.tool.stdin.flush()
        line = self.tool.stdout.readline()
        assert line, f"evalcat ended on {clause!r} {params!r}"
        return json.loads(line)

    def check(self, raw, params):
        """Text that says where they differ, or None."""
        clause = substitute(raw, params, lambda i, _: f"${i}")
        answer = self.evaluate(clause, params)
        if "error" in answer:
            self.counts["refused"] += 1
            self.refused[answer["error"].split(": ", 1)[-1][:60]] += 1
            return None
        self.counts["compared"] += 1
        ours = [r[0] for r in answer["results"]]
        self.counts["errors"] += "e" in ours
        self.counts["true"] += "t" in ours
        inline = substitute(raw, params, lambda _, text: quote(text))
        for what, sql in (("clause", inline), ("sql", answer["sql"])):
            theirs, why = self.postgres(sql)
            for row, (mine, his) in enumerate(zip(ours, theirs)):
                if mine != his and not answer["results"][row].startswith(OURS_ALONE):
                    return (f"{what}: ours {mine}, Postgres {his} in row {row}\n  {inline}\n"
                            f"  {answer['sql']}\n  {answer['results'][row]} / {why}"
                            f"  {self.used(row, inline)}")
        return None

    def used(self, row, clause):
        return {c["name"]: v for c, v in zip(self.columns, self.rows[row]) if c["name"] in clause}

    def close(self):
        self.tool.stdin.close()
        self.tool.wait(60)
        self.connection.close()


def run(database, seed, cases, stop_at=1):
    """Returns what differed."""
    rng = random.Random(seed)
    generator = Generator(rng)
    oracle = Oracle(database, rng)
    differences = []
    with contextlib.closing(oracle):
        for _ in range(cases):
            raw = generator.clause()
            difference = oracle.check(raw, generator.params)
            if difference:
                differences.append(difference)
                if len(differences) >= stop_at:
                    break
    return differences, oracle


def test_clauses_mean_what_postgres_means(database):
    seed = int(os.environ.get("TOMBOLO_SEED", random.randrange(1 << 31)))
    print(f"seed {seed}")
    differences, oracle = run(database, seed, cases=2000)
    print(dict(oracle.counts))
    assert not differences, f"seed {seed}: {differences[0]}"
    assert oracle.counts["compared"] > 1000, oracle.refused.most_common(10)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--stop-at", type=int, default=10, help="differences")
    parser.add_argument("--pg", type=int, default=None, help="version of Postgres")
    args = parser.parse_args()
    print(f"seed {args.seed}")
    with Postgres(args.pg) as server:
        differences, oracle = run(server.create_database("oracle"), args.seed, args.cases,
                                  args.stop_at)
    for difference in differences:
        print(difference)
    print(dict(oracle.counts))
    for reason, n in oracle.refused.most_common(25):
        print(f"  {n:6} {reason}")
    sys.exit(bool(differences))


if __name__ == "__main__":
    main()
