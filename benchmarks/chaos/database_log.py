"""What PostgreSQL says in its own log that nobody else may have noticed: a deadlock is retried and looks like nothing."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

#: By the key in the summary. Our own kills are signal 9, and are no news.
TROUBLES: Final = {
    "deadlocks": re.compile(r"ERROR: +deadlock detected"),
    "serialization_failures": re.compile(r"ERROR: +could not serialize access"),
    "panics": re.compile(r"PANIC: |was terminated by signal (?!9\b)\d+"),
}


def troubles_in(log: Path) -> Counter[str]:
    """How often each of ``TROUBLES`` stands in a server's log; each key is there."""
    found = Counter(dict.fromkeys(TROUBLES, 0))
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            found.update(key for key, pattern in TROUBLES.items() if pattern.search(line))
    return found


def faults_of(found: Counter[str], log: Path) -> list[str]:
    """A sentence for each kind that occurred."""
    return [f"{count} {key.replace('_', ' ')} in {log.name}" for key, count in found.items() if count]
