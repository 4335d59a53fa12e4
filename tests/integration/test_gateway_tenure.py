"""Why a gateway's time with its partition ended, told as it was."""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from common.runtime.clock import SystemClock
from common.runtime.stop import Stop
from gateway.batch import BatchResult
from gateway.config import BrokerAddress, GatewaySettings
from gateway.intake import Intake, PahoIntake
from gateway.lease import Lease, LeaseKeeper
from gateway.metrics import GatewayMetrics
from gateway.mqtt.intake import FramesIntake
from gateway.store import Store
from gateway.tenure import Tenure
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.gateway_rules import store_of
from tests.integration.gateway_rig import PATIENCE, eventually

pytestmark = pytest.mark.services


_TTL_S = 1.0


def fail_of_ours(connected: bool) -> None:
    """A fault on the intake's own thread."""
    if connected:
        raise RuntimeError("a fault of ours")


@pytest.fixture
def address(broker: Broker, gateway_credential: Credential) -> BrokerAddress:
    """Where the broker is, and as whom."""
    name, password = gateway_credential.username, gateway_credential.password
    return BrokerAddress("127.0.0.1", broker.port, True, name, password, broker.ca_file)


def hung_lease(url: str) -> Lease:
    """A lease that was not renewed within its time."""
    lease = LeaseKeeper(url, "default", "hung", ttl_s=_TTL_S).try_acquire()
    assert lease is not None
    lease._ended.set()  # as if its process were hung
    eventually(lambda: not lease.is_fresh())
    return lease


def tenure_of(store: Store, lease: Lease, intake: Intake) -> Tenure:
    """A tenure with one committer."""
    return Tenure(
        GatewaySettings(),
        lease=lease,
        intake=intake,
        stores=[store],
        metrics=GatewayMetrics(),
        clock=SystemClock(),
    )


@contextmanager
def running(url: str, lease: Lease, intake: Intake) -> Iterator[Future[str]]:
    """A tenure, and why it ends."""
    with store_of(url, lease) as store, ThreadPoolExecutor(1) as pool:
        tenure, stop = tenure_of(store, lease, intake), Stop()
        try:
            yield pool.submit(tenure.run, stop)
        finally:
            stop.set("the test is over")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("make", [PahoIntake, FramesIntake])
@pytest.mark.parametrize(
    ("on_connection", "why"),
    [(fail_of_ours, "intake died"), (lambda _connected: None, "session taken over")],
)
def test_an_intake_that_died_is_not_taken_for_one_whose_session_was_taken_over(  # noqa: PLR0917 - fixtures
    database_url: str,
    lease: Lease,
    address: BrokerAddress,
    make: Callable[..., Intake],
    on_connection: Callable[[bool], None],
    why: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    partition = f"part-{secrets.token_hex(4)}"
    intake = make(address, partition, on_connection=on_connection, may_connect=lease.may_connect)
    rival = make(address, partition)
    with running(database_url, lease, intake) as ended:
        try:
            if why == "session taken over":
                eventually(intake.is_connected)
                rival.start()
            assert ended.result(PATIENCE) == why
        finally:
            rival.close()
    assert ("died of a fault" in "".join(capfd.readouterr())) == (why == "intake died")


@pytest.mark.parametrize("make", [PahoIntake, FramesIntake])
@pytest.mark.parametrize("why", ["lease not fresh", "lease lost"])
def test_an_intake_that_may_not_connect_is_not_taken_for_one_whose_session_was_taken_over(
    database_url: str, address: BrokerAddress, make: Callable[..., Intake], why: str
) -> None:
    lease = hung_lease(database_url)

    def may_connect() -> bool:
        if why == "lease lost":
            lease.mark_lost()
        return lease.may_connect()

    intake = make(address, f"part-{secrets.token_hex(4)}", may_connect=may_connect)
    with running(database_url, lease, intake) as ended:
        assert ended.result(PATIENCE) == why


def test_a_lease_that_is_fresh_again_still_knows_that_it_forbade_the_intake_to_connect(
    database_url: str,
) -> None:
    lease = hung_lease(database_url)
    assert (lease.may_connect(), lease.forbade()) == (False, True)
    lease._renewed = lease._clock.monotonic()
    assert (lease.is_fresh(), lease.forbade()) == (True, True)
    assert (lease.may_connect(), lease.forbade()) == (True, False)


def test_a_tenure_stops_when_asked_to_however_many_signals_came(
    database_url: str, lease: Lease, address: BrokerAddress
) -> None:
    """A signal as the time of a wait runs out must not make it one without an end."""
    stop, ended, still_ran = Stop(), threading.Event(), list[bool]()
    before = signal.signal(signal.SIGUSR1, lambda *_: time.sleep(0.002))
    with store_of(database_url, lease) as store, ThreadPoolExecutor(1) as pool:
        intake = FramesIntake(address, f"part-{secrets.token_hex(4)}")
        tenure = tenure_of(store, lease, intake)

        def rain() -> None:
            eventually(intake.is_connected)
            for _ in range(300):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                time.sleep(0.004)  # longer than the handler takes
            stop.set("the test is over")
            still_ran.append(not ended.wait(PATIENCE))
            tenure._results.put(BatchResult())  # whoever waits for one comes back

        raining = pool.submit(rain)
        raining.add_done_callback(lambda _: stop.set("nobody sends signals"))
        try:
            assert tenure.run(stop) == "stopped"
        finally:
            ended.set()
            raining.result(PATIENCE)
            signal.signal(signal.SIGUSR1, before)
    assert still_ran == [False]
