"""The heartbeat to a watcher outside: sent only while this process really does its work.

What runs here cannot tell that its machine is gone. A watcher elsewhere can: it is asked for (HTTP GET) every so many
seconds, and calls somebody when it is not any more. Any service that counts requests to an address will do.
"""

from __future__ import annotations

import http.client
import os
import urllib.request
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.runtime.watchdog_settings import WatchdogSettings, is_address

VARIABLE = "DRUMTOWER_WATCHDOG_URL"
_PATIENCE_S = 5.0
_log = get_logger("watchdog")


def watchdog_url(settings: WatchdogSettings, environment: Mapping[str, str] | None = None) -> str | None:
    """The address: DRUMTOWER_WATCHDOG_URL before the configuration; None where there is none that can be asked for."""
    env = os.environ if environment is None else environment
    named = env.get(VARIABLE, "")
    if named and not is_address(named):
        _log.error(
            "the address of the watcher outside cannot be used: no heartbeat is sent",
            hint=f"set {VARIABLE} to https://host/…, or unset it",
        )
        return None
    return named or settings.watchdog_url


class Watchdog:
    """Sends the heartbeat.

    Args:
        url: the watcher's; None sends nothing.
        every_s: seconds from one to the next.
        why_not: empty while this process does its work, else what keeps it from it.
        sent, failed: told of each heartbeat.
    """

    def __init__(
        self,
        url: str | None,
        every_s: float,
        why_not: Callable[[], str],
        *,
        sent: Callable[[], object] = lambda: None,
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        self._url = url
        self._every_s = every_s
        self._why_not = why_not
        self._sent = sent
        self._failed = failed
        self._said = ""

    def run(self, stop: Stop) -> None:
        """Until stopped; a watcher that does not answer is only told of."""
        if self._url is None:
            return
        while not stop.is_set():
            self.beat()
            stop.wait(self._every_s)

    def run_on(self, stop: Stop) -> None:
        """As ``run``, but where there is nobody to tell it waits too: for a process whose parts must not end."""
        self.run(stop)
        stop.wait()

    def beat(self) -> bool:
        """Send one heartbeat if the work is done; whether one arrived."""
        if self._url is None:
            return False
        why = self._why_not()
        if why != self._said:
            self._said = why
            if why:
                _log.warning("no heartbeat to the watcher outside", why=why)
            else:
                _log.info("the watcher outside is told again that all is well")
        if why:
            return False
        try:
            with urllib.request.urlopen(self._url, timeout=_PATIENCE_S):  # noqa: S310 - http or https: see is_address
                pass
        except (OSError, http.client.HTTPException, ValueError) as error:  # a URLError is an OSError
            self._failed()
            # Never the whole address: whoever has it can say in our name that all is well.
            _log.warning(
                "the watcher outside does not answer",
                host=urlsplit(self._url).hostname,
                error=f"{type(error).__name__}: {getattr(error, 'reason', '') or getattr(error, 'code', '')}",
            )
            return False
        self._sent()
        return True
