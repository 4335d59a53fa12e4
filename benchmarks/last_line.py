"""The one line of JSON that a run ends with, whatever ends it."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Final

#: Of what an exception says; some quote whole statements.
_SAID: Final = 2000


class LastLine:
    """Prints a summary when its block is left; an exception that ends the block is its last fault, and goes on.

    Args:
        name: of the run.
        known: what stands in the summary however far the run comes.
    """

    def __init__(self, name: str, **known: Any) -> None:
        self.summary: dict[str, Any] = {"name": name, "ok": False, **known, "faults": []}

    def __enter__(self) -> dict[str, Any]:
        """The summary, to be filled in; not ``ok`` until the run says so."""
        return self.summary

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print it."""
        if error is not None:
            said = f"ended by {type(error).__name__}: {error}"[:_SAID]
            self.summary |= {"ok": False, "faults": [*self.summary["faults"], said]}
        print(json.dumps(self.summary, ensure_ascii=False), flush=True)
