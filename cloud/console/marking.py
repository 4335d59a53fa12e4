"""What of the map there are hundreds of, as SVG: each in one piece, where a template would escape a dozen. Pure.

Measured with 400 tickets and 160 devices: the template took two thirds of the time that a page takes to be made.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Protocol
from uuid import UUID

from markupsafe import Markup

from cloud.console.texts import Texts


class Placed(Protocol):
    """Something where it stands in the drawing."""

    @property
    def row(self) -> dict[str, object]:
        """As it was read."""

    @property
    def x(self) -> float:
        """In drawing units."""

    @property
    def y(self) -> float:
        """In drawing units."""


def ticket_markers(markers: Sequence[Placed], t: Texts, query: str, chosen: UUID | None) -> Markup:
    """Tickets with the way to each; the first lie above the others.

    Args:
        markers: where they stand.
        t: the language.
        query: what the list is narrowed by, as part of an address.
        chosen: the one that is shown beside the map.
    """
    kept, drawn = escape(query), []
    for one in reversed(markers):
        row, ticket_id = one.row, str(one.row["ticket_id"])
        severity, place = row["severity"], f'cx="{one.x}" cy="{one.y}"'
        title = t(
            "map.ticket",
            number=row["number"],
            category=t.named(row, "category"),
            severity=t(f"severity.{severity}"),
            state=t(f"state.{row['state']}"),
        )
        drawn.append(
            f'<a class="marker s{severity}{" chosen" if row["ticket_id"] == chosen else ""}"'
            f' href="/tickets/{ticket_id}{kept}" data-ticket="{ticket_id}" data-key="marker-{ticket_id}">'
            f'<title>{escape(title)}</title><circle class="halo" {place} r="20"/><circle {place} r="12"/>'
            f'<text x="{one.x}" y="{one.y}">{severity}</text></a>\n'
        )
    return Markup("".join(drawn))  # noqa: S704 - every text that people wrote is escaped above


def device_markers(markers: Sequence[Placed], t: Texts) -> Markup:
    """Devices, and whether they are online."""
    states, drawn = {True: t("map.online"), False: t("map.offline")}, []
    for one in markers:
        online = bool(one.row["online"])
        title = t("map.device", name=t.named(one.row, "title"), state=states[online])
        drawn.append(
            f'<path class="device{"" if online else " off"}" d="M{one.x} {one.y - 6}l6 6l-6 6l-6-6z">'
            f"<title>{escape(title)}</title></path>\n"
        )
    return Markup("".join(drawn))  # noqa: S704 - every text that people wrote is escaped above
