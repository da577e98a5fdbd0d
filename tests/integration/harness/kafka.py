"""A real Kafka broker in a temporary folder, and what is written to and read from it.

    with Kafka() as kafka:
        kafka.create_topic("shop.stream", partitions=1)
        kafka.produce("shop.stream", "value", key="7", headers={"epoch": "1"})
        assert kafka.consume("shop.stream")[0].key == b"7"

One node (KRaft, broker and controller in one) on free ports of 127.0.0.1. Its jars come from
Maven Central by kafka_jars/pom.xml, once, into build/kafka, and are compared with the checksums
beside it. Records are written and read with kcat, a program that knows nothing of ours.

Where $KAFKA_BROKERS names a cluster (host:port,...), that one is used: it is neither started nor
ended, and a test that would end it fails. A SecureKafka is always our own.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from .process import ROOT, Process, environment
from .waiting import free_port, wait_for

JARS = Path(__file__).resolve().parent / "kafka_jars"
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
CLUSTER_ID = "dG9tYm9sbyB0ZXN0cwAAAA"  # any 16 bytes, as Kafka writes them
HEAP = "-Xmx256m"
END_OF_KEY, END_OF_RECORD = "\x1f", "\x1e"  # on kcat's input
# What comes before a record's bytes, so that these may be anything.
RECORD_HEAD = re.compile(rb"(\d+) (\d+) (-?\d+) (-?\d+) \{(.*)\}\n")
HEADER = re.compile(r"(?:^|,)([\w.-]+)=(.*?)(?=,[\w.-]+=|$)", re.DOTALL)


@dataclass(frozen=True)
class Record:
    """One record as kcat shows it; a tombstone's value is None."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict = field(default_factory=dict)


def jars(wanted=JARS):
    """The folder with the jars that wanted/pom.xml names, fetched when it has to be."""
    sums = (wanted / "sha256").read_bytes()
    cache = ROOT / "build" / "kafka"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / hashlib.sha256(sums).hexdigest()[:16]
    with open(cache / "lock", "w") as lock:  # two runs at once: the second finds it done
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch(wanted, folder)
    return folder


def _fetch(wanted, folder):
    assert shutil.which("mvn"), "Kafka's jars come from Maven Central: install the package maven"
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", wanted / "pom.xml", COPY_JARS, "-DincludeScope=runtime",
             f"-DoutputDirectory={work}/jars"],
            check=False, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"could not fetch Kafka: {done.stdout}{done.stderr}"
        compared = subprocess.run(["sha256sum", "--quiet", "-c", wanted / "sha256"], check=False,
                                  cwd=f"{work}/jars", capture_output=True, text=True)
        assert compared.returncode == 0, f"not the jars that were expected: {compared.stdout}"
        Path(work, "jars").rename(folder)


