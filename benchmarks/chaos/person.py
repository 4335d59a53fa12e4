"""Somebody at the ticket centre who voids tickets, so that matters come back and need new ones."""

from __future__ import annotations

import logging
import random
import secrets
from contextlib import suppress

import httpx

from benchmarks.chaos.town import Town
from cloud.auth.api import CSRF_HEADER, SESSION_COOKIE
from cloud.auth.service import AuthService
from cloud.db import Database
from common.runtime.clock import SystemClock
from common.runtime.errors import DrumtowerError


class Person:
    """A dispatcher with a browser that is sometimes told nothing."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._chance = random.Random(1)
        self._client: httpx.Client | None = None

    def void_something(self) -> None:
        """Call one of the open tickets a false alarm; whatever is away then is not waited for."""
        with suppress(httpx.HTTPError, DrumtowerError, ValueError):
            client = self._client or self._sign_in()
            self._client = client
            tickets = client.get("/api/tickets", params={"limit": 50}).raise_for_status().json()["items"]
            going_on = [ticket for ticket in tickets if ticket["state"] not in {"closed", "void"}]
            if going_on:
                chosen = self._chance.choice(going_on)
                request = {"action": "void", "note": "a false alarm", "expected_version": chosen["version"]}
                client.post(f"/api/tickets/{chosen['ticket_id']}/actions", json=request).raise_for_status()

    def _sign_in(self) -> httpx.Client:
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # that the store is away is no news here
        password = secrets.token_urlsafe(16)
        with Database(self._town.database_url, size=1) as database:
            auth = AuthService(database, SystemClock())
            name = f"chaos-{secrets.token_hex(3)}"
            auth.add_account(name, password, "admin", "centre")
            begun = auth.sign_in(name, password, "127.0.0.1")
        return httpx.Client(
            base_url=self._town.address,
            headers={CSRF_HEADER: begun.session.csrf_token},
            cookies={SESSION_COOKIE: begun.token},
            timeout=5,
        )
