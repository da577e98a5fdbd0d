"""Rarer trouble than test_server_trouble.py's: histories that look alike, slots and publications of
others, poolers, a database made anew, a crash on a full disk. What can go on goes on, what cannot is
fetched again, and what a person must put right is said in words that name it."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading

import pytest
from harness import Bridge, Database, Postgres, Refused, Replica, Stream, wait_for

SLOT = "tombolo_default"
ROWS = [(1, "one"), (2, "two")]


def make_table(database):
    database.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    database.sql("INSERT INTO t VALUES (1, 'one'), (2, 'two')")


def rows(database):
    return database.sql("SELECT * FROM t")


@pytest.fixture
def table(database):
    make_table(database)
    return database


@pytest.fixture
def server(own_postgres):
    make_table(own_postgres)
    return own_postgres


@pytest.fixture
def beside(tmp_path):
    """beside(database, name): a Bridge, not started; killed at the test's end."""
    made = []

    def make(database, name="bridge", **settings):
        settings = {"catalog_interval": "200ms", **settings}
        made.append(Bridge(database, data_dir=tmp_path / name, **settings))
        return made[-1]

    yield make
    for bridge in made:
        bridge.kill9()


@pytest.fixture
def follow(tmp_path):
    """follow(bridge): a live replica of t."""
    made = []

    def make(bridge, name="replica"):
        made.append(Replica(bridge, tmp_path / f"{name}.db", ["t"]).start())
        return made[-1]

    yield make
    for replica in made:
        replica.stop()


def says(bridge, *texts):
    """Until the bridge's log has all of these; it runs on and is not active."""
    bridge.process.wait_for(lambda: all(bridge.log_contains(text) for text in texts), 60,
                            f"it to say {texts}")
    assert bridge.health() == "starting"


# ---- the slot and the publication ---------------------------------------------------------------

def end_walsender(database):
    database.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                 " WHERE slot_name = %s AND active", SLOT)


def test_slot_dropped_while_the_bridge_was_down(table, beside, follow):
    bridge = beside(table).start()
    replica = follow(bridge)
    replica.wait_for_rows("t", ROWS)
    bridge.stop()
    table.sql("SELECT pg_drop_replication_slot(%s)", SLOT)
    table.sql("UPDATE t SET v = 'changed' WHERE id = 1")
    bridge.start()
    replica.wait_for_rows("t", rows(table), deadline=60)


def test_terminated_walsender_costs_nothing(table, beside, follow):
    bridge = beside(table).start()
    replica = follow(bridge)
    replica.wait_for_rows("t", ROWS)
    for n in range(3):
        end_walsender(table)
        table.sql("INSERT INTO t VALUES (%s, 'x')", 10 + n)
        replica.wait_for_rows("t", rows(table), deadline=60)
    assert not bridge.log_contains("fetched again")


def test_slot_of_another_kind_is_left_alone_and_named(table, beside):
    table.sql("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", SLOT)
    bridge = beside(table).start(wait=False)
    says(bridge, "is not ours", "test_decoding")
    assert table.value("SELECT plugin FROM pg_replication_slots WHERE slot_name = %s", SLOT) \
        == "test_decoding"
    bridge.stop()


def test_publication_that_leaves_out_deletes_is_refused_with_the_remedy(table, beside):
    table.sql("CREATE PUBLICATION tombolo_default WITH (publish = 'insert, update')")
    bridge = beside(table).start(wait=False)
    says(bridge, "does not publish all", "ALTER PUBLICATION tombolo_default SET (publish")
    table.sql("ALTER PUBLICATION tombolo_default SET (publish = 'insert, update, delete, truncate')")
    bridge.wait_until("active")
    bridge.stop()


# ---- another history ----------------------------------------------------------------------------

def test_older_copy_that_has_outgrown_what_was_received_is_noticed(server, beside, follow):
    """While the bridge is away the restored server writes more WAL than it had lost."""
    bridge = beside(server).start()
    replica = follow(bridge)
    replica.wait_for_rows("t", ROWS)
    bridge.stop()
    server.stop()
    copy = server.folder / "copy"
    subprocess.run(["cp", "-a", server.data, copy], check=True)
    server.start()
    bridge.start()
    server.sql("INSERT INTO t VALUES (21, 'lost by the restore')")
    replica.wait_for_rows("t", rows(server), deadline=60)
    bridge.kill9()
    server.stop("immediate")
    shutil.rmtree(server.data)
    copy.rename(server.data)
    server.start()
    server.sql("CREATE TABLE noise AS SELECT repeat('x', 500) FROM generate_series(1, 20000)")
    server.sql("INSERT INTO t VALUES (31, 'another history')")
    bridge.start()
    replica.wait_for_rows("t", [*ROWS, (31, "another history")], deadline=60)


