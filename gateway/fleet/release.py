"""Keeping a device out by hand, and letting a quarantined one go on."""

from __future__ import annotations

from common.runtime.clock import to_ms
from common.runtime.errors import InvalidError
from common.wire.topics import Address
from gateway.batch import Told
from gateway.fleet import audit, repo
from gateway.quarantine import observed, quarantine_id
from gateway.repo import insert_observations

_DAY_MS = 86_400_000


def put(connection: repo.Connection, address: Address, actor: audit.Actor, why: str) -> None:
    """Keep a device out from now on, and tell it; gateways notice within ten seconds.

    Raises:
        InvalidError: when nobody knows it, or it is kept out already.
        TransientError: when the database went away.
    """
    with repo.transaction(connection):
        found = repo.put_in_quarantine(connection, address)
        if found is None:
            raise InvalidError(
                "quarantine.not_put",
                f"{address} is not registered, or it is quarantined already",
                "drumtower gateway quarantine list",
            )
        device_id, since = found
        told = Told(device_id, observed(address, to_ms(since), why), to_ms(since), None, None)
        insert_observations(connection, [told], future_ms=_DAY_MS, past_ms=_DAY_MS, known=set())
        audit.write(connection, actor, "quarantine.put", box=str(address), why=why)


def release(
    connection: repo.Connection, address: Address, actor: audit.Actor | None = None, why: str = ""
) -> repo.Quarantined:
    """Take a device in again and tell the end of its quarantine; gateways notice within ten seconds.

    Raises:
        InvalidError: when it is not quarantined.
        TransientError: when the database went away.
    """
    with repo.transaction(connection):
        found = next((one for one in repo.quarantined(connection) if one.address == address), None)
        if found is None:
            raise InvalidError(
                "quarantine.unknown", f"{address} is not quarantined", "drumtower gateway quarantine list"
            )
        now, since = to_ms(repo.let_go(connection, found.device_id)), to_ms(found.since)
        if repo.was_told(connection, quarantine_id(address, since)):
            seen = observed(address, since, "released", released_ms=now)
            told = Told(found.device_id, seen, now, None, None)
            insert_observations(connection, [told], future_ms=_DAY_MS, past_ms=_DAY_MS, known=set())
        audit.write(
            connection,
            actor or audit.this_person(),
            "quarantine.released",
            box=str(address),
            since=found.since.isoformat(),
            why=why,
        )
        return found
