"""A view that grows blind slowly: said, however slowly within a month; and what only looks like it, not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edge.camera.frame import Image
from edge.vision.focus import Focus
from edge.vision.health import Fault, HealthChange, HealthSettings, ViewHealth
from edge.vision.health_measure import Look, look_at

DAY_MS = 86_400_000
APART_MS = 3000
Change = Callable[[Image], Image]


@pytest.fixture(scope="module")
def square(shared_data: Path) -> Image:
    with av.open(str(shared_data / "data" / "video" / "vtest.avi")) as container:
        return next(container.decode(video=0)).to_ndarray(format="bgr24").astype(np.uint8)


def _health(image: Image, settings: HealthSettings | None = None, watched_ms: float = DAY_MS) -> ViewHealth:
    """One that has known a view for a day."""
    settings = settings or HealthSettings(ignore=("frozen",))
    before, look = ViewHealth(settings), look_at(image)
    for number in range(240):
        before.step(look, number * APART_MS)
    assert before.known is not None
    return ViewHealth(settings, known=replace(before.known, focus_ms=watched_ms))


def _show(health: ViewHealth, looks: Sequence[Look], minutes: float, begin_ms: int = 0) -> list[HealthChange]:
    """Show them one after the other, each for its share of the time."""
    count = round(minutes * 60_000 / APART_MS)
    changes: list[HealthChange] = []
    for number in range(count):
        look = looks[number * len(looks) // count]
        changes += health.step(look, begin_ms + number * APART_MS).changes
    return changes


def _said(changes: Sequence[HealthChange]) -> list[tuple[str, Fault]]:
    return [(one.phase, one.fault) for one in changes]


def _blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8) if sigma else image


def _growing_blurred(image: Image, most: float = 12.0) -> list[Look]:
    return [look_at(_blurred(image, most * step / 48)) for step in range(49)]


@pytest.mark.shared_data
@pytest.mark.parametrize("minutes", [5, 20, 60, 120, 360])
def test_a_view_that_goes_out_of_focus_is_said_however_slowly_and_ends_when_it_is_mended(
    square: Image, minutes: int
) -> None:
    health, looks = _health(square), _growing_blurred(square)
    changes = _show(health, looks, minutes) + _show(health, looks[-1:], 10, minutes * 60_000)
    assert _said(changes) == [("start", "blurred")]
    mended = _show(health, [look_at(square)], 15, (minutes + 10) * 60_000)
    assert _said(mended) == [("end", "blurred")]
    assert mended[0].at - (minutes + 10) * 60_000 < 60_000


@pytest.mark.shared_data
def test_a_restart_mends_no_focus_that_was_lost_slowly(square: Image) -> None:
    before, looks = _health(square), _growing_blurred(square)
    known = before.known
    _show(before, looks, 60)
    assert before.fault == "blurred"
    after = ViewHealth(HealthSettings(ignore=("frozen",)), open_fault="blurred", known=known)
    assert _show(after, looks[-1:], 30) == []
    assert _said(_show(after, looks[:1], 10, 30 * 60_000)) == [("end", "blurred")]


@pytest.mark.shared_data
def test_a_slightly_soft_view_calls_nobody(square: Image) -> None:
    assert _show(_health(square), _growing_blurred(square, 3.0), 360) == []


@pytest.mark.shared_data
def test_in_its_first_day_it_has_not_seen_a_night_and_says_nothing(square: Image) -> None:
    assert _show(_health(square, watched_ms=DAY_MS / 2), _growing_blurred(square), 360) == []


@pytest.mark.shared_data
def test_a_view_that_somebody_accepts_blurred_is_usual(square: Image) -> None:
    health = _health(square)
    looks = _growing_blurred(square)
    _show(health, looks, 120)
    assert health.fault == "blurred"
    assert _said(health.accept(120 * 60_000).changes) == [("end", "blurred")]
    assert _show(health, looks[-1:], 30, 121 * 60_000) == []


@pytest.mark.shared_data
def test_where_blurring_is_left_out_it_is_left_out_slowly_too(square: Image) -> None:
    health = _health(square, HealthSettings(ignore=("frozen", "blurred")))
    assert _show(health, _growing_blurred(square), 60) == []


# --- what only looks like it ---


def _light(at: float) -> Change:
    """From day, 0, to a night under lamps, 1: pools of light, glare, grain and a coarse stream."""

    def light(image: Image) -> Image:
        height, width = image.shape[:2]
        down, across = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
        lamps = np.full((height, width), 0.06)
        glare = np.zeros((height, width))
        for x, y in ((0.2, 0.5), (0.7, 0.3), (0.5, 0.85)):
            lamps += 0.5 * np.exp(-(((across - x) / 0.12) ** 2 + ((down - y) / 0.15) ** 2) / 2)
            glare += 250 * np.exp(-((across - x) ** 2 + (down - y + 0.2) ** 2) / (2 * 0.02**2))
        light = (1 - at) + at * lamps
        grain = np.random.default_rng(5).normal(0, 6 * at, image.shape)
        lit = np.clip(image * light[..., None] + at * glare[..., None] + grain, 0, 255).astype(np.uint8)
        _, stream = cv2.imencode(".jpg", lit, [cv2.IMWRITE_JPEG_QUALITY, round(90 - 70 * at)])
        return np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), np.uint8)

    return light


def _fog(at: float) -> Change:
    """Thicker with distance."""

    def fog(image: Image) -> Image:
        through = 1 - at * np.linspace(0.9, 0.3, image.shape[0])[:, None, None]
        return np.asarray(image * through + 200 * (1 - through), np.uint8)

    return fog


def _rain(at: float) -> Change:
    def rain(image: Image) -> Image:
        random, wet = np.random.default_rng(3), image.copy()
        for x, y in random.integers(0, (image.shape[1], image.shape[0]), (round(1500 * at), 2)).tolist():
            cv2.line(wet, (x, y), (x + 2, y + 18), (200, 200, 200), 1)
        return np.asarray(0.6 * image + 0.4 * wet, np.uint8)

    return rain


def _snow(at: float) -> Change:
    """On the ground: it hides what there was to see on two thirds of the picture."""

    def snow(image: Image) -> Image:
        white = image.astype(np.float32)
        ground = white[image.shape[0] // 3 :]
        ground[:] = (1 - 0.88 * at) * ground + 210 * at
        return np.asarray(white, np.uint8)

    return snow


def _dim(at: float) -> Change:
    return lambda image: np.asarray(image * (1 - 0.7 * at), np.uint8)


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["vtest.avi", "intel/one-by-one-person-detection.mp4"])
@pytest.mark.parametrize("weather", [_light, _fog, _rain, _snow, _dim])
def test_dusk_fog_rain_and_snow_that_come_within_hours_are_no_lost_focus(
    shared_data: Path, weather: Callable[[float], Change], name: str
) -> None:
    with av.open(str(shared_data / "data" / "video" / name)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="bgr24").astype(np.uint8)
    coming = [look_at(weather(step / 24)(image)) for step in range(25)]
    health = _health(image)
    assert _show(health, coming, 120) == []
    assert _show(health, coming[-1:], 240, 2 * 3_600_000) == []
    assert _show(health, coming[::-1], 120, 6 * 3_600_000) == []


@pytest.mark.shared_data
def test_an_empty_street_after_a_crowd_is_as_sharp(square: Image) -> None:
    random, crowd = np.random.default_rng(1), square.copy()
    for x, y in random.integers((0, 150), (750, 540), (400, 2)).tolist():
        colour = [int(part) for part in random.integers(0, 255, 3)]
        cv2.ellipse(crowd, (x, y), (7, 18), 0, 0, 360, colour, -1)
    health = _health(crowd)
    assert _show(health, [look_at(crowd), look_at(square)], 60) == []


def test_a_picture_with_too_little_in_it_tells_nothing_of_the_lens() -> None:
    flat = np.full((240, 320, 3), 90, np.uint8)
    assert np.isnan(look_at(flat).focus)
    focus = Focus(2.0, DAY_MS)
    assert focus.see(look_at(flat).focus, 600_000) is None
    assert (focus.usual, focus.watched_ms) == (2.0, DAY_MS)


# --- what is usual, over days and weeks ---


def _live(focus: Focus, sharpness: Sequence[float], apart_ms: float = 600_000) -> list[int]:
    """Which of them were too little; those are not learnt from."""
    lost = []
    for number, one in enumerate(sharpness):
        if focus.see(one, apart_ms) is not None:
            lost.append(number)
        else:
            focus.learn(one, apart_ms)
    return lost


def test_nights_softer_than_days_are_usual_and_a_blurred_day_still_is_not() -> None:
    """Half of each day and night; the infrared lamp's focus is another one."""
    focus, month = Focus(), ([2.4] * 72 + [0.9] * 72) * 30
    assert _live(focus, month) == []
    assert 0.8 < focus.usual < 1.2
    assert _live(focus, [2.4] * 20 + [0.2] * 40)


