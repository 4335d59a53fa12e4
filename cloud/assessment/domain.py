"""How well work was done, and where more happens than chance explains. Pure.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), for the
interval of a share; J. Przyborowski and H. Wilenski, "Homogeneity of results in testing samples from Poisson series",
Biometrika 31 (1940), for the exact test of two Poisson rates; Y. Benjamini and Y. Hochberg, "Controlling the false
discovery rate", JRSS B 57 (1995), for testing many places at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

#: What counts how much in the league; shares that a unit has no case of are left out, and the rest weighs more.
WEIGHTS: Final[Mapping[str, float]] = {
    "acknowledged": 1.0,
    "arrived": 2.0,
    "resolved": 3.0,
    "lowest": 1.0,
    "kept": 2.0,
    "answered": 2.0,
    "rated": 1.0,
}
#: Below so many judged cases a unit is listed and not ranked.
LEAST_CASES: Final = 5
_Z: Final = 1.959963984540054  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    part: float = 0.0
    of: int = 0

    @property
    def value(self) -> float | None:
        """The share, or None of nothing."""
        return self.part / self.of if self.of else None

    @property
    def lower(self) -> float | None:
        """The lower end of its 95 % interval (Wilson): few cases prove little."""
        if not self.of:
            return None
        n, p = self.of, self.part / self.of
        centre = p + _Z * _Z / (2 * n)
        spread = _Z * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
        return max(0.0, (centre - spread) / (1 + _Z * _Z / n))


@dataclass(frozen=True, slots=True)
class Figures:
    """What is counted of a group of tickets; every figure can be added.

    Attributes:
        tickets: opened in the period; neither false alarms nor merged ones.
        closed, lowest: closed, and of these by their first owner's own level, never escalated.
        claimed, reopened: claimed as resolved, and of these reopened at least once.
        overridden: closed by a supervisor's word without a look.
        close_s: from opening to closing, in seconds, without the time in which nothing could look.
        blind_s: that time.
        ack, ack_met … resolve_met: promises that were judged, and those kept in time.
        calls, answered: calls to come that were judged, and those answered in time.
        ratings, stars: how often citizens and streets rated, and their stars together.
    """

    tickets: int = 0
    closed: int = 0
    lowest: int = 0
    claimed: int = 0
    reopened: int = 0
    overridden: int = 0
    close_s: float = 0.0
    blind_s: float = 0.0
    ack: int = 0
    ack_met: int = 0
    arrive: int = 0
    arrive_met: int = 0
    resolve: int = 0
    resolve_met: int = 0
    calls: int = 0
    answered: int = 0
    ratings: int = 0
    stars: int = 0

    def __add__(self, other: Figures) -> Figures:
        """Both together."""
        return Figures(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Figures)))

    @property
    def shares(self) -> Mapping[str, Share]:
        """What can be compared: each a share, the more the better."""
        return {
            "acknowledged": Share(self.ack_met, self.ack),
            "arrived": Share(self.arrive_met, self.arrive),
            "resolved": Share(self.resolve_met, self.resolve),
            "lowest": Share(self.lowest, self.closed),
            "kept": Share(self.claimed - self.reopened, self.claimed),
            "answered": Share(self.answered, self.calls),
            "rated": Share((self.stars - self.ratings) / 4, self.ratings),
        }

    @property
    def cases(self) -> int:
        """How much there is to judge by: the most cases of any share."""
        return max(share.of for share in self.shares.values())


@dataclass(frozen=True, slots=True)
class Placed:
    """A unit's place in the league; ``rank`` is None where there is too little to judge by."""

    unit_code: str
    rank: int | None
    score: float | None
    figures: Figures


def score(figures: Figures) -> float | None:
    """0 to 100: the weighted mean of the shares' lower ends; None of nothing."""
    told = [(WEIGHTS[name], share.lower) for name, share in figures.shares.items() if share.lower is not None]
    weight = sum(one for one, _ in told)
    return 100 * sum(one * lower for one, lower in told) / weight if weight else None


