"""Open fire or smoke: a condition over maps of a segmenter, where several looks agree on something that lives."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.vision.scenes.config import FireConfig
from edge.vision.scenes.scene import Outline, SceneEvent, ScenePhase
from edge.vision.scenes.timed import TimedScene
from models.burning import Agreement, Evidence

Grid = NDArray[np.float32]
"""By cell of the whole picture, ``(rows, columns)``: a probability of 0..1, or a brightness of 0..255."""

_LONGEST: Final = 3
"""Looks so many intervals apart are no looks in a row."""
_SLOWEST_MS: Final = 600_000
"""The longest interval that pictures may come at and still be looks in a row."""


class FireScene(TimedScene[FireConfig]):
    """Asks for a look on a timer, and says when something burns (or smokes), goes on burning and has gone out.

    In each step: ``due`` says whether a look is wanted; ``look`` takes what the segmenter made of it and how bright
    each cell is; ``step`` gives what follows. It starts when the looks agree on enough of the zone and what they
    agree on flickers, drifts or grows; it ends once ``exit_looks`` in a row show next to nothing.

    Looks are in a row at the pace that is asked for, or at the pace at which pictures come: a camera that uploads one
    each minute is no camera whose every picture follows a gap.
    """

    def __init__(self, config: FireConfig) -> None:
        super().__init__(config, Outline(config.zone))
        self._agreement: Agreement | None = None
        self._seen_since: int | None = None
        self._pace_ms = 0
        self._coming = False
        self._calm = 0

    def restore(self, started_at: int) -> None:
        """Go on with a condition that was open when the box stopped; the next look says how it stands."""
        self._started_at, self._said_at = started_at, None
        self._calm = 0

    def look(self, probability: Grid, brightness: Grid, at_ms: int, *, hidden: bool = False) -> Evidence:
        """Take one look, whose outcome ``step`` tells.

        Args:
            probability: of fire, or of smoke, by cell of the whole picture.
            brightness: of the same shape.
            at_ms: stream time, milliseconds since the Unix epoch.
            hidden: whether something hides the view. It may be the smoke itself: what was seen coming, in the last look
                at a clear view, is seen on. A hand or a bag before the lens comes at once and looks like smoke too, so
                all else does not count; and what is not seen proves nothing, and ends nothing.
        """
        agreement = self._fit(probability.shape)
        if not self._follows(at_ms):
            agreement.forget()
            self._seen_since, self._coming = None, False
        evidence = agreement.look(probability >= self.threshold, brightness)
        if not hidden:
            self._coming = evidence.seen >= self.config.start_share
        elif not self._coming:
            agreement.forget()
            self._seen_since = None
            return evidence
        if evidence.seen < self.config.stop_share:
            self._seen_since = None
        elif self._seen_since is None:
            self._seen_since = at_ms
        if not (hidden and evidence.seen < self.config.stop_share):
            self._turn(evidence, at_ms)
        return evidence

    def _follows(self, at_ms: int) -> bool:
        """Whether a look is in a row with the one before it."""
        since = 0 if self._looked_at is None else at_ms - self._looked_at
        usual = max(self.config.every_s * 1000, min(self._pace_ms, _SLOWEST_MS))
        self._looked_at, self._pace_ms = at_ms, since
        return 0 <= since <= _LONGEST * usual

    def _turn(self, evidence: Evidence, at_ms: int) -> None:
        config = self.config
        if self._started_at is None:
            if evidence.agreed >= config.start_share and evidence.alive:
                self._started_at = at_ms if self._seen_since is None else self._seen_since
                self._calm, self._peak = 0, evidence.seen
                self._say("start", evidence, at_ms)
            return
        self._peak = max(self._peak, evidence.seen)
        self._calm = self._calm + 1 if evidence.seen < config.stop_share else 0
        if self._calm >= config.exit_looks:
            self._say("end", evidence, at_ms)
            self._started_at, self._calm, self._peak = None, 0, 0.0
        elif self._said_at is None or at_ms - self._said_at >= config.update_s * 1000:
            self._say("update", evidence, at_ms)

    def _say(self, phase: ScenePhase, evidence: Evidence, at_ms: int) -> None:
        assert self._started_at is not None
        self._said_at = at_ms
        detail: dict[str, float | int | str] = {
            "share": round(evidence.seen, 4),
            "peak_share": round(self._peak, 4),
            "stir": round(evidence.stir, 1),
            "lasted_s": round(max(at_ms - self._started_at, 0) / 1000, 1),
        }
        self._waiting.append(
            SceneEvent(
                phase,
                self.id,
                self.config.category,
                self._started_at,
                at_ms,
                count=0 if phase == "end" else 1,
                peak=self._peak,
                detail=detail,
            )
        )

    def _fit(self, shape: tuple[int, ...]) -> Agreement:
        """The agreement over cells of the zone; maps of another size begin a new one."""
        if self._agreement is None or self._agreement.ground.shape != shape:
            self._agreement = Agreement(self.config.rule, self.outline.cells(*shape))
        return self._agreement
