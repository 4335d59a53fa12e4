"""The accounts that foreign devices sign in with at the broker, and what each may publish; they read nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from common.wire.topics import Address
from gateway.adapters.mapping import ForeignDevice, MappingFile
from gateway.adapters.topics import parse_pattern


@dataclass(frozen=True, slots=True)
class ForeignAccount:
    """A user name, the name of its credential's file, and the topic filters that it may publish to."""

    username: str
    file: str
    publish: tuple[str, ...]


def accounts_of(file: MappingFile) -> tuple[ForeignAccount, ...]:
    """One for each device, ``SITE/DEVICE``, which may publish its own topics only; or one for all of the mapping.

    The one for all (``foreign-MAPPING``) is a network server's or a bridge's, which speaks for its devices.
    """
    if file.accounts == "one":
        filters = tuple(parse_pattern(entry.topic).filter() for entry in file.topics)
        return (ForeignAccount(f"foreign-{file.mapping}", f"foreign-{file.mapping}", filters),)
    return tuple(
        ForeignAccount(
            str(Address(file.site, device.name)), f"{file.site}.{device.name}", _topics_of(file, device)
        )
        for device in file.devices
    )


def readable_by_gateways(files: Iterable[MappingFile]) -> tuple[str, ...]:
    """What a gateway has to be allowed to read besides the boxes' topics."""
    return tuple(sorted({parse_pattern(entry.topic).filter() for file in files for entry in file.topics}))


def _topics_of(file: MappingFile, device: ForeignDevice) -> tuple[str, ...]:
    return tuple(
        parse_pattern(entry.topic).filter({"device": device.said_as})
        for entry in file.topics
        if entry.device is None or entry.device == device.name
    )
