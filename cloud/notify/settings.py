"""Channels, quiet hours and patience, as the ticket centre's file says them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field

from cloud.notify.domain import Notification
from common.runtime.errors import TransientError
from common.runtime.redaction import hide, hide_address, read_secret
from common.runtime.settings import Settings, Wrong, texts, twice
from common.runtime.watchdog_settings import is_address

Language = Literal["zh-CN", "en"]
UnitCode = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")]
Address = Annotated[
    str, Field(pattern=r"^[^\s@<>,;:\"\x00-\x1f\x7f-\uffff]+@[A-Za-z0-9.-]+$", max_length=254)
]
#: What is told whatever the hour: somebody is called or called off, or a storm begins.
CALLS: Final = ("call_out", "called", "call_withdrawn", "storm")
_HOURS: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_DAY_S: Final = 86_400


class SecretSource(Settings):
    """Where a secret is; it never stands in the file of settings itself."""

    file: Annotated[Path | None, Field(description="its one line, or several while it is changed")] = None
    env: Annotated[str | None, Field(pattern=r"^[A-Z_][A-Z0-9_]*$", description="a variable")] = None

    def cross_faults(self) -> Iterator[Wrong]:
        """One of the two."""
        if (self.file is None) == (self.env is None) and self.right("file", "env"):
            yield Wrong((), "expected a file or a variable of the environment (env), one of them")

    def read(self) -> str:
        """The secret as it is now; hidden from all that is said from then on.

        Raises:
            TransientError: it is not there. A person puts it there, and the next try finds it.
        """
        if self.file is not None:
            try:
                found = read_secret(self.file)
            except (OSError, UnicodeDecodeError) as error:
                raise TransientError(
                    "notify.no_secret",
                    f"expected a secret in {self.file}, found {type(error).__name__}",
                    "write it there, readable by this account alone",
                ) from error
        else:
            found = os.environ.get(self.env or "", "").strip()
        if not found:
            raise TransientError(
                "notify.no_secret", f"expected a secret in {self.file or self.env}, found nothing"
            )
        hide(found)
        hide_address(found)
        return found


class _Channel(Settings):
    """What every channel has."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")]
    units: Annotated[
        tuple[UnitCode, ...], Field(description="what these units, and all below, are told; none: all")
    ] = ()
    kinds: Annotated[tuple[str, ...], Field(description="only these; none: all")] = ()
    min_severity: Annotated[int, Field(ge=1, le=4, description="of what is about a ticket")] = 1
    language: Language = "zh-CN"
    timeout_s: Annotated[float, Field(ge=1, le=60)] = 10.0
    ca_file: Annotated[
        Path | None, Field(description="who signs the receiver's certificate; the system's own, if none")
    ] = None

    def reaches(self, _notification: Notification) -> bool:
        """Whether it knows an address for it."""
        return True


class WebhookChannel(_Channel):
    """A POST to an address, signed as Standard Webhooks has it."""

    kind: Literal["webhook"]
    url: Annotated[str, Field(max_length=2000)]
    secret: Annotated[SecretSource, Field(description="whsec_… in base64; of two lines both sign")]

    def cross_faults(self) -> Iterator[Wrong]:
        """Its address can be asked for and holds no password."""
        yield from super().cross_faults()
        if self.right("url") and not (is_address(self.url) and "@" not in urlsplit(self.url).netloc):
            yield Wrong(("url",), "expected https://host/… without a password in it")


class EmailChannel(_Channel):
    """Mail by SMTP."""

    kind: Literal["email"]
    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Annotated[
        Literal["starttls", "tls", "none"], Field(description="none only to this machine's own server")
    ] = "starttls"
    user: str = ""
    password: SecretSource | None = None
    sender: Address
    to: Annotated[
        tuple[Address, ...], Field(description="where nobody's own address is known; none: not sent")
    ] = ()

    def cross_faults(self) -> Iterator[Wrong]:
        """A password is never sent in the clear."""
        yield from super().cross_faults()
        if self.right("user", "password") and bool(self.user) != (self.password is not None):
            yield Wrong(("user",), "expected a user and a password, or neither")
        if self.right("security", "password") and self.security == "none" and self.password is not None:
            yield Wrong(("security",), "expected starttls or tls: a password is not sent in the clear")

    def reaches(self, notification: Notification) -> bool:
        """Whether the callee or the channel has an address."""
        return bool(notification.email or self.to)