def java(*arguments, wanted=JARS):
    """The command line of one of Kafka's programs."""
    assert shutil.which("java"), "Kafka runs on Java: install the package default-jre-headless"
    return ["java", HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars(wanted)}/*", *arguments]


def _records(output):
    """What kcat printed in the format of consume()."""
    at = 0
    while at < len(output):
        head = RECORD_HEAD.match(output, at)
        assert head, f"kcat printed {output[at:at + 200]!r}"
        partition, offset, key_size, value_size = map(int, head.groups()[:4])
        key_end = head.end() + max(key_size, 0)
        value_end = key_end + max(value_size, 0)
        yield Record(partition, offset,
                     output[head.end():key_end] if key_size >= 0 else None,
                     output[key_end:value_end] if value_size >= 0 else None,
                     dict(HEADER.findall(head[5].decode())))
        at = value_end + 1


class Kafka:
    """One broker. `settings` are lines of server.properties: {"message.max.bytes": 100000}."""

    def __init__(self, settings=None):
        self.brokers = os.environ.get("KAFKA_BROKERS")
        self.process = None
        if self.brokers:
            assert not settings, "a test with settings of its own needs a broker of its own"
            return
        self._make(settings or {})

    def _make(self, settings):
        self.folder = Path(tempfile.mkdtemp(prefix="tombolo-kafka-", dir="/tmp"))
        self.process = Process("kafka", self.folder / "log")
        self.port, self.controller_port = free_port(), free_port()
        self.brokers = f"127.0.0.1:{self.port}"
        try:
            self._configure(settings)
            self._format()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def config(self):
        return self.folder / "server.properties"

    def _configure(self, settings):
        replicated = ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"]
        values = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"CLIENT://{self.brokers},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"CLIENT://{self.brokers}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENT",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.folder / "data",
            "group.initial.rebalance.delay.ms": 0,
            **{f"{topic}.replication.factor": 1 for topic in replicated},
            **{f"{topic}.min.isr": 1 for topic in replicated[1:]},
            **{f"{topic}.num.partitions": 1 for topic in replicated},
            **settings,
        }
        self.config.write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def _format(self):
        argv = java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", self.config)
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"could not format Kafka's folder: {done.stdout}{done.stderr}"

    def start(self, deadline=120.0):
        """Starts it and waits until it answers, after a crash too."""
        if self.process:
            self.process.start(java("kafka.Kafka", self.config), environment())
            self.process.wait_for(self._answers, deadline, "kafka to start")
        else:
            wait_for(self._answers, deadline, f"an answer of {self.brokers}")
        return self

    def _answers(self):
        return self._kcat("-L", "-m", "1", check=False).returncode == 0

    def stop(self, deadline=60.0):
        self._own().stop(deadline)

    def kill9(self):
        self._own().kill9()

    def restart(self):
        self.stop()
        return self.start()

    def _own(self):
        assert self.process, f"{self.brokers} is not ours to end: unset KAFKA_BROKERS"
        return self.process

    def destroy(self):
        """Ends it and removes its folder."""
        if self.process:
            self.process.kill9()
            shutil.rmtree(self.folder)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.destroy()

    # ---- topics ------------------------------------------------------------------------------

    def create_topic(self, name, partitions=1, **config):
        """`config`: the topic's own settings, with _ for . in their names."""
        options = [f"{key.replace('_', '.')}={value}" for key, value in config.items()]
        self._topics("--create", "--topic", name, "--partitions", str(partitions),
                     "--replication-factor", "1",
                     *(word for option in options for word in ("--config", option)))

    def set_topic(self, name, **config):
        """Changes its settings, with _ for . in their names."""
        self._configs("topics", name,
                      ",".join(f"{key.replace('_', '.')}={value}" for key, value in config.items()))

    def delete_topic(self, name, wait=True):
        """`wait` until it is gone, unless somebody may make it anew."""
        self._topics("--delete", "--topic", name)
        if wait:
            wait_for(lambda: name not in self.topics(), 60, f"{name} to be gone")

    def delete_records(self, topic, before):
        """As retention does it: what is before this offset of partition 0 is gone."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"version": 1, "partitions": [
                {"topic": topic, "partition": 0, "offset": before}]}, file)
            file.flush()
            self._tool("DeleteRecordsCommand", "--offset-json-file", file.name)

    def topics(self):
        """The topics' names, without Kafka's own."""
        return {name for name in self._topics("--list").split() if not name.startswith("__")}

    def _topics(self, *arguments):
        return self._tool("TopicCommand", *arguments)

    def _configs(self, kind, name, settings):
        self._tool("kafka.admin.ConfigCommand", "--alter", "--entity-type", kind, "--entity-name",
                   name, "--add-config", settings)

    def _tool(self, name, *arguments, stdin=""):
        name = name if "." in name else f"org.apache.kafka.tools.{name}"
        argv = java(name, "--bootstrap-server", self.brokers, *arguments)
        done = subprocess.run(argv, input=stdin, check=False, capture_output=True, text=True,
                              timeout=120)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def has_topic(self, name):
        """Without starting a program of Java's, and without making the topic."""
        said = self._kcat("-L", "-t", name, "-X", "allow.auto.create.topics=false").stdout
        return b"0 partitions" not in said and b"Unknown topic" not in said

    # ---- records -----------------------------------------------------------------------------

    def end_offset(self, topic, partition=0):
        """How many records it has had; 0 of one that is not there."""
        if not self.has_topic(topic):
            return 0
        return int(self._kcat("-Q", "-t", f"{topic}:{partition}:-1").stdout.split()[-1])

    def produce(self, topic, value, key=None, headers=None, partition=None):
        """Writes one record of text and returns when it is acknowledged.

        A value of None is a tombstone; without a key the value must not be empty: kcat passes
        over such a line.
        """
        options = ["-Z"] if value is None else []
        if key is not None:
            options += ["-K", END_OF_KEY]
        if partition is not None:
            options += ["-p", str(partition)]
        for name, text in (headers or {}).items():
            options += ["-H", f"{name}={text}"]
        record = value or ""
        if key is not None:
            record = key + END_OF_KEY + record
        self._kcat("-P", "-t", topic, "-D", END_OF_RECORD, *options,
                   stdin=f"{record}{END_OF_RECORD}".encode())

    def produce_by_java(self, topic, keys):
        """Kafka's own producer writes a record of each key."""
        self._tool("ConsoleProducer", "--topic", topic, "--property", "parse.key=true",
                   "--property", f"key.separator={END_OF_KEY}",
                   stdin="".join(f"{key}{END_OF_KEY}value\n" for key in keys))

    def produce_bytes(self, topic, value, headers):
        """Writes one record of any bytes, without a key, to partition 0."""
        options = [f"-H{name}={text}" for name, text in headers.items()]
        with tempfile.NamedTemporaryFile(prefix="tombolo-record-") as file:
            file.write(value)
            file.flush()
            self._kcat("-P", "-t", topic, "-p", "0", *options, file.name)

    def consume(self, topic, offset="beginning", partition=None, **properties):
        """The records from `offset` (a number; -N: the last N) to the end, read-committed.

        `properties` are librdkafka's, with _ for . in their names.
        """
        options = [] if partition is None else ["-p", str(partition)]
        for name, value in properties.items():
            options += ["-X", f"{name.replace('_', '.')}={value}"]
        done = self._kcat("-C", "-t", topic, "-o", str(offset), "-e", "-q", *options,
                          "-f", "%p %o %K %S {%h}\\n%k%s\\n")
        return list(_records(done.stdout))

    def _kcat(self, *arguments, stdin=b"", check=True):
        """A topic that was made this moment may have no leader yet."""
        assert shutil.which("kcat"), "the tests read Kafka with kcat: install the package kcat"
        for _ in range(100):
            done = subprocess.run(["kcat", "-b", self.brokers, *arguments], input=stdin,
                                  check=False, capture_output=True, timeout=60)
            if not re.search(b"Not leader|[Ll]eader not available", done.stderr):
                break
            time.sleep(0.1)
        assert not check or done.returncode == 0, f"kcat {arguments}: {done.stderr.decode()}"
        return done


def make_certificate(folder, name):
    """folder/name.pem with folder/name.key beside it: of 127.0.0.1, and its own authority."""
    assert shutil.which("openssl"), "certificates are made with openssl: install the package"
    certificate = folder / f"{name}.pem"
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
         certificate.with_suffix(".key"), "-out", certificate],
        check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"no certificate: {done.stderr}"
    return certificate


class SecureKafka(Kafka):
    """A broker with a second listener, SASL_SSL with PLAIN, for the user `user`, and with SCRAM for
    those that add_scram_user() makes.

    What comes to `brokers` is trusted, as kcat in the tests; a program that is tested goes to
    `secure_brokers`. Its certificate is the one of `authority`; `stranger` is another one.
    """

    user, password = "tombolo", "s3same-open-7f"

    def __init__(self):
        self._make({})

    def _configure(self, settings):
        self.secure_brokers = f"127.0.0.1:{free_port()}"
        self.authority = make_certificate(self.folder, "broker")
        self.stranger = make_certificate(self.folder, "stranger")
        identity = self.folder / "identity.pem"
        identity.write_text(self.authority.with_suffix(".key").read_text()
                            + self.authority.read_text())
        controller = f"CONTROLLER://127.0.0.1:{self.controller_port}"
        secure = "listener.name.secure"
        super()._configure({
            "listeners": f"CLIENT://{self.brokers},SECURE://{self.secure_brokers},{controller}",
            "advertised.listeners": f"CLIENT://{self.brokers},SECURE://{self.secure_brokers}",
            "listener.security.protocol.map":
                "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
            f"{secure}.ssl.keystore.type": "PEM",
            f"{secure}.ssl.keystore.location": identity,
            f"{secure}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            f"{secure}.scram-sha-256.sasl.jaas.config":
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            f"{secure}.plain.sasl.jaas.config":
                "org.apache.kafka.common.security.plain.PlainLoginModule required "
                f'user_{self.user}="{self.password}";',
            **settings,
        })

    def add_scram_user(self, user, password):
        self._configs("users", user, f"SCRAM-SHA-256=[password={password}]")
