"""Kafka Connect with Debezium's JDBC sink: topics that others wrote, into tables of a database.

    worker = ConnectWorker(kafka, tmp_path)
    worker.jdbc_sink("items", database, "shop[.]public[.]items")
    worker.start()
    wait_for(lambda: database.sql("SELECT id FROM items") == [(1,)], 60, "the row to arrive")

One standalone worker, all of whose code no one here wrote: Connect's JSON converter with schemas,
Debezium's transforms and sink. Its jars come from Maven Central by connect_jars/pom.xml.
"""

from pathlib import Path

from .kafka import java
from .process import Process, environment
from .waiting import free_port

JARS = Path(__file__).resolve().parent / "connect_jars"
UNWRAP = {
    "transforms": "unwrap",
    "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
    "transforms.unwrap.delete.tombstone.handling.mode": "tombstone",
}


class ConnectWorker:
    """It is ended with the other processes of a test."""

    def __init__(self, kafka, folder):
        self.kafka, self.folder = kafka, Path(folder) / "connect"
        self.folder.mkdir()
        self.process = Process("connect", self.folder / "log")
        self.files = [self._write("worker", {
            "bootstrap.servers": self.kafka.brokers,
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "offset.storage.file.filename": self.folder / "offsets",
            "plugin.discovery": "service_load",
            "listeners": f"http://127.0.0.1:{free_port()}",
            "consumer.isolation.level": "read_committed",
            "consumer.auto.offset.reset": "earliest",
            "consumer.metadata.max.age.ms": "500",
        })]

    def jdbc_sink(self, name, database, topics, unwrap=False, **options):
        """`topics`: a regular expression of Java's; `options`: the connector's, _ for dots.

        Envelopes go to the table of source.table; unwrapped, rows go to that of the topic's name.
        """
        self.files.append(self._write(name, {
            "name": f"{self.folder.parent.name}-{name}",
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
            "collection.name.format": "${topic}" if unwrap else "${source.table}",
            **(UNWRAP if unwrap else {}),
            **{key.replace("_", "."): value for key, value in options.items()},
        }))

    def _write(self, name, settings):
        file = self.folder / f"{name}.properties"
        lines = (f"{key}={value}\n" for key, value in settings.items())
        file.write_text("".join(lines).replace("\\", "\\\\"))
        return file

    def start(self):
        self.process.start(java("org.apache.kafka.connect.cli.ConnectStandalone", *self.files,
                                wanted=JARS), environment())
        return self

    def assert_running(self):
        """A task that failed goes on doing nothing: its log says why."""
        failed = "Task is being killed" in self.process.log()
        assert self.process.alive and not failed, self.process.log_tail()
