"""Whether a gateway is silent, and what is said of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import Field

from common.runtime.watchdog_settings import WatchdogSettings

CATEGORY: Final = "device.gateway_silent"
SOURCE: Final = "watch"
SENSOR: Final = "gateway"
SEVERITY: Final = 4

Why = Literal["nobody holds the lease", "it does not hear the broker", "it commits nothing"]


class WatchSettings(WatchdogSettings):
    """How often the centre looks about, and after how many seconds a gateway that does nothing is a ticket."""

    every_s: Annotated[float, Field(ge=0.1, le=600)] = 5.0
    gateway_silent_s: Annotated[
        float, Field(ge=1, le=86_400, description="more than a takeover of its lease takes")
    ] = 60.0
    worker_silent_s: Annotated[
        float, Field(ge=5, le=86_400, description="for the page's warning that nobody makes tickets")
    ] = 60.0


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition that has devices and once had a gateway.

    Attributes:
        name: the partition's.
        holder: who has the lease, ``host:process``; None when it was given back.
        is_held: whether the lease has not expired.
        is_listening: whether the holder is connected to the broker.
        working_at: when a holder last heard the broker and committed; None: not since this is written down.
        now: the database's time at which this was so.
    """

    name: str
    holder: str | None
    is_held: bool
    is_listening: bool
    working_at: datetime | None
    now: datetime

    @property
    def silent_s(self) -> float:
        """For how long nothing was taken in."""
        return 0.0 if self.working_at is None else max((self.now - self.working_at).total_seconds(), 0.0)

    @property
    def why(self) -> Why:
        """What is the matter, where it is silent."""
        if not self.is_held or self.holder is None:
            return "nobody holds the lease"
        return "it commits nothing" if self.is_listening else "it does not hear the broker"


def is_silent(partition: Partition, settings: WatchSettings, watched_s: float) -> bool:
    """Whether it counts as silent.

    Args:
        partition: as it stands.
        settings: how long is too long.
        watched_s: for how long we have been looking: a whole machine that starts again is no silence.
    """
    return min(partition.silent_s, watched_s) > settings.gateway_silent_s


HINTS: Final[dict[Why, str]] = {
    "nobody holds the lease": "start it: drumtower gateway run; if it runs, its log says why it has no lease",
    "it does not hear the broker": "is the broker up, and its certificate valid? drumtower doctor gateway",
    "it commits nothing": "what keeps the database from taking batches? drumtower doctor gateway",
}