def test_promotion_that_loses_nothing_ends_no_handle(server, beside, follow):
    """A new timeline that has all that was received: nothing is fetched again."""
    bridge = beside(server).start()
    replica = follow(bridge)
    replica.wait_for_rows("t", ROWS)
    handle = Stream(bridge, {"table": "t"}).read().shapes[0].handle
    bridge.stop()
    server.stop()
    signal_file = server.data / "standby.signal"
    signal_file.touch()
    if server.user:
        shutil.chown(signal_file, server.user)
    server.start()
    server.sql("SELECT pg_promote()")
    server.sql("INSERT INTO t VALUES (3, 'on the new timeline')")
    assert server.value("SELECT timeline_id FROM pg_control_checkpoint()") >= 1
    bridge.start()
    replica.wait_for_rows("t", rows(server), deadline=60)
    assert Stream(bridge, {"table": "t"}).read().shapes[0].handle == handle
    assert not bridge.log_contains("fetched again")


def test_database_dropped_and_made_anew_is_fetched_again(database, beside, follow):
    make_table(database)
    bridge = beside(database).start()
    replica = follow(bridge)
    replica.wait_for_rows("t", ROWS)
    database.drop()
    wait_for(lambda: bridge.health() != "active", 60, "the bridge to notice")
    database.server.sql(f"CREATE DATABASE {database.name} TEMPLATE template0")
    make_table(database)
    database.sql("DELETE FROM t WHERE id = 1")
    replica.wait_for_rows("t", [(2, "two")], deadline=60)


# ---- two bridges --------------------------------------------------------------------------------

def test_bridges_with_streams_of_their_own_do_not_meet(table, beside):
    bridges = [beside(table, name, stream_id=name).start() for name in ("blue", "green")]
    table.sql("INSERT INTO t VALUES (3, 'x')")
    for bridge in bridges:
        assert len(Stream(bridge, {"table": "t"}).read().rows()) == 3
        bridge.stop()


# ---- what the server or the role does not allow -------------------------------------------------

def test_no_free_slot_is_named_with_the_remedy(pg_version, beside):
    with Postgres(pg_version, {"max_replication_slots": "1"}) as server:
        server.sql("SELECT pg_create_logical_replication_slot('other', 'pgoutput')")
        bridge = beside(server).start(wait=False)
        says(bridge, "no replication slot is free", "max_replication_slots")
        server.sql("SELECT pg_drop_replication_slot('other')")
        bridge.wait_until("active")
        bridge.stop()


def test_role_that_may_not_create_is_told_what_to_grant(server, beside):
    server.sql("CREATE ROLE guest LOGIN REPLICATION")
    bridge = beside(server.main.as_role("guest")).start(wait=False)
    says(bridge, "could not create publication", "GRANT CREATE ON DATABASE")
    server.sql("CREATE PUBLICATION tombolo_default")  # or somebody else makes it
    bridge.wait_until("active")
    with pytest.raises(Refused) as refused:
        Stream(bridge, {"table": "t"}).read()
    assert refused.value.status == 503 and "lacks privileges to add it" in refused.value.body
    server.sql("ALTER PUBLICATION tombolo_default ADD TABLE t; GRANT SELECT ON t TO guest")
    assert len(Stream(bridge, {"table": "t"}).read().rows()) == 2
    bridge.stop()


def test_server_that_is_not_there_is_waited_for(server, beside):
    server.stop()
    bridge = beside(server).start(wait=False)
    says(bridge, "could not connect to Postgres")
    with pytest.raises(Refused) as refused:
        Stream(bridge, {"table": "t"}).read()
    assert refused.value.status == 503 and "connecting to Postgres" in refused.value.body
    server.start()
    bridge.wait_until("active")
    bridge.stop()


# ---- poolers ------------------------------------------------------------------------------------

