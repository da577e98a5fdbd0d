"""What tests ask of a bridge that publishes to Kafka, and of its database: table orders (id, what),
slot tombolo_default."""

from .waiting import wait_for


def publish_orders(database):
    """Puts the table into the publication."""
    if not database.value("SELECT count(*) FROM pg_publication_tables WHERE tablename = 'orders'"):
        database.sql("ALTER PUBLICATION tombolo_default ADD TABLE orders")


def insert_orders(database, first, last):
    """One transaction."""
    database.sql("INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(%s, %s) n",
                 first, last)


def kafka_health(bridge):
    return bridge.get("/v1/health").json()["kafka"]


def wait_until_publishing(bridge):
    wait_for(lambda: kafka_health(bridge)["state"] == "publishing", 60,
             lambda: f"the publisher; it is {kafka_health(bridge)}\n{bridge.process.log_tail()}")


def wait_until_failed(bridge, word):
    """With the word in the error; it is tried again and again, and is something else meanwhile."""
    def has_failed():
        health = kafka_health(bridge)
        return health["state"] == "failed" and word in health["error"]

    wait_for(has_failed, 60, lambda: f"{word!r}; it is {kafka_health(bridge)}")


def wal_end(database):
    return database.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")


def confirmed(database):
    return database.value("SELECT (confirmed_flush_lsn - '0/0')::bigint FROM "
                          "pg_replication_slots WHERE slot_name = 'tombolo_default'")


def wait_until_confirmed(database, bridge, deadline=60):
    """All that was committed before the call: then the topics have it."""
    position = wal_end(database)
    wait_for(lambda: confirmed(database) >= position, deadline,
             lambda: f"the slot to come to {position}; it is at {confirmed(database)}, "
             f"{kafka_health(bridge)}\n{bridge.process.log_tail()}")
