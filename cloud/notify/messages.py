"""A notification as each kind of receiver takes it. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final

from cloud.notify.domain import Notification
from cloud.notify.wording import Words

#: What a WeCom robot takes of a text, in bytes of UTF-8.
_WECOM_BYTES: Final = 2048


def webhook_body(notification: Notification) -> bytes:
    """What a webhook says: type, timestamp and data, as Standard Webhooks recommends ("Payload structure").

    ``data`` is the row's payload with whom it is for. The same at every try but for ``timestamp``, which is that of
    the row, so that a receiver that compares bodies sees one message.
    """
    data = dict(notification.payload) | {
        "kind": notification.kind,
        "unit_code": notification.unit_code,
        "person": notification.person,
    }
    told = {
        "type": f"notification.{notification.kind}",
        "timestamp": notification.created_at.astimezone(UTC).isoformat(),
        "data": data,
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def wecom_body(notification: Notification, words: Words) -> bytes:
    """A text for a WeCom robot; the callee is mentioned by telephone number.

    Source: WeCom developer centre, group robot, ``msgtype`` text: at most 2048 bytes of UTF-8, and only there
    ``mentioned_mobile_list``.
    """
    text: dict[str, Any] = {"content": _cut(words.text, _WECOM_BYTES)}
    if notification.phone:
        text["mentioned_mobile_list"] = [notification.phone]
    return _json({"msgtype": "text", "text": text})


def dingtalk_body(notification: Notification, words: Words) -> bytes:
    """A markdown message for a DingTalk robot; the callee is mentioned by telephone number.

    Source: DingTalk open platform, custom robot, ``msgtype`` markdown: who is mentioned has to stand in the text too.
    """
    lines = [f"#### {_plain(words.title)}", *map(_plain, words.lines)]
    mentioned = [notification.phone] if notification.phone else []
    lines += [f"@{phone}" for phone in mentioned]
    return _json(
        {
            "msgtype": "markdown",
            "markdown": {"title": words.title, "text": "\n\n".join(lines)},
            "at": {"atMobiles": mentioned, "isAtAll": False},
        }
    )


def mail(notification: Notification, words: Words, sender: str, to: list[str], at: datetime) -> EmailMessage:
    """A message by mail. Its Message-ID is that of the reason, so that a mailbox shows a repeated one once.

    Source: RFC 5322; RFC 3834 for ``Auto-Submitted``, which keeps absence notes from answering.

    Raises:
        ValueError: what is told cannot stand in a mail.
    """
    message = EmailMessage()
    message["Subject"] = words.title
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{notification.message_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(words.text)
    return message


def _json(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _cut(text: str, most_bytes: int) -> str:
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    return encoded[: most_bytes - len("…".encode())].decode(errors="ignore") + "…"


def _plain(line: str) -> str:
    """Words that are not ours, without what markdown would make of them."""
    if "://" in line:
        return line
    return "".join(f"\\{sign}" if sign in "\\`*_[]#<>!|@" else sign for sign in line)
