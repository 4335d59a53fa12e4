"""What a box still holds that the district has not acknowledged, and how to say so."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.database import open_read_only
from edge.outbox_stats import read_stats
from local.demo.part import Part

_PICTURES_WAITING: Final = (
    "SELECT count(*), coalesce(max(attempts), 0) FROM evidence WHERE receipted_at IS NULL AND parked IS NULL"
)


@dataclass(frozen=True, slots=True)
class Held:
    """Packets and pictures without a receipt, as far as the box knows.

    Attributes:
        packets: numbered, not given up.
        pictures: queued, not refused for good.
        tries: how often one of the pictures has been tried at most.
    """

    packets: int
    pictures: int
    tries: int = 0

    def __bool__(self) -> bool:
        return self.packets > 0 or self.pictures > 0


def held_in(data: Path) -> Held:
    """What the box of a data directory holds."""
    with closing(open_read_only(data)) as connection:
        pictures, tries = connection.execute(_PICTURES_WAITING).fetchone()
        return Held(read_stats(connection).unreceipted, int(pictures), int(tries))


def told(name: str, held: Held, part: Part) -> str:
    """What a box that is late holds, whether it runs, and what it said last."""
    runs = "it runs" if part.pid is not None else "it does not run"
    pictures = f"{held.pictures} pictures" + (f" (tried {held.tries} times at most)" if held.tries else "")
    said = (
        part.log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:] if part.log.exists() else []
    )
    return f"{name} {held.packets} packets, {pictures}, {runs}, said last: {''.join(said)}"
