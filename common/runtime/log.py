"""Structured logs: one event a line, JSON where a machine reads, colour where a person does."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, cast

import structlog

_SECRET_NAMES = re.compile(
    r"password|secret|token|credential|authorization|cookie|private_key", re.IGNORECASE
)
_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+]*://[^:/@\s]+:)[^@\s]+@", re.IGNORECASE)
_HIDDEN = "***"


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank what looks like a secret, by its name or inside a URL."""
    for key, value in event.items():
        if _SECRET_NAMES.search(key):
            event[key] = _HIDDEN
        elif isinstance(value, str) and "://" in value:
            event[key] = _URL_PASSWORD.sub(rf"\g<head>{_HIDDEN}@", value)
    return event


def configure_logging(tier: str, *, level: str = "info", as_json: bool | None = None) -> None:
    """Send every log of this process to stderr, marked with its tier.

    Args:
        tier: ``edge``, ``gateway``, ``cloud`` …
        level: debug, info, warning or error.
        as_json: JSON lines; by default when stderr is not a terminal.
    """
    machine = not sys.stderr.isatty() if as_json is None else as_json
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False) if machine else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([structlog.processors.format_exc_info] if machine else []),
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(tier=tier)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events carry the part they come from."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(part=name))
