"""What many of these tests begin with."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from cloud.db import Database
from gateway.lease import Lease
from local.postgres import PostgresServer
from tests.fixtures.centre import Centre
from tests.fixtures.gateway_rules import held_lease


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    """A ticket centre with a district, and nothing running."""
    with Database(database_url, size=12) as database:
        built = Centre(database)
        built.build()
        yield built


@pytest.fixture
def lease(database_url: str) -> Iterator[Lease]:
    """The default partition's lease."""
    with held_lease(database_url) as held:
        yield held


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = f"empty_{secrets.token_hex(6)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)
