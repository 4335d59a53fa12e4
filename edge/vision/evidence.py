"""The picture that proves an event: heads blurred, what matters marked, small enough to send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import Field

from common.runtime.config import Settings
from edge.camera.frame import Frame, Image
from edge.vision.blur import SURE, blur_where, conceal, without_groups
from edge.vision.detections import Detections
from edge.vision.detector import Detector
from edge.vision.finder import Finder
from edge.vision.regions import detect_in, tiles
from edge.vision.scenes.scene import Scene, SceneEvent
from edge.vision.tracker import Track
from models.privacy import Mask

PERSONS = ("person",)
"""Labels whose boxes hold a head; a rider is a person to the detector too."""
VEHICLES = ("motorcycle", "car", "bus", "truck")
"""Labels whose boxes may hold a number plate."""

_WORST_QUALITY = 40
_COLOUR = (40, 170, 255)


class EvidenceSettings(Settings):
    """How evidence pictures are made.

    ``search_persons`` looks for persons (and vehicles) once more in four overlapping parts of the picture before
    blurring, which finds the small ones too and costs four more looks for each evidence picture.
    """

    quality: Annotated[int, Field(ge=_WORST_QUALITY, le=95)] = 80
    widest: Annotated[int, Field(ge=160, le=3840, description="pixels")] = 960
    most_bytes: Annotated[int, Field(ge=20_000, le=5_000_000)] = 200_000
    phases: tuple[Literal["start", "update", "end", "act"], ...] = ("start", "act")
    mark: bool = True
    search_persons: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An encoded evidence picture.

    Attributes:
        jpeg: the file.
        width, height: in pixels.
        captured_at: stream time, milliseconds since the Unix epoch.
        blurred: persons whose heads were looked for and blurred.
    """

    jpeg: bytes
    width: int
    height: int
    captured_at: int
    blurred: int


@dataclass(frozen=True, slots=True, eq=False)
class Present:
    """Who and what a picture shows.

    Attributes:
        persons: whose heads are to be hidden: detected, found by a closer look, or followed.
        vehicles: with whatever plates they have.
    """

    persons: Detections
    vehicles: Detections


class EvidenceMaker:
    """Makes evidence pictures; the only way for pixels to leave the vision path.

    Args:
        settings: of this camera.
        detector: finds persons and vehicles.
        finder: finds heads and plates; without it, or where it fails, all that may be one is blurred.
    """

    def __init__(self, settings: EvidenceSettings, detector: Detector, finder: Finder | None = None) -> None:
        self.settings = settings
        self._detector = detector
        self._finder = finder

    def make(
        self,
        frame: Frame,
        detections: Detections,
        tracks: Sequence[Track],
        *,
        events: Sequence[SceneEvent] = (),
        scenes: Sequence[Scene] = (),
    ) -> Picture:
        """Blur every head and plate, mark what the events are about, shrink and encode.

        Args:
            frame: as captured.
            detections: everything found in it, weak ones too.
            tracks: everybody followed, also those not seen in this frame.
            events: what the picture proves.
            scenes: those whose outline is drawn.
        """
        present = self.present(frame.image, detections, tracks)
        image = blur_where(frame.image, self.hidden(frame.image, present))
        if self.settings.mark:
            _mark(image, events, [scene.outline.corners for scene in scenes])
        image = _shrunk(image, self.settings.widest)
        jpeg, image = _encode(image, self.settings.quality, self.settings.most_bytes)
        return Picture(jpeg, image.shape[1], image.shape[0], frame.captured_at, len(present.persons))

    def hidden(self, image: Image, present: Present) -> Mask:
        """What of a picture nobody outside the box may see: bool ``(height, width)``."""
        height, width = image.shape[:2]
        found = None if self._finder is None else self._finder.find(image)
        # A detector whose finds score less hides no fewer heads.
        sure = min(SURE, self._detector.thresholds.confirms)
        return conceal(found, present.persons, width, height, present.vehicles, sure=sure)

    def present(self, image: Image, detections: Detections, tracks: Sequence[Track]) -> Present:
        """Everybody whose head is to be hidden, and every vehicle."""
        found = detections.of(*PERSONS, *VEHICLES)
        if self.settings.search_persons:
            height, width = image.shape[:2]
            closer = detect_in(self._detector, image, tiles(width, height))
            found = found.with_more(closer.of(*PERSONS, *VEHICLES))
        followed = _followed(tracks, found.labels)
        persons = without_groups(found.of(*PERSONS)).with_more(followed.of(*PERSONS))
        return Present(persons, found.of(*VEHICLES).with_more(followed.of(*VEHICLES)))


def _followed(tracks: Sequence[Track], labels: tuple[str, ...]) -> Detections:
    """Where everybody followed should be by now, taken for sure."""
    known = [track for track in tracks if track.label in labels]
    boxes = np.array([track.xyxy for track in known], np.float32).reshape(-1, 4)
    label = np.array([labels.index(track.label) for track in known], np.int32)
    return Detections(boxes, np.ones(len(known), np.float32), label, labels)


def _mark(
    image: Image, events: Sequence[SceneEvent], outlines: Sequence[Sequence[tuple[float, float]]]
) -> None:
    height, width = image.shape[:2]
    stroke = max(1, round(width / 480))
    for outline in outlines:
        corners = np.round(np.array(outline) * (width - 1, height - 1)).astype(np.int32)
        cv2.polylines(image, [corners.reshape(-1, 1, 2)], True, _COLOUR, stroke, cv2.LINE_AA)
    for event in events:
        for sighting in event.tracks:
            left, top, right, bottom = (round(edge) for edge in sighting.xyxy)
            cv2.rectangle(image, (left, top), (right, bottom), _COLOUR, stroke, cv2.LINE_AA)


def _shrunk(image: Image, widest: int) -> Image:
    height, width = image.shape[:2]
    if width <= widest:
        return image
    size = (widest, max(1, round(height * widest / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encode(image: Image, quality: int, most_bytes: int) -> tuple[bytes, Image]:
    """The best JPEG that is small enough: quality gives way first, then size."""
    while True:
        for attempt in (*range(quality, _WORST_QUALITY, -10), _WORST_QUALITY):
            done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, attempt])
            assert done, "OpenCV encodes every 8-bit picture"
            if len(encoded) <= most_bytes or image.shape[1] <= 160:
                return encoded.tobytes(), image
        image = _shrunk(image, image.shape[1] * 3 // 4)
