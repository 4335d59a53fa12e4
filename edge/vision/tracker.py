"""Following objects from picture to picture, online: pure state, detections and time; no I/O.

The ideas and where they come from:

- a constant-velocity Kalman filter per box (A. Bewley et al., "Simple Online and Realtime Tracking", 2016),
  here per coordinate and in milliseconds, so that uneven and dropped frames cost nothing but certainty,
  and with measurements trusted by their score (Y. Du et al., "GIAOTracker", 2021);
- a box that suddenly has another size shows two people as one or half a person, and its middle is then as wrong
  as its size: it is taken in with more noise, by how unlikely the size is (G. Agamennoni, J. Nieto, E. Nebot,
  "Approximate Inference in State-Space Models with Heavy-Tailed Noise", 2012);
- strong detections are matched first, weak ones keep tracks alive afterwards and never begin one
  (Y. Zhang et al., "ByteTrack", 2022);
- boxes are widened before their overlap is measured (F. Yang et al., "Hard to Track Objects with Irregular
  Motions and Similar Appearances? Make It Easier by Buffering the Matching Space", 2023), and heights must
  agree (M. Yang et al., "Hybrid-SORT", 2024);
- where a caller tells what the detections look like, of two that lie as near the one that looks so is preferred, and
  nobody is found again in who looks otherwise (see ``appearance``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import lap
import numpy as np
from numpy.typing import NDArray

from edge.vision.appearance import Appearances, Looks, clear
from edge.vision.box_filters import BoxFilters, Floats, Places, centres, corners
from edge.vision.detections import Boxes, Detections, overlaps
from edge.vision.suppression import suppress


class GroundPoint(NamedTuple):
    """Where an object stood: the middle of its box's lower edge, smoothed, in pixels of the frame."""

    at_ms: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Track:
    """One object followed over time, as it stands after an update.

    Attributes:
        id: never given twice by one tracker.
        xyxy: left, top, right, bottom in pixels: where it was seen, or where it should be by now.
        score: of its latest detection.
        label: the name its detections gave it most, weighed by their scores.
        first_seen_ms, last_seen_ms: instants of its first and latest detection.
        hits: detections so far.
        confirmed: seen often and surely enough to act upon.
        ground: where it stood, oldest first; bounded in length and age.
    """

    id: int
    xyxy: tuple[float, float, float, float]
    score: float
    label: str
    first_seen_ms: int
    last_seen_ms: int
    hits: int
    confirmed: bool
    ground: tuple[GroundPoint, ...]


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """What the tracker goes by; the defaults were tuned on the first half of a street sequence.

    Scores are a detector's own: those four that a find is held to come of its manifest (``pipeline.tracker_settings``); the
    defaults are those of the two detectors it was tuned with.

    Attributes:
        birth_score: a detection needs this much to begin a track.
        strong_score: from here on a detection is matched in the first round.
        weak_score: below this a detection is not looked at.
        confirm_hits, confirm_score: a track counts from this many detections with this mean score.
        tentative_ms: an unconfirmed track is dropped when unseen for longer.
        lost_ms: a confirmed track is dropped when unseen for longer.
        sure_ms: a track that no strong detection has hit for longer is not believed any more: weak detections
            carry an object through an occlusion, not a post through the day.
        weak_ms: weak detections keep a track alive only when it was seen at most this long ago.
        widen: by how much of its size a box is widened on each side.
        least_similarity, least_similarity_weak: from 0 to 1, below which no match is made.
        birth_overlap: no track begins over a track that was just seen and overlaps by more.
        manoeuvre: standard deviation of unforeseen acceleration, in box heights a second squared.
        jitter: standard deviation of a sure detection, in box heights.
        seen_across, seen_down, seen_size: how much of a sure detection is in the box that is given out, in its place
            across and down the picture and in its size; the rest is the filter's.
        surprise: squared error of a detection's size, in variances, from which on the whole detection is doubted.
        look: how much of the similarity in the first round is that of the looks, where they are told.
        look_taken: how much of a sure detection's look goes into its track's.
        look_unlike, look_alike: products of looks from which on it is somebody else, and the same.
        look_covered: a strong detection that another overlaps by more tells no look.
        look_again_ms: whoever was missed for longer and looks like somebody else is somebody else.
        alike: groups of labels that a detector takes for one another; a track is matched within its group
            only, so that a rider and what is ridden stay two.
        ground_step_ms, ground_ms: how densely and for how long it is remembered where a track stood.
    """

    birth_score: float = 0.75
    strong_score: float = 0.5
    weak_score: float = 0.1
    confirm_hits: int = 2
    confirm_score: float = 0.6
    tentative_ms: int = 550
    lost_ms: int = 3000
    weak_ms: int = 1000
    sure_ms: int = 1200
    widen: float = 0.3
    least_similarity: float = 0.1
    least_similarity_weak: float = 0.4
    birth_overlap: float = 0.25
    manoeuvre: float = 1.0
    jitter: float = 0.08
    seen_across: float = 0.9
    seen_down: float = 0.5
    seen_size: float = 0.4
    surprise: float = 0.25
    look: float = 0.3
    look_taken: float = 0.1
    look_unlike: float = 0.8
    look_alike: float = 0.97
    look_covered: float = 0.3
    look_again_ms: int = 550
    alike: tuple[tuple[str, ...], ...] = (("bicycle", "motorcycle"), ("car", "bus", "truck"))
    ground_step_ms: int = 150
    ground_ms: int = 10_000


