"""A TCP proxy that makes trouble: silence, delay, cut connections, one byte at a time.

    proxy = Proxy(bridge.port).start()
    replica = Replica(bridge, path, shapes, url=proxy.url)
    with proxy.drop_traffic():     # nothing passes; the bytes arrive when it ends, as TCP's would
        ...
    proxy.cut()                    # every connection is reset
"""

import contextlib
import select
import socket
import struct
import threading
import time

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time


class Proxy:
    """Listens on a free port of 127.0.0.1 and passes everything to `port` of `target_host`."""

    def __init__(self, port, target_host="127.0.0.1"):
        self.target = (target_host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self.url = f"http://{self.host}:{self.port}"
        self._flows = threading.Event()
        self._flows.set()
        self._accepts = True
        self._latency = 0.0
        self._dribble = None
        self._lock = threading.Lock()
        self._sockets = set()
        self._closed = threading.Event()

    def start(self):
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    @contextlib.contextmanager
    def drop_traffic(self):
        """Nothing passes in either direction, and nobody is told."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    @contextlib.contextmanager
    def refuse(self):
        """Cuts what is connected and lets nobody in."""
        self._accepts = False
        self.cut()
        try:
            yield
        finally:
            self._accepts = True

    @contextlib.contextmanager
    def add_latency(self, seconds):
        """Each piece passes so much later."""
        self._latency = seconds
        try:
            yield
        finally:
            self._latency = 0.0

    @contextlib.contextmanager
    def dribble(self, size=1, interval=0.001):
        """Pieces of `size` bytes, `interval` seconds apart."""
        self._dribble = (size, interval)
        try:
            yield
        finally:
            self._dribble = None

    def cut(self):
        """Resets every connection; returns how many there were."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for end in sockets:
            _reset(end)
        return len(sockets) // 2

    def connections(self):
        with self._lock:
            return len(self._sockets) // 2

    def stop(self):
        self._closed.set()
        self._flows.set()
        self.cut()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    def _accept(self):
        with self._listener:
            while not self._closed.is_set():
                if select.select([self._listener], [], [], 0.1)[0]:
                    self._join(self._listener.accept()[0])

    def _join(self, client):
        """Connects the client's target and starts both directions."""
        try:
            server = socket.create_connection(self.target, 5.0) if self._accepts else None
        except OSError:
            server = None
        if not server:
            _reset(client)
            return
        for end in (client, server):
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets |= {client, server}
        threading.Thread(target=self._pass, args=(client, server), daemon=True).start()

    def _pass(self, client, server):
        """Both directions of one connection, until both have ended."""
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        self._forget(client, server)

    def _pump(self, source, target):
        try:
            while data := source.recv(65536):
                for piece in self._pieces(data):
                    time.sleep(self._latency)
                    self._flows.wait()
                    _send(target, piece)
            self._flows.wait()
            with self._lock:
                if target in self._sockets:  # not when cut() woke us: it resets, we would end
                    target.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):  # reset by either side, or cut: the other is to see it too
            self._forget(source, target)

    def _pieces(self, data):
        """`data` in the pieces that it is to pass in; looks again before each."""
        while data:
            size, interval = self._dribble or (len(data), 0.0)
            time.sleep(interval)
            yield data[:size]
            data = data[size:]

    def _forget(self, *ends):
        with self._lock:
            self._sockets -= set(ends)
        for end in ends:
            _reset(end)


def _send(target, piece):
    """sendall() that ends when another thread closes `target`: ValueError from select then."""
    while piece:
        select.select([], [target], [], 0.1)
        with contextlib.suppress(BlockingIOError):
            piece = piece[target.send(piece, socket.MSG_DONTWAIT):]


def _reset(end):
    """RST, not FIN. shutdown() first wakes the thread that reads from it."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        end.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        end.close()
