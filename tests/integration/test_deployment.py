"""Dockerfile and docker-compose*.yml, where no engine runs: their steps, programs, variables and
health checks are taken from the files and run here, with addresses and folders of ours."""

import re
import shutil
import subprocess
import sys

import pytest
from harness import (Kafka, Postgres, Process, Replica, ShapeApi, ShapeReader, compose, free_port,
                     wait_for)
from harness.nginx import Nginx
from harness.process import ROOT, as_user, environment, program

sys.path.insert(0, str(ROOT / "tests"))
from lint_deployment import Lint  # noqa: E402

PACKAGES = "apt-get update"


# ---- the comparison with the program -----------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """tree(file, old, new): a tree like this one, where that file has a mistake."""
    def make(file=None, old=None, new=None):
        folder = tmp_path / "tree"
        shutil.copytree(ROOT / "docs", folder / "docs")
        for path in ROOT.iterdir():
            if path.name != "docs" and not path.name.startswith((".git", "build")):
                (folder / path.name).symlink_to(path)
        if file:
            text = (ROOT / file).read_text()
            assert old in text, f"{file} has no {old}"
            (folder / file).unlink()
            (folder / file).write_text(text.replace(old, new, 1))
        return folder

    return make


def test_files_of_a_deployment_agree_with_the_program(tree):
    assert Lint(program(), tree()).run() == []


MAIN, TEST = "docker-compose.yml", "docker-compose.test.yml"


@pytest.mark.parametrize("file, old, new, complaint", [
    (MAIN, "postgres:17.6", "postgres:latest", "postgres:latest is not a version"),
    (MAIN, "nginx:1.28.0", "nginx", "nginx is not a version"),
    ("Dockerfile", "debian:13.1-slim AS", "debian:stable AS", "debian:stable is not a version"),
    (MAIN, "TOMBOLO_KAFKA_STREAM", "TOMBOLO_KAFKA_STREEM", "has no TOMBOLO_KAFKA_STREEM"),
    (TEST, "TOMBOLO_INSECURE", "TOMBOLO_UNSAFE", "has no TOMBOLO_UNSAFE"),
    (MAIN, "POSTGRES_DB", "POSTGRES_DATABASE", "has no POSTGRES_DATABASE"),
    ("Dockerfile", "ENV ", "ENV TOMBOLO_DATADIR=x ", "serve has no TOMBOLO_DATADIR"),
    ("Dockerfile", "EXPOSE 3000", "EXPOSE 3001", "exposes 3001"),
    ("Dockerfile", "127.0.0.1:3000", "127.0.0.1:3001", "its health is asked at"),
    ("Dockerfile", "DATA_DIR=/var/lib/tombolo/", "DATA_DIR=/srv/", "/srv/state is in no volume"),
    ("Dockerfile", " libinih-dev", "", "['libinih-dev']"),
    ("Dockerfile", "COPY shapes shapes\n", "", "not copied: ['shapes']"),
    ("Dockerfile", "USER 10001", "USER root", "runs as root"),
    (".dockerignore", "docs\n", "replica\n", "leaves out {'replica'}"),
    (TEST, "}:3000", "}:3333", "nobody listens at 3333"),
    (TEST, "@postgres:5432", "@db:5432", "no service db"),
    (TEST, "@postgres:5432", "@postgres:5433", "postgres does not listen at 5433"),
    (MAIN, "BROKERS: kafka:9092", "BROKERS: kafka:9094", "kafka does not listen at 9094"),
    (MAIN, "://nginx:80", "://nginx:8080", "nginx does not listen at 8080"),
    (MAIN, "--shape, items", "--shapes, items", "sync has no --shapes"),
    (MAIN, "./docs/nginx.conf", "./docs/nginx.cnf", "there is no ./docs/nginx.cnf"),
    (MAIN, "node1:/var/lib/tombolo", "node1:/data", "/data is not the image's volume"),
    (MAIN, "  cache:\n", "  cash:\n", "without a use or a declaration"),
    ("docs/nginx.conf", "server node2:3000", "server node3:3000", "nginx.conf's servers"),
    ("docs/nginx.conf", "listen 80;", "listen 8080;", "listens at 8080, not 80"),
    ("docs/nginx.conf", "/var/cache/nginx", "/var/cash/nginx", "is in no volume"),
])
def test_each_mistake_in_them_is_said(tree, file, old, new, complaint):
    said = Lint(program(), tree(file, old, new)).run()
    assert [line for line in said if complaint in line], said