def league(by_unit: Mapping[str, Figures]) -> list[Placed]:
    """Units, the best first, equal ones with one rank; at the end those with too little to judge by."""
    judged = {code: score(one) for code, one in by_unit.items() if one.cases >= LEAST_CASES}
    ranked = sorted(
        ((code, value) for code, value in judged.items() if value is not None),
        key=lambda pair: (-round(pair[1], 6), pair[0]),
    )
    table: list[Placed] = []
    for place, (code, value) in enumerate(ranked, start=1):
        before = table[-1] if table else None
        same = before is not None and before.score is not None and round(before.score, 6) == round(value, 6)
        rank = before.rank if before is not None and same else place
        table.append(Placed(code, rank, value, by_unit[code]))
    rest = sorted(code for code in by_unit if judged.get(code) is None)
    return [*table, *(Placed(code, None, None, by_unit[code]) for code in rest)]


def roll_up(
    by_unit: Mapping[str, Figures], parents: Mapping[str, str | None], kinds: Mapping[str, str], kind: str
) -> dict[str, Figures]:
    """Figures of the units of one kind, each with all below it; every unit of the kind stands there."""
    found = {code: Figures() for code, its in kinds.items() if its == kind}
    for code, figures in by_unit.items():
        home = above(code, parents, kinds, kind)
        if home is not None:
            found[home] += figures
    return found


def above(
    code: str | None, parents: Mapping[str, str | None], kinds: Mapping[str, str], kind: str
) -> str | None:
    """A unit's own ancestor of a kind, itself included; None where there is none."""
    while code is not None and kinds.get(code) != kind:
        code = parents.get(code)
    return code


@dataclass(frozen=True, slots=True)
class Cell:
    """Tickets of a category at a place.

    Attributes:
        count: in the period.
        compared: of the same category, with which it is compared: elsewhere, or before.
        share: which share of both together it would have if nothing were special about it.
    """

    place: str
    category: str
    count: int
    compared: int
    share: float


@dataclass(frozen=True, slots=True)
class Hotspot:
    """A place where more happens than chance explains.

    Attributes:
        expected: how many there would be by the comparison.
        p: the probability of so many or more by chance alone.
        q: the smallest share of false findings at which it still counts as one (Benjamini-Hochberg).
    """

    cell: Cell
    expected: float
    p: float
    q: float


def hotspots(cells: Sequence[Cell], tests: int, rate: float = 0.05) -> list[Hotspot]:
    """The cells with significantly more, the surest first.

    Args:
        cells: those with at least one ticket.
        tests: how many cells were looked at, empty ones too.
        rate: which share of the findings may be false.
    """
    told = sorted(
        ((tail(cell.count, cell.count + cell.compared, cell.share), cell) for cell in cells), key=_surest
    )
    sure = adjusted([p for p, _ in told], max(tests, len(told)))
    return [
        Hotspot(cell, (cell.count + cell.compared) * cell.share, p, q)
        for (p, cell), q in zip(told, sure, strict=True)
        if q <= rate
    ]


def _surest(pair: tuple[float, Cell]) -> tuple[float, int, str, str]:
    p, cell = pair
    return p, -cell.count, cell.place, cell.category


def tail(count: int, total: int, share: float) -> float:
    """P(X ≥ count) for X binomial of ``total`` and ``share``, exact.

    Given their sum, the one of two Poisson counts is binomial; its share is that of its exposure.
    """
    if count <= 0:
        return 1.0
    if share <= 0.0 or count > total:
        return 0.0
    if share >= 1.0:
        return 1.0
    terms = _terms(total, share, count, total)
    if count > total * share:
        return min(1.0, math.fsum(terms))
    return max(0.0, min(1.0, 1.0 - math.fsum(_terms(total, share, 0, count - 1))))


def _terms(total: int, share: float, first: int, last: int) -> Iterable[float]:
    """Probabilities of ``first`` to ``last``; those past the bulk that no sum would notice are left out."""
    log_share, log_rest = math.log(share), math.log1p(-share)
    begin = math.lgamma(total + 1)
    for k in range(first, last + 1):
        log_p = (
            begin - math.lgamma(k + 1) - math.lgamma(total - k + 1) + k * log_share + (total - k) * log_rest
        )
        yield math.exp(log_p)
        if k > total * share and log_p < -80.0:
            return


def adjusted(ascending: Sequence[float], tests: int) -> list[float]:
    """Benjamini-Hochberg's adjusted p of each; ``ascending`` are the smallest of so many tests."""
    found, least = [0.0] * len(ascending), 1.0
    for place in range(len(ascending), 0, -1):
        least = min(least, ascending[place - 1] * tests / place)
        found[place - 1] = least
    return found
