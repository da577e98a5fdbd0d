"""A Postgres server of our own in a temporary folder, and the databases in it.

Trust authentication on a unix socket and on 127.0.0.1, a free port, wal_level = logical. fsync is
off unless asked for: kill -9 ends processes, not the kernel, so nothing that the tests do needs it.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg2

from . import postgres_builds
from .process import ROOT, Process, as_user, children, runs
from .waiting import free_port, wait_for

STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class Database:
    """One database of a server. `url` and `conninfo` are for programs, `sql()` for tests."""

    def __init__(self, server, name, host="127.0.0.1", port=None, user="postgres"):
        self.server, self.name, self.user = server, name, user
        self.host, self.port = host, port or server.port

    @property
    def conninfo(self):
        return f"host={self.host} port={self.port} dbname={self.name} user={self.user}"

    @property
    def url(self):
        return f"postgresql://{self.user}@{self.host}:{self.port}/{self.name}"

    def through(self, proxy):
        """The same database as it is seen through a Proxy."""
        return Database(self.server, self.name, proxy.host, proxy.port, self.user)

    def as_role(self, user):
        """The same database for another role, which must exist."""
        return Database(self.server, self.name, self.host, self.port, user)

    def connect(self, autocommit=True, **options):
        """A psycopg2 connection; the caller closes it."""
        connection = psycopg2.connect(self.conninfo, **options)
        connection.autocommit = autocommit
        return connection

    def sql(self, query, *params):
        """Runs it on a connection of its own; the rows, or None where there are none to have.

        Several statements separated by semicolons are one transaction. Without params, % is %.
        """
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query, params or None)
            return cursor.fetchall() if cursor.description else None

    def value(self, query, *params):
        """The one value that a query of one row and one column gives."""
        ((value,),) = self.sql(query, *params)
        return value

    def drop(self):
        """Drops it with its replication slots, whoever is connected."""
        main = self.server.main
        mine = "FROM pg_replication_slots WHERE database = %s"

        def released():
            main.sql(f"SELECT pg_terminate_backend(active_pid) {mine} AND active", self.name)
            return not main.value(f"SELECT count(*) {mine} AND active", self.name)

        # Whoever comes back at once would make his slot anew in between.
        main.sql("UPDATE pg_database SET datallowconn = false WHERE datname = %s", self.name)
        wait_for(released, 60, f"the slots of {self.name} to be let go")
        main.sql(f"SELECT pg_drop_replication_slot(slot_name) {mine}", self.name)
        main.sql(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


class Postgres:
    """One server. `settings` are lines of postgresql.conf: {"max_slot_wal_keep_size": "1MB"}.

    The servers of a version are copies of what initdb made once, which takes a second each time: the
    same database system, but for one that is `another_system`.
    """

    def __init__(self, version=None, settings=None, fsync=False, another_system=False):
        self.build = postgres_builds.find(version)
        self.version = self.build.version
        self.user = postgres_builds.server_user()
        self.port = free_port()
        # /tmp and a short name: a unix socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="tombolo-pg-", dir="/tmp"))
        self.data = self.folder / "data"
        self.process = Process(f"postgres {self.version}", self.folder / "log")
        self.main = Database(self, "postgres")
        if self.user:
            shutil.chown(self.folder, self.user)
        try:
            if another_system:
                self._initdb()
            else:
                self._copy()
            self._configure(settings or {}, fsync)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _copy(self):
        initdb = self.build.bin / "initdb"
        made = ROOT / "build" / "postgres" / f"{self.version}-{int(initdb.stat().st_mtime)}"
        made.parent.mkdir(parents=True, exist_ok=True)
        with open(made.parent / "lock", "w") as lock:  # two runs at once: the second finds it made
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                self._initdb()
                half = made.with_suffix(".half")
                shutil.rmtree(half, ignore_errors=True)
                subprocess.run(["cp", "-a", self.data, half], check=True)
                half.rename(made)
                return
        subprocess.run(["cp", "-a", "--reflink=auto", made, self.data], check=True)

    def _initdb(self):
        argv = [self.build.bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust",
                "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        done = subprocess.run(as_user(self.user, argv), env=self.build.environment(), check=False,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"initdb of {self.version} failed: {done.stderr}"

    def _configure(self, settings, fsync):
        values = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "wal_level": "logical",
            "max_wal_senders": 20,
            "max_replication_slots": 20,
            "fsync": "on" if fsync else "off",
            "timezone": "UTC",
            "lc_messages": "C",
            "log_line_prefix": "%m [%p] %q%u@%d ",
            **settings,
        }
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            for name, value in values.items():
                conf.write(f"{name} = '{value}'\n")

    @property
    def url(self):
        return self.main.url

    @property
    def conninfo(self):
        return self.main.conninfo

    def connect(self, **options):
        return self.main.connect(**options)

    def sql(self, query, *params):
        return self.main.sql(query, *params)

    def value(self, query, *params):
        return self.main.value(query, *params)

    def create_database(self, name):
        # By files: the other way every slot of the server would have 4 MB of WAL to read.
        by = " STRATEGY file_copy" if self.version >= 15 else ""
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE template0{by}')
        return Database(self, name)

    def start(self, deadline=60.0):
        """Starts it and waits until it takes connections, after a crash too."""
        self.process.start([self.build.bin / "postgres", "-D", self.data],
                           self.build.environment(), self.user, death_signal="QUIT")
        self.process.wait_for(self._answers, deadline, f"postgres {self.version} to start")
        return self

    def _answers(self):
        try:
            self.sql("SELECT 1")
            return True
        except psycopg2.OperationalError:  # not yet listening, starting up, recovering
            return False

    def stop(self, mode="fast", deadline=60.0):
        """`mode` as pg_ctl's: smart, fast or immediate."""
        self.process.stop(deadline, STOP_SIGNALS[mode])

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def kill9(self):
        """Every process of the server at once, as a crash of the machine would end them.

        The postmaster is frozen first, so that it starts no more of them, and all are gone
        when this returns: what is left of one would keep the next start from its memory.
        """
        if not self.process.alive:
            return
        self.process.send_signal(signal.SIGSTOP)
        backends = children(self.process.pid)
        self.process.kill9()
        for pid in backends:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(runs, backends)), 60, "the server's processes to be gone")

    def destroy(self):
        """Ends it and removes its folder."""
        self.process.stop(60.0, signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.destroy()
