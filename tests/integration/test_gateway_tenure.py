"""Why a gateway's time with its partition ended, told as it was."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.runtime.clock import SystemClock
from common.runtime.stop import Stop
from gateway.config import BrokerAddress, GatewaySettings
from gateway.intake import Intake, PahoIntake
from gateway.lease import Lease
from gateway.metrics import GatewayMetrics
from gateway.mqtt.intake import FramesIntake
from gateway.tenure import Tenure
from local.broker import Broker
from tests.conftest import Credential
from tests.fixtures.gateway_rules import store_of
from tests.integration.gateway_rig import PATIENCE, eventually

pytestmark = pytest.mark.services


def fail_of_ours(connected: bool) -> None:
    """A fault on the intake's own thread."""
    if connected:
        raise RuntimeError("a fault of ours")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("make", [PahoIntake, FramesIntake])
@pytest.mark.parametrize(
    ("on_connection", "why"),
    [(fail_of_ours, "intake died"), (lambda _connected: None, "session taken over")],
)
def test_an_intake_that_died_is_not_taken_for_one_whose_session_was_taken_over(  # noqa: PLR0917 - fixtures
    database_url: str,
    lease: Lease,
    broker: Broker,
    gateway_credential: Credential,
    make: Callable[..., Intake],
    on_connection: Callable[[bool], None],
    why: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    address = BrokerAddress(
        "127.0.0.1",
        broker.port,
        True,
        gateway_credential.username,
        gateway_credential.password,
        broker.ca_file,
    )
    partition = f"part-{secrets.token_hex(4)}"
    intake = make(address, partition, on_connection=on_connection)
    rival = make(address, partition)
    clock = SystemClock()
    with store_of(database_url, lease) as store, ThreadPoolExecutor(1) as pool:
        tenure = Tenure(
            GatewaySettings(),
            lease=lease,
            intake=intake,
            stores=[store],
            metrics=GatewayMetrics(),
            clock=clock,
        )
        stop = Stop()
        running = pool.submit(tenure.run, stop)
        try:
            if why == "session taken over":
                eventually(intake.is_connected)
                rival.start()
            assert running.result(PATIENCE) == why
        finally:
            stop.set("the test is over")
            rival.close()
    assert ("died of a fault" in "".join(capfd.readouterr())) == (why == "intake died")