def test_a_blur_that_is_wiped_off_in_the_first_day_is_not_taken_for_usual() -> None:
    focus = Focus()
    assert _live(focus, [2.4] * 20) == []
    focus.take(0.2)
    assert _live(focus, [2.4] * 288) == []
    assert focus.usual == pytest.approx(2.4, rel=0.05)
    assert _live(focus, np.linspace(2.4, 0.2, 144).tolist())


def test_a_soft_picture_right_after_a_start_is_not_taken_for_the_softest_minutes() -> None:
    before = Focus()
    assert _live(before, [2.4] * 20) == []
    after = Focus(before.usual, before.watched_ms)
    assert _live(after, [0.5] + [2.4] * 400, 3000) == []
    assert after.usual == pytest.approx(2.4, rel=0.05)


@pytest.mark.parametrize("days", [1, 3, 7, 14, 30])
def test_a_focus_that_is_lost_over_weeks_is_said(days: int) -> None:
    focus = Focus()
    assert _live(focus, [2.4] * 288) == []
    assert _live(focus, np.linspace(2.4, 0.15, 144 * days).tolist())


def test_one_lost_over_many_months_is_not_said() -> None:
    """What stands in decision 32: it becomes the usual view."""
    focus = Focus()
    assert _live(focus, [2.4] * 288) == []
    assert _live(focus, np.linspace(2.4, 0.15, 144 * 365).tolist()) == []


