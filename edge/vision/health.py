"""Whether a camera sees what it was put up to see; pure.

``step`` takes a measured picture about once a second and answers twice. *Now*: whether this picture may be judged by
at all, so that no scene takes a covered lens for an empty street. *Lastingly*: what has been wrong for long enough to
call somebody, as the start and end of a condition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

from pydantic import Field

from common.runtime.config import Settings
from edge.vision.focus import Focus
from edge.vision.health_measure import Look, Plane, detail_kept, likeness, likeness_moved

Fault = Literal["blocked", "blurred", "dark", "moved", "frozen"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
_BY_COMPARING: Final[tuple[Fault, ...]] = ("blocked", "blurred", "moved")
"""Faults that are found by comparing with the usual view."""
_TO_CHECK: Final = (
    "zones, lanes, gauge lines and pictures of the dry road: they were drawn for the view before"
)
HIDING: Final[frozenset[Fault]] = frozenset({"blocked", "blurred", "dark"})
"""Faults that thick smoke before a lens has too."""

_FLAT: Final = 10.0
"""Grey levels: with less between dark and bright there is nothing in the picture."""

_LEARN: Final = 20
"""Looks until the view is known."""

_STEADY: Final = 0.6
"""A view less like its own pictures than this keeps changing (a turning camera, edited footage): not judged by."""

_FORGET_MS: Final = 600_000.0
_LONGEST_STEP_MS: Final = 3000
"""Longer silence between two looks proves nothing, so no more than this counts."""


class HealthSettings(Settings):
    """What counts as a camera that does not see.

    A fault is said once it has lasted ``after_s`` and is over once the picture was good for ``clear_s``; a flicker
    costs its own length. A picture that stays the same to the last pixel for ``frozen_s`` is frozen. ``ignore``
    leaves faults out: ``moved`` for a camera that turns.

    A camera that was moved and then shows one and the same other view for ``adopt_h`` hours keeps it: from there on that
    is its usual view, and the end of "moved" says what has to be checked. 0 never does.
    """

    enabled: bool = True
    every_s: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    after_s: Annotated[float, Field(ge=1, le=3600)] = 20.0
    clear_s: Annotated[float, Field(ge=1, le=3600)] = 10.0
    frozen_s: Annotated[float, Field(ge=2, le=3600)] = 30.0
    dark_below: Annotated[float, Field(ge=0, le=255, description="grey level of the brightest twentieth")] = (
        30.0
    )
    adopt_h: Annotated[float, Field(ge=0, le=720)] = 24.0
    ignore: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A lasting fault that begins or ends."""

    phase: Literal["start", "end"]
    fault: Fault
    at: int
    since: int
    detail: dict[str, float | str]


