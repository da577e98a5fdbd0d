"""Table topics as their readers see them: events, and the table that an upserting reader has.

    events = topic_events(kafka, "shop.public.items", 3)     # waits until there are so many
    table = Upserted(events)                                 # key -> the row it was left with
"""

import base64
import json
from dataclasses import dataclass
from decimal import Decimal

from .waiting import wait_for


@dataclass(frozen=True)
class Event:
    """A record of a table's topic; `value` is the envelope, None of a tombstone."""

    key: object
    value: dict | None
    headers: dict
    partition: int

    @property
    def op(self):
        return self.value["op"] if self.value else "tombstone"

    @property
    def after(self):
        return self.value["after"]

    @property
    def before(self):
        return self.value["before"]


def _payload(text):
    """Without the schema, if there is one."""
    parsed = json.loads(text) if text is not None else None
    is_wrapped = isinstance(parsed, dict) and set(parsed) == {"schema", "payload"}
    return parsed["payload"] if is_wrapped else parsed


def read_events(kafka, topic):
    """All that are there by now; of a topic that is not, none."""
    if not kafka.has_topic(topic):
        return []
    return [Event(_payload(record.key), _payload(record.value), record.headers, record.partition)
            for record in kafka.consume(topic)]


def topic_events(kafka, topic, count, deadline=60.0):
    """The events, when there are `count` of them."""
    found = []

    def are_there():
        found[:] = read_events(kafka, topic)
        return len(found) >= count

    wait_for(are_there, deadline, lambda: f"{count} events in {topic}; {len(found)} there: "
             f"{[event.op for event in found]}", interval=0.2)
    assert len(found) == count, f"{[(event.op, event.key) for event in found]}"
    return found


class Upserted:
    """What a reader has who writes each event's row over the one before."""

    def __init__(self, events=()):
        self.rows = {}
        for event in events:
            self.take(event)

    def take(self, event):
        key = json.dumps(event.key, sort_keys=True)
        if event.op in ("r", "c", "u"):
            self.rows[key] = event.after
        else:
            self.rows.pop(key, None)

    def values(self, *columns):
        """The rows' columns, in order."""
        return sorted(tuple(row[column] for column in columns) for row in self.rows.values())


def decimal_of(encoded, scale):
    """The number of a base64 of an unscaled integer."""
    unscaled = int.from_bytes(base64.b64decode(encoded), "big", signed=True)
    digits = tuple(map(int, str(abs(unscaled))))
    return Decimal((int(unscaled < 0), digits, -scale))
