"""What tests share: the real database and the real broker, one of each a test process, nothing left running."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from local.broker import Broker
from local.postgres import PostgresServer
from tests.fixtures.databases import Databases
from tests.fixtures.extras import fine_tuner_python, trainer_python

# How long an example takes is the machine's affair; what hangs meets pytest's own timeout.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Footage beside the checkout is there in CI, where its absence fails; elsewhere its tests say why they did not run.

    Torch is not to be had for every machine, CI's or another: where the set-up found none, what trains says so.
    Fine-tuning needs gigabytes more: its tests are asked for by giving an interpreter that can. What takes minutes, the
    models' accuracy, begins first: as the last it would keep one worker busy and the others waiting.
    """
    items.sort(
        key=lambda item: not (item.get_closest_marker("shared_data") and "test_models" in item.path.name)
    )
    if fine_tuner_python() is None:
        left_out = [item for item in items if item.get_closest_marker("fine_tuning")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if not (SHARED.is_dir() or os.environ.get("CI")):
        _skip(items, "shared_data", "not run: the footage of ../shared is not on this machine")
    if trainer_python() is None:
        _skip(items, "training", "not run: torch is not set up; python3 -m local.bootstrap --only training")


def _skip(items: list[pytest.Item], mark: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(mark):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests nobody asked for, or could not be run here."""
    if trainer_python() is None:
        terminalreporter.write_line(
            "not run: tests of training, which need torch; python3 -m local.bootstrap --only training"
        )
    if fine_tuner_python() is None:
        terminalreporter.write_line(
            "not run: tests of fine-tuning, which need the extra [models]; DRUMTOWER_ULTRALYTICS=…/bin/python runs them"
        )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of footage beside the checkout."""
    assert SHARED.is_dir(), "expected ../shared beside the checkout in CI, found nothing"
    return SHARED


@pytest.fixture(scope="session")
def trainer() -> Path:
    """The interpreter that has torch."""
    found = trainer_python()
    assert found is not None, "expected torch, found none: python3 -m local.bootstrap --only training"
    return found


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A TimescaleDB server of this test process; tests that kill one start their own."""
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer) -> Databases:
    """Makes databases with this release's schema on that server."""
    return Databases(postgres_server)


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A fresh database with this release's schema."""
    with databases.fresh() as url:
        yield url


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Mosquitto of this test process; tests that kill one start their own."""
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@dataclass(frozen=True)
class Credential:
    """A client's name and password at the broker."""

    username: str
    password: str


@pytest.fixture
def gateway_credential(broker: Broker) -> Iterator[Credential]:
    """A gateway's account, of this test alone."""
    credential = Credential(f"gateway-{secrets.token_hex(4)}", secrets.token_urlsafe(16))
    broker.add_gateway(credential.username, credential.password)
    broker.reload()
    yield credential
    broker.remove_client(credential.username)
