"""The helmet model on heads it never saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.accuracy.figures import Figure, area_under_curve, bootstrapped
from models.data.riders import Head, parts, read_heads, read_picture
from models.helmet import HelmetJudge
from models.manifest import HelmetManifest, VerdictThresholds
from models.store import open_as

NAME: Final = "helmet"
DATA: Final = Path("data/helmet-riders")
"""Below the directory of shared data."""
SMALLEST: Final = 24.0
"""Pixels across or down: heads that are counted."""
_MOST_FALSE: Final = 0.03
_MOST_UNKNOWN: Final = 0.30
_LEAST_AREA: Final = 0.95


@dataclass(frozen=True, slots=True)
class Judged:
    """Heads with what the model made of them."""

    heads: list[Head]
    probability: NDArray[np.float64]

    def without_suspects(self) -> Judged:
        """Those whose label nobody doubts."""
        kept = [place for place, head in enumerate(self.heads) if not head.suspect]
        return Judged([self.heads[place] for place in kept], self.probability[kept])


@dataclass(frozen=True, slots=True)
class HelmetFigures:
    """On held-out heads of at least 24 px; every figure with its interval by group.

    Attributes:
        heads, bare, groups: how many.
        area: under the ROC curve.
        false: share of helmeted heads that are called helmetless.
        unknown: share of all heads of which nothing is said.
        recall: share of bare heads that are called helmetless.
        missed: share of bare heads that are called helmeted.
    """

    heads: int
    bare: int
    groups: int
    area: Figure
    false: Figure
    unknown: Figure
    recall: Figure
    missed: Figure

    def shortfalls(self) -> list[str]:
        """What falls short of the limits that a release has to keep."""
        limits = (
            (self.area.value >= _LEAST_AREA, f"AUC {self.area.value:.3f} < {_LEAST_AREA}"),
            (self.false.value <= _MOST_FALSE, f"false {self.false.value:.3f} > {_MOST_FALSE}"),
            (self.unknown.value <= _MOST_UNKNOWN, f"unknown {self.unknown.value:.3f} > {_MOST_UNKNOWN}"),
        )
        return [said for kept, said in limits if not kept]


def judge(heads: Sequence[Head], judge_of: HelmetJudge) -> Judged:
    """Ask the model about every head of at least 24 px."""
    large = [head for head in heads if head.size >= SMALLEST]
    by_picture: dict[Path, list[int]] = {}
    for place, head in enumerate(large):
        by_picture.setdefault(head.picture, []).append(place)
    probability = np.zeros(len(large))
    for picture, places in by_picture.items():
        boxes = [large[place].box for place in places]
        probability[places] = judge_of.probabilities(read_picture(picture), boxes)
    return Judged(large, probability)


def figures(judged: Judged, thresholds: VerdictThresholds, rounds: int = 1000) -> HelmetFigures:
    """Count what was said."""
    bare = np.array([head.bare for head in judged.heads], np.bool_)
    groups = [head.group for head in judged.heads]
    called_bare = judged.probability >= thresholds.helmetless
    called_helmeted = judged.probability <= thresholds.helmet
    neither = ~called_bare & ~called_helmeted

    def share(said: NDArray[np.bool_], of: NDArray[np.bool_]) -> Callable[[NDArray[np.intp]], float]:
        return lambda at: float(said[at][of[at]].mean()) if of[at].any() else float("nan")

    def area(at: NDArray[np.intp]) -> float:
        if bare[at].all() or not bare[at].any():
            return float("nan")
        return area_under_curve(judged.probability[at], bare[at])

    everybody = np.ones_like(bare)
    return HelmetFigures(
        len(bare),
        int(bare.sum()),
        len(set(groups)),
        bootstrapped(groups, area, rounds),
        bootstrapped(groups, share(called_bare, ~bare), rounds),
        bootstrapped(groups, share(neither, everybody), rounds),
        bootstrapped(groups, share(called_bare, bare), rounds),
        bootstrapped(groups, share(called_helmeted, bare), rounds),
    )


def choose_thresholds(judged: Judged, most_false: float, most_missed: float) -> VerdictThresholds:
    """The widest verdicts that err no more often than this on the heads given.

    Args:
        judged: heads that are not judged on later.
        most_false: share of helmeted heads that may be called helmetless.
        most_missed: share of bare heads that may be called helmeted.
    """
    bare = np.array([head.bare for head in judged.heads], np.bool_)
    helmetless = float(np.quantile(judged.probability[~bare], 1 - most_false, method="higher"))
    helmet = float(np.quantile(judged.probability[bare], most_missed, method="lower"))
    # Beyond the head that is still too many, in thousandths, and never so sure that no head can be.
    upper = min(max((math.floor(helmetless * 1000) + 1) / 1000, 0.5), 0.99)
    lower = max((math.ceil(helmet * 1000) - 1) / 1000, 0.01)
    return VerdictThresholds(helmetless=upper, helmet=round(min(lower, upper - 0.01), 3))


@dataclass(frozen=True, slots=True)
class HelmetReport:
    """What was measured, with the doubtful labels left out and with them."""

    manifest: HelmetManifest
    clean: HelmetFigures
    with_suspects: HelmetFigures

    def figures(self) -> dict[str, object]:
        """What `--json` prints."""
        return {"suspects_left_out": asdict(self.clean), "with_suspects": asdict(self.with_suspects)}

    def shortfalls(self) -> list[str]:
        """Of the limits that a release has to keep, on labels nobody doubts."""
        return self.clean.shortfalls()

    def table(self) -> str:
        """As Markdown."""
        thresholds = self.manifest.thresholds
        rows = (
            (
                "heads (bare) of groups",
                *(f"{one.heads} ({one.bare}) of {one.groups}" for one in self._both()),
            ),
            ("AUC (limit: at least .95)", *(str(one.area) for one in self._both())),
            ("helmeted, called helmetless (limit: at most .03)", *(str(one.false) for one in self._both())),
            ("*unknown* (limit: at most .30)", *(str(one.unknown) for one in self._both())),
            ("bare, called helmetless", *(str(one.recall) for one in self._both())),
            ("bare, called helmeted", *(str(one.missed) for one in self._both())),
        )
        lines = [
            f"Held-out heads of at least {SMALLEST:.0f} px; helmetless from {thresholds.helmetless} on, helmeted up "
            f"to {thresholds.helmet},",
            f"*unknown* between. Weights: sha256 {self.manifest.sha256[:16]}….",
            "",
            "| | suspect labels left out | with them |",
            "|---|---|---|",
            *(f"| {name} | {clean} | {doubted} |" for name, clean, doubted in rows),
        ]
        return "\n".join(lines)

    def _both(self) -> tuple[HelmetFigures, HelmetFigures]:
        return self.clean, self.with_suspects


def measure(
    data: Path, directory: Path | None = None, *, everything: bool = False, rounds: int = 1000
) -> HelmetReport:
    """Open the model, ask it about the held-out heads, and count.

    Args:
        data: the folder ``helmet-riders``, or one like it.
        directory: where another ``helmet`` lies than the one that ships.
        everything: all heads there are: for data that no training has seen.
        rounds: of the bootstrap.

    Raises:
        InvalidError: ``dataset.missing`` or what ``open_as`` raises.
    """
    model = open_as(HelmetManifest, NAME, directory)
    heads = read_heads(data)
    judged = judge(heads if everything else parts(heads).judged, HelmetJudge(model, threads=2))
    thresholds = model.manifest.thresholds
    return HelmetReport(
        model.manifest,
        figures(judged.without_suspects(), thresholds, rounds),
        figures(judged, thresholds, rounds),
    )
