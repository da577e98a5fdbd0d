"""Kafka Connect with Debezium's JDBC sink: topics that others wrote, into tables of a database.

    sink = JdbcSink(kafka, database, tmp_path, topics="shop[.]public[.].*").start()
    wait_for(lambda: database.sql("SELECT id FROM items") == [(1,)], 60, "the row to arrive")

One standalone worker with one connector, of code that no one here wrote: Connect's JSON converter
with schemas, Debezium's JDBC sink. Its jars come from Maven Central by connect_jars/pom.xml.
"""

from pathlib import Path

from .kafka import java
from .process import Process, environment
from .waiting import free_port

JARS = Path(__file__).resolve().parent / "connect_jars"


class JdbcSink:
    """`topics` is a regular expression of Java's; `options` are the connector's own, _ for dots."""

    def __init__(self, kafka, database, folder, topics, **options):
        self.kafka, self.database = kafka, database
        self.folder = Path(folder) / "connect"
        self.process = Process("connect", self.folder / "log")
        self.settings = {
            "name": "sink",
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
            "tasks.max": "1",
            "topics.regex": topics,
            "connection.url": f"jdbc:postgresql://{database.host}:{database.port}/{database.name}",
            "connection.username": database.user,
            "connection.password": "none",
            "insert.mode": "upsert",
            "delete.enabled": "true",
            "primary.key.mode": "record_key",
            "schema.evolution": "none",
            "collection.name.format": "${source.table}",
            **{name.replace("_", "."): value for name, value in options.items()},
        }

    def _worker(self):
        return {
            "bootstrap.servers": self.kafka.brokers,
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "offset.storage.file.filename": self.folder / "offsets",
            "plugin.discovery": "service_load",
            "listeners": f"http://127.0.0.1:{free_port()}",
            "consumer.isolation.level": "read_committed",
            "consumer.auto.offset.reset": "earliest",
            "consumer.metadata.max.age.ms": "500",
        }

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        files = []
        for name, settings in (("worker", self._worker()), ("sink", self.settings)):
            files.append(self.folder / f"{name}.properties")
            lines = (f"{key}={value}\n" for key, value in settings.items())
            files[-1].write_text("".join(lines).replace("\\", "\\\\"))
        self.process.start(java("org.apache.kafka.connect.cli.ConnectStandalone", *files,
                                wanted=JARS), environment())
        return self

    def assert_running(self):
        """A task that failed goes on doing nothing: its log says why."""
        log = self.process.log_tail()
        assert self.process.alive and "Task is being killed" not in log, log

    def stop(self):
        self.process.kill9()
