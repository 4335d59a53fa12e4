"""Where the database is, as the environment says it: read without a driver, since not every part has one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from common.runtime.errors import ConfigError
from common.runtime.redaction import hide_address

VARIABLE = "DRUMTOWER_DATABASE_URL"
_HALF_ESCAPED = re.compile(r"%(?![0-9A-Fa-f]{2})")


def database_url(variables: Mapping[str, str] | None = None) -> str:
    """The database's address; its password is kept out of all that is said from then on.

    Args:
        variables: the environment, when not the process's own.

    Raises:
        ConfigError: when none is named, or nothing that PostgreSQL's library could read (PostgreSQL 17
            documentation, section 32.1.1). What is found is not quoted: it may be a part of the password.
    """
    url = (os.environ if variables is None else variables).get(VARIABLE, "")
    hide_address(url)
    if fault := _fault(url):
        raise ConfigError(
            "config.no_database",
            f"{VARIABLE}: expected postgresql://user:password@host:port/name, found {fault}",
            f"export {VARIABLE}=postgresql://user:password@host:5432/drumtower; in a password % is written"
            " %25, / %2F, @ %40, : %3A, ? %3F and # %23",
        )
    return url


def _fault(url: str) -> str:
    if not url:
        return "nothing"
    if "://" not in url:
        return "" if "=" in url else "what is no address"  # host=… dbname=… does as well
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"postgresql", "postgres"}:
            return f"{parts.scheme}://"
        if "," not in parts.netloc and parts.port == 0:  # several servers may stand there
            return "port 0"
    except ValueError:
        return "no number where the port belongs"
    return "a % that escapes nothing" if _HALF_ESCAPED.search(url) else ""
