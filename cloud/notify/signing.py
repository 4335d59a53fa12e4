"""What proves to a receiver that a message is ours. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import datetime
from typing import Final
from urllib.parse import quote_plus

from common.runtime.clock import to_ms
from common.runtime.errors import TransientError

_PREFIX: Final = "whsec_"
#: The specification asks for secrets of 24 to 64 bytes.
_SHORTEST, _LONGEST = 24, 64


def webhook_headers(message_id: str, at: datetime, body: bytes, secrets: str) -> dict[str, str]:
    """The three headers of a signed webhook.

    Source: Standard Webhooks 1.0.0, "Webhook metadata" and "Signature scheme": HMAC-SHA256 over
    ``id.timestamp.body``, in base64 after ``v1,``, several of them with a space between while a secret is changed.

    Args:
        message_id: unique to the message and the same at every try; without a full stop.
        at: the instant of this try.
        body: exactly as it is sent.
        secrets: one a line.

    Raises:
        TransientError: a secret is none; a person puts a right one there.
    """
    seconds = str(to_ms(at) // 1000)
    signed = f"{message_id}.{seconds}.".encode() + body
    signatures = [
        "v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()
        for secret in secrets.split()
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(signatures),
    }


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise TransientError(
            "notify.bad_secret",
            f"expected {_PREFIX} and {_SHORTEST} to {_LONGEST} bytes in base64, found something else",
            "make one: python3 -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\"",
        )
    return key


def dingtalk_query(at: datetime, secret: str) -> str:
    """What is added to a DingTalk robot's address: ``timestamp`` (ms) and ``sign``.

    Source: DingTalk open platform, custom robot, security setting 加签: HMAC-SHA256 over timestamp, a line feed and the
    secret, keyed with the secret, in base64, escaped for a URL. It is good for an hour.
    """
    stamp = to_ms(at)
    digest = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256).digest()
    return f"timestamp={stamp}&sign={quote_plus(base64.b64encode(digest))}"
