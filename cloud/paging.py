"""Paging by key: a cursor names the last row of a page, so that a list that grows meanwhile repeats nothing."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from uuid import UUID

from common.runtime.errors import InvalidError


def encode_cursor(at: datetime, row_id: UUID) -> str:
    """Where a page ended, as text for the next request."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {row_id}".encode()).decode().rstrip("=")


def decode_cursor(text: str) -> tuple[datetime, UUID]:
    """The place that a cursor names.

    Raises:
        InvalidError: when it is not one of ours.
    """
    try:
        at, _, row_id = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(" ")
        parsed = datetime.fromisoformat(at)
        if parsed.tzinfo is not None:
            return parsed, UUID(row_id)
    except (ValueError, binascii.Error) as error:
        raise _wrong_cursor(text) from error
    raise _wrong_cursor(text)


def _wrong_cursor(text: str) -> InvalidError:
    return InvalidError(
        "page.wrong_cursor",
        f"expected the next_cursor of an earlier page, got {text[:40]!r}",
        "begin again without a cursor",
    )
