"""The broker may forget a message once its batch is on the disk, and not before: a crash in between would lose it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg
import pytest

from common.runtime.clock import SystemClock
from common.runtime.errors import DrumtowerError
from common.runtime.stop import Stop
from gateway.backlog import Backlog, Batch, Turns
from gateway.config import BrokerAddress
from gateway.intake import Delivery
from gateway.lease import LeaseKeeper, LeaseLostError
from gateway.metrics import GatewayMetrics
from gateway.mqtt.intake import FramesIntake
from gateway.store import StoppedError
from gateway.tenure import Committer, rows_of
from tests.fixtures.gateway_store import Stores, opened_stores, packet
from tests.integration.gateway_rig import PATIENCE, eventually, readings, rows

pytestmark = pytest.mark.services

_BATCHES = "application_name LIKE 'drumtower/default/%%' AND datname = current_database()"


@pytest.fixture
def stores(database_url: str) -> Iterator[Stores]:
    """Stores of this test."""
    with opened_stores(database_url) as made:
        yield made


class WitnessedIntake(FramesIntake):
    """Connects to nobody; keeps what is acknowledged, and how many packets another session saw committed by then."""

    def __init__(self, url: str) -> None:
        super().__init__(BrokerAddress("127.0.0.1", 1, False, "gateway", "", None), "default")
        self._url = url
        self.acknowledged: list[tuple[list[int], int]] = []

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Look from outside, at this very moment; not at the readings, which may be locked."""
        ((seen,),) = rows(self._url, "SELECT coalesce(sum(committed), 0)::int FROM device_packets")
        self.acknowledged.append(([one.message_id for one in deliveries], seen))


@pytest.fixture
def intake(database_url: str) -> Iterator[WitnessedIntake]:
    """Where nothing comes from, and acknowledgements go to."""
    with closing(WitnessedIntake(database_url)) as made:
        yield made


@contextmanager
def hung_committer(
    stores: Stores, intake: WitnessedIntake, stop: Stop
) -> Iterator[tuple[Future[None], psycopg.Connection]]:
    """A committer of messages 1 to 3, two a batch, whose first batch waits for somebody who has locked a table."""
    clock, ended = SystemClock(), threading.Event()
    backlog = Backlog(most_rows=1000, most_messages=2, linger_s=0.0, clock=clock)
    batch = Batch()
    for number in (1, 2, 3):
        item = packet(number, readings(float(number)))
        batch.add(item, Delivery(item.raw, 1, number, 1), rows_of(item))
    assert backlog.put(batch, 0.0)
    committer = Committer(
        stores(stop=stop), intake, backlog, turns=Turns(), metrics=GatewayMetrics(), clock=clock
    )
    waits = f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND {_BATCHES}"
    with ThreadPoolExecutor(1) as pool, psycopg.connect(stores.url) as somebody:
        somebody.execute("LOCK TABLE reading IN ACCESS EXCLUSIVE MODE")
        working = pool.submit(committer.commit_until, ended, queue.Queue())
        try:
            eventually(lambda: rows(stores.url, waits))
            yield working, somebody
        finally:
            ended.set()


def test_messages_are_acknowledged_when_others_see_their_batch_committed_and_not_before(
    stores: Stores, intake: WitnessedIntake
) -> None:
    with hung_committer(stores, intake, Stop()) as (working, somebody):
        assert intake.acknowledged == []
        somebody.rollback()
        eventually(lambda: len(intake.acknowledged) == 2 or working.done())
    assert intake.acknowledged == [([1, 2], 2), ([3], 3)]
    assert rows(stores.url, "SELECT value FROM reading ORDER BY 1") == [(1.0,), (2.0,), (3.0,)]


def taken_over(url: str, _stop: Stop) -> None:
    """The lease ran out, and its taker ends the batch that hangs under it."""
    taker = LeaseKeeper(url, "default", "taker")

    def take() -> bool:
        rows(url, "UPDATE partition_lease SET expires_at = clock_timestamp() - interval '1 s'")
        lease = taker.try_acquire()
        if lease is not None:
            lease.release()
        return lease is not None

    eventually(take)


def stopped_in_an_outage(url: str, stop: Stop) -> None:
    """The gateway is asked to stop, and then the database goes away."""
    stop.set("the test says so")
    rows(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_BATCHES}")


@pytest.mark.parametrize(
    ("happens", "error"), [(taken_over, LeaseLostError), (stopped_in_an_outage, StoppedError)]
)
def test_messages_whose_batch_is_given_up_are_never_acknowledged(
    stores: Stores,
    intake: WitnessedIntake,
    happens: Callable[[str, Stop], None],
    error: type[DrumtowerError],
) -> None:
    stop = Stop()
    with hung_committer(stores, intake, stop) as (working, _):
        happens(stores.url, stop)
        with pytest.raises(error):
            working.result(PATIENCE)
    assert intake.acknowledged == []
    assert rows(stores.url, "SELECT value FROM reading") == []