# ---- the image ---------------------------------------------------------------------------------


@pytest.mark.timeout(1200)
def test_dockerfile_builds_a_program_that_runs_with_the_packages_it_names(tmp_path):
    build, final = compose.stages(ROOT / "Dockerfile")
    places = {"/src": "src", "/build": "build", "/usr/local": "local",
              "/runtime-packages": "packages"}
    for text in build.all("COPY"):
        *sources, to = text.split()
        for source in sources:
            target = tmp_path / "src" / to / (source if to.endswith("/") else "")
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, target)
    shell = build.words("SHELL")
    for step in build.all("RUN"):
        if PACKAGES not in step:
            for place, ours in places.items():
                step = re.sub(rf"(?<= ){place}\b", str(tmp_path / ours), f" {step}")
            done = subprocess.run([*shell, step], cwd=tmp_path / "src", check=False, text=True,
                                  capture_output=True, timeout=1100)
            assert done.returncode == 0, f"{step}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    binary = tmp_path / "local" / "bin" / final.words("ENTRYPOINT")[0]
    said = subprocess.run([binary, *final.words("CMD"), "--help"], check=True, text=True,
                          capture_output=True)
    assert "--source" in said.stdout
    packages = (tmp_path / "packages").read_text().split()
    assert {"libpq5", "libsqlite3-0", "libyyjson0"} <= set(packages), packages
    installed = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}\n", *packages],
                               check=True, text=True, capture_output=True)
    assert set(installed.stdout.split()) == {"installed"}
    assert not [name for name in packages if name.endswith("-dev")]


# ---- the services ------------------------------------------------------------------------------


def replaced(text, places):
    for place, ours in places.items():
        text = text.replace(place, ours)
    return text


class Broker(Kafka):
    """Kafka as its image sets it up: the broker's properties are the service's variables."""

    def __init__(self, service):
        self.service = service
        super().__init__()

    def _configure(self, settings):
        places = {"://:9092": f"://{self.brokers}", "kafka:9092": self.brokers,
                  "://:9093": f"://127.0.0.1:{self.controller_port}",
                  "kafka:9093": f"127.0.0.1:{self.controller_port}",
                  **{target: str(self.folder / "data") for _, target in self.service.volumes}}
        lines = [f"{name[len('KAFKA_'):].lower().replace('_', '.')}={replaced(value, places)}\n"
                 for name, value in self.service.environment.items() if name.startswith("KAFKA_")]
        self.config.write_text("".join(lines))


class Tombolo:
    """A service of ours: the image's variables and command, then the service's, with `places` for
    what they call the others."""

    def __init__(self, service, folder, places):
        final = compose.stages(ROOT / "Dockerfile")[-1]
        self.port = free_port()
        here = {f"0.0.0.0:{final.only('EXPOSE')}": f"127.0.0.1:{self.port}",
                f"127.0.0.1:{final.only('EXPOSE')}": f"127.0.0.1:{self.port}",
                final.only("VOLUME"): str(folder), **places}
        settings = {**final.environment(), **service.environment}
        self.environment = {name: replaced(value, here) for name, value in settings.items()}
        check = service.healthcheck or re.findall(r'"([^"]*)"', final.only("HEALTHCHECK"))
        self.argv, self.check = ([program(), *(replaced(word, here) for word in words)] for words in
                                 (service.command or final.words("CMD"), check[1:]))
        self.process = Process(service.name, folder / "log")

    def start(self):
        self.process.start(self.argv, environment(**self.environment))
        return self

    def until_healthy(self):
        self.process.wait_for(self.healthy, 60, f"{self.process.name} to be healthy")

    def healthy(self):
        done = subprocess.run(as_user(None, self.check), env=environment(), check=False,
                              cwd=self.process.log_path.parent, capture_output=True, timeout=60)
        return done.returncode == 0

    def stop(self):
        assert self.process.stop() == 0, self.process.log_tail()