class _Found(NamedTuple):
    """What was found in a picture, in canonical order: surest first; looks may not be told."""

    detections: Detections
    kind: NDArray[np.int32]
    looks: Looks | None


@dataclass(slots=True)
class _Life:
    """What a track is besides its motion."""

    id: int
    first_seen_ms: int
    last_seen_ms: int
    last_sure_ms: int
    score: float
    total_score: float = 0.0
    hits: int = 0
    confirmed: bool = False
    votes: dict[int, float] = field(default_factory=dict)
    ground: tuple[GroundPoint, ...] = ()


class Tracker:
    """Follows objects; feed it the detections of one camera in the order of time."""

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        chosen = self.settings
        self._motion = BoxFilters(manoeuvre=chosen.manoeuvre, jitter=chosen.jitter, surprise=chosen.surprise)
        self._appearances = Appearances(
            self.settings.look_taken, self.settings.look_unlike, self.settings.look_alike
        )
        self._lives: list[_Life] = []
        self._seen: Boxes = np.zeros((0, 4), np.float32)
        self._kind: NDArray[np.int32] = np.zeros(0, np.int32)
        self._kinds: dict[tuple[str, ...], NDArray[np.int32]] = {}
        self._next_id = 1
        self._at_ms: int | None = None
        self._looked_ms: int | None = None
        self._before_ms = 0

    def update(self, detections: Detections, at_ms: int, looks: Looks | None = None) -> tuple[Track, ...]:
        """Take in what was found in a picture.

        Args:
            detections: in any order.
            at_ms: when the picture was taken; an instant before the previous one is taken as that one.
            looks: of the detections, in their order, where they are known (see ``looks_of``); None goes by boxes alone.

        Returns:
            Every track alive, the unconfirmed and the momentarily unseen too (``last_seen_ms`` tells), by id.
        """
        at_ms = self._advance(at_ms)
        self._before_ms = at_ms if self._looked_ms is None else self._looked_ms
        self._looked_ms = at_ms
        found = self._found(detections, looks)
        self._begin(found, self._match(found, at_ms), at_ms)
        self._bury(at_ms)
        return self._tracks(detections.labels, at_ms)

    def pause(self, labels: tuple[str, ...], at_ms: int) -> tuple[Track, ...]:
        """Nobody could look since some time before ``at_ms``: who is gone for too long is let go, nobody was missed.

        Args:
            labels: of the detections that come otherwise.
            at_ms: as for ``update``.
        """
        at_ms = self._advance(at_ms)
        self._bury(at_ms)
        return self._tracks(labels, at_ms)

    def _advance(self, at_ms: int) -> int:
        """Bring the filters to an instant; the one it is taken as."""
        before = at_ms if self._at_ms is None else self._at_ms
        self._at_ms = max(at_ms, before)
        self._motion.predict((self._at_ms - before) / 1000.0)
        return self._at_ms

    def _found(self, detections: Detections, looks: Looks | None) -> _Found:
        """What is worth going by."""
        order = _canonical_order(detections, self.settings.weak_score)
        found = detections.where(order)
        if looks is not None:
            if len(looks) != len(detections):
                raise ValueError(f"looks: expected ({len(detections)}, D), got {looks.shape}")
            self._appearances.fit(looks.shape[1])
            looks = clear(looks[order], found, self.settings.strong_score, self.settings.look_covered)
        return _Found(found, self._kinds_of(found.labels)[found.label], looks)

    def _kinds_of(self, labels: tuple[str, ...]) -> NDArray[np.int32]:
        """By label: a number that labels which are alike share."""
        kinds = self._kinds.get(labels)
        if kinds is None:
            alike = self.settings.alike
            groups = [next((group for group in alike if label in group), (label,)) for label in labels]
            kinds = np.array([groups.index(group) for group in groups], np.int32)
            self._kinds[labels] = kinds
        return kinds

    def _match(self, given: _Found, at_ms: int) -> Places:
        """Give detections to tracks; returns those left over that are sure enough to begin one."""
        settings, found = self.settings, given.detections
        hidden_ms = np.array([at_ms - life.last_seen_ms for life in self._lives], np.int64)
        unsure_ms = np.array([at_ms - life.last_sure_ms for life in self._lives], np.int64)
        confirmed = np.array([life.confirmed for life in self._lives], np.bool_)
        predicted = self._motion.boxes()
        alike = self._kind[:, None] == given.kind[None, :]
        # Detections come surest first, so the strong ones are a prefix.
        sure = int(np.count_nonzero(found.score >= settings.strong_score))
        strong, weak = np.arange(sure), np.arange(sure, len(found))
        tracks = np.arange(len(self._lives))
        fit = _similarity(predicted, found.xyxy[strong], settings.widen) * alike[:, strong]
        if given.looks is not None:
            # Between rare looks nobody is hidden: it takes a look in which they were missed.
            missed = hidden_ms > max(at_ms - self._before_ms, settings.look_again_ms)
            fit = self._with_looks(fit, given.looks[strong], missed)
        tracks, strong = self._pair(given, tracks, strong, fit, least=settings.least_similarity, at_ms=at_ms)
        fresh = (hidden_ms <= settings.weak_ms) & (unsure_ms <= settings.sure_ms) & confirmed
        tracks = tracks[fresh[tracks]]
        if tracks.size and weak.size:
            fit = (
                _similarity(predicted[tracks], found.xyxy[weak], settings.widen) * alike[np.ix_(tracks, weak)]
            )
            self._pair(given, tracks, weak, fit, least=settings.least_similarity_weak, at_ms=at_ms)
        return strong[found.score[strong] >= settings.birth_score]

    def _with_looks(self, fit: Floats, looks: Looks, missed: NDArray[np.bool_]) -> Floats:
        """Similarity of places and looks; what lies too far for a match does so however alike it looks."""
        share, least = self.settings.look, self.settings.least_similarity
        possible = fit >= least
        if not missed.any() and _undisputed(possible):
            return fit
        agreement = self._appearances.agreement(looks)
        possible &= ~(missed[:, None] & (agreement <= 0.0))
        return np.where(possible, np.maximum((1 - share) * fit + share * agreement, least), 0.0)

    def _pair(
        self, given: _Found, tracks: Places, boxes: Places, fit: Floats, *, least: float, at_ms: int
    ) -> tuple[Places, Places]:
        """Match for the greatest total fit; returns the tracks and the boxes found that are left over."""
        rows, columns = _assign(fit, least)
        if not rows.size:
            return tracks, boxes
        found, matched, taken = given.detections, tracks[rows], boxes[columns]
        self._motion.correct(matched, found.xyxy[taken], found.score[taken])
        self._seen[matched] = found.xyxy[taken]
        if given.looks is not None:
            self._appearances.correct(matched, given.looks[taken], found.score[taken])
        for track, candidate in zip(matched.tolist(), taken.tolist(), strict=True):
            self._hit(self._lives[track], found, candidate, at_ms)
        return np.delete(tracks, rows), np.delete(boxes, columns)

    def _hit(self, life: _Life, found: Detections, candidate: int, at_ms: int) -> None:
        settings = self.settings
        life.score = float(found.score[candidate])
        life.total_score += life.score
        life.hits += 1
        life.last_seen_ms = at_ms
        if life.score >= settings.strong_score:
            life.last_sure_ms = at_ms
        label = int(found.label[candidate])
        life.votes[label] = life.votes.get(label, 0.0) + life.score
        life.confirmed = life.confirmed or (
            life.hits >= settings.confirm_hits and life.total_score >= settings.confirm_score * life.hits
        )

    def _begin(self, given: _Found, born: Places, at_ms: int) -> None:
        """Begin tracks with sure detections that belong to none, unless they cover one."""
        if not born.size:
            return
        found, kind, limit = given.detections, given.kind, self.settings.birth_overlap
        here = [n for n, life in enumerate(self._lives) if life.last_seen_ms == at_ms]
        over = overlaps(found.xyxy[born], self._seen[here]) * (kind[born, None] == self._kind[None, here])
        born = born[over.max(axis=1, initial=0.0) <= limit]
        born = born[np.sort(suppress(found.xyxy[born], found.score[born], kind[born], limit))]
        self._motion.begin(found.xyxy[born])
        self._appearances.begin(len(born), None if given.looks is None else given.looks[born])
        self._seen = np.concatenate((self._seen, found.xyxy[born]))
        self._kind = np.concatenate((self._kind, kind[born]))
        for candidate in born.tolist():
            life = _Life(self._next_id, at_ms, at_ms, at_ms, 0.0)
            self._next_id += 1
            self._hit(life, found, candidate, at_ms)
            self._lives.append(life)

    def _bury(self, at_ms: int) -> None:
        """Let go of what was not seen for too long."""
        most = (self.settings.tentative_ms, self.settings.lost_ms)
        unseen = [at_ms - life.last_seen_ms for life in self._lives]
        keep = [n for n, life in enumerate(self._lives) if unseen[n] <= most[life.confirmed]]
        if len(keep) < len(self._lives):
            self._lives = [self._lives[n] for n in keep]
            self._seen = self._seen[keep]
            self._kind = self._kind[keep]
            self._motion.keep(keep)
            self._appearances.keep(keep)

    def _tracks(self, labels: tuple[str, ...], at_ms: int) -> tuple[Track, ...]:
        tracks = []
        boxes = self._motion.boxes()
        now = np.array([life.last_seen_ms == at_ms for life in self._lives], np.bool_)
        score = np.array([life.score for life in self._lives], np.float32)[now]
        boxes[now] = self._between(boxes[now], self._seen[now], score)
        for life, (left, top, right, bottom) in zip(self._lives, boxes.tolist(), strict=True):
            if life.last_seen_ms == at_ms:
                self._stand(life, GroundPoint(at_ms, (left + right) / 2, bottom))
            # Equal votes go to the label that comes first, so that the answer does not hang on history.
            name = labels[min(life.votes, key=lambda place: (-life.votes[place], place))]
            told = (life.first_seen_ms, life.last_seen_ms, life.hits, life.confirmed, life.ground)
            tracks.append(Track(life.id, (left, top, right, bottom), life.score, name, *told))
        return tuple(tracks)

    def _between(self, filtered: Boxes, seen: Boxes, score: NDArray[np.float32]) -> Boxes:
        """What is given out of what was just seen.

        A detection trembles, the more the less sure it is; the filter lags behind who turns. People turn and speed up
        across the picture, hardly down it, and keep their size, which is what trembles most.
        """
        settings = self.settings
        sizes = settings.seen_size
        shares = np.array([settings.seen_across, settings.seen_down, sizes, sizes]) * score[:, None]
        place = centres(filtered)
        return corners(place + shares * (centres(seen) - place))

    def _stand(self, life: _Life, point: GroundPoint) -> None:
        """Add to where it stood: the newest point always, older ones at most every ``ground_step_ms``."""
        earlier, oldest = life.ground, point.at_ms - self.settings.ground_ms
        if len(earlier) > 1 and earlier[-1].at_ms - earlier[-2].at_ms < self.settings.ground_step_ms:
            earlier = earlier[:-1]
        first = 0
        while first < len(earlier) and earlier[first].at_ms < oldest:
            first += 1
        life.ground = (*earlier[first:], point)


