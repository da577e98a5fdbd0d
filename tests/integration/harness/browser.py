"""A headless Chromium, driven over its debugging pipe, and pages served from an origin of their own.

    with Pages(folder) as pages, Browser(tmp_path) as browser:
        browser.open(pages.url + "/page.html")
        browser.wait_for("document.title == 'done'")
        browser.screenshot(path)
"""

import base64
import functools
import http.server
import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from .process import environment
from .waiting import free_port, wait_for

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

# The browser reads from 3 and writes to 4, wherever its ends of the pipes are.
PIPED = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3), os.dup2(ends[1], 4)
os.set_inheritable(3, True), os.set_inheritable(4, True)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Pages:
    """Serves `files` ({"/page.html": path}) at `url`, which is another origin than a bridge's."""

    TYPES = {".html": "text/html; charset=utf-8", ".mjs": "text/javascript"}

    def __init__(self, files):
        handler = functools.partial(_Handler, {path: Path(file) for path, file in files.items()})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, files, *args):
        self.files = files
        super().__init__(*args)

    def do_GET(self):  # pylint: disable=invalid-name
        file = self.files.get(self.path.split("?")[0])
        body = file.read_bytes() if file else b""
        self.send_response(200 if file else 404)
        self.send_header("content-type", Pages.TYPES[file.suffix] if file else "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):  # pylint: disable=arguments-differ
        pass


class Browser:
    """One browser with one page at a time. `console`: what pages wrote there, and failed loads."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.console, self._last, self._session, self._rest = [], 0, None, b""

    def __enter__(self):
        program = next(filter(shutil.which, PROGRAMS), None)
        assert program, f"no browser, none of {', '.join(PROGRAMS)}: ./dev test installs one"
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--remote-debugging-pipe", f"--user-data-dir={self.folder / 'profile'}",
                   "--no-first-run", "--disable-background-networking", "about:blank"]
        self._child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-c", PIPED, str(to_read),
             str(to_write), program, *options],
            env={**environment(), "HOME": str(self.folder)}, pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL, stderr=open(self.folder / "browser.log", "ab"))
        os.close(to_read)
        os.close(to_write)
        return self

    def __exit__(self, *exc):
        self._child.kill()
        self._child.wait()
        os.close(self._in)
        os.close(self._out)

    def open(self, url):
        """A new page; returns when it is being loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target,
                                  flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def value(self, expression):
        """What a JavaScript expression gives in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression, deadline=60.0):
        wait_for(lambda: self.value(expression), deadline,
                 lambda: f"{expression}\nconsole: {self.console[-10:]}\n"
                         f"page: {self.value('document.body.innerText')}", 0.05)

    def screenshot(self, path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        data = self.call("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def call(self, method, **params):
        """A command of the DevTools protocol, and its result."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._notice(answer)

    def _notice(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(a.get("value")) for a in params["args"]))
        elif method == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.console.append(params["exceptionDetails"].get("text", "exception"))

    def _receive(self, deadline=60.0):
        end = time.monotonic() + deadline
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0, end - time.monotonic()))
            data = os.read(self._in, 1 << 16) if ready else b""
            assert data, f"the browser does not answer: {(self.folder / 'browser.log').read_text()}"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
