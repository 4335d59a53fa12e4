"""What is the matter with the database, by the code that PostgreSQL gives an error. Pure.

All of these pass: nothing is acknowledged meanwhile, brokers and boxes keep what is not committed, and the same batch
is tried again. Source: PostgreSQL 17 documentation, appendix A, "PostgreSQL Error Codes".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the database does not do what it is asked; ``code`` is an error's."""

    code: str
    said: str
    hint: str

    @property
    def kind(self) -> str:
        """The code without its tier, as the metric has it."""
        return self.code.partition(".")[2]


AWAY: Final = Trouble("gateway.no_database", "the database went away", "it is tried again until it is back")
_BY_STATE: Final = {
    "53100": Trouble(
        "gateway.database_full",
        "the database's disk is full",
        "free space on the database's machine, or keep less (keep in gateway.yaml); nothing is lost: boxes keep what"
        " has no receipt",
    ),
    "53200": Trouble(
        "gateway.database_memory", "the database is out of memory", "give its machine more, or lower work_mem"
    ),
    "53300": Trouble(
        "gateway.database_connections",
        "the database has no connection left",
        "raise max_connections, or end what holds them",
    ),
    "25006": Trouble(
        "gateway.database_read_only",
        "the database takes no writes",
        "does DRUMTOWER_DATABASE_URL name a standby, or was it made read-only because its disk ran full?",
    ),
    "55P03": Trouble(
        "gateway.database_busy",
        "somebody else holds what is needed",
        "it is tried again; a backup may be running",
    ),
    "57P03": Trouble(
        "gateway.database_starting",
        "the database does not take connections yet",
        "it is starting, stopping or recovering; its log tells which, and whether its disk is full",
    ),
}
#: All that there are.
TROUBLES: Final = (AWAY, *_BY_STATE.values())


def trouble_of(sqlstate: str | None) -> Trouble:
    """What an error with this SQLSTATE means; None has none: the connection broke or was never made."""
    return _BY_STATE.get(sqlstate or "", AWAY)
