"""nginx as docs/nginx.conf sets it up, in front of a bridge or of several."""

import os
import re
from pathlib import Path

from .http_raw import request
from .process import ROOT, Process, environment
from .waiting import free_port

SITE = ROOT / "docs" / "nginx.conf"
AROUND = """{user}
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


class Nginx:
    """It answers at `url`. The site's file is run as documented, but for its addresses and how
    many bridges there are."""

    def __init__(self, bridges, folder):
        self.folder, self.port = Path(folder) / "nginx", free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.bridges = bridges if isinstance(bridges, list) else [bridges]
        self.bridge = self.bridges[0]
        self.process = Process("nginx", self.folder / "log")

    def start(self):
        self.folder.mkdir(exist_ok=True)
        site = SITE.read_text()
        servers = "".join(f"    server 127.0.0.1:{bridge.port};\n" for bridge in self.bridges)
        for documented, ours in ((r"listen 80;", f"listen 127.0.0.1:{self.port};"),
                                 (r"( +server node\d:3000;.*\n)+", servers),
                                 (r"/var/cache/nginx/tombolo", str(self.folder / "cache"))):
            site, times = re.subn(documented, ours, site)
            assert times == 1, documented
        (self.folder / "site.conf").write_text(site)
        user = "user root;" if os.geteuid() == 0 else ""
        (self.folder / "main.conf").write_text(AROUND.format(folder=self.folder, user=user))
        self.process.start(["/usr/sbin/nginx", "-c", self.folder / "main.conf",
                            "-p", self.folder, "-e", "stderr"], environment())
        self.process.wait_for(self._answers, 60, "nginx to answer")
        return self

    def _answers(self):
        try:
            return request(self.port, "GET", "/v1/health").status == 200
        except OSError:
            return False

    def stop(self):
        self.process.stop()
