"""nginx giving out files: the ceiling of whatever sends the same bytes to everybody."""

import os
import shutil
from pathlib import Path

from harness import wait_for
from harness.http_raw import request
from harness.process import Process, children, environment
from harness.waiting import free_port
from measure import cpu_seconds

CONFIG = """{user}
daemon off;
worker_processes {workers};
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    open_file_cache max=10;
    default_type application/json;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


class NginxStatic:
    """As many workers as there are CPUs, as the bridge has threads."""

    def __init__(self, folder):
        self.folder, self.port = Path(folder), free_port()
        self.files = self.folder / "files"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.files.mkdir(parents=True)
        self.process = Process("nginx", self.folder / "log")

    def start(self):
        user = "user root;" if os.geteuid() == 0 else ""
        config = self.folder / "nginx.conf"
        config.write_text(CONFIG.format(user=user, folder=self.folder, port=self.port,
                                        workers=os.cpu_count()))
        self.process.start([shutil.which("nginx") or "/usr/sbin/nginx", "-c", config,
                            "-p", self.folder, "-e", "stderr"], environment())
        wait_for(self._answers, 60, "nginx to answer")
        return self

    def _answers(self):
        try:
            return request(self.port, "GET", "/").status in (403, 404)
        except OSError:
            return False

    def cpu(self):
        return sum(map(cpu_seconds, children(self.process.pid)))

    def stop(self):
        self.process.stop()
