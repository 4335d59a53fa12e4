"""The AsyncAPI description of the wire, made from the structs themselves so that it cannot differ from them.

Source: AsyncAPI 3.0.0; CloudEvents 1.0, structured mode.
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import msgspec

from common.wire.codec import MAX_PACKET_BYTES
from common.wire.messages import (
    ABANDONED_TYPE,
    EVENTS_TYPE,
    READINGS_TYPE,
    RECEIPT_TYPE,
    STATUS_TYPE,
    Abandoned,
    Envelope,
    Events,
    Readings,
    Receipt,
    Status,
)
from common.wire.topics import PREFIX

#: kind of topic, direction, type, struct of its data, what it is
MESSAGES: tuple[tuple[str, str, str, type[msgspec.Struct], str], ...] = (
    ("readings", "up", READINGS_TYPE, Readings, "Readings of many sensors, in columns; numbered"),
    ("events", "up", EVENTS_TYPE, Events, "Observations of scenes; numbered"),
    ("events", "up", ABANDONED_TYPE, Abandoned, "Sequence numbers the box had to give up; numbered"),
    ("status", "up", STATUS_TYPE, Status, "Retained state of a box; its last will says offline"),
    ("receipt", "down", RECEIPT_TYPE, Receipt, "What the store has committed of a box's packets"),
)


def document(version: str) -> dict[str, Any]:
    """The description as plain data, ready to be written as YAML or JSON."""
    structs = [struct for *_, struct, _ in MESSAGES]
    schemas, components = msgspec.json.schema_components(
        [Envelope, *structs], ref_template="#/components/schemas/{name}"
    )
    del schemas
    for component in components.values():
        if "description" in component:
            # Python 3.13 takes a docstring's indentation away when it compiles, earlier ones leave it.
            component["description"] = cleandoc(component["description"])
    channels: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for kind, direction, event_type, struct, summary in MESSAGES:
        name = struct.__name__
        messages[name] = {
            "name": event_type,
            "summary": summary,
            "contentType": "application/cloudevents+json",
            "payload": {
                "allOf": [
                    {"$ref": "#/components/schemas/Envelope"},
                    {
                        "type": "object",
                        "properties": {
                            "type": {"const": event_type},
                            "data": {"$ref": f"#/components/schemas/{name}"},
                        },
                    },
                ]
            },
        }
        channel = channels.setdefault(
            f"{direction}-{kind}",
            {
                "address": f"{PREFIX}/{{site}}/{{device}}/{direction}/{kind}",
                "messages": {},
                "parameters": {
                    "site": {"description": "the site's name"},
                    "device": {"description": "the device's name at its site"},
                },
                "bindings": {"mqtt": {"qos": 1, "retain": kind == "status"}},
            },
        )
        channel["messages"][name] = {"$ref": f"#/components/messages/{name}"}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Drumtower wire",
            "version": version,
            "description": f"MQTT 3.1.1 or 5, QoS 1. A packet is at most {MAX_PACKET_BYTES} bytes. "
            "Packets are numbered by their CloudEvents id, {epoch in hexadecimal}-{sequence number}.",
        },
        "channels": channels,
        "operations": {
            name: {
                "action": "receive" if name.startswith("up") else "send",
                "channel": {"$ref": f"#/channels/{name}"},
            }
            for name in channels
        },
        "components": {"messages": messages, "schemas": components},
    }
