"""What is left to say of one camera when no more pictures come."""

from __future__ import annotations

from dataclasses import replace

from edge.vision.pipeline import FrameResult, VisionPipeline
from edge.vision.scenes.helmet import HelmetScene


def last_word(pipeline: VisionPipeline, at_ms: int) -> FrameResult:
    """Have everybody judged and counted who waits for it until he has gone.

    Only riders do: whoever goes the wrong way is judged on the way. A condition is left open: that nobody looks any
    more does not end it, and a box that is started anew goes on with it.
    """
    scenes = [scene for scene in pipeline.scenes if isinstance(scene, HelmetScene)]
    events = tuple(event for scene in scenes for event in scene.finish(at_ms))
    said = [verdict for scene in scenes for verdict in scene.passed()]
    known = pipeline.counters
    pipeline.counters = replace(
        known,
        events=known.events + len(events),
        riders=known.riders + len(said),
        helmetless=known.helmetless + said.count("helmetless"),
        unknown=known.unknown + said.count("unknown"),
    )
    return FrameResult(known.frames, at_ms, False, (), events, (None,) * len(events))
