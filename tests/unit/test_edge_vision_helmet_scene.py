"""Riders without a helmet: who rides, how looks vote, and that each is said once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from common.wire.categories import BY_CODE
from edge.config import load_device
from edge.detectors import Detectors
from edge.inspect import inspect
from edge.vision.scenes.ballot import Ballot, Bounds, Look, mean_probability, verdict
from edge.vision.scenes.config import HelmetConfig
from edge.vision.scenes.helmet import HelmetScene
from edge.vision.scenes.riders import head_of, on_vehicle
from edge.vision.scenes.scene import SceneEvent
from edge.vision.tracker import Track
from tests.fixtures.vision import BIKES

BOUNDS = Bounds(0.7, 0.3)
probabilities = st.floats(0.0, 1.0)
looks = st.lists(
    st.builds(Look, st.integers(0, 10_000), st.floats(0.1, 100.0), probabilities), min_size=0, max_size=9
)


# --- the vote ---


def test_nobody_is_judged_without_looks() -> None:
    assert verdict([], BOUNDS, 0) == "unknown"
    assert mean_probability([]) == 0.5


@given(looks, st.integers(1, 9))
def test_fewer_looks_than_asked_for_say_nothing(cast: list[Look], least: int) -> None:
    if len(cast) < least:
        assert verdict(cast, BOUNDS, least) == "unknown"


@given(looks.flatmap(lambda cast: st.tuples(st.just(cast), st.permutations(cast))))
def test_the_order_of_looks_does_not_matter(casts: tuple[list[Look], list[Look]]) -> None:
    first, other = casts
    assert mean_probability(first) == mean_probability(other)
    assert verdict(first, BOUNDS, 2) == verdict(other, BOUNDS, 2)


@given(looks, probabilities, st.integers(0, 8))
def test_a_barer_look_never_speaks_for_the_helmet(cast: list[Look], other: float, place: int) -> None:
    if place >= len(cast):
        return
    changed = list(cast)
    changed[place] = cast[place]._replace(probability=max(other, cast[place].probability))
    assert mean_probability(changed) >= mean_probability(cast) - 1e-12


@given(looks)
def test_what_speaks_for_one_side_mirrored_speaks_for_the_other(cast: list[Look]) -> None:
    mirrored = [look._replace(probability=1 - look.probability) for look in cast]
    assert mean_probability(mirrored) == pytest.approx(1 - mean_probability(cast))


@given(looks)
def test_the_mean_lies_among_the_looks(cast: list[Look]) -> None:
    if cast:
        said = [min(max(look.probability, 0.047), 0.953) for look in cast]
        assert min(said) - 1e-3 <= mean_probability(cast) <= max(said) + 1e-3


def test_two_good_looks_outvote_one_bad_crop_however_sure_it_is() -> None:
    cast = [Look(0, 40.0, 0.08), Look(200, 40.0, 0.1), Look(400, 40.0, 1.0)]
    assert verdict(cast, BOUNDS, 2) != "helmetless"


# --- which looks are kept ---


@given(st.lists(st.tuples(st.floats(0.1, 100.0), st.integers(0, 5000)), max_size=40), st.integers(1, 6))
def test_a_ballot_keeps_few_looks_all_of_them_apart(offered: list[tuple[float, int]], most: int) -> None:
    ballot = Ballot(most, 150)
    for quality, at in sorted(offered, key=lambda one: one[1]):
        if ballot.wants(quality, at):
            ballot.add(Look(at, quality, 0.5))
    kept = [look.at_ms for look in ballot.looks]
    assert len(kept) <= most
    assert all(late - early >= 150 for early, late in itertools.pairwise(kept))


def test_a_better_look_takes_the_place_of_the_worst() -> None:
    ballot = Ballot(2, 100)
    for at, quality in ((0, 10.0), (1000, 30.0)):
        ballot.add(Look(at, quality, 0.5))
    assert not ballot.wants(11.0, 2000), "hardly better: not worth a run of the model"
    assert ballot.wants(12.0, 2000)
    ballot.add(Look(2000, 12.0, 0.5))
    assert [look.quality for look in ballot.looks] == [30.0, 12.0]


# --- who rides ---

PERSON = (100.0, 50.0, 150.0, 170.0)


@pytest.mark.parametrize(
    ("vehicle", "rides"),
    [
        ((95.0, 100.0, 160.0, 190.0), True),  # sits on it
        ((95.0, 100.0, 160.0, 140.0), False),  # stands before it: the feet are far below the wheels
        ((220.0, 100.0, 290.0, 190.0), False),  # beside it
        ((95.0, 180.0, 160.0, 260.0), False),  # above it, on another street
        ((60.0, 20.0, 190.0, 300.0), False),  # before something larger
        ((145.0, 100.0, 215.0, 190.0), False),  # touches it
    ],
)
def test_a_rider_is_a_person_on_a_two_wheeler(
    vehicle: tuple[float, float, float, float], rides: bool
) -> None:
    assert on_vehicle(PERSON, vehicle) is rides


def test_the_head_is_at_the_top_of_the_person_in_the_middle() -> None:
    left, top, right, bottom = head_of(PERSON)
    assert (left + right) / 2 == pytest.approx(125)
    assert right - left == pytest.approx(bottom - top)
    assert top < PERSON[1] < bottom < PERSON[1] + 60


@given(st.tuples(*[st.floats(-1e4, 1e4) for _ in range(4)]))
def test_no_box_breaks_the_geometry(box: tuple[float, float, float, float]) -> None:
    assert len(head_of(box)) == 4
    assert on_vehicle(box, PERSON) in {True, False}


# --- the scene ---


def _scene(**changes: object) -> HelmetScene:
    scene = HelmetScene(HelmetConfig.model_validate({"scene": "helmet", "id": "riders"} | changes))
    scene.resize(640, 480)
    return scene


def _rider(name: int, x: float, at: int, *, vehicle: str | None = "motorcycle") -> list[Track]:
    def made(number: int, box: tuple[float, float, float, float], label: str) -> Track:
        return Track(number, box, 0.8, label, at - 1000, at, 9, True, ())

    person = made(name, (x, 100.0, x + 50.0, 220.0), "person")
    return [person] if vehicle is None else [person, made(name + 100, (x - 5, 150.0, x + 60, 240.0), vehicle)]


def _raised(box: tuple[float, float, float, float], by: float) -> tuple[float, float, float, float]:
    return box[0], box[1] - by, box[2], box[3] - by


def _pass(
    scene: HelmetScene,
    probability: Callable[[int], float],
    *,
    start: float = 50.0,
    speed: float = 20.0,
    vehicle: str | None = "motorcycle",
    name: int = 1,
    begin: int = 0,
) -> list[SceneEvent]:
    """A ride of two seconds at ten pictures a second; what is said while it lasts and when it is over."""
    events = []
    for step in range(20):
        at = begin + step * 100
        tracks = _rider(name, start + speed * step, at, vehicle=vehicle)
        for rider in scene.riders(tracks, at):
            if scene.wants(rider.id, 30.0, at):
                scene.look(rider.id, Look(at, 30.0, probability(step)))
        events += scene.step(tracks, at)
        assert not events, "a rider is judged when he has passed"
    return scene.step([], begin + 5000)


def test_a_rider_without_a_helmet_is_an_act_said_once_when_he_has_passed() -> None:
    scene = _scene()
    (event,) = _pass(scene, lambda _: 0.95)
    assert (event.phase, event.category, event.count) == ("act", "camera.no_helmet", 1)
    assert BY_CODE[event.category].kind == "act"
    assert (event.started_at, event.at) == (0, 1900)
    assert event.detail["looks"] == 5
    assert event.tracks[0].label == "person"
    assert scene.step([], 10_000) == []


@pytest.mark.parametrize("probability", [0.05, 0.5])
def test_a_helmet_and_a_doubt_are_not_reported_but_counted(probability: float) -> None:
    scene = _scene()
    assert _pass(scene, lambda _: probability) == []
    (event,) = _pass(scene, lambda _: 0.95, name=2, begin=60_000)
    assert event.detail["hour_riders"] == 2
    assert event.detail["hour_helmetless"] == 1
    assert event.detail["hour_rate"] == 0.5
    assert event.detail["hour_unknown"] == (1 if probability == 0.5 else 0)


def test_the_rate_is_of_the_last_hour() -> None:
    scene = _scene()
    _pass(scene, lambda _: 0.05)
    (event,) = _pass(scene, lambda _: 0.95, name=2, begin=3_700_000)
    assert event.detail["hour_riders"] == 1


def test_looks_that_disagree_leave_it_unknown() -> None:
    assert _pass(_scene(), lambda step: 0.9 if step % 4 < 2 else 0.1) == []


def test_whoever_stands_beside_a_parked_one_is_no_rider() -> None:
    assert _pass(_scene(), lambda _: 0.95, speed=0.3) == []


def test_whoever_walks_is_no_rider() -> None:
    assert _pass(_scene(), lambda _: 0.95, vehicle=None) == []


def test_bicycles_count_only_where_they_are_asked_for() -> None:
    assert _pass(_scene(), lambda _: 0.95, vehicle="bicycle") == []
    assert len(_pass(_scene(vehicles=["bicycle", "motorcycle"]), lambda _: 0.95, vehicle="bicycle")) == 1


def test_riders_outside_the_zone_are_left_alone() -> None:
    far = ((0.0, 0.9), (0.1, 0.9), (0.1, 1.0), (0.0, 1.0))
    assert _pass(_scene(zone=far), lambda _: 0.95) == []


@pytest.mark.parametrize(("left", "right"), [(0.0, 0.3), (0.3, 0.5), (0.5, 1.0)])
@pytest.mark.parametrize("speed", [20.0, -20.0])
def test_a_rider_is_judged_whichever_part_of_his_way_is_the_zone(
    left: float, right: float, speed: float
) -> None:
    """Also one that he leaves again while the camera still follows him."""
    scene = _scene(zone=((left, 0.0), (right, 0.0), (right, 1.0), (left, 1.0)))
    assert len(_pass(scene, lambda _: 0.95, start=50 if speed > 0 else 430, speed=speed)) == 1
    assert scene.passed() == ["helmetless"]


def test_whoever_gets_on_beyond_the_zone_walked_through_it() -> None:
    scene = _scene(zone=((0.0, 0.0), (0.3, 0.0), (0.3, 1.0), (0.0, 1.0)))
    for at in range(0, 2000, 100):
        tracks = _rider(1, 50 + at / 5, at, vehicle="motorcycle" if at > 1000 else None)
        assert scene.riders(tracks, at) == []
        scene.step(tracks, at)
    assert scene.step([], 5000) == []
    assert scene.passed() == []


def test_a_rider_of_the_next_lane_whose_box_touches_the_zone_once_is_not_counted() -> None:
    scene = _scene(zone=((0.0, 0.45), (1.0, 0.45), (1.0, 1.0), (0.0, 1.0)))
    for at in range(0, 2000, 100):
        tracks = _rider(1, 50 + at / 5, at)
        if at != 500:
            tracks = [replace(one, xyxy=_raised(one.xyxy, 20.0)) for one in tracks]
        scene.riders(tracks, at)
        scene.step(tracks, at)
    scene.step([], 5000)
    assert scene.passed() == []


def test_a_new_size_of_pictures_forgets_who_was_on_the_way() -> None:
    scene = _scene()
    for at in (0, 200, 400):
        for rider in scene.riders(_rider(1, 50 + at / 5, at), at):
            scene.look(rider.id, Look(at, 30.0, 0.95))
    scene.resize(320, 240)
    assert scene.step([], 5000) == []


def test_more_looks_than_can_be_kept_are_a_fault_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="at most most_looks"):
        _scene(most_looks=2, least_looks=3)


# --- the box ---


def _box(directory: Path, model: str) -> Path:
    path = directory / "lamp.yaml"
    scene = {"scene": "helmet", "id": "riders", "model": model}
    camera = {"name": "cam-1", "path": str(BIKES), "scenes": [scene]}
    path.write_text(yaml.safe_dump({"site": "demo", "device": "lamp", "cameras": [camera]}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("model", "code"), [("helmet", None), ("helmt", "model.unknown"), ("cocossd", "model.kind")]
)
def test_a_box_is_checked_for_the_helmet_model_before_it_starts(
    tmp_path: Path, model: str, code: str | None
) -> None:
    path = _box(tmp_path, model)
    findings = [one for one in inspect(load_device(path), path, {}) if one.what == f"cam-1: model {model}"]
    assert [one.error.code if one.error else None for one in findings][-1:] == [code]


def test_cameras_share_one_session_of_the_helmet_model() -> None:
    detectors = Detectors(None, threads=1)
    assert detectors.judge("helmet") is detectors.judge("helmet")
