"""Whether people are told what they are to be told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from cloud.db import Transaction
from cloud.notify import repo
from cloud.notify.settings import NotifySettings
from common.runtime.doctor import Examination, Finding, span

_LATELY: Final = timedelta(days=1)
_LATE_S: Final = 900.0


def notify_findings(
    told: Examination, transaction: Transaction, settings: NotifySettings
) -> Iterator[Finding]:
    """Channels, what waits, and what was given up within a day."""
    now = datetime.now(UTC)
    found = repo.figures(transaction, now, now - _LATELY)
    said = (
        f"{found.waiting} wait, the oldest for {span(found.oldest_s)}" if found.waiting else "nothing waits"
    )
    if not settings.channels:
        what = "nobody is told when a clock is missed: no channel is set"
        yield told.warn("notifications", f"{what}; {said}", "name one under notify.channels of the settings")
    elif found.oldest_s > _LATE_S:
        fix = "drumtower cloud notify list; drumtower cloud notify test --channel NAME"
        yield told.fail("notifications", said, fix)
    else:
        names = ", ".join(channel.name for channel in settings.channels)
        yield told.ok("notifications", f"by {names}; {said}")
    if found.given_up:
        calls = f", {found.calls_given_up} of them calls" if found.calls_given_up else ""
        yield told.fail(
            "notifications: given up",
            f"{found.given_up} within a day{calls}: {repo.why_given_up(transaction, now - _LATELY)[:200]}",
            "after a fix: drumtower cloud notify retry",
        )
    else:
        yield told.ok("notifications: given up", "none within a day")
