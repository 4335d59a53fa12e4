"""Sending: decide by which channels each goes, then claim, send and mark, each delivery for itself.

A delivery is claimed in one transaction and marked in another; nothing is locked while a receiver takes its time. A
process that dies in between has counted the try, and the claim runs out: somebody else sends it. So each is sent at
least once, by tries that all carry one id, and marked once. Several processes may do this at a time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from cloud.db import Database, Transaction
from cloud.notify import repo
from cloud.notify.domain import Notification, is_stale, quiet_until, retry_after_s, takes
from cloud.notify.repo import Claim
from cloud.notify.senders import NotTakenError, RefusedError, Send, send
from cloud.notify.settings import Channel, NotifySettings
from common.runtime.clock import Clock, to_datetime
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop

_log = get_logger("notify")
_BATCH: Final = 100
_LATELY: Final = timedelta(days=1)
_FIGURES_S: Final = 15.0
_LONGEST_ERROR: Final = 500
# What a row that cannot be put into a message raises. It concerns that row; the others are sent.
_FAULTS_OF_DATA: Final = (ValueError, TypeError, LookupError)


class NotifyMetrics:
    """What the sending counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter(
            "drumtower_notifications_sent", "Taken by a receiver", ["channel"], registry=registry
        )
        self.failed = Counter(
            "drumtower_notifications_failed", "Tries in vain", ["channel"], registry=registry
        )
        self.given_up = Counter(
            "drumtower_notifications_given_up", "Given up by a channel", ["channel"], registry=registry
        )
        self.waiting = Gauge(
            "drumtower_notifications_waiting", "Due, and nobody was told yet", registry=registry
        )
        self.oldest = Gauge(
            "drumtower_notifications_oldest_seconds", "How long the oldest of them waits", registry=registry
        )
        self.untold = Gauge(
            "drumtower_notifications_untold", "Given up within a day: nobody was told", registry=registry
        )


