"""The summary, all figures of one instant."""

from __future__ import annotations

from collections.abc import Sequence

from cloud.db import Database
from cloud.inbox import repo as inbox
from cloud.incidents.domain import FusionRule
from cloud.summary import repo
from cloud.summary.schemas import InboxFigures, Summary


def summarise(database: Database, rules: Sequence[FusionRule]) -> Summary:
    """How the whole centre stands.

    Raises:
        TransientError: when the database is away.
    """
    with database.transaction() as transaction:
        transaction.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return Summary(
            incidents=repo.incidents(transaction),
            tickets=repo.tickets(transaction),
            inbox=InboxFigures.model_validate(inbox.counts(transaction)),
            checks=repo.checks(transaction, rules),
            stream_head=repo.stream_head(transaction),
        )
