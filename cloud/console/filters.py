"""What the list shows: the filter in the page's address. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from cloud.tickets.domain import State
from cloud.tickets.schemas import TicketFilters

#: States that a ticket rests in, in the order of its life.
STATES: Final = tuple(state.value for state in State if state is not State.RESOLVED)
_SPECIAL: Final = ("open", "all", "overdue", "unassigned")
_CATEGORY: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}")
_UNIT: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")
PAGE_SIZE: Final = 50


@dataclass(frozen=True, slots=True)
class ListFilter:
    """``show`` is a state, or: open, all, overdue, unassigned. An empty text does not narrow."""

    show: str = "open"
    category: str = ""
    unit: str = ""
    severity: int = 1
    cursor: str = ""

    @classmethod
    def read(cls, query: Mapping[str, str]) -> ListFilter:
        """From an address; what makes no sense is left out, as if the link were old."""
        show, category, unit = query.get("show", ""), query.get("category", ""), query.get("unit", "")
        severity = query.get("severity", "")
        return cls(
            show if show in _SPECIAL or show in _STATE_NAMES else "open",
            category if len(category) <= 64 and _CATEGORY.fullmatch(category) else "",
            unit if _UNIT.fullmatch(unit) else "",
            int(severity) if severity in {"2", "3", "4"} else 1,
            query.get("cursor", "")[:200],
        )

    @property
    def is_narrow(self) -> bool:
        """Whether it shows less than all open tickets."""
        return self != ListFilter(cursor=self.cursor)

    def query(self, cursor: str = "") -> str:
        """As part of an address, with its question mark; empty when nothing narrows."""
        chosen = {
            "show": self.show if self.show != "open" else "",
            "category": self.category,
            "unit": self.unit,
            "severity": str(self.severity) if self.severity > 1 else "",
            "cursor": cursor,
        }
        text = urlencode({name: value for name, value in chosen.items() if value})
        return f"?{text}" if text else ""

    def tickets(self) -> TicketFilters:
        """As the ticket service takes it."""
        by_state = self.show in _STATE_NAMES
        return TicketFilters(
            state=(State(_STATE_NAMES[self.show]),) if by_state else (),
            open=True if self.show in {"open", "overdue", "unassigned"} else None,
            category=self.category or None,
            unit_code=self.unit or None,
            min_severity=self.severity,
            unassigned=True if self.show == "unassigned" else None,
            overdue=True if self.show == "overdue" else None,
            limit=PAGE_SIZE,
        )


#: In an address "open" means every open ticket; the state of that name is "state-open".
_STATE_NAMES: Final = {state if state != "open" else "state-open": state for state in STATES}
STATE_CHOICES: Final = tuple(_STATE_NAMES.items())
