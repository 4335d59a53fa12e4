"""The assessment: figures by group, the league, where matters pile up, and what stays unsolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from cloud.assessment import kept, repo
from cloud.assessment.domain import Cell, Figures, Hotspot, Placed, above, hotspots, league, roll_up
from cloud.assessment.repo import By, Period
from cloud.auth.domain import Account
from cloud.auth.roles import may
from cloud.db import Database, Transaction
from cloud.dispatch import repo as dispatch_repo
from cloud.errors import ConflictError, ForbiddenError, NotFoundError
from cloud.paging import decode_cursor, encode_cursor
from cloud.tickets import repo as ticket_repo
from cloud.tickets.domain import State
from common.runtime.clock import Clock, to_datetime
from common.runtime.errors import InvalidError

Row = Mapping[str, Any]
Among = Literal["street", "community", "grid", "department"]
PlaceKind = Literal["street", "community", "grid"]
Against = Literal["elsewhere", "before"]
#: A comparison with before looks so many times the period back.
BASELINE: Final = 4
LONGEST: Final = timedelta(days=1100)
_RATED_IN: Final = frozenset({State.VERIFYING, State.CLOSED, State.RESOLVED})


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is asked for; times None are the last thirty days."""

    since: datetime | None = None
    until: datetime | None = None
    category: str | None = None
    unit_code: str | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """What a street says of a unit's work."""

    unit_code: str
    stars: int
    note: str


