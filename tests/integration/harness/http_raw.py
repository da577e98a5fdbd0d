"""HTTP/1.1 over a socket of our own: what is sent and what comes are bytes, nothing is mended.

    reply = request(port, "GET", "/v1/shape?table=items&offset=-1")
    reply.status, reply["electric-handle"], reply.body

A reply remembers its header lines as they came. `Connection` keeps one open for several
requests, and for answers that never end (SSE).
"""

import json
import socket
from urllib.parse import quote


class Reply:
    """An answer: status, header lines in order, the body without its framing."""

    def __init__(self, status, lines, body=b""):
        self.status, self.lines, self.body = status, lines, body

    def all(self, name):
        """Every value of a header."""
        return [value for found, value in self.lines if found.lower() == name]

    def __getitem__(self, name):
        """The header's only value, or None."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is there {len(values)} times: {values}"
        return values[0] if values else None

    def __contains__(self, name):
        return bool(self.all(name))

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        lines = "\n".join(f"{name}: {value}" for name, value in self.lines)
        return f"{self.status}\n{lines}\n\n{self.body[:2000]!r}"


class Connection:
    """One connection. `small_buffers`: of a client that reads little and slowly."""

    def __init__(self, port, host="127.0.0.1", timeout=60.0):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, method, target, headers=(), body=None):
        lines = [f"{method} {target} HTTP/1.1", "host: bridge"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        return self

    def request(self, method, target, headers=(), body=None):
        return self.send(method, target, headers, body).receive(method)

    def receive(self, method="GET"):
        """A whole answer."""
        reply = self.receive_head()
        if method == "HEAD" or reply.status in (204, 304) or reply.status < 200:
            return reply
        return self.receive_body(reply)

    def receive_body(self, reply):
        """What belongs to a head that was received; the whole answer."""
        length = reply["content-length"]
        if reply["transfer-encoding"] == "chunked":
            reply.body = b"".join(iter(self.receive_chunk, b""))
        elif length is not None:
            reply.body = self._exactly(int(length))
        else:
            reply.body = self._until_end()
        return reply

    def receive_head(self):
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.split("\r\n")
        version, status, *_ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        return Reply(int(status), [tuple(line.split(": ", 1)) for line in lines])

    def receive_chunk(self):
        """One chunk of a chunked body; empty at its end."""
        data = self._exactly(int(self._until(b"\r\n"), 16))
        assert self._exactly(2) == b"\r\n"
        return data

    def ended(self):
        """Whether the other side has closed it; waits for that."""
        return not self.rest and self.socket.recv(1) == b""

    def _fill(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError(f"the connection ended; unused: {self.rest[:200]!r}")
        self.rest += data

    def _until(self, mark):
        while mark not in self.rest:
            self._fill()
        found, _, self.rest = self.rest.partition(mark)
        return found

    def _exactly(self, n):
        pieces, had = [self.rest], len(self.rest)
        while had < n:
            pieces.append(self.socket.recv(1 << 18))
            assert pieces[-1], f"the body ended after {had} of {n} bytes"
            had += len(pieces[-1])
        data = b"".join(pieces)
        self.rest = data[n:]
        return data[:n]

    def _until_end(self):
        pieces = [self.rest]
        while data := self.socket.recv(1 << 18):
            pieces.append(data)
        self.rest = b""
        return b"".join(pieces)


def request(port, method, target, headers=(), body=None, timeout=60.0):
    """One request on a connection of its own."""
    with Connection(port, timeout=timeout) as connection:
        return connection.request(method, target, [*headers, ("connection", "close")], body)


def target(path, **params):
    """path?a=b&...; None is left out, True is a name without a value. params={"1": "x"} and
    other maps are written as name[key]=value."""
    parts = []
    for name, value in params.items():
        if value is None:
            continue
        if value is True:
            parts.append(name)
        elif isinstance(value, dict):
            parts += [f"{name}[{key}]={quote(str(v), safe='')}" for key, v in value.items()]
        else:
            parts.append(f"{name}={quote(str(value), safe='')}")
    return path + ("?" + "&".join(parts) if parts else "")
