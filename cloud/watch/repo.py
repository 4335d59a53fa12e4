"""What stands in the database about who works. The only module of the feature that speaks SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from cloud.db import Queries, Transaction
from cloud.watch.domain import CATEGORY, SENSOR, SEVERITY, SOURCE, Partition

_Q = Queries("cloud.watch")
_LOCK: Final = 7_119_417_070  # "Drumtower tells of silent gateways"


def beat(transaction: Transaction, worker: str) -> None:
    """A worker says that it works; those that were last heard a day ago are forgotten."""
    transaction.run(_Q["beat"], worker=worker)
    transaction.run(_Q["forget_workers"])


def workers(transaction: Transaction) -> list[tuple[str, float]]:
    """Every worker and how many seconds ago it spoke, the newest first."""
    return [(row["worker"], row["age_s"]) for row in transaction.rows(_Q["workers"])]


def partitions(transaction: Transaction) -> list[Partition]:
    """Every partition with devices that has or had a gateway."""
    return [Partition(**row) for row in transaction.rows(_Q["partitions"])]


def lock(transaction: Transaction) -> bool:
    """Whether this transaction may tell: one at a time may."""
    return bool(transaction.one(_Q["lock"], key=_LOCK)["ours"])


@dataclass(frozen=True, slots=True)
class Silence:
    """What was told of a partition's gateway last."""

    partition: str
    device_id: int
    observation_id: UUID
    revision: int
    silent_since: datetime
    ended_at: datetime | None


def silence(transaction: Transaction, partition: str) -> Silence | None:
    """The last silence of a partition's gateway, over or not."""
    row = transaction.row(_Q["silence"], partition=partition)
    return None if row is None else Silence(**row)


def spokesman(transaction: Transaction, partition: str) -> int | None:
    """The box in whose name a silence is told; None where there is none."""
    row = transaction.row(_Q["spokesman"], partition=partition)
    return None if row is None else int(row["device_id"])


def tell(transaction: Transaction, told: Silence, now: datetime, detail: dict[str, Any]) -> None:
    """Write down that a silence begins or ends, and put it into our own inbox."""
    transaction.run(
        _Q["save_silence"],
        partition=told.partition,
        device_id=told.device_id,
        observation_id=told.observation_id,
        revision=told.revision,
        silent_since=told.silent_since,
        ended_at=told.ended_at,
    )
    transaction.run(
        _Q["put"],
        device_id=told.device_id,
        observation_id=told.observation_id,
        phase="start" if told.ended_at is None else "end",
        revision=told.revision,
        category=CATEGORY,
        source=SOURCE,
        sensor=SENSOR,
        severity=SEVERITY,
        started_at=told.silent_since,
        at=now,
        ended_at=told.ended_at,
        value=(now - told.silent_since).total_seconds(),
        detail=Jsonb(detail),
    )
    transaction.run("NOTIFY observation_inbox")


def figures(transaction: Transaction) -> dict[str, Any]:
    """Counts for the metrics: inbox, tickets, clocks."""
    return dict(transaction.one(_Q["figures"]))
