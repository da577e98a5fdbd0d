"""The tables, in all their kinds, and the triggers that write down what happens to them."""

import random
import uuid
from dataclasses import dataclass, field

LETTERS = "abcdeé 'x\"\\\n\tZ%_"
OWNERS = 8


def text(rng, longest=6):
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(0, longest)))


def big(rng):
    """Most are small; some do not fit a page and are TOASTed."""
    if rng.random() < 0.7:
        return text(rng, 30)
    return f"{rng.random()}".ljust(rng.choice((3000, 20000, 150000)), rng.choice("abß"))


def stamp(rng):
    fraction = rng.choice(("", ".5", ".123456"))
    return (f"20{rng.randint(10, 30)}-0{rng.randint(1, 9)}-1{rng.randint(0, 9)} "
            f"0{rng.randint(0, 9)}:30:00{fraction}")


def label(rng):
    return rng.choice(("new", "paid", "sent", "back", "it's", 'q"uote', ""))


def array(rng):
    elements = rng.choices(("red", "blue", '"a b"', "NULL"), k=rng.randint(0, 3))
    return "{" + ",".join(elements) + "}"


# Postgres's type: a random value as text.
MAKERS = {
    "int4": lambda rng: str(rng.randint(-3, OWNERS)),
    "int8": lambda rng: str(rng.choice((0, 1, -5, 9007199254740993, -2**63, 2**63 - 1))),
    "int2": lambda rng: str(rng.randint(0, 20)),
    "numeric": lambda rng: rng.choice(("0", "1.10", "1.1", "-7", "12345678901234567890.5", "NaN")),
    "float8": lambda rng: rng.choice(("0", "1.5", "-2.25", "1e+100", "0.1", "Infinity", "NaN")),
    "bool": lambda rng: rng.choice(("t", "f")),
    "text": label,
    "uuid": lambda rng: str(uuid.UUID(int=rng.getrandbits(128))),
    "timestamp": stamp,
    "timestamptz": lambda rng: stamp(rng) + "+00",
    "text[]": array,
    "bytea": lambda rng: "\\x" + rng.randbytes(rng.randint(0, 8)).hex(),
    "jsonb": lambda rng: rng.choice(('{"a": 1}', "[1, null]", "1.50", '"x"', "{}")),
    "date": lambda rng: stamp(rng)[:10],
}


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    nullable: bool = True
    make: object = None
    storage: str = None

    @property
    def sql(self):
        return '"' + self.name.replace('"', '""') + '"'

    def value(self, rng):
        if self.nullable and rng.random() < 0.15:
            return None
        return (self.make or MAKERS[self.type])(rng)


@dataclass(frozen=True)
class Table:
    """`leaves`: the SQL that makes each partition."""

    name: str
    columns: tuple
    key: tuple = ()
    schema: str = "public"
    partitioned: str = ""
    leaves: dict = field(default_factory=dict, compare=False)  # {root} and {leaf} are put in

    @property
    def sql(self):
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def local(self):
        """Its name in SQLite."""
        return self.name if self.schema == "public" else f"{self.schema}_{self.name}"

    @property
    def notes(self):
        """Where its triggers write."""
        return f"oracle.{quoted('of ' + self.local)}"

    def column(self, name):
        return next(column for column in self.columns if column.name == name)

    def row(self, rng):
        return [column.value(rng) for column in self.columns]

    def names(self, prefix=""):
        return ", ".join(prefix + column.sql for column in self.columns)


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def few(n, prefix=""):
    """Keys from so few that rows meet again."""
    return lambda rng: f"{prefix}{rng.randint(1, n)}"


OWNER = Column("owner", "int4", False, lambda rng: str(rng.randint(1, OWNERS)))

ITEMS = Table("items", (
    Column("id", "int4", False, few(150)), OWNER, Column("state", "text"),
    Column("price", "numeric"), Column("qty", "int2"), Column("active", "bool"),
    Column("at", "timestamptz"),
    Column("note", "text", make=text)), ("id",))
LINES = Table("lines", (
    Column("ord", "int8", False, few(20)), Column("line", "int2", False, few(8)), OWNER,
    Column("sku", "text"), Column("amount", "int8"), Column("on", "date")), ("line", "ord"))
DOCS = Table("docs", (
    Column("name", "text", False, few(40, "dé'c ")), OWNER, Column("rev", "int4"),
    Column("body", "text", make=big, storage="EXTERNAL"), Column("extra", "jsonb"),
    Column("more", "text", make=big)), ("name",))
DEVICES = Table("devices", (
    Column("id", "uuid", False, lambda rng: str(uuid.UUID(int=rng.randint(1, 80)))), OWNER,
    Column("label", "text"), Column("tags", "text[]"), Column("seen", "timestamp"),
    Column("raw", "bytea")), ("id",))
EVENTS = Table("events", (
    OWNER, Column("kind", "text"), Column("value", "float8"), Column("ok", "bool")))
