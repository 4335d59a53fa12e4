"""Knocking at a broker's door without the client libraries: is somebody there, is it trusted, are we let in.

Only what is needed of OASIS MQTT 3.1.1: CONNECT (section 3.1), CONNACK (3.2), DISCONNECT (3.14).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from common.runtime.doctor import Examination, Finding, span

_PATIENCE_S: Final = 6.0
_WARN_DAYS: Final = 30
_KEEPALIVE_S: Final = 30
#: CONNACK return codes that refuse (section 3.2.2.3).
_REFUSALS: Final = {
    1: "the broker does not speak MQTT 3.1.1",
    2: "the broker refuses this client id",
    3: "the broker says that it is not available",
    4: "the broker says: bad user name or password",
    5: "the broker says: not authorised",
}


@dataclass(frozen=True, slots=True)
class Door:
    """A server to knock at.

    Attributes:
        variable: the environment variable that names it, for the fix.
        host, port, tls, ca_file: where it is and whom to trust; None trusts the system's authorities.
    """

    variable: str
    host: str
    port: int
    tls: bool
    ca_file: Path | None = None

    @property
    def where(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Account:
    """As whom to come.

    ``keeps_session``: a session of this account holds a queue, which a clean one would throw away.
    """

    username: str
    client_id: str
    keeps_session: bool
    password: str = field(repr=False)


def knock(told: Examination, what: str, door: Door) -> Iterator[Finding]:
    """Whether somebody listens there, and whether the certificate is right and for how long."""
    try:
        plain = socket.create_connection((door.host, door.port), _PATIENCE_S)
    except OSError as error:
        yield told.fail(
            what,
            f"nobody answers at {door.where}: {error}",
            f"is it started, is the network up, and is {door.variable} right?",
        )
        return
    with plain:
        yield told.ok(what, f"somebody listens at {door.where}")
        if not door.tls:
            yield told.warn(
                f"{what}: certificate",
                "there is none: passwords go over the network in the clear",
                f"use mqtts:// in {door.variable}",
            )
            return
        yield from _certificate(told, f"{what}: certificate", door, plain)


def let_in(told: Examination, what: str, door: Door, account: Account) -> Finding:
    """Whether the broker takes this account; nothing may be connected as it meanwhile, or it is thrown out."""
    try:
        with _connected(door) as channel:
            channel.sendall(_connect(account))
            answer = _receive(channel, 4)
            if answer[:1] == b"\x20" and answer[3:4] == b"\x00":
                channel.sendall(b"\xe0\x00")
                return told.ok(what, f"the broker lets {account.username} in")
    except ssl.SSLError as error:
        return told.unknown(what, f"no TLS with {door.where}: {error.reason}")
    except OSError as error:
        return told.unknown(what, f"{door.where} did not answer: {error}")
    code = answer[3] if len(answer) == 4 and answer[0] == 0x20 else None
    reason = _REFUSALS.get(code or 0, "it closed the connection without a word")
    return told.fail(
        what,
        f"the broker does not let {account.username} in: {reason}",
        "does DRUMTOWER_CREDENTIAL_FILE hold this account's password, and does the broker have the account?"
        " After adding it the broker must reload (SIGHUP)",
    )


def expires(told: Examination, what: str, not_after: str) -> Finding:
    """For how long a certificate is good; ``not_after`` as OpenSSL writes it."""
    left_s = ssl.cert_time_to_seconds(not_after) - time.time()
    if left_s <= 0:
        return told.fail(
            what, f"it ran out {span(-left_s)} ago, on {not_after}", "renew it, and restart the server"
        )
    said = f"it is trusted, and good for {span(left_s)}"
    if left_s < _WARN_DAYS * 86_400:
        return told.warn(what, said, "renew it in time, and restart the server")
    return told.ok(what, said)


def _certificate(told: Examination, what: str, door: Door, plain: socket.socket) -> Iterator[Finding]:
    try:
        context = ssl.create_default_context(cafile=door.ca_file)
        with context.wrap_socket(plain, server_hostname=door.host) as secured:
            found: dict[str, Any] = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        ran_out = error.verify_code == 10
        yield told.fail(
            what,
            f"{door.where} shows one that is not to be trusted: {error.verify_message}",
            "renew it; is this machine's clock right?"
            if ran_out
            else "does DRUMTOWER_CA_FILE hold the authority that signed it, and does it name this host?",
        )
    except ssl.SSLError as error:
        yield told.fail(
            what, f"no TLS at {door.where}: {error.reason}", f"is this the port for TLS? {door.variable}"
        )
    except OSError as error:
        yield told.fail(what, f"{door.where} closed the connection: {error}", "its log says why")
    else:
        yield expires(told, what, found["notAfter"])


def _connected(door: Door) -> socket.socket:
    plain = socket.create_connection((door.host, door.port), _PATIENCE_S)
    if not door.tls:
        return plain
    try:
        return ssl.create_default_context(cafile=door.ca_file).wrap_socket(plain, server_hostname=door.host)
    except OSError:
        plain.close()
        raise


def _connect(account: Account) -> bytes:
    flags = 0xC0 | (0 if account.keeps_session else 0x02)  # user name, password, clean session
    body = _text("MQTT") + bytes([4, flags]) + _KEEPALIVE_S.to_bytes(2, "big")
    body += _text(account.client_id) + _text(account.username) + _text(account.password)
    length, rest = b"", len(body)
    while True:
        rest, low = divmod(rest, 128)
        length += bytes([low | (0x80 if rest else 0)])
        if not rest:
            return b"\x10" + length + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def _receive(channel: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := channel.recv(size - len(found))):
        found += more
    return found
