"""Structured logs: one event a line, JSON where a machine reads, colour where a person does."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, cast

import structlog

from common.runtime.redaction import redacted, redacted_value


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Blank what is, or looks like, a secret."""
    for key, value in event.items():
        event[key] = redacted_value(value, key)
    return event


class _OfLibraries(logging.Formatter):
    """What libraries say by Python's own logging, which reaches stderr when nobody else takes it."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(f"{record.levelname.lower()} {record.name}: {super().format(record)}")


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
            # As text here, not by the renderer after it: a traceback quotes what must not be read.
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(tier=tier)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_OfLibraries())


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events carry the part they come from."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(part=name))
