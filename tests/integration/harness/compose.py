"""The files of a deployment, read as an engine reads them: docker-compose*.yml and the Dockerfile.

No engine runs where the tests do. tests/lint_deployment.py compares what these say with the
program, test_deployment.py runs it without containers.
"""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import yaml

VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


@dataclass
class Service:
    """One service of a compose file, with its defaults; `environment` is text throughout."""

    name: str
    image: str
    build: str | None
    command: list
    environment: dict
    volumes: list  # (source, target)
    ports: list  # (published, target)
    healthcheck: list | None  # its command
    depends_on: dict  # service: condition
    tmpfs: list


@dataclass
class Compose:
    services: dict
    volumes: set  # those that are declared


def load(path):
    tree = yaml.safe_load(VARIABLE.sub(lambda m: m[2], Path(path).read_text(encoding="utf-8")))
    services = {name: _service(name, given) for name, given in tree["services"].items()}
    return Compose(services, set(tree.get("volumes") or ()))


def _service(name, given):
    known = {"image", "build", "command", "environment", "volumes", "ports", "healthcheck",
             "depends_on", "tmpfs", "restart"}
    assert set(given) <= known, f"{name}: nothing here knows {sorted(set(given) - known)}"
    test = given.get("healthcheck", {}).get("test")
    assert test is None or test[0] == "CMD", f"{name}: a health check that is not [CMD, ...]"
    return Service(
        name, given["image"], given.get("build"), [str(word) for word in given.get("command", [])],
        {key: str(value) for key, value in given.get("environment", {}).items()},
        [tuple(volume.split(":")[:2]) for volume in given.get("volumes", [])],
        [tuple(port.rsplit(":", 2)[-2:]) for port in given.get("ports", [])],
        test[1:] if test else None,
        {other: how["condition"] for other, how in given.get("depends_on", {}).items()},
        given.get("tmpfs", []))


@dataclass
class Stage:
    """FROM and what follows it: (instruction, its text) in order."""

    image: str
    steps: list = field(default_factory=list)

    def all(self, instruction):
        return [text for name, text in self.steps if name == instruction]

    def only(self, instruction):
        """The text of an instruction that must be there once."""
        found = self.all(instruction)
        assert len(found) == 1, f"{len(found)} times {instruction}"
        return found[0]

    def words(self, instruction):
        """The same of one that is given as a list."""
        return json.loads(self.only(instruction))

    def environment(self):
        return dict(word.split("=", 1) for text in self.all("ENV") for word in shlex.split(text))


def stages(path):
    """A Dockerfile's stages."""
    text = re.sub(r"^\s*#.*\n", "", Path(path).read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = []
    for line in filter(None, re.sub(r"\\\n", " ", text).splitlines()):
        instruction, rest = line.split(None, 1)
        if instruction == "FROM":
            found.append(Stage(rest.split()[0]))
        else:
            found[-1].steps.append((instruction, " ".join(rest.split())))
    return found


def apt_packages(run):
    """What a RUN instruction installs by name."""
    found = re.search(r"apt-get install -y --no-install-recommends ([^&|]*)", run)
    return found[1].split() if found else []
