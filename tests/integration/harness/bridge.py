"""`tombolo serve`, held by a handle."""

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from .process import Process, environment, program
from .waiting import free_port

METRIC = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, headers (any case), body in bytes."""

    status: int
    headers: object
    body: bytes

    def json(self):
        return json.loads(self.body)


class Bridge:
    """A bridge beside `postgres` (a Postgres or a Database), with its state in `data_dir`.

    `settings` are given as environment: stream_id="b" is TOMBOLO_STREAM_ID=b. Without a
    `secret` it is told to be insecure. /metrics has a listener of its own. `url`: how the
    replicas reach it. `rules` are the text of its tombolo.ini: [shape ...] and [write ...];
    afterwards that file, beside the folder.
    """

    def __init__(self, postgres, binary=None, data_dir=None, rules=None, **settings):
        self.postgres = postgres
        self.binary = Path(binary or program()).resolve()
        self.data_dir = Path(data_dir).resolve()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        if rules is not None:
            self.rules = self.data_dir.with_name("rules.ini")
            self.rules.write_text(rules)
            settings["config"] = self.rules
        if "secret" not in settings:
            settings.setdefault("insecure", "true")
        self.metrics_port = free_port()
        settings.setdefault("metrics_listen", f"127.0.0.1:{self.metrics_port}")
        self.settings = {f"TOMBOLO_{name.upper()}": value for name, value in settings.items()}
        self.process = Process("bridge", self.data_dir.with_name(self.data_dir.name + ".log"))

    def start(self, wait=True, deadline=60.0):
        """Starts it, and waits until its health is active unless told not to."""
        argv = [self.binary, "serve", "--listen", f"127.0.0.1:{self.port}",
                "--data-dir", self.data_dir]
        self.process.start(argv, environment(DATABASE_URL=self.postgres.url, **self.settings))
        return self.wait_until("active", deadline) if wait else self

    def wait_until(self, health, deadline=60.0):
        """Until its health is "active", "waiting" or "starting"."""
        self.process.wait_for(lambda: self.health() == health, deadline, f"the bridge {health}")
        return self

    def stop(self, deadline=60.0):
        """Asks it to end; anything but exit code 0 is a failure."""
        if self.process.alive:
            code = self.process.stop(deadline)
            assert code == 0, f"the bridge ended with {code}\n{self.process.log_tail()}"

    def kill9(self):
        self.process.kill9()

    def restart(self):
        self.stop()
        return self.start()

    @property
    def alive(self):
        return self.process.alive

    def log(self):
        return self.process.log()

    def log_contains(self, text, times=None):
        return self.process.log_contains(text, times)

    def get(self, path, timeout=60.0, port=None, **headers):
        url = f"http://127.0.0.1:{port or self.port}{path}"
        return self._ask(urllib.request.Request(url, headers=headers), timeout)

    def post(self, path, body, timeout=60.0, **headers):
        """`body`: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers.setdefault("content-type", "application/json")
        return self._ask(urllib.request.Request(self.url + path, data, headers), timeout)

    @staticmethod
    def _ask(request, timeout):
        try:
            with urllib.request.urlopen(request, timeout=timeout) as got:
                return Answer(got.status, got.headers, got.read())
        except urllib.error.HTTPError as refused:  # 4xx and 5xx are answers too
            with refused:
                return Answer(refused.code, refused.headers, refused.read())

    def health(self):
        """The status that /v1/health says, or None while nobody answers."""
        try:
            return self.get("/v1/health").json()["status"]
        except (OSError, ValueError, KeyError):
            return None

    def metrics(self):
        """/metrics as {"name": value, 'name{label="x"}': value}."""
        text = self.get("/metrics", port=self.metrics_port).body.decode()
        return {name + labels: float(value) for name, labels, value in METRIC.findall(text)}
