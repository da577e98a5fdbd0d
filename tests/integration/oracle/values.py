"""Postgres's texts as SQLite is to hold them: written from the table of types, not the code."""

import json
import re

ELEMENT = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}]+)')


def timestamp(text, zone):
    if not re.match(r"\d{4}-", text):
        return text
    seconds, _, fraction = text.removesuffix("+00").partition(".")
    return f"{seconds}.{fraction:0<6}{zone}"


def array(text):
    """A flat array of texts as JSON."""
    elements = []
    for inside, bare in ELEMENT.findall(text[1:-1]):
        elements.append(None if bare == "NULL" else bare or re.sub(r"\\(.)", r"\1", inside))
    return json.dumps(elements, ensure_ascii=False, separators=(",", ":"))


def real(text):
    return text if text == "NaN" else float(text)


IN_SQLITE = {
    "int2": int, "int4": int, "int8": int, "float8": real,
    "bool": lambda text: int(text in ("t", "true")),
    "bytea": lambda text: bytes.fromhex(text[2:]),
    "timestamp": lambda text: timestamp(text, ""),
    "timestamptz": lambda text: timestamp(text, "+00:00"),
    "text[]": array,
}


def in_sqlite(columns, row):
    """A row of Postgres's texts as `SELECT columns` gives it in SQLite."""
    return tuple(None if value is None else IN_SQLITE.get(column.type, str)(value)
                 for column, value in zip(columns, row))


def in_stream(columns, row):
    """A row of texts as the stream writes them: t and true are one."""
    return tuple({"true": "t", "false": "f"}.get(value, value) if column.type == "bool" else value
                 for column, value in zip(columns, row))
