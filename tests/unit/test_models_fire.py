"""The fire model opens without a trainer, is what its manifest says, and its figures are counted rightly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.errors import InvalidError
from models.accuracy import fire
from models.accuracy import fire_count as count
from models.accuracy.fire_clips import NIGHTS, STREETS, Clip
from models.data.flames import Scene, judged_groups, read_scenes
from models.fire import FireLook, FireSegmenter
from models.manifest import FireManifest, FireThresholds
from models.store import MANIFESTS, load_manifest, open_as

REPOSITORY = Path(__file__).parents[2]
ROWS, COLUMNS = 48, 80
LEAST_RECALL = 0.7
"""By video."""
MOST_CHANGED = 1
"""Alarms on all the changed footage: as many as the page tells of."""


def test_the_shipped_weights_open_and_look_without_torch() -> None:
    look = (
        "import sys; sys.modules['torch'] = None; import numpy as np; "
        "from models.fire import FireSegmenter; from models.manifest import FireManifest; "
        "from models.store import open_as; segmenter = FireSegmenter(open_as(FireManifest, 'fire')); "
        "print([one.shape for one in segmenter.look(np.zeros((100, 100, 3), np.uint8))])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", look], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[(48, 80), (48, 80), (48, 80)]"


def test_the_manifest_says_what_the_trainer_and_the_file_differ_by() -> None:
    manifest = load_manifest("fire")
    assert isinstance(manifest, FireManifest)
    assert 0 <= manifest.parity <= 1e-4
    assert manifest.size < 4_000_000
    assert manifest.labels == ("fire", "smoke")
    assert "CC BY 4.0" in manifest.licence


def test_the_brightness_of_a_look_is_that_of_the_picture() -> None:
    segmenter = FireSegmenter(open_as(FireManifest, "fire"))
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[:, 160:] = 200
    seen = segmenter.look(picture)
    assert seen.brightness[:, :39].max() == 0
    assert seen.brightness[:, 41:].min() == 200
    assert 0 <= seen.fire.min() <= seen.fire.max() <= 1


@pytest.mark.parametrize("changes", [{"channels": "bgr"}, {"fit": "letterbox"}, {"width": 256}])
def test_a_manifest_of_another_input_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    content = yaml.safe_load((MANIFESTS / "fire.yaml").read_text(encoding="utf-8"))
    content["input"] |= changes
    (tmp_path / "fire.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(InvalidError) as caught:
        FireSegmenter(open_as(FireManifest, "fire", tmp_path))
    assert caught.value.code == "model.shape"


# --- counting ---


def test_a_flame_is_one_alarm_however_long_it_burns() -> None:
    assert count.alarms([_look(0.9, flicker=number) for number in range(30)], 0, 0.5) == [2]


def test_after_it_has_gone_out_it_is_another() -> None:
    burning = [_look(0.9, flicker=number) for number in range(5)]
    calm = [_look(0.0)] * 15
    assert count.alarms([*burning, *calm, *burning], 0, 0.5) == [2, 22]


def test_a_lamp_is_none() -> None:
    assert count.alarms([_look(0.9)] * 30, 0, 0.5) == []


def test_the_threshold_is_the_least_that_keeps_the_streets_quiet() -> None:
    quiet = Clip("street", STREETS, 60.0, [[_look(0.6, flicker=number) for number in range(9)]])
    chosen = count.choose_thresholds([quiet], [_look(0.0)])
    assert chosen.fire == pytest.approx(0.62)
    assert chosen.smoke == pytest.approx(0.3)


def test_what_choosing_the_threshold_hides_is_counted_without_the_video_itself() -> None:
    loud = Clip("loud", STREETS, 60.0, [[_look(0.6, flicker=number) for number in range(9)]])
    calm = Clip("calm", STREETS, 60.0, [[_look(0.0)] * 9])
    photos = [_look(0.0)]
    changed = Clip("loud", "in rain", 60.0, loud.runs)
    other = Clip("other", STREETS, 60.0, loud.runs)
    assert count.left_out_alarms([loud, changed, calm], photos) == 1
    assert count.left_out_alarms([loud, changed, other, calm], photos) == 0


def test_recall_is_by_video_so_that_a_long_one_counts_once() -> None:
    counted = count.figures(_watched(), FireThresholds(fire=0.5, smoke=0.5), rounds=10)
    assert counted.recall.value == pytest.approx((1.0 + 0.0) / 2)
    assert [(video.group, video.found, video.reported) for video in counted.videos] == [
        ("long", 1.0, 3),
        ("short", 0.0, None),
    ]
    assert counted.reported == (1, 1)
    assert counted.reached == 1
    assert (counted.calm_frames, counted.calm_alarms) == (1, 0)
    assert counted.alarms == 1
    assert [(one.name, one.alarms) for one in counted.changed] == [(NIGHTS, 0), ("in rain", 1)]
    assert counted.hours == pytest.approx(0.5)
    assert counted.at_most == pytest.approx(4.744 / 0.5, rel=1e-3)
    assert counted.doll_house_s == [4.0]


def test_a_long_video_in_which_little_is_found_falls_short_whatever_the_mean() -> None:
    watched = _watched()
    dim = [(Scene(Path("d"), "dim", watched.frames[0][0].boxes), _look(0.1))] * 4
    bright = [(Scene(Path("e"), f"bright {n}", watched.frames[0][0].boxes), _look(0.9)) for n in range(9)]
    shown = count.Watched([*bright, *dim], watched.calm, watched.photos, watched.burning, [])
    manifest = load_manifest("fire")
    assert isinstance(manifest, FireManifest)
    report = fire.FireReport(manifest, count.figures(shown, FireThresholds(fire=0.5, smoke=0.5), rounds=10))
    assert report.counted.recall.value == pytest.approx(0.9)
    assert report.shortfalls()[0] == "recall of dim 0.000 < 0.7"
    assert (
        "| groups in which at least .7 of them are found (limit: every one of 3 frames or more) | 9 of 10 |"
        in (report.table())
    )


def test_the_page_tells_of_the_videos_beside_all_groups_and_what_is_in_those_that_miss() -> None:
    watched = _watched()
    box = watched.frames[0][0].boxes
    missed = [(Scene(Path("g"), "g0393", box), _look(0.1)), (Scene(Path("h"), "new", box), _look(0.1))]
    frames = [*watched.frames, *missed]
    shown = count.Watched(frames, watched.calm, watched.photos, watched.burning, [])
    manifest = load_manifest("fire")
    assert isinstance(manifest, FireManifest)
    counted = count.figures(shown, FireThresholds(fire=0.5, smoke=0.5), rounds=10)
    assert counted.recall.value == pytest.approx(1 / 4)
    assert (counted.long[0].value, counted.long[1]) == (1.0, 1)
    page = fire.FireReport(manifest, counted).table()
    assert "| the same over the 1 that are videos at all: 3 burning frames or more | 1.000" in page
    assert f"| g0393 | 0 of 1 frames | {fire.BY_EYE['g0393']} |" in page
    assert "| new | 0 of 1 frames | nobody has looked yet |" in page
    assert "| long | 0" not in page


def test_alarms_on_changed_footage_are_told_apart() -> None:
    manifest = load_manifest("fire")
    assert isinstance(manifest, FireManifest)
    report = fire.FireReport(
        manifest, count.figures(_watched(), FireThresholds(fire=0.5, smoke=0.5), rounds=10)
    )
    assert report.shortfalls()[-1] == "2.0 false alarms per camera-hour > 1"
    page = report.table()
    assert "| street | 30.0 | 1 |" in page
    assert "| in rain | 15.0 | 1 |" in page
    assert "were there one alarm in them; hours at hand | 4.7; 0.50 |" in page
    assert "That is one alarm in 45 minutes of such footage." in page


def test_a_frame_that_is_labelled_wrongly_is_counted_with_and_without() -> None:
    watched = _watched()
    robbed = Scene(Path("f0121.jpg"), "shop", watched.frames[0][0].boxes)
    shown = count.Watched(
        [*watched.frames, (robbed, _look(0.1))], watched.calm, watched.photos, watched.burning, []
    )
    counted = count.figures(shown, FireThresholds(fire=0.5, smoke=0.5), rounds=10)
    assert counted.recall.value == pytest.approx(1 / 3)
    assert counted.sure[0].value == pytest.approx(1 / 2)
    assert counted.sure[1] == 2


def test_no_alarm_in_little_time_is_no_proof() -> None:
    watched = _watched()
    calm = [clip for clip in watched.calm if clip.kind == NIGHTS]
    silent = [Clip("street", STREETS, 3600.0, clip.runs) for clip in calm]
    shown = count.Watched(watched.frames, silent, watched.photos, watched.burning, [])
    counted = count.figures(shown, FireThresholds(fire=0.5, smoke=0.5), rounds=10)
    assert counted.alarms == 0
    assert counted.at_most == pytest.approx(2.996, rel=1e-3)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 5), min_size=3))
def test_a_video_is_on_one_side_whatever_the_order(frames: dict[str, int]) -> None:
    scenes = [Scene(Path(group), group, ()) for group, count in frames.items() for _ in range(count)]
    judged = judged_groups(scenes)
    assert judged == judged_groups(scenes[::-1])
    assert 0 < len(judged) < len(frames)


# --- the files ---


@pytest.mark.shared_data
def test_frames_come_with_their_places_and_normal_scenes_without_boxes(shared_data: Path) -> None:
    scenes = read_scenes(shared_data / "data" / "fire-smoke")
    assert len(scenes) == 727
    assert sum(bool(scene.boxes) for scene in scenes) > 600
    assert ("fire2_mp4", 28) in {scene.place for scene in scenes}


@pytest.mark.shared_data
def test_fires_are_found_and_streets_raise_no_alarm(shared_data: Path) -> None:
    report = fire.measure(shared_data / fire.DATA, rounds=20)
    assert report.counted.alarms == 0, report.table()
    assert sum(one.alarms for one in report.counted.changed) <= MOST_CHANGED, report.table()
    assert report.counted.recall.value >= LEAST_RECALL, report.table()
    assert report.shortfalls() == []


def _look(probability: float, *, flicker: int = 0) -> FireLook:
    seen, brightness = (np.zeros((ROWS, COLUMNS), np.float32) for _ in range(2))
    seen[10:20, 10:20] = probability
    brightness[10:20, 10:20] = 100 + 20 * (flicker % 3)
    return FireLook(seen, np.zeros_like(seen), brightness)


def _watched() -> count.Watched:
    box = ((0, 0.2, 0.2, 0.4, 0.4),)
    long = [
        (Scene(Path("a"), "long", box, ("a", number)), _look(0.9, flicker=number)) for number in range(10)
    ]
    short = [(Scene(Path("b"), "short", box), _look(0.1))]
    normal = [(Scene(Path("c"), "normal", ()), _look(0.1))]
    looks = [_look(0.9, flicker=number) for number in range(9)]
    calm = [
        Clip("street", STREETS, 1800.0, [looks, [_look(0.0)] * 9]),
        Clip("street", NIGHTS, 1800.0, [[_look(0.9)] * 9]),
    ]
    changed = [Clip("street", "in rain", 900.0, [looks])]
    house = Clip("house", STREETS, 18.0, [looks])
    return count.Watched([*long, *short, *normal], calm, [_look(0.0)], house, changed)
