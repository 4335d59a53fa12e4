"""What the set-up could not get lately: not tried again at every `make test`. Standard library only."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from local.paths import data_directory, exclusive_lock, write_atomically

#: As long as it takes at most until a build that was not to be had is asked for again, unasked.
REMEMBERED_SECONDS = 86_400.0


@dataclass(frozen=True)
class Failure:
    """When a part could not be had (seconds since the Unix epoch), what was wanted of it, and why it could not."""

    at: float
    requirement: Mapping[str, str]
    reason: str

    @property
    def when(self) -> str:
        """Its instant, as this machine's clock on the wall says it."""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.at))


def failed_lately(part: str, requirement: Mapping[str, str]) -> Failure | None:
    """That a part with the same requirement could not be had within the last day; None where it is worth a try."""
    failure = _read().get(part)
    if failure is None or failure.requirement != requirement:
        return None
    # One from the future was written by a clock that was wrong.
    return failure if 0 <= time.time() - failure.at < REMEMBERED_SECONDS else None


def failed_parts() -> list[str]:
    """The parts of which a failure is remembered, old ones too."""
    return list(_read())


def remember(part: str, requirement: Mapping[str, str], reason: str) -> None:
    """Note that a part could not be had just now."""
    _write(part, Failure(time.time(), requirement, reason))


def forget(part: str) -> None:
    """A part is there: whatever was noted of it is over."""
    if part in _read():
        _write(part, None)


def _file() -> Path:
    return data_directory() / "not_had.json"


def _read() -> dict[str, Failure]:
    """What is noted; nothing where the file is missing or not one of ours, which costs one more try."""
    try:
        return {
            part: Failure(float(kept["at"]), dict(kept["requirement"]), str(kept["reason"]))
            for part, kept in json.loads(_file().read_bytes()).items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _write(part: str, failure: Failure | None) -> None:
    with exclusive_lock(data_directory() / "not_had.lock"):
        kept = {name: asdict(one) for name, one in _read().items() if name != part}
        if failure is not None:
            kept[part] = asdict(failure)
        write_atomically(_file(), json.dumps(kept, indent=2).encode())
