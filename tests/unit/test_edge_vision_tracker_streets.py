"""The tracker on made-up streets: people who cross, hide, meet and stop, seen by a detector that errs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pytest

from edge.vision.detections import overlaps
from edge.vision.tracker import Tracker
from tests.fixtures.vision import detections

HEIGHT, WIDTH = 100.0, 40.0

Path = Callable[[float], tuple[float, float] | None]
"""Where somebody's feet are after so many seconds; nobody's when they cannot be seen."""


@dataclass(frozen=True)
class Eyes:
    """A detector's faults.

    Attributes:
        tremble: standard deviation of every edge of a box, in its heights.
        miss: share of the people in a picture who are not found.
        ghosts: how often a second somebody is found where nobody is, in one picture only, each time elsewhere.
    """

    tremble: float = 0.02
    miss: float = 0.1
    ghosts: float = 0.0


EYES = Eyes()


def _box(x: float, y: float) -> tuple[float, float, float, float]:
    return x - WIDTH / 2, y - HEIGHT, x + WIDTH / 2, y


def _look(
    people: list[Path], eyes: Eyes, seconds: float, chance: np.random.Generator
) -> tuple[list[tuple[float, ...]], list[float]]:
    boxes, scores = [], []
    for path in people:
        place = path(seconds)
        missed = chance.random() < eyes.miss
        tremble = chance.normal(0, eyes.tremble * HEIGHT, 4)
        score = float(np.clip(chance.normal(0.8, 0.1), 0.55, 0.99))
        if place is not None and not missed:
            boxes.append(tuple(np.array(_box(*place)) + tremble))
            scores.append(score)
    return boxes, scores


def _watch(
    people: list[Path], *, seconds: float, fps: float, dropped: float, seed: int, eyes: Eyes = EYES
) -> tuple[list[list[int]], set[int]]:
    """By person: the identities of who was told within half a width of them, in order, and those told nowhere near.

    Only what is confirmed and was just seen is told. Never is more than a third of a second dropped in one go.
    """
    chance = np.random.default_rng(seed)
    ghosts = cycle((300.0, 900.0, 1500.0, 600.0, 1200.0, 1800.0))
    tracker = Tracker()
    told: list[list[int]] = [[] for _ in people]
    strangers: set[int] = set()
    gone = 0.0
    for n in range(int(seconds * fps)):
        now = n / fps
        boxes, scores = _look(people, eyes, now, chance)
        gone = gone + 1 / fps if chance.random() < dropped else 0.0
        if 0 < gone <= 1 / 3:
            continue
        gone = 0.0
        if chance.random() < eyes.ghosts / fps:
            boxes.append(_box(next(ghosts), 900.0))
            scores.append(0.9)
        at_ms = round(now * 1000)
        tracks = tracker.update(detections(*boxes, score=scores), at_ms)
        places = [path(now) for path in people]
        for track in tracks:
            if not track.confirmed or track.last_seen_ms != at_ms:
                continue
            x, y = (track.xyxy[0] + track.xyxy[2]) / 2, track.xyxy[3]
            away = [
                np.inf if place is None else float(np.hypot(place[0] - x, place[1] - y)) for place in places
            ]
            nearest = int(np.argmin(away))
            if away[nearest] <= WIDTH / 2:
                told[nearest].append(track.id)
            elif away[nearest] > HEIGHT:
                strangers.add(track.id)
    return told, strangers


def _walk(x: float, y: float, speed: float, lane: float = 0.0) -> Path:
    return lambda seconds: (x + speed * seconds, y + lane * seconds)


def _behind(path: Path, left: float, right: float) -> Path:
    """Somebody whom something hides between two places."""

    def hidden(seconds: float) -> tuple[float, float] | None:
        place = path(seconds)
        return None if place is None or left <= place[0] <= right else place

    return hidden


#: Of each street so many are drawn. A detector that errs by chance can miss somebody so often in a row that nobody could
#: tell who it is: a few of a hundred may be mistaken.
DRAWS = 40
ALLOWED = 2
Draw = np.random.Generator
street = pytest.mark.parametrize(
    ("fps", "dropped"), [(fps, share) for fps in (5.0, 10.0, 25.0) for share in (0.0, 0.4)]
)


def _mistaken(holds: Callable[[Draw, int], bool]) -> list[int]:
    """The seeds of the streets in which something does not hold."""
    return [seed for seed in range(DRAWS) if not holds(np.random.default_rng(1000 + seed), seed)]


@street
def test_who_stops_and_goes_on_stays_the_same(fps: float, dropped: float) -> None:
    def holds(draw: Draw, seed: int) -> bool:
        speed, pause = draw.uniform(20, 130), draw.uniform(0.5, 6.0)

        def path(seconds: float) -> tuple[float, float]:
            walked = min(seconds, 3.0) + max(0.0, seconds - 3.0 - pause)
            return 200 + speed * walked, 800.0

        (told,), _ = _watch([path], seconds=6 + pause, fps=fps, dropped=dropped, seed=seed)
        return len(told) > fps and len(set(told)) == 1

    assert len(_mistaken(holds)) <= ALLOWED


@street
def test_who_walks_behind_a_post_comes_out_the_same(fps: float, dropped: float) -> None:
    def holds(draw: Draw, seed: int) -> bool:
        speed, hidden_s = draw.uniform(40, 120), draw.uniform(0.3, 1.3)
        post = 200 + 3 * speed
        path = _behind(_walk(200, 800, speed), post, post + speed * hidden_s)
        (told,), _ = _watch([path], seconds=6 + hidden_s, fps=fps, dropped=dropped, seed=seed)
        return len(set(told)) == 1

    assert len(_mistaken(holds)) <= ALLOWED


@street
def test_two_who_cross_keep_their_identities_though_the_nearer_hides_the_other(
    fps: float, dropped: float
) -> None:
    meeting = 900.0

    def holds(draw: Draw, seed: int) -> bool:
        first, second = draw.uniform(50, 120, 2).tolist()
        near, far = _walk(meeting - 3 * first, 830, first), _walk(meeting + 3 * second, 810, -second)

        def behind(seconds: float) -> tuple[float, float] | None:
            here, there = near(seconds), far(seconds)
            assert here is not None
            assert there is not None
            return None if abs(here[0] - there[0]) < WIDTH * 0.6 else there

        told, _ = _watch([near, behind], seconds=6, fps=fps, dropped=dropped, seed=seed)
        before = [set(ids[: len(ids) // 4]) for ids in told]
        after = [set(ids[-(len(ids) // 4) :]) for ids in told]
        return before == after and [len(ids) for ids in before] == [1, 1] and before[0] != before[1]

    assert len(_mistaken(holds)) <= ALLOWED


@street
def test_three_who_walk_one_behind_another_are_three_to_the_end(fps: float, dropped: float) -> None:
    people = [_walk(200 + 70 * n, 800 + 5 * n, 70) for n in range(3)]

    def holds(_: Draw, seed: int) -> bool:
        watched = _watch(people, seconds=8, fps=fps, dropped=dropped, seed=seed, eyes=Eyes(miss=0.2))
        told = watched[0]
        return [len(set(ids)) for ids in told] == [1, 1, 1] and len(set().union(*told)) == 3

    assert len(_mistaken(holds)) <= ALLOWED


@pytest.mark.parametrize("fps", [5.0, 10.0, 25.0])
def test_what_is_seen_in_single_pictures_here_and_there_is_nobody(fps: float) -> None:
    def holds(_: Draw, seed: int) -> bool:
        told, strangers = _watch(
            [_walk(200, 300, 60)], seconds=8, fps=fps, dropped=0.0, seed=seed, eyes=Eyes(ghosts=1.5)
        )
        return not strangers and len(set(told[0])) == 1

    assert len(_mistaken(holds)) <= ALLOWED


@pytest.mark.parametrize("fps", [5.0, 10.0, 25.0])
@pytest.mark.parametrize("heights_a_second", [0.0, 1.0, 2.5])
def test_what_is_told_lies_on_who_walks_at_any_pace(fps: float, heights_a_second: float) -> None:
    """A runner crosses two and a half of their own heights a second."""
    tracker = Tracker()
    worst = 0.0
    for n in range(int(6 * fps)):
        at_ms, x = round(n * 1000 / fps), 200 + HEIGHT * heights_a_second * n / fps
        (track,) = tracker.update(detections(_box(x, 800)), at_ms)
        if at_ms > 1500:
            worst = max(worst, abs((track.xyxy[0] + track.xyxy[2]) / 2 - x))
    assert worst < WIDTH / 8


@pytest.mark.parametrize("fps", [5.0, 10.0, 25.0])
def test_what_is_told_of_who_paces_to_and_fro_lies_nearer_than_what_was_found(fps: float) -> None:
    """As fast as a runner in the middle and turning at either end: neither lag nor tremble may win."""

    def path(seconds: float) -> tuple[float, float]:
        return 900 + 180 * float(np.sin(seconds)), 800 + 10 * float(np.sin(seconds / 2))

    found_on, told_on = [], []
    for seed in range(10):
        chance, tracker = np.random.default_rng(seed), Tracker()
        for n in range(int(8 * fps)):
            at_ms = round(n * 1000 / fps)
            boxes, scores = _look([path], Eyes(tremble=0.04, miss=0.0), n / fps, chance)
            tracks = tracker.update(detections(*boxes, score=scores), at_ms)
            if at_ms > 1500:
                (track,) = tracks
                truth = np.array([_box(*path(n / fps))], np.float32)
                found_on.append(overlaps(truth, np.array(boxes, np.float32))[0, 0])
                told_on.append(overlaps(truth, np.array([track.xyxy], np.float32))[0, 0])
    assert np.mean(told_on) > np.mean(found_on) + 0.03
