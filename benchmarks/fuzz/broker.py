"""The share of the messages that goes the whole way: from an MQTT client over the real broker."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.fuzz.corpus import SITE, Message
from local.broker import Broker

_IN_FLIGHT: Final = 500


def reaches_the_gateway(topic: str) -> bool:
    """Whether a broker takes a topic, and the gateway of our site hears it."""
    parts = topic.split("/")
    return (
        parts[:3] == ["dt", "v1", SITE]
        and parts[4:5] == ["up"]
        and topic.isprintable()
        and "+" not in topic
        and "#" not in topic
        and len(topic.encode()) < 1000
    )


@contextmanager
def publisher(broker: Broker) -> Iterator[Client]:
    """A client that may publish as every box: it is the mutations that are on trial here, not the broker's rights."""
    password = secrets.token_hex(16)
    broker.add_client("fuzz", password, ["dt/v1/#"], [])
    broker.reload()
    client = Client(CallbackAPIVersion.VERSION2, "fuzz")
    client.username_pw_set("fuzz", password)
    client.tls_set(ca_certs=str(broker.ca_file))
    client.max_inflight_messages_set(_IN_FLIGHT)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def publish(client: Client, messages: list[Message]) -> None:
    """Send them at QoS 1, and wait until the broker has them."""
    sent = []
    for message in messages:
        sent.append(client.publish(message.topic, message.payload, qos=1))
        if len(sent) > _IN_FLIGHT:
            sent[-_IN_FLIGHT].wait_for_publish(30)
    for one in sent[-_IN_FLIGHT:]:
        one.wait_for_publish(30)