def _canonical_order(detections: Detections, weakest: float) -> Places:
    """Places of the detections that score enough, in an order that does not depend on the one they came in."""
    boxes = detections.xyxy
    order = np.lexsort(
        (detections.label, boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -detections.score)
    )
    return order[detections.score[order] >= weakest]


def _undisputed(likely: NDArray[np.bool_]) -> bool:
    """Whether nobody competes with anybody, as in most pictures of most streets."""
    return bool(likely.any(axis=0).sum() == likely.any(axis=1).sum() == np.count_nonzero(likely))


def _assign(similarity: Floats, least: float) -> tuple[Places, Places]:
    """Rows and columns of the pairs, each at least ``least`` alike, for the greatest sum of one plus similarity.

    The one is for the pair itself: where people stand close, it costs more identities to leave somebody out than to
    match all a little worse.
    """
    likely = similarity >= least
    if not likely.any():
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    if _undisputed(likely):
        rows, columns = np.nonzero(likely)
        return rows, columns
    cost = np.where(likely, 1.0 - similarity, 10.0)
    assigned = lap.lapjv(cost, extend_cost=True, cost_limit=2.0)[1]
    rows = np.flatnonzero(assigned >= 0)
    rows = rows[likely[rows, assigned[rows]]]
    return rows, assigned[rows].astype(np.intp)


def _similarity(tracks: Boxes, candidates: Boxes, widen: float) -> Floats:
    """Overlap of widened boxes, times the overlap of their heights; ``(N, M)`` in 0..1."""
    if not len(tracks) or not len(candidates):
        return np.zeros((len(tracks), len(candidates)))
    heights = (tracks[:, 3] - tracks[:, 1])[:, None], (candidates[:, 3] - candidates[:, 1])[None, :]
    agreement = np.minimum(*heights) / np.maximum(np.maximum(*heights), 1e-6)
    return np.asarray(overlaps(_widened(tracks, widen), _widened(candidates, widen)) * agreement, np.float64)


def _widened(boxes: Boxes, by: float) -> Boxes:
    margin = (boxes[:, 2:] - boxes[:, :2]) * np.float32(by)
    return np.concatenate((boxes[:, :2] - margin, boxes[:, 2:] + margin), axis=1)