RANGES = Table("ranges", (
    Column("id", "int4", False, few(60)), Column("bucket", "int4", False, few(29)), OWNER,
    Column("v", "text")), ("id", "bucket"), partitioned="RANGE (bucket)", leaves={
        "ranges_low": "CREATE TABLE {leaf} PARTITION OF {root} FOR VALUES FROM (0) TO (10)",
        # Other columns in another order, one of them dropped: the leaf's tuples are not the root's.
        "ranges_mid": "CREATE TABLE {leaf} (v text, gone int, owner int4 NOT NULL, "
                      "bucket int4 NOT NULL, id int4 NOT NULL, PRIMARY KEY (id, bucket));"
                      "ALTER TABLE {leaf} DROP COLUMN gone;"
                      "ALTER TABLE {root} ATTACH PARTITION {leaf} FOR VALUES FROM (10) TO (20)",
        "ranges_high": "CREATE TABLE {leaf} PARTITION OF {root} FOR VALUES FROM (20) TO (30)"})
LISTS = Table("lists", (
    Column("id", "int4", False, few(60)),
    Column("region", "text", False, lambda rng: rng.choice(("eu", "us", "asia", "moon"))), OWNER,
    Column("v", "numeric")), ("id", "region"), partitioned="LIST (region)", leaves={
        "lists_eu": "CREATE TABLE {leaf} PARTITION OF {root} FOR VALUES IN ('eu')",
        "lists_us": "CREATE TABLE {leaf} PARTITION OF {root} FOR VALUES IN ('us', 'asia')",
        "lists_rest": "CREATE TABLE {leaf} PARTITION OF {root} DEFAULT"})
ODD = Table('we"ird Table', (
    Column("Id", "int4", False, few(60)), Column("owner", "int4", False, OWNER.make),
    Column("Select", "text"), Column('q"uote d', "text", make=text), Column("ünïcode", "bool")),
    ("Id",), schema="Od d")
# Money moves between these two: their sums together never change.
CASH = Table("cash", (Column("id", "int4", False), Column("amount", "int4", False)), ("id",))
BANK = Table("bank", (Column("id", "int4", False), Column("amount", "int4", False)), ("id",))

MONEY = (CASH, BANK)
ALL = (ITEMS, LINES, DOCS, DEVICES, EVENTS, RANGES, LISTS, ODD)
TOTAL = 2 * 20 * 100  # of their amounts together

NOTE = """
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('INSERT INTO {notes} ({names}, h_sign) SELECT {names}, -1 FROM ONLY %I.%I',
                       TG_TABLE_SCHEMA, TG_TABLE_NAME);
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO {notes} ({names}, h_sign) VALUES ({old}, -1);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO {notes} ({names}, h_sign) VALUES ({new}, 1);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION {function}();
"""


def definition(table):
    columns = [f"{c.sql} {c.type}{'' if c.nullable else ' NOT NULL'}" for c in table.columns]
    if table.key:
        columns.append(f"PRIMARY KEY ({', '.join(map(quoted, table.key))})")
    by = f" PARTITION BY {table.partitioned}" if table.partitioned else ""
    yield f"CREATE TABLE {table.sql} ({', '.join(columns)}){by}"
    for column in table.columns:
        if column.storage:
            yield f"ALTER TABLE {table.sql} ALTER {column.sql} SET STORAGE {column.storage}"
    for leaf, sql in table.leaves.items():
        yield sql.format(root=table.sql, leaf=f"{quoted(table.schema)}.{quoted(leaf)}")


def notes(table):
    """The table of notes and its triggers. TRUNCATE fires the leaves' triggers too."""
    names = table.names()
    yield (f"CREATE TABLE {table.notes} AS SELECT {names} FROM {table.sql} WITH NO DATA;"
           f"ALTER TABLE {table.notes} ADD h_seq bigserial, "
           "ADD h_xid xid8 NOT NULL DEFAULT pg_current_xact_id(), ADD h_sign int NOT NULL")
    function = f"oracle.{quoted('note ' + table.local)}"
    yield NOTE.format(function=function, notes=table.notes, table=table.sql,
                      names=names.replace("'", "''"), old=table.names("OLD."),
                      new=table.names("NEW."))
    for name in table.leaves or [table.name]:
        leaf = f"{quoted(table.schema)}.{quoted(name)}"
        yield (f"CREATE TRIGGER note_truncate BEFORE TRUNCATE ON {leaf} "
               f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()")


def create(database):
    """All tables with some rows, and the slot that dates transactions (see history)."""
    database.sql('CREATE SCHEMA oracle; CREATE SCHEMA "Od d";'
                 "CREATE TABLE oracle.txn (xid xid8 NOT NULL)")
    for table in ALL + MONEY:
        for statement in [*definition(table), *notes(table)]:
            database.sql(statement)
    database.sql("CREATE PUBLICATION oracle FOR TABLE oracle.txn")
    database.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')",
                 f"oracle_{database.name}")
    rng = random.Random(7)
    with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO oracle.txn VALUES (pg_current_xact_id())")
        for table in ALL:
            for _ in range(60):
                cursor.execute(insert(table) + " ON CONFLICT DO NOTHING", table.row(rng))
        for table in MONEY:
            cursor.execute(f"INSERT INTO {table.sql} SELECT n, 100 FROM generate_series(1, 20) n")
    connection.close()


def insert(table, rows=1):
    values = "(" + ", ".join(f"%s::{column.type}" for column in table.columns) + ")"
    names = table.names().replace("%", "%%")
    return f"INSERT INTO {table.sql} ({names}) VALUES {', '.join([values] * rows)}"