@dataclass(frozen=True, slots=True, eq=False)
class KnownView:
    """How a camera's picture usually looks, as it outlives a restart.

    Attributes:
        shape, detail: as of :class:`Look`, means.
        spread: the same.
        likeness: mean likeness of its pictures to it.
        seen: pictures that it was learnt from.
        focus: how sharp its edges usually are; 0 when that is not known.
        focus_ms: for how long that was watched.
    """

    shape: Plane
    detail: Plane
    spread: float
    likeness: float
    seen: int
    focus: float = 0.0
    focus_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one picture said.

    Attributes:
        fault: what is wrong with it; None when it may be judged by.
        changes: of lasting faults.
        adopted: whether another view is the usual one from here on.
    """

    fault: Fault | None
    changes: tuple[HealthChange, ...] = ()
    adopted: bool = False


class ViewHealth:
    """One camera's health, from its own pictures alone.

    Args:
        settings: of the camera.
        open_fault: a lasting fault that was open when the box stopped: it goes on until the picture is good.
        known: the view from before the box stopped.
    """

    def __init__(
        self, settings: HealthSettings, open_fault: Fault | None = None, known: KnownView | None = None
    ) -> None:
        self._settings = settings
        self._view = _View(known)
        self._other: _View | None = None
        self._other_since = 0
        self._full: dict[Fault, float] = dict.fromkeys(FAULTS, 0.0)
        self._since: dict[Fault, int] = {}
        self._good_ms = 0.0
        self._open = open_fault
        self._at_ms: int | None = None
        self._print: int | None = None
        self._same_since = 0

    @property
    def fault(self) -> Fault | None:
        """What lasts."""
        return self._open

    @property
    def knows_its_view(self) -> bool:
        """Whether it can tell a covered, blurred or moved picture from its own."""
        return self._view.steady

    @property
    def known(self) -> KnownView | None:
        """Its view, for the time after a restart; None when there is none to go by."""
        return self._view.known if self._view.steady else None

    def due(self, at_ms: int) -> bool:
        """Whether it is time for another look."""
        return self._at_ms is None or at_ms - self._at_ms >= self._settings.every_s * 1000

    def forget(self) -> None:
        """The pictures changed their size: learn the view again."""
        self._view, self._other = _View(), None

    def accept(self, at_ms: int) -> Verdict:
        """Somebody says that the camera shows what it should: learn the view again, and be done with what spoke against it."""
        self.forget()
        told: dict[str, float | str] = {"ended_because": "somebody accepted the view", "to_check": _TO_CHECK}
        return self._new_view(at_ms, told)

    def step(self, look: Look, at_ms: int) -> Verdict:
        """Judge a picture, and learn from it when it is good; time does not run backwards."""
        elapsed = 0 if self._at_ms is None else min(max(at_ms - self._at_ms, 0), _LONGEST_STEP_MS)
        self._at_ms = at_ms
        fault, detail = self._judge(look, elapsed, at_ms)
        if self._stays_otherwise(fault, look, elapsed, at_ms):
            assert self._other is not None
            self._view, self._other = self._other, None
            hours = round((at_ms - self._other_since) / 3_600_000, 1)
            told: dict[str, float | str] = {
                "ended_because": f"it has shown one other view for {hours:g} h",
                "to_check": _TO_CHECK,
            }
            return self._new_view(at_ms, told)
        if fault is None:
            self._view.learn(look, elapsed)
        self._fill(fault, elapsed, at_ms)
        return Verdict(fault, tuple(self._turn(at_ms, detail)))

    def _stays_otherwise(self, fault: Fault | None, look: Look, elapsed: float, at_ms: int) -> bool:
        """Whether a camera that was moved has shown one other view for long enough; what is dark or covered tells nothing."""
        if fault is None or not self._settings.adopt_h:
            self._other = None
        if fault != "moved" or not self._settings.adopt_h:
            return False
        seen = [name for name, _ in self._other.compare(look)] if self._other and self._other.steady else []
        if self._other is None or self._other.restless or "moved" in seen:
            self._other, self._other_since = _View(), at_ms
        elif seen:
            return False
        self._other.learn(look, elapsed)
        long = at_ms - self._other_since >= self._settings.adopt_h * 3_600_000
        return long and self._open == "moved" and self._other.steady

    def _new_view(self, at_ms: int, told: dict[str, float | str]) -> Verdict:
        """What a view was compared with is gone: end the fault that came of it."""
        changes: tuple[HealthChange, ...] = ()
        if self._open in _BY_COMPARING:
            changes = (HealthChange("end", self._open, at_ms, at_ms, told),)
            self._open = None
        for fault in _BY_COMPARING:
            self._full[fault] = 0.0
            self._since.pop(fault, None)
        return Verdict(None, changes, adopted=True)

    def _judge(self, look: Look, elapsed: float, at_ms: int) -> tuple[Fault | None, dict[str, float | str]]:
        for fault, detail in self._found(look, at_ms):
            if fault not in self._settings.ignore:
                if fault == "blurred" and self._open == fault:
                    # Where a picture is too blurred to be compared it goes on, and no gap ends it.
                    self._view.focus.take(look.focus)
                return fault, {**detail}
        left = self._view.focus.see(look.focus, elapsed) if self._view.steady else None
        if left is not None and "blurred" not in self._settings.ignore:
            return "blurred", {"focus": round(left, 2)}
        return None, {}

    def _found(self, look: Look, at_ms: int) -> Iterator[tuple[Fault, dict[str, float]]]:
        if look.print != self._print:
            self._print, self._same_since = look.print, at_ms
        same_ms = at_ms - self._same_since
        if look.bright < self._settings.dark_below:
            yield "dark", {"bright": round(look.bright, 1)}
        elif look.spread < _FLAT:
            yield "blocked", {"spread": round(look.spread, 1)}
        elif same_ms >= self._settings.frozen_s * 1000:
            yield "frozen", {"same_s": round(same_ms / 1000, 1)}
        elif self._view.steady:
            yield from self._view.compare(look)

    def _fill(self, fault: Fault | None, elapsed: float, at_ms: int) -> None:
        most = self._settings.after_s * 1000
        for one in FAULTS:
            if one == fault:
                self._since.setdefault(one, self._same_since if one == "frozen" else at_ms)
                self._full[one] = min(self._full[one] + elapsed, most)
            else:
                # One other picture proves that it is frozen no more: no second start may come of what is left.
                self._full[one] = 0.0 if one == "frozen" else max(self._full[one] - elapsed, 0.0)
                if self._full[one] == 0.0:
                    self._since.pop(one, None)
        good = self._settings.clear_s * 1000
        self._good_ms = (
            min(self._good_ms + elapsed, good) if fault is None else max(self._good_ms - elapsed, 0.0)
        )

    def _turn(self, at_ms: int, detail: dict[str, float | str]) -> Iterator[HealthChange]:
        lasting: Fault | None = next(
            (
                one
                for one in FAULTS
                if one != self._open
                and one in self._since
                # What is frozen has been so for as long as it takes to say so.
                and (one == "frozen" or self._full[one] >= self._settings.after_s * 1000)
            ),
            None,
        )
        if self._open is not None and (lasting or self._good_ms >= self._settings.clear_s * 1000):
            yield HealthChange("end", self._open, at_ms, at_ms, {})
            self._open = None
        if lasting is not None:
            self._open, self._good_ms = lasting, 0.0
            yield HealthChange("start", lasting, at_ms, self._since[lasting], detail)


class _View:
    """How a camera's picture usually looks."""

    def __init__(self, known: KnownView | None = None) -> None:
        self._likeness, self._seen = 0.0, 0
        self.focus = Focus()
        if known is not None:
            self.focus = Focus(known.focus, known.focus_ms)
            self._shape, self._detail, self._spread = known.shape.copy(), known.detail.copy(), known.spread
            self._likeness, self._seen = known.likeness, known.seen

    @property
    def steady(self) -> bool:
        """Whether it is known, and its pictures are like it."""
        return self._seen >= _LEARN and self._likeness >= _STEADY

    @property
    def restless(self) -> bool:
        """Whether its pictures are not like it although there were enough of them."""
        return self._seen >= _LEARN and self._likeness < _STEADY

    @property
    def known(self) -> KnownView:
        """What is known of it."""
        return KnownView(
            self._shape.copy(),
            self._detail.copy(),
            self._spread,
            self._likeness,
            self._seen,
            self.focus.usual,
            self.focus.watched_ms,
        )

    def learn(self, look: Look, elapsed_ms: float) -> None:
        """Let a good picture become a part of it."""
        self._seen += 1
        if self.steady:
            self.focus.learn(look.focus, elapsed_ms)
        if self._seen == 1:
            self._shape, self._detail, self._spread = look.shape.copy(), look.detail.copy(), look.spread
            return
        alike = likeness(self._shape, look.shape)
        share = max(1.0 / self._seen, 1.0 - math.exp(-elapsed_ms / _FORGET_MS))
        self._shape += share * (look.shape - self._shape)
        self._detail += share * (look.detail - self._detail)
        self._spread += share * (look.spread - self._spread)
        self._likeness += max(share, 1.0 / _LEARN) * (alike - self._likeness) if self._seen > 2 else alike

    def compare(self, look: Look) -> Iterator[tuple[Fault, dict[str, float]]]:
        """What is wrong with a picture that is neither dark nor empty."""
        alike = likeness(self._shape, look.shape) / self._likeness
        kept, lost = detail_kept(self._detail, self._spread, look)
        said = {"likeness": round(alike, 2), "detail": round(kept, 2), "lost": round(lost, 2)}
        if alike >= 0.65:
            if kept < 0.36:
                yield "blurred", said
            return
        if lost >= 0.4:
            yield "blocked", said
            return
        moved, (x, y) = likeness_moved(self._shape, look.shape)
        shifted = moved / self._likeness >= 0.7 and max(abs(x), abs(y)) >= 2 and alike < 0.5
        if shifted:
            yield "moved", said | {"across": round(x / 64, 3), "down": round(y / 48, 3)}
        elif alike < 0.3:
            yield "moved", said
