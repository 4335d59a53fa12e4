"""The fire model's part of the accuracy page: the table, and what falls short."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from models.accuracy.fire_count import (
    LEAST_RECALL,
    LONG,
    MOST_FALSE,
    FireFigures,
    Video,
    figures,
    upper_limit,
    watch,
)
from models.fire import FireSegmenter
from models.manifest import FireManifest
from models.store import open_as

NAME: Final = "fire"
DATA: Final = Path("data")
"""Below the directory of shared data."""
BY_EYE: Final = {
    "g0120": "the label is wrong: a shop window and people who run to a car, no smoke; its two neighbours in the "
    "same video are labelled as normal",
    "g0130": "two pictures of a shop front after a fire, a fireman's basket before it: thin brown haze before a brown "
    "wall, without an edge",
    "g0393": "one picture from within a room full of smoke that a fire out of sight lights orange: no edge, no flame",
}
"""Held-out videos of which too little is found, and what is in them."""


@dataclass(frozen=True, slots=True)
class FireReport:
    """What was measured."""

    manifest: FireManifest
    counted: FireFigures

    def figures(self) -> dict[str, object]:
        """What `--json` prints."""
        return asdict(self.counted)

    def shortfalls(self) -> list[str]:
        """Of the limits that a release has to keep."""
        counted = self.counted
        said = []
        if not counted.recall.value >= LEAST_RECALL:
            said.append(f"recall by group {counted.recall.value:.3f} < {LEAST_RECALL}")
        said += [
            f"recall of {video.group} {video.found:.3f} < {LEAST_RECALL}"
            for video in counted.videos
            if video.frames >= LONG and video.found < LEAST_RECALL
        ]
        if counted.calm_alarms:
            said.append(f"{counted.calm_alarms} alarms on held-out frames where nothing burns")
        if not counted.alarms / counted.hours <= MOST_FALSE:
            said.append(f"{counted.alarms / counted.hours:.1f} false alarms per camera-hour > {MOST_FALSE:g}")
        return said

    def table(self) -> str:
        """As Markdown."""
        limits = self.manifest.thresholds
        lines = [
            f"Fire from {limits.fire} on, smoke from {limits.smoke} on: the least thresholds at which nothing on the "
            "footage without fire",
            "is an alarm, as it was taken and darkened (three looks two seconds apart that agree on 0.3 % of the "
            f"picture and live: smoke flickers, drifts or grows, fire flickers and glows). Weights: sha256 {self.manifest.sha256[:16]}….",
            "",
            *_burning(self.counted),
            "",
            *_calm(self.counted),
            "",
            *_changed(self.counted),
        ]
        return "\n".join(lines)


def _burning(counted: FireFigures) -> list[str]:
    """Where something burns."""
    said, long = counted.reported
    videos = sorted(counted.videos, key=lambda video: (-video.frames, video.group))
    late = ", ".join("never" if math.isinf(one) else f"{one:.0f} s" for one in counted.doll_house_s)
    return [
        f"| held-out groups of frames | {len(counted.videos)} |",
        "|---|---|",
        f"| burning frames found in a single look, mean over all groups (limit: at least .7) | {counted.recall} |",
        f"| the same over the {counted.long[1]} that are videos at all: {LONG} burning frames or more | {counted.long[0]} |",
        "| the same over all without the frame of g0120, whose label is wrong "
        f"({counted.sure[1]} groups) | {counted.sure[0]} |",
        f"| groups in which at least .7 of them are found (limit: every one of {LONG} frames or more) "
        f"| {counted.reached} of {len(counted.videos)} |",
        f"| frames with fire, found as fire | {counted.fire} |",
        f"| frames with smoke, found as smoke | {counted.smoke} |",
        f"| frames where nothing burns, called burning in a single look | {counted.normal:.1%} |",
        f"| videos of {LONG} burning frames or more that the scene reports | {said} of {long} |",
        f"| a burning doll's house (30 s): looks that find fire or smoke | {counted.doll_house:.1%} |",
        f"| the same: a scene reports it after, for four beginnings | {late} |",
        "",
        "| held-out group | burning frames | found in a single look | reported after frames |",
        "|---|---|---|---|",
        *(
            f"| {video.group} | {video.frames} | {video.found:.0%} | "
            f"{(video.reported or 'never') if video.frames >= LONG else 'too few'} |"
            for video in videos
        ),
        *_missed(videos),
    ]


def _missed(videos: Sequence[Video]) -> list[str]:
    """The groups of which too little is found, and what is to be seen in them."""
    missed = [video for video in videos if video.found < LEAST_RECALL]
    if not missed:
        return []
    return [
        "",
        "| too little found of | | what its pictures show, by eye |",
        "|---|---|---|",
        *(
            f"| {video.group} | {round(video.found * video.frames)} of {video.frames} frames | "
            f"{BY_EYE.get(video.group, 'nobody has looked yet')} |"
            for video in missed
        ),
    ]


def _calm(counted: FireFigures) -> list[str]:
    """Where nothing burns, as it was taken."""
    return [
        "| footage without fire, as it was taken | minutes | alarms |",
        "|---|---|---|",
        *(f"| {one.name} | {one.hours * 60:.1f} | {one.alarms} |" for one in counted.streets),
        f"| together | {counted.hours * 60:.1f} | {counted.alarms} |",
        "",
        "| where nothing burns | |",
        "|---|---|",
        f"| alarms per camera-hour (limit: at most {MOST_FALSE:g}) | {counted.alarms / counted.hours:.1f} |",
        f"| what so little footage does not exclude, with 95 % confidence (Poisson) | {counted.at_most:.0f} |",
        f"| hours that would show the limit, were there {_times(counted.alarms)} in them; hours at hand "
        f"| {upper_limit(counted.alarms) / MOST_FALSE:.1f}; {counted.hours:.2f} |",
        f"| alarms on the same, each video at thresholds chosen by the others | {counted.left_out} |",
        f"| alarms on the {counted.calm_frames} held-out frames where nothing burns, by video taken as looks in a row "
        f"(limit: none) | {counted.calm_alarms} |",
        f"| street photos called burning in a single look | {counted.photos:.1%} |",
    ]


def _changed(counted: FireFigures) -> list[str]:
    """Where nothing burns, changed as light, weather, traffic and bad cameras change it."""
    minutes = sum(one.hours * 60 for one in counted.changed)
    alarms = sum(one.alarms for one in counted.changed)
    return [
        "The same footage, changed by machine: no more hours of it, but what makes false alarms. Only the darkened one has",
        "part in the choice of the thresholds. No limit is kept on the others: what is told here is what a bad day may do.",
        "",
        "| changed | minutes | alarms |",
        "|---|---|---|",
        *(f"| {one.name} | {one.hours * 60:.1f} | {one.alarms} |" for one in counted.changed),
        f"| together | {minutes:.1f} | {alarms} |",
        "",
        f"That is one alarm in {minutes / alarms:.0f} minutes of such footage."
        if alarms
        else "None is an alarm.",
    ]


def _times(alarms: int) -> str:
    return {0: "no alarm", 1: "one alarm"}.get(alarms, f"{alarms} alarms")


def measure(
    data: Path, directory: Path | None = None, *, everything: bool = False, rounds: int = 1000
) -> FireReport:
    """Open the model, look at the held-out videos and at all that does not burn, and count.

    Args:
        data: the folder that holds ``fire-smoke``, ``video``, ``helmet-riders`` and ``photos``.
        directory: where another ``fire`` lies than the one that ships.
        everything: without meaning here: a figure on what was learnt is none.
        rounds: of the bootstrap.

    Raises:
        InvalidError: ``dataset.missing`` or what ``open_as`` raises.
    """
    del everything
    model = open_as(FireManifest, NAME, directory)
    watched = watch(data, FireSegmenter(model, threads=2))
    return FireReport(model.manifest, figures(watched, model.manifest.thresholds, rounds))
