"""Random shapes: a table, perhaps some of its columns, perhaps a clause."""

import json
from dataclasses import dataclass

from . import tables


@dataclass(frozen=True)
class Shape:
    """`columns`: the chosen ones in the table's order; `where` None: all rows."""

    table: tables.Table
    columns: tuple
    where: str = None

    @property
    def text(self):
        """As `tombolo sync --shape` takes it."""
        table = self.table
        name = table.sql if table.schema != "public" else tables.quoted(table.name)
        names = ", ".join(column.sql for column in self.columns)
        some = "" if self.columns == table.columns else f" ({names})"
        return name + some + (f" where {self.where}" if self.where else "")

    def request(self, params=None):
        """As /v1/sync takes it."""
        asked = {"table": self.table.sql}
        if self.columns != self.table.columns:
            asked["columns"] = [column.name for column in self.columns]
        if self.where:
            asked["where"] = self.where
        return asked


def literal(column, value):
    if column.type in ("int2", "int4", "int8") or (column.type == "numeric" and value != "NaN"):
        return value if not value.startswith("-") else f"({value})"
    text = "'" + value.replace("'", "''") + "'"
    return text if column.type == "text" else f"{text}::{column.type}"


def test_of(rng, column):
    """A random condition on one column."""
    name = column.sql

    def value():
        return literal(column, (column.make or tables.MAKERS[column.type])(rng))

    if column.type == "bool":
        return rng.choice((name, f"NOT {name}", f"{name} IS TRUE", f"{name} IS NOT FALSE",
                           f"{name} = false", f"{name} IS UNKNOWN"))
    if column.type == "text[]":
        return rng.choice((f"'red' = ANY({name})", f"{name} @> ARRAY['blue']",
                           f"{name} IS NOT NULL", f"{name} = '{{}}'"))
    if column.type in ("bytea", "jsonb") or column.make is tables.big:
        return rng.choice((f"{name} IS NULL", f"{name} IS NOT NULL"))
    tests = [lambda: f"{name} = {value()}", lambda: f"{value()} = {name}",
             lambda: f"{name} <> {value()}", lambda: f"{name} IS DISTINCT FROM {value()}",
             lambda: f"{name} IN ({value()}, {value()}, {value()})",
             lambda: f"{name} NOT IN ({value()}, {value()})",
             lambda: f"{name} IS NULL", lambda: f"{name} IS NOT NULL"]
    if column.type == "text":
        tests += [lambda: f"{name} LIKE '%{rng.choice('eaw')}%'",
                  lambda: f"lower({name}) = {value()}",
                  lambda: f"{name} LIKE '_{rng.choice('eaw')}%'"]
    elif column.type not in ("uuid",):
        tests += [lambda: f"{name} {rng.choice(('<', '<=', '>', '>='))} {value()}",
                  lambda: f"{name} BETWEEN {value()} AND {value()}"] * 2
    if column.type in ("int2", "int4"):
        tests += [lambda: f"{name} + 1 > {rng.randint(0, 6)}",
                  lambda: f"{name} * 2 <= {rng.randint(0, 9)}"]
    return rng.choice(tests)()


def clause(rng, table, depth=2):
    form = rng.random()
    if depth == 0 or form < 0.35:
        return test_of(rng, rng.choice(table.columns))
    if form < 0.45:
        return f"NOT ({clause(rng, table, depth - 1)})"
    word = rng.choice(("AND", "OR"))
    return f"({clause(rng, table, depth - 1)}) {word} ({clause(rng, table, depth - 1)})"


def where(rng, table):
    form = rng.random()
    if form < 0.25:
        return None
    owners = table.column("owner")
    if form < 0.45:
        return f"owner = {literal(owners, owners.make(rng))}"
    if form < 0.55:
        return f"owner IN ({rng.randint(1, 4)}, {rng.randint(3, 8)})"
    if form < 0.65:
        return f"owner = {rng.randint(1, 5)} AND ({clause(rng, table, 1)})"
    return clause(rng, table)


def columns(rng, table):
    """All of them, or the key's and some others; without a key all are the key."""
    if not table.key or rng.random() < 0.6:
        return table.columns
    return tuple(c for c in table.columns if c.name in table.key or rng.random() < 0.5)


def shape(rng, table):
    if table in tables.MONEY:
        return Shape(table, table.columns)
    return Shape(table, columns(rng, table), where(rng, table))


def shapes(rng, n):
    """Of n tables, one each: what one replica follows. Always with the money."""
    chosen = [*rng.sample(tables.ALL, n), *tables.MONEY]
    return [shape(rng, table) for table in chosen]


def with_params(rng, wanted):
    """A request whose clause has $1: the shape that it means, and the request."""
    column = wanted.table.column("owner")
    value = column.make(rng)
    extra = f" AND ({wanted.where})" if wanted.where else ""
    meant = Shape(wanted.table, wanted.columns, f"owner = {value}{extra}")
    return meant, {**wanted.request(), "where": f"owner = $1{extra}", "params": {"1": value}}


def described(wanted):
    return json.dumps([shape.text for shape in wanted], ensure_ascii=False, indent=1)