def test_a_lens_that_was_wet_on_its_first_day_is_known_better_in_time() -> None:
    focus = Focus()
    _live(focus, [0.8] * 144)
    before = focus.usual
    _live(focus, [2.4] * 144 * 90)
    assert 1.9 * before < focus.usual < 2.4


def test_the_blurrier_a_picture_the_less_its_focus_whatever_its_grain_and_light(painted: Image) -> None:
    measured = [look_at(_blurred(painted, sigma)).focus for sigma in (0, 1, 2, 4, 8)]
    assert all(sharper > softer for sharper, softer in pairwise(measured))
    for sigma in (0, 2, 4):
        image = _blurred(painted, sigma)
        grain = np.random.default_rng(1).normal(0, 4, image.shape)
        for spoilt in (image * 0.6, image + grain):
            changed = look_at(np.clip(spoilt, 0, 255).astype(np.uint8)).focus
            assert changed == pytest.approx(look_at(image).focus, rel=0.25, abs=0.05)


@pytest.fixture
def painted() -> Image:
    """Houses and a road, painted: blocks of many greys with sharp edges."""
    random, image = np.random.default_rng(2), np.full((480, 640, 3), 110, np.uint8)
    for x, y, wide, high in random.integers((0, 0, 20, 20), (600, 440, 120, 120), (80, 4)).tolist():
        cv2.rectangle(image, (x, y), (x + wide, y + high), [int(random.integers(20, 230))] * 3, -1)
    return image
