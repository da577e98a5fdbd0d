"""Which rows a shape had at a position, by the triggers' notes and the commits' LSNs."""

import contextlib
import struct
from collections import Counter

from .values import in_sqlite

SESSION = ("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'iso_8601';"
           "SET bytea_output = 'hex'; SET extra_float_digits = 1; SET row_security = off")


class History:
    """The commits of a database since tables.create(), and what each brought."""

    def __init__(self, database):
        self.database = database
        self.slot = f"oracle_{database.name}"
        self.commits = {}  # xid: commit LSN

    def update(self):
        """Reads the commits that are new. Nobody may be writing, or their notes come undated."""
        found = self.database.sql(
            "SELECT data FROM pg_logical_slot_get_binary_changes("
            "%s, NULL, NULL, 'proto_version', '1', 'publication_names', 'oracle')", self.slot)
        for (data,) in found:
            message = bytes(data)
            if message[:1] == b"B":
                lsn, _, xid = struct.unpack(">QqI", message[1:21])
                self.commits[xid] = lsn

    @contextlib.contextmanager
    def _session(self):
        with contextlib.closing(self.database.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(SESSION)
            yield cursor

    def notes(self, shape, after):
        """[(commit LSN, sign, row as texts)] noted behind number `after`, in commit order; the
        last number."""
        columns = ", ".join(f"{column.sql}::text" for column in shape.columns)
        table = shape.table
        where = f"AND ({shape.where})" if shape.where else ""
        with self._session() as cursor:
            cursor.execute(f"SELECT coalesce(max(h_seq), {after}) FROM {table.notes}")
            ((last,),) = cursor.fetchall()
            cursor.execute(f"SELECT h_xid::text::bigint, h_sign, {columns} FROM {table.notes} "
                           f"WHERE h_seq > {after} AND h_seq <= {last} {where}")
            found = [(self.commits[xid], sign, row) for xid, sign, *row in cursor.fetchall()]
        return sorted(found, key=lambda note: note[0]), last

    def now(self, shape):
        """The shape's rows as SELECT ... WHERE gives them, texts."""
        columns = ", ".join(f"{column.sql}::text" for column in shape.columns)
        with self._session() as cursor:
            cursor.execute(f"SELECT {columns} FROM {shape.table.sql} WHERE {shape.where or 'true'}")
            return cursor.fetchall()


class Timeline:
    """One shape's rows as time goes on, and back."""

    def __init__(self, history, shape, form=in_sqlite):
        self.history, self.shape, self.form = history, shape, form
        self._rows = Counter()
        self._notes = []  # in commit order
        self._applied = 0
        self._last = 0

    def update(self):
        """Takes in what was noted since; when nobody writes."""
        found, self._last = self.history.notes(self.shape, self._last)
        self._notes += [(lsn, sign, self.form(self.shape.columns, row)) for lsn, sign, row in found]

    def at(self, position):
        """The rows after all transactions that committed at or below `position`."""
        while self._applied < len(self._notes) and self._notes[self._applied][0] <= position:
            self._step(self._notes[self._applied], 1)
            self._applied += 1
        while self._applied and self._notes[self._applied - 1][0] > position:
            self._applied -= 1
            self._step(self._notes[self._applied], -1)
        return self._rows

    def _step(self, note, direction):
        _, sign, row = note
        self._rows[row] += sign * direction
        if not self._rows[row]:
            del self._rows[row]


def difference(expected, found):
    """What is missing and what is too much, in words; empty when they are equal."""
    if expected == found:
        return ""
    missing, extra = expected - found, found - expected
    return (f"{sum(missing.values())} missing {_some(missing)}, "
            f"{sum(extra.values())} too many {_some(extra)}")


def _some(rows):
    return [str(row)[:300] for row in list(rows.elements())[:4]]
