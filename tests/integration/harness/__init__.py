"""Whole programs as objects with verbs: what the integration tests and the demo are made of.

    with Postgres() as server:
        db = server.create_database("shop")
        bridge = Bridge(db, data_dir=folder / "bridge").start()
        replica = Replica(bridge, folder / "replica.db", ["orders where owner = 7"]).start()
        replica.wait_for_rows("orders", [(1, 7)])

Everything that waits does so with wait_for(): a condition, a deadline, and words for what it
waits for. Nothing sleeps for a time and hopes.
"""

from .bridge import Bridge
from .connect import ConnectWorker
from .http_raw import Connection, Reply, request, target
from .feeder import Feeder
from .kafka import Kafka, SecureKafka
from .node import NodeClient
from .postgres import Database, Postgres
from .process import Process, program
from .proxy import Proxy
from .replica import Replica
from .shape_api import ShapeApi, ShapeReader
from .stream import Refused, Stream
from .stream_topic import StreamTopic
from .topics import Event, Upserted, decimal_of, read_events, topic_events
from .waiting import free_port, wait_for

__all__ = ["Bridge", "ConnectWorker", "Connection", "Database", "Event", "Feeder", "Kafka",
           "NodeClient", "Postgres", "Process", "Proxy", "Refused", "Replica", "Reply",
           "SecureKafka", "ShapeApi", "ShapeReader", "Stream", "StreamTopic", "Upserted", "decimal_of",
           "free_port", "program", "read_events", "request", "target", "topic_events", "wait_for"]
