"""Whose a matter is and by when: the place, the storm, the rules of severity, the route and the policy, looked up once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from cloud.db import Transaction
from cloud.dispatch import repo as dispatch_repo
from cloud.dispatch.domain import Route
from cloud.dispatch.service import find_route
from cloud.severity.domain import Raised
from cloud.severity.service import at_opening
from cloud.sla.domain import Policy
from cloud.sla.repo import policy_for
from cloud.storm.domain import Storm
from cloud.storm.service import storm_for

_CENTRE = "centre"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be decided about.

    Attributes:
        category: as it is told.
        leading: the category by which it is routed: of a family the leading one.
        severity: as it is told.
        place: longitude and latitude in WGS-84 degrees.
        at: when it was; for rules and stand-ins that depend on the time.
        incidents: what devices saw of it.
        reports: how many people told of it.
    """

    category: str
    leading: str
    severity: int
    place: tuple[float, float]
    at: datetime
    incidents: Sequence[UUID] = ()
    reports: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided.

    Attributes:
        units: kind of unit → code, from the grid of the place up.
        known: the severity by the rules of severity, before any storm.
        severity: with the storm.
        raised: the rule that raised it.
        storm: the storm that it falls into.
        route: to whom, and why.
        owner: who has it; the centre where no route names anybody.
        policy: by when.
    """

    units: Mapping[str, str]
    known: int
    severity: int
    raised: Raised | None
    storm: Storm | None
    route: Route
    owner: str | None
    policy: Policy

    @property
    def owned(self) -> bool:
        """A rule names an owner."""
        return self.route.unit_code is not None


def decide(transaction: Transaction, asked: Asked) -> Decision:
    """Whose it is and by when, as the district's rules stand now."""
    units = dispatch_repo.place(transaction, *asked.place)
    raised = at_opening(
        transaction,
        asked.category,
        asked.severity,
        asked.place,
        incidents=asked.incidents,
        reports=asked.reports,
    )
    known = raised.rule.raise_to if raised else asked.severity
    found = storm_for(transaction, list(units.values()), asked.leading)
    severity = max(known, found[1].raise_to) if found else known
    route = find_route(transaction, asked.leading, severity, units, asked.at)
    owner = route.unit_code or units.get(_CENTRE)
    policy = policy_for(transaction, asked.leading, severity, storm=found is not None, unit_code=owner)
    return Decision(units, known, severity, raised, found[0] if found else None, route, owner, policy)
