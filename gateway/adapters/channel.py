"""One topic of one foreign device, as the mapping files say it. Pure."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Final

from common.wire.topics import Address

_CACHED_SESSIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Numbering:
    """By what a message is known again: its counter modulo ``modulus``, or its time (``modulus`` 0).

    Among the newest ``window`` numbers a repeat is told from a restart by its content; what is further back than
    that counts as a restart (a counter) or cannot be told from a repeat (a time).
    """

    modulus: int
    window: int


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """A topic, resolved: who speaks there and what about. One object a topic, compared by identity.

    ``series`` are the (sensor, metric) that its messages may bring, ``all_series`` the places of all of them.
    """

    mapping: str
    topic: str
    address: Address
    series: tuple[tuple[str, str], ...]
    numbering: Numbering | None = None
    all_series: tuple[int, ...] = field(init=False)
    share: int = field(init=False)
    _epochs: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Work out what every message would ask again."""
        object.__setattr__(self, "all_series", tuple(range(len(self.series))))
        object.__setattr__(self, "share", zlib.crc32(str(self.address).encode()))

    def epoch(self, session: str) -> int:
        """The stream of a counter's life: negative, where those of boxes are positive, so that they never meet."""
        known = self._epochs.get(session)
        if known is None:
            if len(self._epochs) >= _CACHED_SESSIONS:
                self._epochs.clear()
            name = "\0".join((self.mapping, self.topic, session)).encode("utf-8", "backslashreplace")
            digest = hashlib.blake2b(name, digest_size=8).digest()
            known = self._epochs[session] = -(int.from_bytes(digest) >> 2 or 1)
        return known