class Pooler:
    """What poolers do with a connection that asks for replication: `refuse` says that it knows no
    such parameter, otherwise it is left out and the connection is an ordinary one."""

    def __init__(self, port, refuse):
        self.target, self.refuse = port, refuse
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError, struct.error):
            packet = self._startup(client)
            if b"replication\0database\0" in packet and self.refuse:
                text = b"SFATAL\0C08P01\0Munsupported startup parameter: replication\0\0"
                client.sendall(b"E" + struct.pack("!i", len(text) + 4) + text)
                return
            packet = packet.replace(b"replication\0database\0", b"")
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                server.sendall(struct.pack("!i", len(packet) + 4) + packet)
                back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
                back.start()
                self._pump(client, server)
                back.join()

    def _startup(self, client):
        """The startup packet; requests for TLS or GSS are declined before it."""
        while True:
            size, = struct.unpack("!i", client.recv(4, socket.MSG_WAITALL))
            packet = client.recv(size - 4, socket.MSG_WAITALL)
            if size > 8:
                return packet
            client.sendall(b"N")

    @staticmethod
    def _pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.close()


@pytest.mark.parametrize("refuse", [True, False], ids=["refuses", "ignores"])
def test_pooler_in_between_is_guessed_and_named(table, beside, refuse):
    pooler = Pooler(table.port, refuse)
    bridge = beside(Database(table.server, table.name, port=pooler.port)).start(wait=False)
    says(bridge, "pooler")
    bridge.stop()
    pooler.close()


# ---- stopping -----------------------------------------------------------------------------------

@pytest.mark.parametrize("holds, waiting", [
    ("INSERT INTO u VALUES (1)", "SELECT 1 FROM pg_publication_tables WHERE tablename = 'u'"),
    ("LOCK TABLE u", "SELECT 1 FROM pg_locks WHERE NOT granted"),
], ids=["for a writer", "in a query"])
def test_bridge_stops_at_once_whatever_it_waits_for(server, beside, holds, waiting):
    """A shape that waits, and a stream that has nothing to say."""
    bridge = beside(server, lock_timeout="60s", shutdown_timeout="60s").start()
    live = Stream(bridge, {"table": "t"}, live=True).open()
    live.read(lambda stream: stream.consistent)
    server.sql("CREATE TABLE u (id int PRIMARY KEY)")
    writer = server.connect(autocommit=False)
    writer.cursor().execute(holds)
    answers = []

    def ask():
        try:
            answers.append(Stream(bridge, {"table": "u"}).read())
        except Refused as refused:
            answers.append(refused)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    wait_for(lambda: server.sql(waiting), what="the shape to wait")
    bridge.stop()
    asker.join(60)
    assert answers and answers[0].status == 503 and "stopping" in answers[0].body
    writer.close()


# ---- disk full ----------------------------------------------------------------------------------

@contextlib.contextmanager
def small_disk(folder, megabytes):
    """A file system of so many megabytes."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    folder.mkdir()
    subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "none",
                    folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*sudo, "umount", "--lazy", folder], check=True)


def test_bridge_killed_on_a_full_disk_loses_nothing(table, beside, follow, tmp_path):
    with small_disk(tmp_path / "disk", megabytes=12) as disk:
        ballast = disk / "ballast"
        bridge = beside(table, "disk/bridge", segment_size="1MB")
        bridge.process.log_path = tmp_path / "bridge.log"
        bridge.start()
        replica = follow(bridge)
        replica.wait_for_rows("t", ROWS)
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        table.sql("INSERT INTO t SELECT g, repeat(md5(g::text), 30) FROM generate_series(100, 2099) g")
        bridge.process.wait_for(lambda: bridge.log_contains("No space left on device"), 60,
                                "the disk to be full")
        bridge.kill9()
        ballast.unlink()
        table.sql("DELETE FROM t WHERE id = 1")
        bridge.start()
        replica.wait_for_rows("t", rows(table), deadline=60)
        replica.stop()
        bridge.stop()


def test_row_larger_than_any_limit_is_not_lost(table, beside, follow):
    bridge = beside(table).start()
    replica = follow(bridge)
    replica.wait_for_rows("t", ROWS)
    table.sql("INSERT INTO t VALUES (3, repeat('x', 20000000))")
    replica.wait_for_rows("t", rows(table), deadline=60)
    bridge.stop()