class Deployment:
    """What a compose file describes: its services, in the order that they wait for each other."""

    def __init__(self, name, folder):
        self.services, self.folder = compose.load(ROOT / name).services, folder
        self.running, self.places = {}, {}

    def start(self):
        while waiting := [name for name in self.services if name not in self.running]:
            for name in waiting:
                if set(self.services[name].depends_on) <= set(self.running):
                    self.running[name] = self._start(self.services[name])
        return self

    def _start(self, service):
        for other, condition in service.depends_on.items():
            if condition == "service_healthy" and isinstance(self.running[other], Tombolo):
                self.running[other].until_healthy()
        kind = service.image.split(":")[0]
        start = {"postgres": self._postgres, "apache/kafka": self._kafka, "nginx": self._nginx}
        return start.get(kind, self._tombolo)(service)

    def _postgres(self, service):
        assert service.command[:1] == ["postgres"] and set(service.command[1::2]) == {"-c"}
        server = Postgres(settings=dict(word.split("=") for word in service.command[2::2])).start()
        self.database = server.create_database(service.environment["POSTGRES_DB"])
        for source, target in service.volumes:
            if target.startswith("/docker-entrypoint-initdb.d/"):
                self.database.sql((ROOT / source).read_text())
        self.places["@postgres:5432/"] = f"@127.0.0.1:{server.port}/"
        return server

    def _kafka(self, service):
        broker = Broker(service).start()
        self.places["kafka:9092"] = broker.brokers
        return broker

    def _nginx(self, service):
        nginx = Nginx([self.running[name] for name in service.depends_on], self.folder).start()
        self.places["nginx:80"] = f"127.0.0.1:{nginx.port}"
        return nginx

    def _tombolo(self, service):
        folder = self.folder / service.name
        folder.mkdir()
        return Tombolo(service, folder, self.places).start()

    def end(self):
        for service in reversed(self.running.values()):
            (service.destroy if hasattr(service, "destroy") else service.stop)()


@pytest.fixture
def deployed(tmp_path):
    made = []

    def deploy(name):
        made.append(Deployment(name, tmp_path))
        return made[-1].start()

    yield deploy
    for deployment in made:
        deployment.end()


def test_services_of_the_compose_file_bring_rows_from_postgres_to_the_replica(deployed, tmp_path):
    """Postgres, Kafka, the publisher, two nodes, nginx, a file."""
    running = deployed("docker-compose.yml")
    database, replica = running.database, running.running["replica"]
    replica.until_healthy()
    file = Replica(None, tmp_path / "replica" / "shop.db", [], url="nginx's", binary=program())
    file.process = replica.process

    def holds_everything():
        file.wait_for_rows("items", database.sql("SELECT id, name, price::text FROM items"))
        file.wait_for_rows("orders", database.sql("SELECT * FROM orders WHERE status <> 'sent'"))

    holds_everything()
    database.sql("UPDATE orders SET status = 'sent' WHERE id % 2 = 0")
    database.sql("DELETE FROM items WHERE id > 90")
    holds_everything()
    nodes = [running.running[name] for name in ("node1", "node2")]
    for node in nodes:  # the one that has the file, and the other one
        node.stop()
        database.sql("UPDATE items SET price = price + 1")
        holds_everything()
        node.start().until_healthy()


def test_bridge_for_other_peoples_tests_follows_tables_that_come_and_go(deployed):
    running = deployed("docker-compose.test.yml")
    bridge, database = running.running["tombolo"], running.database
    bridge.until_healthy()
    for n in range(3):
        database.sql(f"CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES ({n})")
        api = ShapeApi(bridge)
        wait_for(lambda: api.get(table="t", offset="-1").status == 200, what="the table")
        reader = ShapeReader(bridge, table="t").catch_up()
        database.sql(f"INSERT INTO t VALUES ({10 + n})")
        wait_for(lambda: len(reader.catch_up().rows()) == 2, what="its rows")
        assert api.get(method="DELETE", table="t").status == 202
        database.sql("DROP TABLE t")
