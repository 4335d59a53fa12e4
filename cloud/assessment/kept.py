"""Figures of the last thirty days by unit, which everybody looks at, counted once a minute where there are many.

A small district is counted for each look. A large one is answered from what was counted last, with the instant of the
counting; when that is older than a minute it is counted anew beside, and when it is much older the look waits for it.
So that nobody waits for the one of all units and categories, a worker counts it before it is so old.
Nobody is ever shown a mixture of two countings.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from cloud.assessment import repo
from cloud.assessment.domain import Figures
from cloud.assessment.repo import Period
from cloud.db import Database, Transaction
from cloud.db.database import lock_key
from common.runtime.errors import TransientError
from common.runtime.log import get_logger

#: From so many tickets on; below, counting costs less than a page does.
MANY: Final = 2000
FRESH: Final = timedelta(minutes=1)
_LONGEST: Final = timedelta(minutes=15)
#: A worker looks at it twice a minute, and counting takes seconds.
_READY: Final = timedelta(minutes=10)
_LATELY: Final = timedelta(days=30)
_log = get_logger("assessment")
Counted = tuple[Period, Mapping[str, Figures]]


def by_unit(
    database: Database, transaction: Transaction, period: Period, asked: str, renewed: Callable[[], Period]
) -> Counted:
    """The figures of each unit, and the period for which they hold.

    Args:
        database: for counting anew beside.
        transaction: to read in.
        period: that ends now.
        asked: what narrows it, as text.
        renewed: the period that ends when it is counted anew.
    """
    found = repo.kept(transaction, asked)
    if found is not None:
        since, until, figures = found
        age = period.now - until
        if timedelta(0) <= age <= _LONGEST:
            if age > FRESH:
                beside = threading.Thread(target=_renew, args=(database, asked, renewed), daemon=True)
                beside.start()
            return replace(period, since=since, until=until), figures
    return _count(transaction, period, asked)


def keep_ready(database: Database, now: datetime) -> None:
    """Count the league of all units and categories before a look has to wait for it; a small district's never is.

    Raises:
        TransientError: the database is away.
    """
    asked = asked_for(None, None)
    with database.transaction() as transaction:
        found = repo.kept(transaction, asked)
        if found is not None and now - found[1] > _READY and repo.is_mine(transaction, _key(asked)):
            _count(transaction, Period(now - _LATELY, now, now), asked)


def asked_for(category: str | None, unit_code: str | None) -> str:
    """What narrows a league, as text."""
    return f"{category or ''} {unit_code or ''}"


def _key(asked: str) -> int:
    return lock_key(f"assessment|{asked}")


def _count(transaction: Transaction, period: Period, asked: str) -> Counted:
    figures = repo.figures(transaction, "unit", period)
    if sum(one.tickets for one in figures.values()) >= MANY:
        repo.keep(transaction, asked, period, figures)
    return period, figures


def _renew(database: Database, asked: str, renewed: Callable[[], Period]) -> None:
    """Count once, however many asked for it meanwhile."""
    try:
        with database.transaction() as transaction:
            if repo.is_mine(transaction, _key(asked)):
                _count(transaction, renewed(), asked)
    except TransientError as error:
        _log.warning("the league is counted later", error=error.message)
