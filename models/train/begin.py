"""What a fine-tuning begins from, and whether what it is to learn from is there; no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from common.runtime.errors import InvalidError

Kind = Literal["detector", "segmenter"]
STORY: Final = "training.json"
#: What the export of a model trained here tells of its training.
_TOLD: Final = ("steps", "seed", "learnt", "torch")
BASES: Final[Mapping[Kind, str]] = {"detector": "yolo26n.pt", "segmenter": "yolo26n-sem.pt"}
"""What ultralytics fetches by itself."""
_OWN: Final = ("base.pt", "base.yaml")


def dataset_of(data: Path) -> Path:
    """The description of a data set; raises InvalidError ``dataset.missing`` when the folder has none."""
    described = data / "data.yaml"
    if not described.is_file():
        raise InvalidError(
            "dataset.missing",
            f"expected {described.name} in {data}, found none",
            "name the folder that holds images, labels and data.yaml as ultralytics wants them",
        )
    return described.resolve()


def demand(found: Mapping[str, int], data: Path) -> None:
    """Raises InvalidError ``dataset.incomplete`` when there is none of something that is learnt from or compared on."""
    missing = [what for what, count in found.items() if not count]
    if missing:
        raise InvalidError(
            "dataset.incomplete",
            f"expected {', '.join(found)} in {data}, found no {', no '.join(missing)}",
            "add pictures with their labels; groups go to one side of the split each, so a few of them are too few",
        )


def base_of(data: Path) -> Path | None:
    """Weights (``base.pt``) or an architecture (``base.yaml``) of one's own in the data's folder; None without either."""
    return next((data / name for name in _OWN if (data / name).is_file()), None)


def trained_in(out: Path) -> dict[str, Any] | None:
    """What a training that came to its end left in ``out``; None when there was none."""
    story = out / STORY
    return dict(json.loads(story.read_text(encoding="utf-8"))) if story.is_file() else None


def story_of(trained: Path, model: str) -> dict[str, Any]:
    """What the training of a model left in ``trained``.

    Raises:
        InvalidError: ``training.story`` when that is less than its export tells, as an earlier release left it.
    """
    try:
        story = trained_in(trained) or {}
    except (ValueError, TypeError) as error:
        found, story = f"found {error}", {}
    else:
        found = f"found no {', '.join(key for key in _TOLD if key not in story)}"
    if not story.keys() >= set(_TOLD):
        raise InvalidError(
            "training.story",
            f"expected {', '.join(_TOLD)} in {trained / STORY}, {found}",
            f"an earlier release trained it, or it was cut short: train it again, `drumtower models train {model} --out`",
        )
    return story
