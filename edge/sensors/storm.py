"""One rainstorm as physics: what every simulated sensor of a district measures.

Rain falls by a design storm, runs off, ponds at low spots faster than the drains take it away, fills the
sewer until its head lifts a cover; lightning starts a smouldering fire; a citizen presses the button. Then all
of it recedes. The whole is a pure function of seed, exposure and time.

Sources: hyetograph C. J. Keifer and H. H. Chu, "Synthetic storm pattern for drainage design", J. Hydraulics
Div. ASCE 83 (1957), over an intensity formula i = A / (t + b)^n as GB 50014 writes it; runoff a linear reservoir
(R. T. Zoch 1934); ponding and sewer a mass balance with an orifice outflow proportional to the root of the
head (Torricelli); the cover lifts when the water's pressure outweighs it (Archimedes); smoke grows as the
square of time, as design fires do (NFPA 72).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

RAIN_S = 3600
"""Seconds of scenario time that rain falls."""
CYCLE_S = 7200
"""Seconds of scenario time after which the next storm, with the next seed, begins."""

_B_MIN, _N = 32.9, 1.011
_RUNOFF = 0.85
_RESERVOIR_S = 420.0
_DRAIN_MM_PER_S = 62.0 / 3600
_BOWL_MM = 46.0
"""Excess rain over the catchment that ponds one metre deep at the low spot (a bowl: volume ∝ depth²)."""
_GROUND_M = 2.0
"""From the sewer's invert up to the cover."""
_LIFT_HEAD_M = 90.0 / (1000.0 * math.pi * 0.35**2)
"""Head above the cover that carries its 90 kg over a clear opening of 0.7 m."""
_SEWER_MM_PER_M = 3.4
_PRESS_DEPTH_M = 0.25


@dataclass(frozen=True, slots=True)
class Sky:
    """What the place is like at one instant of the storm."""

    rain_mm_per_h: float
    rain_total_mm: float
    depth_m: float
    sewer_level_m: float
    cover_tilt_deg: float
    smoke_db_per_m: float
    air_c: float
    methane_lel: float
    pressed: bool


CALM = Sky(0.0, 0.0, 0.0, 0.28, 0.6, 0.004, 24.0, 1.5, pressed=False)
"""Before and after."""


@dataclass(frozen=True, slots=True)
class Storm:
    """A storm of a district.

    Args:
        seed: of the first cycle; each following cycle takes the next number.
        began_at: when scenario time began, ms since the Unix epoch.
        time_scale: scenario seconds that pass in one real second.
    """

    seed: int
    began_at: int
    time_scale: float = 1.0

    def sky(self, at_ms: int, exposure: float = 1.0) -> Sky:
        """The place at an instant; before ``began_at`` it is calm.

        Args:
            at_ms: the instant, ms since the Unix epoch.
            exposure: how much runoff the place gathers: 1 is a low spot, about 0.5 drains without harm.
        """
        elapsed = (at_ms - self.began_at) / 1000.0 * self.time_scale
        if elapsed < 0:
            return CALM
        cycle, second = divmod(elapsed, CYCLE_S)
        return course(self.seed + int(cycle), round(exposure, 3))[int(second)]


def hyetograph(second: float, peak_at_s: float, strength: float) -> float:
    """Rain intensity of the design storm, mm/h.

    Args:
        second: since the rain began; zero outside of it.
        peak_at_s: when it is heaviest.
        strength: A of the intensity formula, in mm/min.
    """
    if not 0 <= second < RAIN_S:
        return 0.0
    share = peak_at_s / RAIN_S
    # Minutes from the peak, stretched so that both limbs carry the intensity formula's mean.
    away = (peak_at_s - second) / share if second < peak_at_s else (second - peak_at_s) / (1 - share)
    away /= 60.0
    return 60.0 * strength * ((1 - _N) * away + _B_MIN) / math.pow(away + _B_MIN, _N + 1)


@lru_cache(maxsize=64)
def course(seed: int, exposure: float) -> tuple[Sky, ...]:
    """The storm of one seed at a place, second by second of scenario time (``CYCLE_S`` of them)."""
    draw = random.Random(seed)
    return_years = draw.uniform(15.0, 40.0)
    strength = 64.3 * (1 + 0.837 * math.log10(return_years))
    peak_at_s = RAIN_S * draw.uniform(0.30, 0.38)
    struck_at_s = draw.uniform(660.0, 900.0)
    hesitation_s = draw.uniform(20.0, 120.0)
    place = _Place(exposure, struck_at_s, hesitation_s)
    return tuple(place.step(second, hyetograph(second, peak_at_s, strength)) for second in range(CYCLE_S))