class AssessmentService:
    """The assessment for the API and the console.

    Args:
        database: where the tickets are.
        clock: what time it is.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def now(self) -> datetime:
        """The instant of the answers."""
        return to_datetime(self._clock.now_ms())

    def period(self, chosen: Chosen, transaction: Transaction) -> Period:
        """What is asked for with its times and units.

        Raises:
            InvalidError: no time, or one too long.
            NotFoundError: there is no such unit.
        """
        now = self.now()
        until = chosen.until or now
        since = chosen.since or until - timedelta(days=30)
        if not timedelta(0) < until - since <= LONGEST:
            raise InvalidError(
                "assessment.bad_period",
                f"expected a period of at most {LONGEST.days} days, got {since.isoformat()} to {until.isoformat()}",
                "name since before until",
            )
        units = None
        if chosen.unit_code is not None:
            units = repo.below(transaction, chosen.unit_code)
            if not units:
                raise NotFoundError(
                    "assessment.unknown_unit", f"expected the code of a unit, got {chosen.unit_code!r}"
                )
        return Period(since, until, now, chosen.category, units)

    def figures(self, chosen: Chosen, by: By) -> tuple[Period, dict[str, Figures]]:
        """The figures of each group."""
        with self._database.transaction() as transaction:
            period = self.period(chosen, transaction)
            return period, repo.figures(transaction, by, period)

    def league(self, chosen: Chosen, among: Among) -> tuple[Period, list[Placed]]:
        """The units of a kind, the best first; streets and communities with all below them."""
        with self._database.transaction() as transaction:
            period = self.period(chosen, transaction)
            parents, kinds = dispatch_repo.organisation(transaction)
            period, by_unit = self._by_unit(transaction, chosen, period)
        rolled = roll_up(by_unit, parents, kinds, among)
        within = None if period.units is None else set(period.units)
        return period, league({code: one for code, one in rolled.items() if within is None or code in within})

    def _by_unit(self, transaction: Transaction, chosen: Chosen, period: Period) -> kept.Counted:
        """The figures of each unit; of a large district's last thirty days those counted within a minute or so."""
        if chosen.since is not None or chosen.until is not None:
            return period, repo.figures(transaction, "unit", period)

        def renewed() -> Period:
            now = self.now()
            return replace(period, since=now - (period.until - period.since), until=now, now=now)

        asked = kept.asked_for(chosen.category, chosen.unit_code)
        return kept.by_unit(self._database, transaction, period, asked, renewed)

    def hotspots(self, chosen: Chosen, among: PlaceKind, against: Against) -> tuple[Period, list[Hotspot]]:
        """Where significantly more of a category happens than elsewhere, or than before."""
        with self._database.transaction() as transaction:
            period = self.period(chosen, transaction)
            baseline = period.since - BASELINE * (period.until - period.since)
            parents, kinds = dispatch_repo.organisation(transaction)
            rows = repo.cells(transaction, baseline, period.since, period.until, period.category)
        counted = _by_place(rows, parents, kinds, among)
        places = sum(kind == among for kind in kinds.values())
        categories = len({category for _, category in counted})
        within = None if period.units is None else set(period.units)
        cells = [
            cell
            for cell in _cells(counted, places, against)
            if cell.count and (within is None or cell.place in within)
        ]
        return period, hotspots(cells, places * categories)

    def unsolved(
        self, days: int, unit_code: str | None, cursor: str | None, limit: int
    ) -> tuple[Sequence[Row], str | None]:
        """What has stood open longer, the oldest first, and the cursor of the next page."""
        after = None if cursor is None else decode_cursor(cursor)
        before = self.now() - timedelta(days=days)
        with self._database.transaction() as transaction:
            units = repo.below(transaction, unit_code) if unit_code is not None else None
            rows = repo.unsolved(transaction, before, after, units, limit + 1)
        shown = rows[:limit]
        more = len(rows) > limit
        return shown, encode_cursor(shown[-1]["opened_at"], shown[-1]["ticket_id"]) if more else None

    def names(self) -> dict[str, tuple[str, str]]:
        """What units and categories are called."""
        with self._database.transaction() as transaction:
            return repo.names(transaction)

    def rate(self, ticket_id: UUID, account: Account, rating: Rating) -> datetime:
        """Rate a unit's work on a ticket, once: the street's part of the evaluation right.

        Raises:
            NotFoundError: no such ticket.
            ForbiddenError: not with this role, or the ticket does not lie there.
            ConflictError: nobody says that it is solved, or the unit is rated already.
            InvalidError: the unit had no part in it.
        """

        def work(transaction: Transaction) -> datetime:
            ticket = ticket_repo.lock(transaction, ticket_id)
            if ticket is None:
                raise NotFoundError("ticket.unknown", f"expected the id of a ticket, got {ticket_id}")
            place = ticket.grid_code or ticket.unit_code
            if place is None or not may(account, "rate", place):
                raise ForbiddenError(
                    "assessment.forbidden",
                    f"{account.name} ({account.role} of {account.unit_code}) may not rate work at {place}",
                    "a dispatcher of the street in which the ticket lies rates",
                )
            if ticket.state not in _RATED_IN:
                raise ConflictError(
                    "assessment.not_solved",
                    f"expected a ticket that somebody says is solved, {ticket.number} is {ticket.state.value!r}",
                    "rate when the work is done",
                )
            if not repo.took_part(transaction, ticket_id, rating.unit_code):
                raise InvalidError(
                    "assessment.no_part", f"{rating.unit_code!r} had no part in {ticket.number}"
                )
            now = self.now()
            if not repo.rate(
                transaction,
                ticket_id=ticket_id,
                unit_code=rating.unit_code,
                stars=rating.stars,
                note=rating.note,
                at=now,
                account_id=account.account_id,
                rated_by=account.shown_name,
            ):
                raise ConflictError(
                    "assessment.rated", f"{rating.unit_code!r} is rated for {ticket.number} already"
                )
            return now

        return self._database.run(work)


def _by_place(
    rows: Sequence[Row], parents: Mapping[str, str | None], kinds: Mapping[str, str], among: str
) -> dict[tuple[str, str], tuple[int, int]]:
    counted: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        place = above(row["grid_code"], parents, kinds, among)
        if place is not None:
            lately, before = counted.get((place, row["category"]), (0, 0))
            counted[place, row["category"]] = (lately + row["lately"], before + row["before"])
    return counted


def _cells(counted: Mapping[tuple[str, str], tuple[int, int]], places: int, against: Against) -> list[Cell]:
    if against == "before":
        return [
            Cell(place, category, lately, before, 1 / (1 + BASELINE))
            for (place, category), (lately, before) in counted.items()
        ]
    total: dict[str, int] = {}
    for (_, category), (lately, _before) in counted.items():
        total[category] = total.get(category, 0) + lately
    return [
        Cell(place, category, lately, total[category] - lately, 1 / places)
        for (place, category), (lately, _) in counted.items()
    ]
