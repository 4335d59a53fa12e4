"""A database that is away for a while: which errors pass by themselves, and how a silent end of it is noticed."""

from __future__ import annotations

from typing import Any, Final

import psycopg

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
#: For ``psycopg.connect``: a machine that lost power and a firewall that forgot the connection say nothing. By default
#: whoever asked would wait a quarter of an hour for the answer, or two hours; so it breaks within half a minute.
NOTICES_SILENCE: Final[dict[str, Any]] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