class Notifier:
    """Sends what is due; start as many as you like, in threads or processes.

    Args:
        database: where the rows are.
        settings: channels, quiet hours, patience.
        clock: what time it is.
        metrics: where to count.
        sending: what sends; another one only to try things out.
    """

    def __init__(
        self,
        database: Database,
        settings: NotifySettings,
        clock: Clock,
        metrics: NotifyMetrics,
        sending: Send = send,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._send = sending

    def parts(self) -> list[tuple[str, Callable[[Stop], None]]]:
        """What has to run, by name: one loop that decides, and one a channel, so that none waits for another."""
        if not self._settings.channels:
            return [("notifications", self._watch)]
        return [
            ("notifications", self._decide),
            *(
                (f"notifications by {channel.name}", lambda stop, it=channel: self._deliver(stop, it))
                for channel in self._settings.channels
            ),
        ]

    def lay_out(self) -> int:
        """Decide by which channels new ones go, and give up what nobody can be told any more; how many were new.

        Raises:
            TransientError: when the database is away.
        """
        now = self._now()
        with self._database.transaction() as transaction:
            found = repo.new_ones(transaction, now, _BATCH)
            for notification in found:
                self._choose(transaction, notification, now)
        with self._database.transaction() as transaction:
            for number, channel in repo.worn_out(transaction, self._settings.attempts, now, _BATCH):
                error = "every try was made; of the last one nobody told what came of it"
                self._give_up(transaction, number, channel, error, now)
        with self._database.transaction() as transaction:
            names = [channel.name for channel in self._settings.channels]
            for number, channel in repo.strayed(transaction, names, now, _BATCH):
                self._give_up(
                    transaction, number, channel, "its channel is not in the settings any more", now
                )
        return len(found)

    def step(self, channel: Channel) -> bool:
        """Send the channel's next delivery; False: none is due.

        Raises:
            TransientError: when the database is away; the delivery is tried again.
        """
        now = self._now()
        until = now + timedelta(seconds=self._settings.claim_s)
        with self._database.transaction() as transaction:
            claimed = repo.claim(transaction, channel.name, now, until, self._settings.attempts)
            if claimed is None:
                return False
            if self._held_back(transaction, claimed, now):
                return True
            names = repo.unit_names(transaction, claimed.notification.unit_code, channel.language)
        try:
            self._send(channel, self._settings, claimed.notification, names, now)
        except RefusedError as error:
            self._end(claimed, error.message)
        except TransientError as error:
            self._try_later(claimed, error)
        except _FAULTS_OF_DATA as error:
            _log.error(
                "a notification cannot be put into words", kind=claimed.notification.kind, exc_info=error
            )
            self._end(claimed, f"it cannot be put into a message: {type(error).__name__}: {error}")
        else:
            self._done(claimed)
        return True

    def _choose(self, transaction: Transaction, notification: Notification, now: datetime) -> None:
        above = repo.units_above(transaction, notification.unit_code)
        chosen = [one.name for one in self._settings.channels if takes(one, notification, above)]
        quiet = quiet_until(self._settings.quiet, notification, above, now)
        repo.lay_out(
            transaction, notification.notification_id, [(name, quiet or now) for name in chosen], now
        )
        if not chosen:
            error = f"no channel of the settings reaches {notification.unit_code}"
            self._give_up(transaction, notification.notification_id, "", error, now)

    def _held_back(self, transaction: Transaction, claimed: Claim, now: datetime) -> bool:
        notification = claimed.notification
        if is_stale(notification, now, self._settings.expire_after_h * 3600):
            error = f"it could not be sent within {self._settings.expire_after_h:g} h"
            self._give_up(transaction, notification.notification_id, claimed.channel, error, now)
            return True
        above = repo.units_above(transaction, notification.unit_code)
        quiet = quiet_until(self._settings.quiet, notification, above, now)
        if quiet is not None:
            repo.put_off(transaction, claimed, quiet, "quiet hours", counted=False)
        return quiet is not None

    def _done(self, claimed: Claim) -> None:
        with self._database.transaction() as transaction:
            marked = repo.mark_sent(transaction, claimed, self._now())
        if marked:
            self._metrics.sent.labels(claimed.channel).inc()

    def _try_later(self, claimed: Claim, error: TransientError) -> None:
        self._metrics.failed.labels(claimed.channel).inc()
        reason = _brief(error.message)
        if claimed.tries >= self._settings.attempts:
            self._end(claimed, f"after {claimed.tries} tries: {reason}")
            return
        wait_s = retry_after_s(
            claimed.tries, self._settings.first_retry_s, self._settings.longest_retry_s, random.random()
        )
        if isinstance(error, NotTakenError):
            wait_s = max(wait_s, error.wait_s)
        _log.warning(
            "a notification is tried again",
            channel=claimed.channel,
            tries=claimed.tries,
            wait_s=round(wait_s, 1),
            error=reason,
        )
        with self._database.transaction() as transaction:
            repo.put_off(transaction, claimed, self._now() + timedelta(seconds=wait_s), reason)

    def _end(self, claimed: Claim, error: str) -> None:
        with self._database.transaction() as transaction:
            number = claimed.notification.notification_id
            self._give_up(transaction, number, claimed.channel, _brief(error), self._now())

    def _give_up(
        self, transaction: Transaction, number: int, channel: str, error: str, now: datetime
    ) -> None:
        nobody = repo.give_up(transaction, number, channel, error, now)
        self._metrics.given_up.labels(channel or "none").inc()
        _log.error(
            "a notification is given up", notification=number, channel=channel, error=error, untold=nobody
        )

    def _decide(self, stop: Stop) -> None:
        next_figures = self._clock.monotonic()
        while not stop.is_set():
            found = 0
            try:
                found = self.lay_out()
                if self._clock.monotonic() >= next_figures:
                    self.look()
                    next_figures = self._clock.monotonic() + _FIGURES_S
            except TransientError as error:
                _log.warning("sending is put off", error=error.message)
            if found < _BATCH:
                stop.wait(self._settings.every_s)

    def _deliver(self, stop: Stop, channel: Channel) -> None:
        while not stop.is_set():
            try:
                if self.step(channel):
                    continue
            except TransientError as error:
                _log.warning("sending is put off", channel=channel.name, error=error.message)
            stop.wait(self._settings.every_s)

    def _watch(self, stop: Stop) -> None:
        """Without channels there is only to tell that something waits."""
        while not stop.is_set():
            try:
                self.look()
            except TransientError as error:
                _log.warning("what waits to be told is not counted", error=error.message)
            stop.wait(_FIGURES_S)

    def look(self) -> None:
        """Tell the metrics how it stands.

        Raises:
            TransientError: when the database is away.
        """
        now = self._now()
        with self._database.transaction() as transaction:
            found = repo.figures(transaction, now, now - _LATELY)
        self._metrics.waiting.set(found.waiting)
        self._metrics.oldest.set(found.oldest_s)
        self._metrics.untold.set(found.given_up)

    def _now(self) -> datetime:
        return to_datetime(self._clock.now_ms())


def channel_named(channels: Sequence[Channel], name: str) -> Channel | None:
    """The channel of a name."""
    return next((channel for channel in channels if channel.name == name), None)


def _brief(text: str) -> str:
    return text[:_LONGEST_ERROR].replace("\0", "�")
