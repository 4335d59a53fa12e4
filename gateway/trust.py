"""Saying that the certificate by which the broker is trusted cannot be read; both intakes wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.runtime.log import get_logger

_log = get_logger("intake")


@contextmanager
def telling_what_is_unreadable(ca_file: Path | None) -> Iterator[None]:
    """Say what keeps a certificate from being read (an OSError, as ssl.SSLError is one), and let it pass."""
    try:
        yield
    except OSError as error:
        _log.warning(
            "the certificate by which the broker is trusted cannot be read, trying again",
            file=str(ca_file),
            error=str(error),
            hint="put it where DRUMTOWER_CA_FILE says, so that this account may read it",
        )
        raise
