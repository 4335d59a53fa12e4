"""Sending one notification by one channel: HTTP and SMTP, with a limit on how long it may take."""

from __future__ import annotations

import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime
from http.client import HTTPException
from typing import Any, Final

from cloud.notify import messages
from cloud.notify.domain import Notification
from cloud.notify.settings import (
    Channel,
    DingTalkChannel,
    EmailChannel,
    NotifySettings,
    WebhookChannel,
    WeComChannel,
)
from cloud.notify.signing import dingtalk_query, webhook_headers
from cloud.notify.wording import Words, words
from common.runtime.errors import InvalidError, TransientError
from common.runtime.redaction import hide_address

_ANSWER_BYTES: Final = 65_536
_GONE: Final = 410
_LONGEST_WAIT_S: Final = 3600.0
#: Robots that were told too much at once: WeCom 45009, DingTalk 130101 and 410100. Both allow twenty a minute.
_TOO_OFTEN: Final = frozenset({45009, 130101, 410100})
_TOO_OFTEN_WAIT_S: Final = 60.0


class RefusedError(InvalidError):
    """The receiver will never take it: trying again is of no use."""


class NotTakenError(TransientError):
    """The receiver did not take it now; ``wait_s`` is the least time that it asks to be left in peace."""

    def __init__(self, message: str, hint: str = "", wait_s: float = 0.0) -> None:
        super().__init__("notify.not_taken", message, hint)
        self.wait_s = wait_s


def send(
    channel: Channel,
    settings: NotifySettings,
    notification: Notification,
    unit_names: Mapping[str, str],
    at: datetime,
) -> None:
    """Send it; return once the receiver has said that it has it.

    Raises:
        RefusedError: the receiver will never take it.
        TransientError: not now.
        ValueError, TypeError, LookupError: what the row says cannot be put into a message.
    """
    said = words(notification, unit_names, channel.language, settings.page_url)
    match channel:
        case WebhookChannel():
            body = messages.webhook_body(notification)
            signed = webhook_headers(notification.message_id, at, body, channel.secret.read())
            _post(channel.url, body, channel, signed, answer_bytes=0)
        case WeComChannel():
            _robot(channel.url.read(), messages.wecom_body(notification, said), channel)
        case DingTalkChannel():
            url = channel.url.read()
            if channel.secret is not None:
                url += ("&" if "?" in url else "?") + dingtalk_query(at, channel.secret.read())
                hide_address(url)
            _robot(url, messages.dingtalk_body(notification, said), channel)
        case EmailChannel():
            _mail(channel, notification, said, at)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Who signs a message for one address does not hand it to another."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _post(
    url: str, body: bytes, channel: Channel, headers: Mapping[str, str], answer_bytes: int = _ANSWER_BYTES
) -> bytes:
    """POST JSON; the answer's beginning. What is quoted of an error never holds the address."""
    request = urllib.request.Request(  # noqa: S310 - http or https: the settings are checked
        url,
        data=body,
        headers={"Content-Type": "application/json; charset=utf-8", "User-Agent": "drumtower", **headers},
        method="POST",
    )
    opener = urllib.request.build_opener(_NoRedirects(), urllib.request.HTTPSHandler(context=_trust(channel)))
    try:
        with opener.open(request, timeout=channel.timeout_s) as answer:
            return bytes(answer.read(answer_bytes))
    except urllib.error.HTTPError as error:
        with error:
            if error.code == _GONE:
                raise RefusedError(
                    "notify.refused",
                    "the receiver is gone for good (410)",
                    f"take channel {channel.name!r} out of the settings, or give it its new address",
                ) from error
            raise NotTakenError(
                f"the receiver answered {error.code}", wait_s=_asked_wait(error.headers)
            ) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise NotTakenError(
            f"the receiver does not answer: {type(reason).__name__}: {_brief(reason)}"
        ) from error


def _trust(channel: Channel) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=channel.ca_file)
    except OSError as error:
        raise TransientError(
            "notify.no_authority", f"expected certificates in {channel.ca_file}, found {type(error).__name__}"
        ) from error


def _asked_wait(headers: Any) -> float:
    asked = headers.get("Retry-After", "") if headers is not None else ""
    return min(float(asked), _LONGEST_WAIT_S) if asked.isascii() and asked.isdecimal() else 0.0


def _robot(url: str, body: bytes, channel: Channel) -> None:
    """Robots answer 200 whatever happens; ``errcode`` says what did."""
    if not url.startswith(("http://", "https://")):
        raise TransientError(
            "notify.bad_address", "expected the robot's whole address, https://…, found something else"
        )
    answer = _post(url, body, channel, {})
    try:
        told = json.loads(answer)
        code, why = int(told["errcode"]), str(told.get("errmsg", ""))
    except (ValueError, TypeError, LookupError) as error:
        raise NotTakenError("expected a robot's answer with errcode, got something else") from error
    if code:
        wait_s = _TOO_OFTEN_WAIT_S if code in _TOO_OFTEN else 0.0
        raise NotTakenError(f"the robot answered errcode {code}: {why[:200]}", wait_s=wait_s)


def _mail(channel: EmailChannel, notification: Notification, said: Words, at: datetime) -> None:
    to = [notification.email] if notification.email else list(channel.to)
    message = messages.mail(notification, said, channel.sender, to, at)
    password = channel.password.read() if channel.password is not None else None
    try:
        with _connect(channel) as server:
            if password is not None:
                server.login(channel.user, password)
            server.send_message(message, channel.sender, to)
    except smtplib.SMTPRecipientsRefused as error:
        _raise(max(code for code, _ in error.recipients.values()), "every recipient", error)
    except smtplib.SMTPAuthenticationError as error:
        # A person sets the password right; until then it is tried again.
        raise NotTakenError(f"the mail server takes no such user or password ({error.smtp_code})") from error
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        _raise(error.smtp_code, "the message", error)
    except (smtplib.SMTPException, OSError) as error:
        raise NotTakenError(f"the mail server: {type(error).__name__}: {_brief(error)}") from error


def _raise(code: int, what: str, error: Exception) -> None:
    """RFC 5321, section 4.2.1: 5yz is for good, 4yz for now."""
    if code >= 500:
        raise RefusedError(
            "notify.refused", f"the mail server refuses {what} ({code})", "look at the addresses"
        ) from error
    raise NotTakenError(f"the mail server puts off {what} ({code})") from error


def _connect(channel: EmailChannel) -> smtplib.SMTP:
    if channel.security == "tls":
        return smtplib.SMTP_SSL(
            channel.host, channel.port, timeout=channel.timeout_s, context=_trust(channel)
        )
    server = smtplib.SMTP(channel.host, channel.port, timeout=channel.timeout_s)
    if channel.security == "starttls":
        try:
            server.starttls(context=_trust(channel))
        except (smtplib.SMTPException, OSError, TransientError):
            server.close()
            raise
    return server


def _brief(error: object) -> str:
    return " ".join(str(error).split())[:200]


Send = Callable[[Channel, NotifySettings, Notification, Mapping[str, str], datetime], None]
