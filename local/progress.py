"""One line a step: a spinner with elapsed seconds on a terminal, plain lines anywhere else. Standard library only."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_SPINNER = "|/-\\"
_PLAIN_INTERVAL_SECONDS = 15.0


class Step:
    """What a running step has to tell: `detail` may be set at any time, from any thread."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.started = time.monotonic()

    def elapsed_seconds(self) -> float:
        return time.monotonic() - self.started

    def megabytes(self, done: int, total: int) -> None:
        """Tell how many bytes of how many are there."""
        if total:
            self.detail = f"{min(done, total) / 1e6:.0f} of {total / 1e6:.0f} MB"
        else:
            self.detail = f"{done / 1e6:.0f} MB"

    def count(self, done: int, total: int, what: str) -> None:
        """Tell how many things of how many are there."""
        self.detail = f"{min(done, total)} of {total} {what}"


class Progress:
    """Writes the steps of a set-up to `stream`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        encoding = (getattr(self._stream, "encoding", "") or "").lower()
        self._spinner = _SPINNER if encoding.startswith("utf") else _ASCII_SPINNER

    def say(self, text: str) -> None:
        """Write one plain line."""
        self._stream.write(("\r\x1b[K" if self._terminal else "") + text + "\n")
        self._stream.flush()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show `title` as running until the block ends; a block that raises ends it with the word `failed`."""
        step = Step(title)
        ended = threading.Event()
        painter = threading.Thread(target=self._paint, args=(step, ended), daemon=True)
        painter.start()
        outcome = "failed"
        try:
            yield step
            outcome = "done"
        finally:
            ended.set()
            painter.join()
            detail = f", {step.detail}" if step.detail else ""
            self.say(f"  {title}: {outcome}{detail}, {step.elapsed_seconds():.1f} s")

    def _paint(self, step: Step, ended: threading.Event) -> None:
        turn = 0
        interval = 0.1 if self._terminal else _PLAIN_INTERVAL_SECONDS
        while not ended.wait(interval):
            turn += 1
            detail = f"  {step.detail}" if step.detail else ""
            if self._terminal:
                mark = self._spinner[turn % len(self._spinner)]
                line = f"{mark} {step.title}{detail}  {step.elapsed_seconds():.0f} s"
                # Cut to the terminal's width: a wrapped line cannot be overwritten by a carriage return.
                self._stream.write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])
            else:
                self._stream.write(f"  {step.title} …{detail}, {step.elapsed_seconds():.0f} s\n")
            self._stream.flush()
