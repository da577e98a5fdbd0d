"""Kafka over TLS and SASL: the settings of docs/KAFKA.md against a broker that asks for them."""

import re
import subprocess

import pytest
from harness import Refused, SecureKafka, Stream, StreamTopic, program, wait_for
from harness.process import ROOT, environment

MANUAL = (ROOT / "docs" / "KAFKA.md").read_text()
# What is wrong, and what of it both the log and health say.
WRONG = {
    "a password": ("sasl.password", "another-s3cret", "Authentication failed"),
    "an authority": ("ssl.ca.location", None, "certificate verify failed"),
}


@pytest.fixture(scope="module")
def secure_kafka():
    with SecureKafka() as broker:
        yield broker


@pytest.fixture
def orders(database):
    database.sql("CREATE TABLE orders (id int PRIMARY KEY, what text)")
    return database


@pytest.fixture
def make_bridge(orders, make_bridge):
    return lambda name, **settings: make_bridge(orders, name, **settings)


def properties(kafka):
    return {"security.protocol": "SASL_SSL", "ssl.ca.location": kafka.authority,
            "sasl.mechanism": "PLAIN", "sasl.username": kafka.user,
            "sasl.password": kafka.password}


def in_environment(values):
    return {f"kafka_property_{name.replace('.', '_')}": value for name, value in values.items()}


def publisher_settings(kafka, prefix):
    return {"kafka_brokers": kafka.secure_brokers, "kafka_prefix": prefix,
            "kafka_stream": "true"}


def member(bridge, name):
    return bridge.get("/v1/health").json()[name]


def insert(database, *numbers):
    for number in numbers:
        database.sql("INSERT INTO orders VALUES (%s, 'order')", number)


def publish_orders(database):
    database.sql("ALTER PUBLICATION tombolo_default ADD TABLE orders")


def follow(bridge, count):
    """A client that stays, when it has so many rows."""
    def opened():
        try:
            return Stream(bridge, {"table": "orders"}, live=True).open()
        except Refused as refused:
            assert refused.status == 503, refused  # it is catching up
            return None

    return more(wait_for(opened, 60, "an answer"), count)


def more(stream, count):
    return stream.read(lambda s: s.consistent and len(s.rows()) == count)


def wait_for_topic(kafka, prefix, numbers):
    topic = StreamTopic(kafka, prefix)

    def are_there():
        return kafka.has_topic(topic.name) and \
            [int(row[0]) for row in topic.read().rows("orders")] == numbers

    wait_for(are_there, 60, f"{numbers} in the topic")


def assert_untold(bridge, *secrets):
    """Whoever reads the log, health or metrics learns none of them."""
    said = bridge.log() + bridge.get("/v1/health").body.decode() + \
        bridge.get("/metrics", port=bridge.metrics_port).body.decode()
    for secret in secrets:
        assert secret not in said


def test_publisher_and_node_with_the_manual_s_settings(orders, secure_kafka, prefix, make_bridge):
    publisher_has = properties(secure_kafka)
    for name, value in publisher_has.items():
        assert re.search(rf"^ +property\.{re.escape(name)} = ", MANUAL, re.MULTILINE), name
    lines = "".join(f"property.{name} = {value}\n" for name, value in publisher_has.items())
    publisher = make_bridge("publisher", rules=f"[kafka]\n{lines}",
                            **publisher_settings(secure_kafka, prefix)).start()
    publish_orders(orders)
    insert(orders, 1, 2)
    node = make_bridge("node", source=f"kafka://{secure_kafka.secure_brokers}/{prefix}",
                       **in_environment(properties(secure_kafka))).start()
    client = follow(node, 2)
    insert(orders, 3)
    more(client, 3).close()
    wait_for_topic(secure_kafka, prefix, [1, 2, 3])
    assert member(publisher, "kafka")["state"] == "publishing"
    for bridge in (publisher, node):
        assert_untold(bridge, secure_kafka.password)


def librdkafka_version():
    said = subprocess.run(["kcat", "-V"], check=True, capture_output=True, text=True).stdout
    return tuple(map(int, re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)", said).groups()))


def test_scram_works_from_the_librdkafka_on_that_the_manual_names(orders, secure_kafka, prefix,
                                                                  make_bridge):
    """Earlier ones repeat their nonce, which brokers of Kafka 4 refuse: that is said."""
    needed = tuple(map(int, re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)", MANUAL).groups()))
    secure_kafka.add_scram_user("scrambled", "s3cret-egg")
    scram = {"sasl.mechanism": "SCRAM-SHA-256", "sasl.username": "scrambled",
             "sasl.password": "s3cret-egg"}
    publisher = make_bridge("publisher", **publisher_settings(secure_kafka, prefix),
                            **in_environment(properties(secure_kafka) | scram)).start()
    publish_orders(orders)
    insert(orders, 1)
    if librdkafka_version() >= needed:
        wait_for_topic(secure_kafka, prefix, [1])
    else:
        wait_for(lambda: "with SASL mechanism SCRAM-SHA-256" in
                 member(publisher, "kafka").get("error", ""), 60,
                 lambda: f"the refusal in {member(publisher, 'kafka')}")
    assert_untold(publisher, "s3cret-egg")


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_and_the_slot_held(orders, secure_kafka, prefix, make_bridge, wrong):
    name, value, says = WRONG[wrong]
    right = properties(secure_kafka)
    settings = in_environment(right | {name: value or secure_kafka.stranger})
    publisher = make_bridge("publisher", **publisher_settings(secure_kafka, prefix),
                            **settings).start()
    publish_orders(orders)
    node = make_bridge("node", source=f"kafka://{secure_kafka.secure_brokers}/{prefix}",
                       **settings).start(wait=False)
    client = follow(publisher, 0)
    insert(orders, 1)
    more(client, 1)
    for bridge, where in ((publisher, "kafka"), (node, "source")):
        bridge.process.wait_for(lambda: bridge.health(), 60, "health")
        wait_for(lambda: says in member(bridge, where).get("error", ""), 60,
                 lambda: f"{says!r} in {member(bridge, where)}\n{bridge.process.log_tail()}")
        bridge.process.wait_for(lambda: [line for line in bridge.log().splitlines()
                                         if says in line and "level=warn" in line], 60,
                                f"{says!r} in the log")
        assert_untold(bridge, secure_kafka.password, "another-s3cret")
    insert(orders, 2)
    more(client, 2).close()
    for bridge in (publisher, node):
        bridge.stop()
        bridge.settings.update({f"TOMBOLO_{key.upper()}": value
                                for key, value in in_environment(right).items()})
    publisher.start()
    wait_for_topic(secure_kafka, prefix, [1, 2])
    follow(node.start(), 2).close()


def test_help_does_not_tell_a_password(tmp_path):
    rules = tmp_path / "tombolo.ini"
    rules.write_text("[kafka]\nproperty.ssl.key.password = of-the-key\n")
    env = environment(TOMBOLO_KAFKA_PROPERTY_SASL_PASSWORD="s3same", TOMBOLO_CONFIG=rules)
    for arguments in (("--help",), ("serve", "--help")):
        said = subprocess.run([program(), *arguments], check=False, capture_output=True, text=True,
                              env=env, timeout=60)
        assert "s3same" not in said.stdout + said.stderr
        assert "of-the-key" not in said.stdout + said.stderr