class _Place:
    """One place stepped through a storm, a second at a time."""

    def __init__(self, exposure: float, struck_at_s: float, hesitation_s: float) -> None:
        self._exposure = exposure
        self._struck_at_s = struck_at_s
        self._hesitation_s = hesitation_s
        self._total_mm = self._reservoir_mm = self._ponded_mm = self._sewer_mm = 0.0
        self._tilt = CALM.cover_tilt_deg
        self._deep_since: int | None = None
        self._pressed = False

    def step(self, second: int, rain_mm_per_h: float) -> Sky:
        rain = rain_mm_per_h / 3600.0
        self._total_mm += rain
        inflow = self._run_off(rain)
        depth = self._pond(inflow)
        level = self._fill_sewer(inflow, depth)
        self._lift_cover(level)
        self._press(second, depth)
        return Sky(
            rain_mm_per_h=rain_mm_per_h,
            rain_total_mm=self._total_mm,
            depth_m=depth,
            sewer_level_m=level,
            cover_tilt_deg=self._tilt,
            smoke_db_per_m=CALM.smoke_db_per_m + self._exposure * self._smoke(second),
            air_c=CALM.air_c - 4.0 * min(self._total_mm / 40.0, 1.0) + 9.0 * self._smoke(second),
            # Rising water pushes the sewer's gas out ahead of it.
            methane_lel=CALM.methane_lel + 6.0 * min(max(level - CALM.sewer_level_m, 0.0) / _GROUND_M, 1.0),
            pressed=self._pressed,
        )

    def _run_off(self, rain: float) -> float:
        """Through the linear reservoir of roofs, pavements and gutters; mm/s that reach the low spot."""
        self._reservoir_mm += _RUNOFF * rain * self._exposure
        outflow = self._reservoir_mm / _RESERVOIR_S
        self._reservoir_mm -= outflow
        return outflow

    def _pond(self, inflow: float) -> float:
        self._ponded_mm = max(self._ponded_mm + inflow - _DRAIN_MM_PER_S, 0.0)
        return math.sqrt(self._ponded_mm / _BOWL_MM)

    def _fill_sewer(self, inflow: float, depth: float) -> float:
        outflow = _DRAIN_MM_PER_S * math.sqrt(self._sewer_mm / (_SEWER_MM_PER_M * _GROUND_M))
        # What the gullies let in: never more than a pipe's fill a little above its own capacity.
        gullies = min(inflow, 1.25 * _DRAIN_MM_PER_S) if depth == 0.0 else 1.25 * _DRAIN_MM_PER_S
        self._sewer_mm = max(self._sewer_mm + gullies - outflow, 0.0)
        return CALM.sewer_level_m + self._sewer_mm / _SEWER_MM_PER_M

    def _lift_cover(self, level: float) -> None:
        head = level - _GROUND_M - _LIFT_HEAD_M
        if head > 0:
            wanted = CALM.cover_tilt_deg + min(head / 0.4, 1.0) * 38.0
            self._tilt = max(self._tilt, self._tilt + (wanted - self._tilt) / 45.0)
        elif level < 0.6 * _GROUND_M:
            # The water is gone: a crew lays the cover back.
            self._tilt += (CALM.cover_tilt_deg - self._tilt) / 60.0

    def _press(self, second: int, depth: float) -> None:
        if depth >= _PRESS_DEPTH_M:
            self._deep_since = second if self._deep_since is None else self._deep_since
            if second - self._deep_since >= self._hesitation_s:
                self._pressed = True
        elif depth < 0.05:
            self._deep_since = None
            self._pressed = False

    def _smoke(self, second: int) -> float:
        """Smouldering from the strike until the power is cut twenty minutes later, dB/m."""
        burning = second - self._struck_at_s
        if burning < 0:
            return 0.0
        dense = 0.9 * (1 - math.exp(-((min(burning, 1200.0) / 420.0) ** 2)))
        return dense * math.exp(-max(burning - 1200.0, 0.0) / 300.0)
