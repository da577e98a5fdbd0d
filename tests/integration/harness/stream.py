"""`POST /v1/sync` as a client in Python that trusts nothing.

    stream = Stream(bridge, {"table": "orders", "where": "owner = 7"}).read()
    stream.rows("orders")        # [{"id": "1", "owner": "7"}, ...]

It holds every shape's rows as the messages say, and fails at once where one cannot be right: an
insert of a row that is there, an update or delete of one that is not, a commit that goes back, a
line after the error line. What a replica's upserts would forgive shows here.
"""

import http.client
import json
import time


class Refused(AssertionError):
    """The bridge answered with something other than 200; `status`, `body`, `headers`."""

    def __init__(self, status, headers, body):
        super().__init__(f"{status}: {body}")
        self.status, self.headers, self.body = status, headers, body


class Shape:
    """One shape of a stream: its definition, and the rows it has by now."""

    def __init__(self, definition):
        self.definition = definition
        self.handle = None
        self.table = None
        self.has_key = True
        self.writes = None
        self.complete = False  # all rows of its snapshot are there
        self.held = {}  # key: the rows that have it (several only without a primary key)
        self.changes = 0
        self.refetched = []  # the reasons

    def open(self, line):
        self.handle = line["handle"]
        self.table = line["table"]
        self.writes = line.get("writes")
        self.has_key = any("pk_index" in column for column in line["schema"].values())
        self.complete = not line["snapshot"]
        if line["snapshot"]:
            self.held = {}

    def apply(self, message):
        key, value = message["key"], message.get("value") or {}
        there = self.held.setdefault(key, [])
        operation = message["headers"]["operation"]
        self.changes += "lsn" in message["headers"]
        if operation == "insert":
            assert not (there and self.has_key), f"inserted twice: {message}, held {there}"
            there.append(value)
        elif operation == "update":
            assert len(there) == 1, f"updated but not there: {message}"
            there[0] = {**there[0], **value}
        elif operation == "delete":
            assert there, f"deleted but not there: {message}"
            there.pop()
        else:
            raise AssertionError(f"what is this? {message}")
        if not there:
            del self.held[key]

    @property
    def rows(self):
        return [row for rows in self.held.values() for row in rows]


class Stream:
    """The shapes that were asked for, in one stream. `live=False` ends when it is up to date.

    With `writes` it is also told what became of the replica's writes: `acks`, as they came."""

    def __init__(self, bridge, *shapes, live=False, replica="stream", timeout=60.0, writes=False,
                 headers=()):
        self.bridge, self.live, self.replica, self.timeout = bridge, live, replica, timeout
        self.writes, self.headers, self.acks = writes, dict(headers), []
        self.shapes = [Shape(dict(shape)) for shape in shapes]
        self.position, self.consistent, self.error = 0, False, None
        self._connection = self._response = None

    def _request(self):
        shapes = []
        for shape in self.shapes:
            asked = dict(shape.definition)
            if shape.complete and self.position:
                asked |= {"handle": shape.handle, "offset": f"{self.position}_inf"}
            shapes.append(asked)
        return json.dumps({"shapes": shapes, "live": self.live} |
                          ({"writes": True} if self.writes else {}))

    def open(self):
        """Sends the request and waits for the answer's head; Refused unless that is 200. A bridge
        that has just connected to Postgres may have to catch up with it first: asked again."""
        until = time.monotonic() + self.timeout
        while True:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.bridge.port,
                                                          timeout=self.timeout)
            self._connection.request("POST", f"/v1/sync?replica={self.replica}", self._request(),
                                     {"content-type": "application/json", **self.headers})
            self._response = self._connection.getresponse()
            if self._response.status == 200:
                return self
            body = self._response.read().decode()
            if "catching up" not in body or time.monotonic() > until:
                raise Refused(self._response.status, self._response.headers, body)
            self.close()
            time.sleep(0.02)

    def close(self):
        if self._connection:
            self._connection.close()
        self._connection = self._response = None

    def read(self, until=None):
        """Takes lines until `until(stream)` or the end; the stream itself."""
        if not self._response:
            self.open()
        while not (until and until(self)):
            line = self._response.readline()
            if not line:
                break
            assert not self.error, f"a line after the error: {line}"
            self._take(json.loads(line))
        else:
            return self
        assert self.error or not self.live, "the stream ended without a word"
        self.close()
        return self

    def _take(self, line):
        if "open" in line:
            self.shapes[line["open"]["shape"]].open(line["open"])
        elif "messages" in line:
            for message in line["messages"]:
                self.shapes[line["shape"]].apply(message)
        elif "snapshot_end" in line:
            self.shapes[line["snapshot_end"]["shape"]].complete = True
        elif "commit" in line or "keepalive" in line:
            self._move(line.get("commit") or line["keepalive"])
        elif "refetch" in line:
            self.shapes[line["refetch"]["shape"]].refetched.append(line["refetch"]["reason"])
        elif "ack" in line:
            assert self.writes, "an acknowledgement that nobody asked for"
            self.acks.append(line["ack"])
        elif "error" in line:
            self.error = line["error"]

    def _move(self, line):
        lsn = int(line["lsn"])
        assert lsn >= self.position, f"the stream went back from {self.position} to {lsn}"
        self.position, self.consistent = lsn, line["consistent"]

    def rows(self, shape=0):
        return self.shapes[shape].rows

    def tuples(self, *columns, shape=0):
        """The rows' values of these columns, as text, sorted."""
        return sorted((tuple(row[name] for name in columns) for row in self.rows(shape)),
                      key=lambda row: [(value is not None, value or "") for value in row])
