"""The places of all devices, kept in mind until one comes, goes or moves."""

from __future__ import annotations

from cloud.db import Transaction
from cloud.incidents import repo
from cloud.incidents.places import Places


class KnownPlaces:
    """What a process remembers of the registry; may be shared by its threads."""

    def __init__(self) -> None:
        self._kept: tuple[str, Places] | None = None

    def places(self, transaction: Transaction) -> Places:
        """As the registry stands, read again where it has changed."""
        version = repo.registry_version(transaction)
        kept = self._kept
        if kept is None or kept[0] != version:
            # The version was read before the devices: at worst they are read once more than needed.
            kept = self._kept = (version, Places(repo.devices(transaction)))
        return kept[1]
