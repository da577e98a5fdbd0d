#!/usr/bin/env python3
"""Compares the files of a deployment with the program and with each other, a line for each mistake:
names, ports, paths, flags and variables in Dockerfile, docker-compose*.yml and docs/nginx.conf.

    tests/lint_deployment.py build/tombolo [FOLDER OF THE FILES]
"""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from harness import compose

COMPOSE = ("docker-compose.yml", "docker-compose.test.yml")
OUR_IMAGE = "tombolo:local"
PINNED = re.compile(r"[a-z0-9/-]+:\d+\.\d+(\.\d+)?(-[a-z]+)?")
POSTGRES_PORT, NGINX_PORT = 5432, 80
SETTING = re.compile(r"\b(?:TOMBOLO_[A-Z_]+|DATABASE_URL)\b")
URL = re.compile(r"\b(?:https?|postgresql|kafka)://[^\s\"']+")
# What other programs' images are set up with, as their manuals have it.
OTHERS = {"postgres": re.compile("POSTGRES_(DB|PASSWORD|USER)"),
          "apache/kafka": re.compile("CLUSTER_ID|KAFKA_[A-Z_]+"), "nginx": re.compile("(?!)")}


def has_check(service):
    return service is not None and (service.healthcheck or service.build)


class Lint:
    def __init__(self, program, folder):
        self.program, self.folder = program, Path(folder)
        self.mistakes = []
        self.where = ""

    def check(self, holds, what):
        if not holds:
            self.mistakes.append(f"{self.where}: {what}")

    def help(self, *arguments):
        done = subprocess.run([self.program, *arguments, "--help"], check=False, text=True,
                              capture_output=True, timeout=60)
        self.check(done.returncode == 0, f"tombolo {' '.join(arguments)} --help fails")
        return done.stdout

    def run(self):
        self.serve_names = set(re.findall(SETTING, self.help("serve")))
        self.stages = compose.stages(self.folder / "Dockerfile")
        self.dockerfile()
        nginx = (self.folder / "docs" / "nginx.conf").read_text(encoding="utf-8")
        for name in COMPOSE:
            self.where = name
            self.compose(compose.load(self.folder / name), nginx)
        return self.mistakes

    # ---- the image -------------------------------------------------------------------------------

    def dockerfile(self):
        self.where = "Dockerfile"
        build, final = self.stages
        self.check(build.image == final.image, "its stages have different Debians")
        for stage in self.stages:
            self.check(PINNED.fullmatch(stage.image), f"{stage.image} is not a version")
        wanted = (self.folder / "dev").read_text(encoding="utf-8")
        wanted = re.search(r"^BUILD_PACKAGES=\(([^)]*)\)", wanted, re.MULTILINE)[1].split()
        given = [package for run in build.all("RUN") for package in compose.apt_packages(run)]
        self.check(set(given) == set(wanted), "not the packages of BUILD_PACKAGES in ./dev: "
                   f"{sorted(set(given) ^ set(wanted))}")
        self.copies(build)
        user = final.only("USER")
        self.check(user not in ("root", "0"), "it runs as root")
        self.check(any(f"--uid {user} " in run for run in final.all("RUN")), f"who is user {user}?")
        state = final.environment()["TOMBOLO_DATA_DIR"]
        self.check(Path(final.only("VOLUME")) in Path(state).parents, f"{state} is in no volume")
        self.variables(final.environment())
        self.check(final.words("ENTRYPOINT") == ["tombolo"], "its program is not tombolo")
        self.words(final.words("CMD"))
        self.port = int(final.only("EXPOSE"))
        listen = final.environment()["TOMBOLO_LISTEN"]
        self.check(listen == f"0.0.0.0:{self.port}", f"it listens at {listen}, exposes {self.port}")
        check = final.only("HEALTHCHECK")
        self.health(re.findall(r'"([^"]*)"', check[check.index("CMD"):]))

    def copies(self, build):
        copied = {word for text in build.all("COPY") for word in text.split()[:-1]}
        for name in copied:
            self.check((self.folder / name).exists(), f"there is no {name} to copy")
        ignored = (self.folder / ".dockerignore").read_text(encoding="utf-8").split()
        self.check(not copied & set(ignored), f".dockerignore leaves out {copied & set(ignored)}")
        lists = (self.folder / "CMakeLists.txt").read_text(encoding="utf-8")
        rooms = set(re.findall(r"^\s*(?:room|add_subdirectory)\((\w+)", lists, re.MULTILINE))
        rooms.discard("tests")
        self.check(rooms <= copied, f"sources that are not copied: {sorted(rooms - copied)}")

    # ---- a service -------------------------------------------------------------------------------

    def variables(self, environment):
        for name in environment:
            self.check(name in self.serve_names or name.startswith("TOMBOLO_KAFKA_PROPERTY_"),
                       f"tombolo serve has no {name}")

    def words(self, command):
        """A command line of tombolo's."""
        subcommand, *rest = command
        text = self.help(subcommand)
        for flag in rest:
            if flag.startswith("--"):
                self.check(re.search(rf"(^|\s){re.escape(flag)}\b", text, re.MULTILINE),
                           f"tombolo {subcommand} has no {flag}")

    def health(self, command):
        self.check(command[:2] == ["tombolo", "status"], f"a health check by {command[0]}")
        self.words(command[1:])
        address = urlsplit(command[2])
        if address.scheme:
            self.check((address.hostname, address.port) == ("127.0.0.1", self.port),
                       f"its health is asked at {command[2]}")

    def compose(self, file, nginx):
        named = {source for service in file.services.values() for source, _ in service.volumes
                 if not source.startswith(".")}
        self.check(named == file.volumes,
                   f"volumes without a use or a declaration: {named ^ file.volumes}")
        for name, service in file.services.items():
            self.where = f"{self.where.split(':')[0]}: {name}"
            for other, condition in service.depends_on.items():
                self.check(other in file.services, f"it waits for {other}, which is not there")
                self.check(condition == "service_started" or has_check(file.services.get(other)),
                           f"it waits for {other}'s health, which nobody asks for")
            for source, _ in service.volumes:
                self.check(not source.startswith(".") or (self.folder / source).is_file(),
                           f"there is no {source}")
            self.addresses(service, file.services)
            if service.build:
                self.ours(service)
            else:
                self.theirs(service)
            if service.image.startswith("nginx:"):
                self.nginx(service, nginx)

    def ours(self, service):
        final = self.stages[-1]
        self.check(service.image == OUR_IMAGE, f"{service.image} is not {OUR_IMAGE}")
        self.check((self.folder / service.build / "Dockerfile").is_file(), "it has no Dockerfile")
        for _, target in service.volumes:
            self.check(target == final.only("VOLUME"), f"{target} is not the image's volume")
        for _, target in service.ports:
            self.check(int(target) == self.port, f"nobody listens at {target}")
        command = service.command or final.words("CMD")
        self.words(command)
        if command[0] == "serve":
            self.variables(service.environment)
        else:
            for name in service.environment:
                self.check(name in self.help(command[0]), f"tombolo {command[0]} has no {name}")
        if service.healthcheck:
            self.health(service.healthcheck)

    def theirs(self, service):
        self.check(PINNED.fullmatch(service.image), f"{service.image} is not a version")
        known = OTHERS[service.image.split(":")[0]]
        for name in service.environment:
            self.check(known.fullmatch(name), f"{service.image} has no {name}")

    def nginx(self, service, text):
        [listen] = re.findall(r"^\s*listen (\d+);", text, re.MULTILINE)
        for _, target in service.ports:
            self.check(target == listen, f"nginx.conf listens at {listen}, not {target}")
        nodes = set(re.findall(r"^\s*server (\w+:\d+);", text, re.MULTILINE))
        wanted = {f"{name}:{self.port}" for name in service.depends_on}
        self.check(nodes == wanted, f"nginx.conf's servers are not {sorted(wanted)}")
        cache = Path(re.search(r"^proxy_cache_path (\S+)", text, re.MULTILINE)[1])
        self.check(any(Path(target) in cache.parents for _, target in service.volumes),
                   f"{cache} is in no volume")

    def addresses(self, service, services):
        """Whoever is named in a URL or a list of brokers is there, and listens there."""
        texts = [*service.command, *service.environment.values()]
        places = [(urlsplit(url).hostname, urlsplit(url).port or 80) for text in texts
                  for url in URL.findall(text)]
        brokers = service.environment.get("TOMBOLO_KAFKA_BROKERS", "")
        places += [(host, int(port)) for host, port in re.findall(r"([\w.-]+):(\d+)", brokers)]
        if service.image.startswith("apache/kafka:"):
            for name in ("KAFKA_ADVERTISED_LISTENERS", "KAFKA_CONTROLLER_QUORUM_VOTERS"):
                found = re.findall(r"[/@](\w+):(\d+)", service.environment[name])
                places += [(host, int(port)) for host, port in found]
        for host, port in places:
            if host in ("127.0.0.1", None):
                continue
            if host not in services:
                self.check(False, f"there is no service {host}")
            elif port not in self.listens(services[host]):
                self.check(False, f"{host} does not listen at {port}")

    def listens(self, service):
        if service.build:
            return {self.port}
        if service.image.startswith("apache/kafka:"):
            return set(map(int, re.findall(r":(\d+)", service.environment["KAFKA_LISTENERS"])))
        return {POSTGRES_PORT} if service.image.startswith("postgres:") else {NGINX_PORT}


def main():
    program, *rest = sys.argv[1:]
    mistakes = Lint(Path(program).resolve(), rest[0] if rest else ROOT).run()
    print("\n".join(mistakes), end="\n" if mistakes else "")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
