"""Where the heartbeat to a watcher outside goes: see ``common/runtime/watchdog.py``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from common.runtime.settings import Settings, Wrong


class WatchdogSettings(Settings):
    """Where the heartbeat goes and how often; an address with a secret in it is better kept in the environment."""

    watchdog_url: Annotated[
        str | None, Field(description="asked for by HTTP GET while this tier really works")
    ] = None
    watchdog_every_s: Annotated[float, Field(ge=1, le=3600)] = 30.0

    def cross_faults(self) -> Iterator[Wrong]:
        """It is an address that can be asked for."""
        yield from super().cross_faults()
        if self.right("watchdog_url") and self.watchdog_url is not None and not is_address(self.watchdog_url):
            yield Wrong(("watchdog_url",), "expected https://host/…, an address that a watcher gave you")


def is_address(text: str) -> bool:
    """Whether something can be asked for by HTTP."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False
