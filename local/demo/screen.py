"""The live summary of a run: what the boxes see, what arrived, what became of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of one moment; counts since the run began, ages in seconds."""

    frames: int = 0
    detections: int = 0
    packets_numbered: int = 0
    packets_committed: int = 0
    rows: int = 0
    rejects: int = 0
    incidents: int = 0
    tickets: int = 0
    camera_tickets: int = 0
    sensor_tickets: int = 0
    dispatched: int = 0
    camera_dispatched: int = 0
    sensor_dispatched: int = 0
    oldest_unreceipted_s: float = 0.0
    boxes_online: int = 0
    boxes: int = 0
    latest: tuple[str, ...] = ()


class Screen:
    """Draws snapshots in place on a terminal, and as one plain line every ten seconds elsewhere."""

    def __init__(self, console: Console, address: str, hint: str) -> None:
        self._console = console
        self._address = address
        self._hint = hint
        self._started = time.monotonic()
        self._said = float("-inf")
        self._live = (
            Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        )

    def __enter__(self) -> Screen:
        """Begin to draw."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last picture standing."""
        if self._live:
            self._live.stop()

    def show(self, snapshot: Snapshot, previous: Snapshot | None, seconds: float) -> None:
        """Draw one; ``previous`` is the snapshot of ``seconds`` ago, for the rates."""
        if self._live:
            self._live.update(self.picture(snapshot, previous, seconds), refresh=True)
        elif time.monotonic() - self._said >= 10:
            self._said = time.monotonic()
            self._console.print(_line(snapshot, self._elapsed()), highlight=False, soft_wrap=True)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def picture(self, now: Snapshot, before: Snapshot | None, seconds: float) -> Panel:
        """The summary as it is drawn."""

        def rate(name: str) -> str:
            if before is None or seconds <= 0:
                return ""
            return f"{(getattr(now, name) - getattr(before, name)) / seconds:,.1f}/s"

        table = Table.grid(padding=(0, 3))
        for justify in ("left", "right", "right"):
            table.add_column(justify=justify)
        rows = (
            ("boxes online", f"{now.boxes_online} of {now.boxes}", ""),
            ("frames", f"{now.frames:,}", rate("frames")),
            ("detections", f"{now.detections:,}", rate("detections")),
            ("packets numbered by boxes", f"{now.packets_numbered:,}", rate("packets_numbered")),
            ("packets committed", f"{now.packets_committed:,}", rate("packets_committed")),
            ("rows", f"{now.rows:,}", rate("rows")),
            ("rejects kept", f"{now.rejects:,}", ""),
            ("incidents", f"{now.incidents:,}", ""),
            ("tickets", f"{now.tickets:,}", f"{now.dispatched} dispatched"),
            ("  from cameras / sensors", f"{now.camera_tickets} / {now.sensor_tickets}", ""),
            (
                "oldest unreceipted packet",
                f"{now.oldest_unreceipted_s:.0f} s",
                _worry(now.oldest_unreceipted_s),
            ),
        )
        for row in rows:
            table.add_row(*row)
        latest = Text("\n".join(now.latest) or "no ticket yet", overflow="ellipsis", no_wrap=True)
        return Panel(
            Group(
                table,
                Text(),
                Text("latest tickets", style="bold"),
                latest,
                Text(),
                Text(self._hint, style="dim"),
            ),
            title=f"Drumtower 鼓楼  {self._address}  {self._elapsed():.0f} s",
            border_style="green" if now.oldest_unreceipted_s < 60 else "yellow",
        )


def _worry(age_s: float) -> str:
    return "fine" if age_s < 60 else "boxes keep what the store has not confirmed"


def _line(now: Snapshot, elapsed: float) -> str:
    return (
        f"{elapsed:4.0f} s  frames {now.frames}  detections {now.detections}  packets {now.packets_committed}/"
        f"{now.packets_numbered}  rows {now.rows}  incidents {now.incidents}  tickets {now.tickets} "
        f"({now.dispatched} dispatched)  oldest unreceipted {now.oldest_unreceipted_s:.0f} s"
    )
