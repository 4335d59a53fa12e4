"""Water standing on the road: a condition over maps of a segmenter, with hysteresis in area, depth and looks."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge.vision.scenes.config import WaterConfig
from edge.vision.scenes.scene import Outline, SceneEvent, ScenePhase
from edge.vision.scenes.timed import TimedScene
from models.standing import standing

Grid = NDArray[np.float32]
"""Probability of water by cell of the whole picture, ``(rows, columns)``, 0..1."""

_POINTS: Final = 64
"""Places along the gauge line that are asked."""
_GAP: Final = 3
"""Of these, so many in a row may be dry below the water's edge: a gleam, a rung, a leaf."""
_LONGEST: Final = 3
"""Looks so many intervals apart are no looks in a row."""
_SLOWEST_MS: Final = 1_800_000
"""The longest interval that pictures may come at and still be looks in a row."""


class Level(NamedTuple):
    """How the water stood at one look.

    Attributes:
        share: of the drivable area that is under water, 0..1.
        depth_m: along the gauge line, or None when none is calibrated.
    """

    share: float
    depth_m: float | None


class WaterScene(TimedScene[WaterConfig]):
    """Asks for a look on a timer, and says when water stands, goes on standing and has gone.

    In each step: ``due`` says whether a look is wanted, moving or not; ``look`` takes what the segmenter made of it;
    ``step`` gives what follows. A look counts the cells of the drivable area that the model calls water, and
    that are more like water than they are when this camera's road is dry. Looks in a row have to agree before the
    condition starts or ends; one that does not agree takes one away. ``threshold`` is where the model is sure; around sure cells all counts
    that reaches ``extent`` (see ``models.standing``).

    Looks are in a row at the pace that is asked for, or at that of the pictures, where a camera uploads one now and then.

    The dry reference has two parts: what ``learn_dry`` was told for certain, and a mean over days that is not
    taken while water stands or may be coming. So what always shines is forgotten, and a flood never is.
    """

    def __init__(self, config: WaterConfig) -> None:
        super().__init__(config, Outline(config.road))
        self.extent: float | None = None
        self._ground: NDArray[np.bool_] | None = None
        self._dry: Grid | None = None
        self._mean: Grid | None = None
        self._agreeing = 0
        self._turning_at = 0
        self._pace_ms = 0

    def restore(self, started_at: int) -> None:
        """Go on with a condition that was open when the box stopped; the next look says how it stands."""
        self._started_at, self._said_at = started_at, None
        self._agreeing = 0

    def learn_dry(self, probability: Grid) -> None:
        """Take a look at the road while it is certainly dry: what seems to be water there is none."""
        self._fit(probability.shape)
        self._dry = probability if self._dry is None else np.maximum(self._dry, probability)

    def look(self, probability: Grid, at_ms: int) -> Level:
        """Take one look, whose outcome ``step`` tells."""
        config = self.config
        self._fit(probability.shape)
        elapsed = 0 if self._looked_at is None else max(at_ms - self._looked_at, 0)
        if elapsed > _LONGEST * max(config.every_s * 1000, min(self._pace_ms, _SLOWEST_MS)):
            self._agreeing = 0
        self._looked_at, self._pace_ms = at_ms, elapsed
        level = self.level(probability)
        turning = self._low(level) if self.is_open else self._high(level)
        if turning and self._agreeing == 0:
            self._turning_at = at_ms
        self._agreeing = max(0, self._agreeing + (1 if turning else -1))
        if self.is_open or self._agreeing:
            self._peak = max(self._peak, level.share)
        else:
            self._peak = 0.0
            self._remember(probability, elapsed)
        self._turn(level, at_ms)
        return level

    def level(self, probability: Grid) -> Level:
        """How the water stands in one look, without consequences."""
        self._fit(probability.shape)
        assert self._ground is not None
        above = self.config.above_dry
        everywhere = standing(
            probability,
            np.ones_like(self._ground),
            self.threshold,
            self.extent,
            usual=self._usual(),
            above=above,
        )
        water = standing(
            probability, self._ground, self.threshold, self.extent, usual=self._usual(), above=above
        )
        share = float(water[self._ground].mean()) if self._ground.any() else 0.0
        # A gauge line may stand beside the road.
        return Level(share, self._depth(everywhere))

    def _high(self, level: Level) -> bool:
        deep = level.depth_m is not None and level.depth_m >= self.config.start_depth_m
        return deep or level.share >= self.config.start_share

    def _low(self, level: Level) -> bool:
        deep = level.depth_m is not None and level.depth_m >= self.config.stop_depth_m
        return not deep and level.share < self.config.stop_share

    def _turn(self, level: Level, at_ms: int) -> None:
        config = self.config
        if self._started_at is None:
            if self._agreeing >= config.enter_looks:
                self._started_at, self._agreeing = self._turning_at, 0
                self._say("start", level, at_ms)
        elif self._agreeing >= config.exit_looks:
            self._say("end", level, at_ms)
            self._started_at, self._agreeing, self._peak = None, 0, 0.0
        elif self._said_at is None or at_ms - self._said_at >= config.update_s * 1000:
            self._say("update", level, at_ms)

    def _say(self, phase: ScenePhase, level: Level, at_ms: int) -> None:
        assert self._started_at is not None
        self._said_at = at_ms
        detail: dict[str, float | int | str] = {
            "share": round(level.share, 3),
            "peak_share": round(self._peak, 3),
            "limit": self.config.start_share,
            "lasted_s": round((at_ms - self._started_at) / 1000, 1),
        }
        if level.depth_m is not None:
            detail["depth_m"] = round(level.depth_m, 2)
        if self.config.road_m2 is not None:
            detail["area_m2"] = round(level.share * self.config.road_m2, 1)
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

    def _depth(self, water: NDArray[np.bool_]) -> float | None:
        """How far up the gauge line its water reaches without a break."""
        gauge = self.config.gauge
        if gauge is None:
            return None
        along = (np.arange(_POINTS) + 0.5) / _POINTS
        (x1, y1), (x2, y2) = gauge.foot, gauge.top
        rows, columns = water.shape
        x = np.minimum((x1 + (x2 - x1) * along) * columns, columns - 1).astype(np.intp)
        y = np.minimum((y1 + (y2 - y1) * along) * rows, rows - 1).astype(np.intp)
        reached, dry = 0, 0
        for place, wet in enumerate(water[y, x].tolist(), start=1):
            dry = 0 if wet else dry + 1
            if dry > _GAP:
                break
            if wet:
                reached = place
        return gauge.metres * reached / _POINTS

    def _usual(self) -> Grid:
        """How much like water each cell is while the road is dry."""
        assert self._mean is not None
        return self._mean if self._dry is None else np.maximum(self._mean, self._dry)

    def _remember(self, probability: Grid, elapsed: int) -> None:
        assert self._mean is not None
        weight = min(elapsed, _LONGEST * self.config.every_s * 1000) / (self.config.forget_days * 86_400_000)
        self._mean += (probability - self._mean) * np.float32(min(weight, 1.0))

    def _fit(self, shape: tuple[int, ...]) -> None:
        """Cells of the drivable area; a map of another size begins with a new reference."""
        if self._ground is not None and self._ground.shape == shape:
            return
        rows, columns = shape
        self._ground = self.outline.cells(rows, columns)
        self._mean = np.zeros((rows, columns), np.float32)
        self._dry = None