class _RobotChannel(_Channel):
    """A robot of a chat group. Whoever has its address can write there, so that is a secret."""

    url: Annotated[SecretSource, Field(description="the robot's whole address, which holds its key")]


class WeComChannel(_RobotChannel):
    """A WeCom (企业微信) group's robot."""

    kind: Literal["wecom"]


class DingTalkChannel(_RobotChannel):
    """A DingTalk (钉钉) group's robot, with its signature (加签) where it has a secret."""

    kind: Literal["dingtalk"]
    secret: SecretSource | None = None


Channel = Annotated[
    WebhookChannel | EmailChannel | WeComChannel | DingTalkChannel, Field(discriminator="kind")
]


class QuietHours(Settings):
    """A time of the district's day in which a unit, or a person, is told only what cannot wait."""

    hours: Annotated[str, Field(pattern=f"^{_HOURS.pattern}$", description="such as 22:00-07:00")]
    units: Annotated[tuple[UnitCode, ...], Field(description="these and all below; none: all")] = ()
    persons: Annotated[tuple[str, ...], Field(description="as the rota names them; none: all")] = ()
    except_severity: Annotated[
        int, Field(ge=1, le=5, description="from this severity on it is told at once; 5: never for that")
    ] = 3
    except_kinds: Annotated[tuple[str, ...], Field(description="told at once whatever their severity")] = (
        CALLS
    )

    def cross_faults(self) -> Iterator[Wrong]:
        """It begins and ends at different times."""
        if self.right("hours") and self.begins_s == self.ends_s % _DAY_S:
            yield Wrong(("hours",), "expected a beginning and another end, such as 22:00-07:00")

    @property
    def begins_s(self) -> int:
        """Seconds after midnight."""
        return self._seconds()[0]

    @property
    def ends_s(self) -> int:
        """Seconds after midnight; not above ``begins_s``: on the next day."""
        return self._seconds()[1]

    def _seconds(self) -> tuple[int, int]:
        found = _HOURS.fullmatch(self.hours)
        assert found is not None, "the field's pattern is the same"
        hour, minute, end_hour, end_minute = map(int, found.groups())
        return hour * 3600 + minute * 60, min(end_hour * 3600 + end_minute * 60, _DAY_S)


class NotifySettings(Settings):
    """How people are told. Without a channel nothing is sent; the doctor says what waits."""

    channels: tuple[Channel, ...] = ()
    quiet: tuple[QuietHours, ...] = ()
    page_url: Annotated[
        str | None, Field(description="where the page is for those who are told; messages link to it")
    ] = None
    attempts: Annotated[int, Field(ge=1, le=50, description="tries of each channel, then it is given up")] = 8
    first_retry_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    longest_retry_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    expire_after_h: Annotated[
        float, Field(gt=0, le=720, description="what could not be sent for so long is told no more")
    ] = 24.0
    claim_s: Annotated[
        float, Field(ge=3, le=3600, description="a try of which nothing was heard for so long is made again")
    ] = 120.0
    every_s: Annotated[float, Field(ge=0.05, le=60, description="how often it looks for more")] = 1.0

    def cross_faults(self) -> Iterator[Wrong]:
        """Names are for one channel each; waits grow; no try outlasts its claim."""
        named = texts(getattr(channel, "name", None) for channel in self.channels)
        yield from twice((("channels", number, "name"), name) for number, name in named)
        if self.right("channels", "claim_s"):
            for number, channel in enumerate(self.channels):
                if channel.right("timeout_s") and 3 * channel.timeout_s > self.claim_s:
                    at = ("channels", number, "timeout_s")
                    yield Wrong(at, f"expected at most a third of claim_s, {self.claim_s:g}")
        if self.right("first_retry_s", "longest_retry_s") and self.first_retry_s > self.longest_retry_s:
            yield Wrong(("longest_retry_s",), f"expected at least first_retry_s, {self.first_retry_s:g}")
        if self.right("page_url") and self.page_url is not None and not is_address(self.page_url):
            yield Wrong(("page_url",), "expected https://host, where the page is")
