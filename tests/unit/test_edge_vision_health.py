"""Whether a camera sees: on real footage as it is, covered, defocused, darkened, shifted and frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.camera.frame import Image
from edge.vision.health import FAULTS, HealthChange, HealthSettings, ViewHealth
from edge.vision.health_measure import Look, look_at
from tests.fixtures.vision import BIKES, street

SETTINGS = HealthSettings(after_s=5, clear_s=3, frozen_s=6)
SPOILT_FROM_MS = 40_000
Change = Callable[[Image], Image]


def _frames(path: Path, every: int) -> Iterator[Image]:
    with av.open(str(path)) as container:
        for n, frame in enumerate(container.decode(video=0)):
            if n % every == 0:
                yield frame.to_ndarray(format="bgr24").astype(np.uint8)


@pytest.fixture(scope="module")
def vtest(shared_data: Path) -> list[Image]:
    """One picture a second of the square."""
    return list(_frames(shared_data / "data" / "video" / "vtest.avi", 10))


def _watch(
    pictures: Sequence[Image],
    change: Change | None = None,
    until_ms: int = 10**9,
    settings: HealthSettings = SETTINGS,
) -> tuple[list[HealthChange], list[tuple[int, str | None]], ViewHealth]:
    """All changes, and by instant the fault of each picture; spoilt between 40 s and ``until_ms``."""
    health = ViewHealth(settings)
    changes: list[HealthChange] = []
    faults: list[tuple[int, str | None]] = []
    for n, picture in enumerate(pictures):
        at = n * 1000
        shown = change(picture) if change is not None and SPOILT_FROM_MS <= at < until_ms else picture
        verdict = health.step(look_at(shown), at)
        changes += verdict.changes
        faults.append((at, verdict.fault))
    return changes, faults, health


def _cover(image: Image) -> Image:
    covered = image.copy()
    covered[:, : image.shape[1] * 7 // 10] = (38, 44, 52)
    return covered


def _bag(image: Image) -> Image:
    return np.random.default_rng(int(image[7, 7, 0])).integers(50, 56, image.shape, dtype=np.uint8)


def _hand(image: Image) -> Image:
    height, width = image.shape[:2]
    mask = np.zeros((height, width, 1), np.float32)
    cv2.ellipse(mask, (width // 2, height // 2), (width * 42 // 100, height * 45 // 100), 0, 0, 360, 1.0, -1)
    skin = cv2.GaussianBlur(image, (0, 0), 40)[..., :3] * 0.4
    return np.asarray(image * (1 - mask) + skin * mask, np.uint8)


def _defocus(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 6), np.uint8)


def _darken(image: Image) -> Image:
    return np.asarray(image * 0.08, np.uint8)


def _black(image: Image) -> Image:
    return np.zeros_like(image)


def _shift(across: int, down: int) -> Change:
    def shift(image: Image) -> Image:
        height, width = image.shape[:2]
        matrix = np.array([[1, 0, across], [0, 1, down]], np.float32)
        return np.asarray(
            cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), np.uint8
        )

    return shift


def _turned_away(image: Image) -> Image:
    return np.ascontiguousarray(image[:, ::-1])


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("vtest.avi", 10),
        ("vtest.avi", 3),
        ("intel/one-by-one-person-detection.mp4", 15),
        ("intel/car-detection.mp4", 5),
        ("bikes.mp4", 5),
    ],
)
def test_unspoilt_footage_raises_no_alarm(shared_data: Path, name: str, every: int) -> None:
    """Nor does a single picture of it count as unfit; for edited footage it knows that it cannot tell."""
    changes, faults, _ = _watch(list(_frames(shared_data / "data" / "video" / name, every)))
    assert changes == []
    assert {fault for _, fault in faults} == {None}


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_cover, "blocked"),
        (_bag, "blocked"),
        (_hand, "blocked"),
        (_defocus, "blurred"),
        (_darken, "dark"),
        (_black, "dark"),
        (_shift(40, 24), "moved"),
        (_shift(-120, 60), "moved"),
        (_shift(300, 0), "moved"),
        (_turned_away, "moved"),
    ],
)
def test_a_spoilt_view_is_named_and_its_pictures_are_judged_by_no_more(
    vtest: list[Image], change: Change, fault: str
) -> None:
    changes, faults, _ = _watch(vtest, change, until_ms=60_000)
    assert [(one.phase, one.fault) for one in changes] == [("start", fault), ("end", fault)]
    start, end = changes
    assert start.since == SPOILT_FROM_MS
    assert SPOILT_FROM_MS < start.at <= SPOILT_FROM_MS + 7000
    assert 60_000 <= end.at <= 65_000
    spoilt = [found for at, found in faults if SPOILT_FROM_MS <= at < 60_000]
    assert set(spoilt) == {fault}
    assert {found for at, found in faults if not SPOILT_FROM_MS <= at < 60_000} == {None}


@pytest.mark.shared_data
def test_a_frozen_picture_is_named(vtest: list[Image]) -> None:
    changes, _, _ = _watch(vtest, lambda _: vtest[10])
    assert [(one.phase, one.fault) for one in changes] == [("start", "frozen")]
    assert changes[0].at == SPOILT_FROM_MS + 6000


def test_a_freeze_starts_once_and_ends_once_when_it_thaws() -> None:
    """With the settings as they come: 40 s alive, 80 s the same picture, a minute alive."""
    health = ViewHealth(HealthSettings())
    changes: list[HealthChange] = []
    for second in range(180):
        frozen = 40 <= second < 120
        look = look_at(_grainy(street(seed=11), 99 if frozen else second % 50))
        changes += health.step(look, second * 1000).changes
    assert [(one.phase, one.fault, one.since // 1000, one.at // 1000) for one in changes] == [
        ("start", "frozen", 40, 70),
        ("end", "frozen", 129, 129),
    ]


@pytest.mark.shared_data
@pytest.mark.parametrize("change", [_shift(6, 3), lambda image: np.asarray(image * 0.55, np.uint8)])
def test_wind_at_the_pole_and_a_cloud_are_no_fault(vtest: list[Image], change: Change) -> None:
    assert _watch(vtest, change)[0] == []


@pytest.mark.shared_data
def test_a_lorry_before_the_lens_for_a_moment_calls_nobody_but_is_not_judged_by(vtest: list[Image]) -> None:
    changes, faults, _ = _watch(vtest, _cover, until_ms=43_000)
    assert changes == []
    assert [found for at, found in faults if 40_000 <= at < 43_000] == ["blocked"] * 3


@pytest.mark.shared_data
def test_a_camera_that_turns_may_have_moving_ignored(vtest: list[Image]) -> None:
    settings = HealthSettings(after_s=5, ignore=("moved",))
    assert _watch(vtest, _turned_away, settings=settings)[0] == []


def test_footage_that_is_cut_together_is_known_to_have_no_view_of_its_own() -> None:
    _, _, health = _watch(list(_frames(BIKES, 5)))
    assert not health.knows_its_view


def test_a_fault_that_was_open_when_the_box_stopped_goes_on_until_the_picture_is_good() -> None:
    health = ViewHealth(SETTINGS, open_fault="dark")
    for n in range(5):
        assert health.step(look_at(_black(street())), n * 1000).changes == ()
    changes = [one for n in range(5, 12) for one in health.step(look_at(street(seed=n)), n * 1000).changes]
    assert [(one.phase, one.fault) for one in changes] == [("end", "dark")]


# --- a camera that was aimed elsewhere ---

HERE, THERE, ELSEWHERE = street(seed=11), street(seed=12), street(seed=13)
HOUR_MS = 3_600_000
QUICK = HealthSettings(after_s=5, clear_s=3, adopt_h=2)


def _grainy(image: Image, seed: int) -> Image:
    grain = np.random.default_rng(seed).integers(0, 5, image.shape, dtype=np.uint8)
    return np.asarray(image // 2 + grain, np.uint8)


def _shown(
    health: ViewHealth, image: Image, count: int, begin_ms: int, apart_ms: int = 1000
) -> tuple[list[HealthChange], list[str | None]]:
    """Look at one view for so many pictures."""
    changes: list[HealthChange] = []
    faults: list[str | None] = []
    for number in range(count):
        verdict = health.step(look_at(_grainy(image, number % 50)), begin_ms + number * apart_ms)
        changes += verdict.changes
        faults.append(verdict.fault)
    return changes, faults


def _moved(settings: HealthSettings = QUICK) -> ViewHealth:
    """One that learnt its view in 40 s and was then turned away for 20."""
    health = ViewHealth(settings)
    assert _shown(health, HERE, 40, 0) == ([], [None] * 40)
    changes, _ = _shown(health, THERE, 20, 40_000)
    assert [(one.phase, one.fault) for one in changes] == [("start", "moved")]
    return health


def test_a_view_that_stays_is_the_usual_one_in_the_end_and_what_to_check_is_said() -> None:
    health = _moved()
    changes, faults = _shown(health, THERE, 125, 60_000, apart_ms=60_000)
    (end,) = changes
    assert (end.phase, end.fault) == ("end", "moved")
    assert 40_000 + 2 * HOUR_MS <= end.at <= 40_000 + 2 * HOUR_MS + 60_000
    assert "zones, lanes" in str(end.detail["to_check"])
    assert "2 h" in str(end.detail["ended_because"])
    assert set(faults[:119]) == {"moved"}
    assert set(faults[120:]) == {None}
    changes, _ = _shown(health, HERE, 20, 10 * HOUR_MS)
    assert [(one.phase, one.fault) for one in changes] == [("start", "moved")], (
        "the old view is another one now"
    )


def test_a_camera_that_is_turned_back_keeps_its_view() -> None:
    health = _moved()
    _shown(health, THERE, 60, 60_000, apart_ms=60_000)
    changes, _ = _shown(health, HERE, 10, 2 * HOUR_MS)
    assert [(one.phase, one.fault, one.detail) for one in changes] == [("end", "moved", {})]
    changes, _ = _shown(health, THERE, 20, 2 * HOUR_MS + 20_000)
    assert [(one.phase, one.fault) for one in changes] == [("start", "moved")]


def test_a_camera_that_goes_on_turning_never_has_a_new_view() -> None:
    health, changes = _moved(), []
    for turn in range(30):
        seen = (THERE, ELSEWHERE)[turn % 2]
        changes += _shown(health, seen, 30, 60_000 + turn * 30 * 60_000, apart_ms=60_000)[0]
    assert changes == []
    assert health.fault == "moved"


def test_nights_between_do_not_begin_the_waiting_anew() -> None:
    health = _moved()
    changes, _ = _shown(health, THERE, 60, 60_000, apart_ms=60_000)
    assert changes == []
    changes, _ = _shown(health, np.zeros_like(THERE), 60, HOUR_MS + 60_000, apart_ms=60_000)
    assert [(one.phase, one.fault) for one in changes] == [("end", "moved"), ("start", "dark")]
    changes, _ = _shown(health, THERE, 40, 2 * HOUR_MS + 60_000, apart_ms=1000)
    assert [(one.phase, one.fault) for one in changes][:3] == [
        ("end", "dark"),
        ("start", "moved"),
        ("end", "moved"),
    ]


def test_where_nobody_wants_it_a_moved_camera_stays_moved() -> None:
    health = _moved(HealthSettings(after_s=5, clear_s=3, adopt_h=0))
    assert _shown(health, THERE, 100, 60_000, apart_ms=HOUR_MS)[0] == []


def test_somebody_may_accept_the_view_at_once() -> None:
    health = _moved()
    verdict = health.accept(61_000)
    assert verdict.adopted
    assert [(one.phase, one.fault) for one in verdict.changes] == [("end", "moved")]
    assert _shown(health, THERE, 40, 62_000) == ([], [None] * 40)
    changes, _ = _shown(health, HERE, 20, 200_000)
    assert [(one.phase, one.fault) for one in changes] == [("start", "moved")]


def test_what_is_dark_is_not_accepted_away() -> None:
    health = ViewHealth(QUICK)
    _shown(health, HERE, 40, 0)
    _shown(health, np.zeros_like(HERE), 10, 40_000)
    assert health.accept(60_000).changes == ()
    assert health.fault == "dark"


def test_a_camera_that_was_moved_before_a_restart_is_moved_after_it() -> None:
    """It would learn the wall that it hangs before, and end what nobody has mended."""
    before = ViewHealth(QUICK)
    _shown(before, HERE, 40, 0)
    known = before.known
    assert known is not None
    after = ViewHealth(QUICK, open_fault="moved", known=known)
    changes, faults = _shown(after, THERE, 60, 100_000)
    assert (changes, set(faults)) == ([], {"moved"})
    changes, _ = _shown(after, HERE, 10, 200_000)
    assert [(one.phase, one.fault) for one in changes] == [("end", "moved")]


def test_a_view_that_is_not_steady_is_not_kept() -> None:
    health = ViewHealth(QUICK)
    assert health.known is None
    _shown(health, HERE, 10, 0)
    assert health.known is None


def test_another_size_of_picture_is_measured_too() -> None:
    for shape in ((48, 64, 3), (1080, 1920, 3), (2160, 3840, 3), (333, 777, 3), (6, 8, 3), (600, 100, 3)):
        look = look_at(np.full(shape, 90, np.uint8))
        assert look.detail.shape == (6, 8)
        assert look.shape.shape == (48, 64)


LOOKS: dict[str, Look] = {
    "good": look_at(street(seed=1)),
    "dark": look_at(np.zeros((240, 320, 3), np.uint8)),
    "blocked": look_at(np.full((240, 320, 3), 80, np.uint8)),
    "other": look_at(street(seed=2)),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(LOOKS)), st.integers(0, 8000)), max_size=120))
def test_starts_and_ends_alternate_and_say_what_is_open(steps: list[tuple[str, int]]) -> None:
    health, at, worst = ViewHealth(SETTINGS), 0, 0
    is_open: str | None = None
    for name, apart in steps:
        at += apart
        for change in health.step(LOOKS[name], at).changes:
            assert change.at == at
            assert change.since <= at
            assert change.fault in FAULTS
            if change.phase == "start":
                assert is_open is None
                is_open = change.fault
            else:
                assert change.fault == is_open
                is_open = None
            worst += 1
        assert health.fault == is_open
    assert worst <= 2 * math.ceil(len(steps))


@given(st.lists(st.booleans(), max_size=200))
def test_a_flicker_shorter_than_the_time_asked_for_calls_nobody(bad: list[bool]) -> None:
    """Never more than every other second: the bucket of five never fills."""
    health = ViewHealth(SETTINGS)
    for n, spoilt in enumerate(bad):
        name = "dark" if spoilt and n % 2 else ("good", "other")[n // 2 % 2]
        assert health.step(LOOKS[name], n * 1000).changes == ()
