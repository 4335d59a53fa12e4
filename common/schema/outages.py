"""A database that is away for a while: which errors pass by themselves, and how a silent end of it is noticed."""

from __future__ import annotations

import os
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

#: The connection broke or was never made, or the server cannot do it now: the same is tried again. That it takes no
#: writes (a standby, or made read-only because its disk ran full), and that it ended a session whose process hung,
#: psycopg counts among internal errors, as PostgreSQL's appendix A puts both among invalid states of a transaction.
PASSING: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
)
_IDLE_S, _EVERY_S, _TIMES, _UNHEARD_MS = 10, 5, 3, 25_000
#: Of a session, in the server: until it notices a client that is gone, it keeps the locks of the transaction and of the
#: session; by default for two hours.
_OF_THE_SESSION: Final = {
    "tcp_keepalives_idle": _IDLE_S,
    "tcp_keepalives_interval": _EVERY_S,
    "tcp_keepalives_count": _TIMES,
    "tcp_user_timeout": _UNHEARD_MS,
    "client_connection_check_interval": 10_000,
}


def notices_silence(url: str, idle_s: int | None = None) -> dict[str, Any]:
    """For ``psycopg.connect``: either side breaks off half a minute after the other fell silent.

    A machine that lost power and a firewall that forgot the connection say nothing. By default whoever asked would wait a
    quarter of an hour for the answer, or two hours.

    Args:
        url: to connect with; options that it, or PGOPTIONS, gives to the session go first, so that ours count.
        idle_s: a transaction in which nothing is asked for as long is ended by the server, for its process hangs.
    """
    session = dict(_OF_THE_SESSION)
    if idle_s is not None:
        session["idle_in_transaction_session_timeout"] = idle_s * 1000
    ours = " ".join(f"-c {name}={value}" for name, value in session.items())
    theirs = conninfo_to_dict(url).get("options") or os.environ.get("PGOPTIONS", "")
    return {
        "keepalives_idle": _IDLE_S,
        "keepalives_interval": _EVERY_S,
        "keepalives_count": _TIMES,
        "tcp_user_timeout": _UNHEARD_MS,
        "options": f"{theirs} {ours}".strip(),
    }
