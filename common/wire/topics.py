"""MQTT topics: ``dt/v1/{site}/{device}/up/{kind}`` and ``…/down/{kind}``.

A device's credential is bound to both names, so the topic says who speaks; what a payload claims about
its sender only has to agree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "dt/v1"
UP_KINDS = ("readings", "events", "status", "config")
DOWN_KINDS = ("receipt", "config", "command")
#: What a gateway subscribes to: every device's numbered packets and its status.
GATEWAY_SUBSCRIPTION = f"{PREFIX}/+/+/up/#"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Whether a text can name a site, a device or a sensor: 1–48 of a–z, 0–9 and inner hyphens."""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device stands: its site and its own name there."""

    site: str
    device: str

    def __post_init__(self) -> None:
        """Refuse names that could reach into another's topics."""
        for what, name in (("site", self.site), ("device", self.device)):
            if not is_name(name):
                raise ValueError(
                    f"expected a {what} name of 1–48 characters a–z, 0–9 and inner hyphens, got {name[:60]!r}"
                )

    def __str__(self) -> str:
        """``site/device``, which is also its user name at the broker."""
        return f"{self.site}/{self.device}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``site/device``."""
        site, _, device = text.partition("/")
        return cls(site, device)

    def up(self, kind: str) -> str:
        """The topic on which the device says something of this kind."""
        return f"{PREFIX}/{self.site}/{self.device}/up/{kind}"

    def down(self, kind: str) -> str:
        """The topic on which the device is told something of this kind."""
        return f"{PREFIX}/{self.site}/{self.device}/down/{kind}"


def parse_up(topic: str) -> tuple[Address, str]:
    """The sender and the kind of a message that a gateway received.

    Raises:
        ValueError: when the topic is not one of a device's own.
    """
    parts = topic.split("/")
    if len(parts) != 6 or parts[:2] != ["dt", "v1"] or parts[4] != "up" or parts[5] not in UP_KINDS:
        raise ValueError(
            f"expected dt/v1/{{site}}/{{device}}/up/{{{'|'.join(UP_KINDS)}}}, got {topic[:120]!r}"
        )
    return Address(parts[2], parts[3]), parts[5]
