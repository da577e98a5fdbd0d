"""/v1/shape by hand: single requests, and a reader that trusts nothing.

    api = ShapeApi(bridge)
    reply = api.get(table="items", offset="-1")

    reader = ShapeReader(bridge, table="items").catch_up()
    reader.rows()                # {key: value}

The reader fails at once where a message cannot be right: an insert of a row that is there, an
update or delete of one that is not, offsets that go back, a header that clients need and that
is missing.
"""

from .http_raw import Connection, request, target

NEEDED = ("electric-handle", "electric-offset")
UP_TO_DATE = "up-to-date"


class ShapeApi:
    """One request at a time, on a connection of its own. Params of every request: `always`."""

    def __init__(self, bridge, **always):
        self.port, self.always = bridge.port, always

    def get(self, headers=(), method="GET", timeout=60.0, body=None, **params):
        return request(self.port, method, self.target(**params), headers, body, timeout)

    def target(self, **params):
        return target("/v1/shape", **{**self.always, **params})

    def post(self, body, headers=(), **params):
        headers = [("content-type", "application/json"), *headers]
        return self.get(headers, "POST", body=body, **params)

    def live(self, **params):
        """A parked request: its connection, on which receive() waits for the answer."""
        return Connection(self.port).send("GET", self.target(live="true", **params))

    def errors(self, **params):
        """What a 400 says is wrong."""
        reply = self.get(**params)
        assert reply.status == 400, reply
        said = reply.json()
        assert said["message"] == "Invalid request", said
        return said["errors"]


class MustRefetch(Exception):
    """409: the shape has ended; `handle` is the next one's, or None."""

    def __init__(self, handle):
        super().__init__(f"must refetch, new handle {handle}")
        self.handle = handle


class ShapeReader:
    """One client of one shape, as the contract says that clients work. `refetches` counts 409s."""

    def __init__(self, bridge, timeout=60.0, **definition):
        self.port, self.timeout, self.definition = bridge.port, timeout, definition
        self.refetches, self.requests, self.last_seen = 0, 0, 0
        self.schema = self.cursor = self.connection = None
        self.reset()

    def reset(self, handle=None):
        self.handle, self.offset = handle, "-1"
        self.held, self.up_to_date, self.snapshot_ended = {}, False, False
        self.schema = None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def rows(self):
        return {key: value for key, value in self.held.items()}

    def values(self):
        """The rows' values without their keys, sorted: to compare with SELECT."""
        return sorted((tuple(value.items()) for value in self.held.values()), key=repr)

    def catch_up(self):
        """Until it is up to date; follows 409s."""
        while True:
            self.step()
            if self.up_to_date:
                return self

    def poll(self):
        """One live request."""
        return self.step(live=True)

    def step(self, live=False):
        """One request, and what came of it; the number of changes."""
        live = live and self.up_to_date
        try:
            return self._take(self._ask(live), live)
        except MustRefetch as ended:
            self.refetches += 1
            self.reset(ended.handle)
            return 0

    def _ask(self, live):
        params = dict(self.definition, offset=self.offset, handle=self.handle)
        if live:
            params |= {"live": "true", "cursor": self.cursor}
        if not self.connection:
            self.connection = Connection(self.port, timeout=self.timeout)
        self.requests += 1
        reply = self.connection.request("GET", target("/v1/shape", **params))
        if reply["connection"] == "close":
            self.close()
        return reply

    def _take(self, reply, live):
        if reply.status == 409:
            assert reply.body == b'[{"headers":{"control":"must-refetch"}}]', reply
            raise MustRefetch(reply["electric-handle"])
        assert reply.status == 200, reply
        for name in (*NEEDED, "electric-cursor" if live else "electric-schema"):
            assert name in reply, f"{name} is missing: {reply}"
        assert self.handle in (None, reply["electric-handle"]), reply
        self.handle = reply["electric-handle"]
        self.schema = reply["electric-schema"] or self.schema
        self.cursor = reply["electric-cursor"] or self.cursor
        messages = reply.json()
        for message in messages:
            self.apply(message)
        assert offset_key(reply["electric-offset"]) >= offset_key(self.offset), \
            f"went back from {self.offset} to {reply['electric-offset']}"
        self.offset = reply["electric-offset"]
        self.up_to_date = "electric-up-to-date" in reply
        assert self.up_to_date == (bool(messages) and _control(messages[-1]) == UP_TO_DATE), reply
        return sum("operation" in message["headers"] for message in messages)

    def apply(self, message):
        headers = message["headers"]
        if "control" in headers:
            self._take_control(headers)
            return
        key, value, operation = message["key"], message["value"], headers["operation"]
        if "lsn" in headers:
            assert "txids" in headers and "op_position" in headers, message
        if operation == "insert":
            assert key not in self.held, f"inserted twice: {message}, held {self.held[key]}"
            self.held[key] = value
        elif operation == "update":
            assert key in self.held, f"updated but not there: {message}"
            self.held[key] = {**self.held[key], **value}
        else:
            assert operation == "delete", message
            assert key in self.held, f"deleted but not there: {message}"
            del self.held[key]

    def _take_control(self, headers):
        if headers["control"] == UP_TO_DATE:
            seen = int(headers["global_last_seen_lsn"])
            assert seen >= self.last_seen, f"last seen LSN went back from {self.last_seen} to {seen}"
            self.last_seen = seen
        elif headers["control"] == "snapshot-end":
            assert not self.snapshot_ended, "the snapshot ended twice"
            self.snapshot_ended = True
        else:
            raise AssertionError(f"what is this? {headers}")


def _control(message):
    return message["headers"].get("control")


def offset_key(offset):
    """Offsets in their order."""
    if offset in ("-1", "now"):
        return (-1, 0)
    lsn, op = offset.split("_")
    return (int(lsn), float("inf") if op == "inf" else int(op))
