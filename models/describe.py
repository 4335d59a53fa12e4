"""The manifest of a model that somebody brings: what can be told from the file itself, and what has to be said."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from common.runtime.errors import InvalidError
from models.manifest import MAPPED
from models.runtime import open_session

SIDE: Final = 416
"""Pixels across and down of what is fine-tuned: two cores look at it in some 15 ms with the smallest networks."""
_LICENCE: Final = "AGPL-3.0 (ultralytics), unless its makers gave you another licence"


def segmenter_of(labels: list[str]) -> str:
    """The head whose maps these classes are; raises InvalidError ``model.labels`` when there is none."""
    for head, wanted in MAPPED.items():
        if list(wanted) == labels:
            return head
    known = "; ".join(", ".join(wanted) for wanted in MAPPED.values())
    raise InvalidError(
        "model.labels",
        f"expected the classes of one of the segmenters that a box uses ({known}), got {', '.join(labels)}",
        "name the classes so, in that order, in data.yaml",
    )


def ends_by_itself(shape: tuple[int, ...]) -> bool:
    """Whether an answer of this shape is a list of finds, already suppressed: ``(1, N, 6)``."""
    return len(shape) == 3 and shape[2] == 6


def described(
    file: Path, name: str, head: str | None, names: list[str], story: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of a file; of a detector the head is told by what it answers."""
    content = file.read_bytes()
    common = {
        "name": name,
        "title": f"{name}, fine-tuned",
        "file": file.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "ships": False,
        "input": {
            "name": "pixels",
            "width": SIDE,
            "height": SIDE,
            "layout": "nchw",
            "channels": "rgb",
            "dtype": "float32",
            "fit": "letterbox" if head is None else "stretch",
        },
        "licence": _LICENCE,
        "origin": (
            f"fine-tuned by `drumtower models train` from {Path(str(story['base'])).name} ({story['epochs']} epochs, "
            f"seed {story['seed']}, torch {story['torch']}) with ultralytics"
        ),
    }
    if head is not None:
        labels = list(MAPPED[head])
        return common | {"head": head, "labels": labels, "thresholds": dict.fromkeys(labels, 0.5)}
    shape = (
        open_session(file, threads=1).run(None, {"pixels": np.zeros((1, 3, SIDE, SIDE), np.float32)})[0].shape
    )
    end_to_end = ends_by_itself(shape)
    return common | {
        "head": "end_to_end" if end_to_end else "yolo",
        "labels": names,
        # An end-to-end head has suppressed already: only what is all but the same box is left out once more.
        "thresholds": {"score": 0.4, "weak": 0.1, "overlap": 0.9 if end_to_end else 0.6},
    }
