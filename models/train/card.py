"""The card that lies beside an exported model: what it is, what it learnt from, how good it is, where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.manifest import ModelManifest
from models.runtime import open_session


@dataclass(frozen=True, slots=True)
class Told:
    """What a manifest does not say.

    Attributes:
        learnt: what it was trained on, and how long.
        parity: largest difference between the file and the trainer's network.
        compared: on what these two were compared.
        figures: a table, or how to come by one.
        failures: one sentence each.
    """

    learnt: str
    parity: float
    compared: str
    figures: str
    failures: Sequence[str]


def to_be_measured(name: str) -> str:
    """What stands in place of figures until somebody measured."""
    return (
        f"Not measured yet: `drumtower models evaluate {name} --data … --directory …` takes the figures on groups that "
        "training\nnever saw and writes them here."
    )


def as_the_shipped(name: str) -> tuple[str, ...]:
    """What is known to fail of a model trained as the one that ships, before anybody looked at it."""
    return (
        "Nobody has looked for this model's own yet: say here what you find.",
        f"It is the network of the model that ships, trained the same way, and likely shares its failures: they stand in "
        f"`models/cards/{name}.md`.",
    )


def write_card(manifest: ModelManifest, directory: Path, told: Told) -> Path:
    """Write ``<name>.md`` beside a manifest and its file; the path."""
    spec = manifest.input
    session = open_session(directory / manifest.file, threads=1)
    answers = "; ".join(f"{one.name} {_shape(one.shape)}" for one in session.get_outputs())
    asked = _shape(session.get_inputs()[0].shape)
    thresholds = getattr(manifest, "thresholds", None)
    limits = {} if thresholds is None else thresholds.model_dump(exclude_none=True)
    text = f"""# {manifest.name}: {manifest.title}

Written by `drumtower models export`; what only its makers know is for them to add. Opens on any box with onnxruntime; no torch.
Licence: {manifest.licence}.

| | |
|---|---|
| file | {manifest.file}, {manifest.size} bytes, sha256 {manifest.sha256} |
| in | {spec.dtype} `{asked}`, {spec.layout}, {spec.channels.upper()}, fitted by: {spec.fit} |
| out | {answers} |
| labels | {", ".join(manifest.names)} |
| thresholds | {", ".join(f"{name} {value:g}" for name, value in limits.items())} |

## How good it is

<!-- figures -->
{told.figures}
<!-- end -->

The file says what the trainer's network says: they differ by at most {told.parity:.1e} on {told.compared}.

## What it was trained on

{told.learnt}

{manifest.origin[0].upper()}{manifest.origin[1:]}.

## Known failures

{chr(10).join(f"- {one}" for one in told.failures)}
"""
    path = directory / f"{manifest.name}.md"
    path.write_text(text, encoding="utf-8")
    return path


def _shape(lengths: Sequence[Any]) -> str:
    return f"[{', '.join('any' if not isinstance(one, int) else str(one) for one in lengths)}]"
