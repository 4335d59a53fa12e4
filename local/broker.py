"""A real Mosquitto for one machine: TLS, an account a client, nothing anonymous, nothing dropped in silence."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from local.certificates import ServerCertificate, ensure_certificates
from local.paths import write_atomically
from local.ports import PortTakenError, ServicePort
from local.processes import (
    Account,
    ServiceError,
    ServiceProcess,
    installed_binaries,
    service_account,
)
from local.procfs import await_predecessor

_SERVICE = "the broker"
# The largest payload the wire allows, and room for the topic and properties around it.
MESSAGE_LIMIT_BYTES = 1024 * 1024
_PACKET_LIMIT_BYTES = MESSAGE_LIMIT_BYTES + 64 * 1024
_START_SECONDS = 60.0
_RELOAD_SECONDS = 60.0
# Mosquitto's own number of rounds. More would not make our passwords safer, which are random and at least 128 bits
# long, and the broker, one thread, pays for them at every connect and for every client again at every reload.
_HASH_ROUNDS = 101
_SETTINGS = """\
# Written at every start by local/broker.py.
listener {port} 127.0.0.1
certfile {directory}/server.pem
keyfile {directory}/server.key
tls_version tlsv1.2
allow_anonymous false
password_file {directory}/passwords
acl_file {directory}/acl
# A session belongs to the account, whatever client id is claimed: else one box could take over another's session,
# or the gateway's, and with it the queue.
use_username_as_clientid true

# Else the last small answer of a handshake waits until the other side's kernel has confirmed the one before, which
# takes it 40 ms: 10,000 boxes that come back one after the other took 400 s (RFC 896 against RFC 1122, 4.2.3.2).
set_tcp_nodelay true

# With its default limits the broker drops QoS 1 messages that it has acknowledged once a queue is full. Not 0 for
# the queue, though it means no limit: Mosquitto 2.0 then also cuts off whoever publishes to a forbidden topic.
max_inflight_messages 0
max_queued_messages 100000000
# A larger packet ends its sender's connection before its body is read, so it costs the others nothing.
max_packet_size {packet_limit}
# No memory_limit, on purpose. At it the broker drops the message that is going out and disconnects its receiver, see
# mosquitto.conf(5). Tried with 30 MB queued, 2.0.21 threw the gateway out at each connect after a message or two: the
# queue that filled the memory could not be emptied any more. Without readers a box adds its window of packets without
# a receipt, and the same again after waits that double up to 16 minutes.

# Sessions and queues survive an orderly restart whole, and a kill as of the last save. A save writes everything
# that is queued, so not each second; what a kill loses, boxes send again because no receipt came.
persistence true
persistence_location {directory}/
autosave_interval 10
persistent_client_expiration 14d

pid_file {directory}/mosquitto.pid
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
connection_messages true
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""


# A user name to the topic filters it may publish to and those it may read.
Rights = dict[str, tuple[tuple[str, ...], tuple[str, ...]]]


@dataclass(frozen=True)
class ClientAccount:
    """One client's credential and rights; `publish` and `subscribe` are topic filters."""

    username: str
    password: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


class Broker:
    """One Mosquitto in `directory`, listening with TLS on 127.0.0.1.

    Args:
        directory: holds configuration, accounts, the persistence file and the log (`mosquitto.log`).
        port: the TCP port; None chooses a free one, kept for the life of this object.
        certificates: where the authority and the server's certificate are or will be made; None is
            `directory/certificates`.
        program: Mosquitto; None takes the system's or the set-up's.

    Accounts are kept in `directory` and loaded from there. Usable as a context manager, which starts and stops
    it. The broker also stops when this process dies.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        certificates: Path | None = None,
        program: Path | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self._program = program if program is not None else installed_binaries().mosquitto
        self._port = ServicePort(_SERVICE, port)
        self._certificates = certificates if certificates is not None else self.directory / "certificates"
        # Apart from the certificates' directory: the authority's key is not for the broker's account.
        self._run = self.directory / "run"
        self._process = ServiceProcess(_SERVICE, self.directory / "mosquitto.log", signal.SIGTERM)
        self._account = Account()
        self._hashes: dict[str, str] = {}
        self._rights: Rights = {}
        self._load_accounts()

    @property
    def port(self) -> int:
        """The TCP port; raises ServiceError before the first start where none was given."""
        return self._port.number

    @property
    def url(self) -> str:
        """`mqtts://127.0.0.1:port`."""
        return f"mqtts://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """What clients trust; made by the first start."""
        return self._certificates / "ca.pem"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file of the broker's messages."""
        return self._process.log

    def saving_fault(self) -> str:
        """Why sessions and queues could not be saved the last time; nothing when they could, or never had to be.

        The broker goes on all the same, from memory, and says so nowhere but in its log.
        """
        return saving_fault(
            self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        )

    def add_client(
        self, username: str, password: str, publish: Sequence[str], subscribe: Sequence[str]
    ) -> None:
        """Add or replace one account; it counts from the next `start` or `reload`. Raises ServiceError."""
        self.add_clients([ClientAccount(username, password, tuple(publish), tuple(subscribe))])

    def add_clients(self, accounts: Iterable[ClientAccount]) -> None:
        """Add or replace many accounts (0.1 ms each); they count from the next `start` or `reload`."""
        for account in accounts:
            _check_account(account)
            self._hashes[account.username] = hash_password(account.password)
            self._rights[account.username] = (account.publish, account.subscribe)

    def add_device(self, site: str, device: str, password: str) -> None:
        """Add a box: it publishes only below its own `up` and reads only below its own `down`."""
        own = f"dt/v1/{site}/{device}"
        self.add_client(f"{site}/{device}", password, [f"{own}/up/#"], [f"{own}/down/#"])

    def add_foreign(self, username: str, password: str, topics: Sequence[str]) -> None:
        """Add a foreign device, or who speaks for several: it publishes to these topics and reads nothing."""
        self.add_client(username, password, topics, [])

    def add_gateway(self, username: str, password: str, foreign: Sequence[str] = ()) -> None:
        """Add a gateway: it reads what all boxes send and publishes what all boxes read.

        ``foreign`` are the filters of foreign devices' topics, which it reads as well.

        Sessions belong to accounts, so gateways of different partitions need an account each; those that stand by for
        one partition share it.
        """
        self.add_client(username, password, ["dt/v1/+/+/down/#"], ["dt/v1/+/+/up/#", *foreign])

    def remove_client(self, username: str) -> None:
        """Take an account away; a client that uses it is disconnected by the next `reload`."""
        self._hashes.pop(username, None)
        self._rights.pop(username, None)

    def reload(self) -> None:
        """Make changed accounts count in the running broker, without touching the connections of the others."""
        self._write_accounts()
        if self.pid is None:
            raise ServiceError(
                "service.not_running", "the broker does not run, so it cannot reload", "start it"
            )
        begins = self.log.stat().st_size
        self._process.send(signal.SIGHUP)
        if not self._appears_in_log(b"Reloading config", begins, _RELOAD_SECONDS):
            raise ServiceError(
                "service.reload_failed",
                "the broker did not reload",
                f"its log ends: {self._process.log_tail()}",
            )

    def start(self) -> None:
        """Write configuration and accounts, start the broker and wait until it listens; raises ServiceError."""
        if self.pid is not None:
            return
        self._run.mkdir(parents=True, exist_ok=True)
        served = ensure_certificates(self._certificates)
        self._account = service_account(self._program, self._run)
        await_predecessor(self._run / "mosquitto.pid", self._run / "mosquitto.conf", _SERVICE)
        self._port.start(lambda port: self._launch(served, port))

    def stop(self) -> None:
        """Stop in order: sessions and queues are saved."""
        self._process.stop()

    def restart(self) -> None:
        """Stop in order and start on the same port."""
        self.stop()
        self.start()

    def kill(self, *, delete_persistence: bool = False) -> None:
        """SIGKILL; with `delete_persistence` all sessions, queues and retained messages are gone as well."""
        self._process.kill()
        if delete_persistence:
            for saved in self._run.glob("mosquitto.db*"):
                saved.unlink()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _launch(self, served: ServerCertificate, port: int) -> None:
        settings = _SETTINGS.format(
            port=port,
            directory=self._run,
            packet_limit=_PACKET_LIMIT_BYTES,
        )
        write_atomically(self._run / "mosquitto.conf", settings.encode(), 0o600)
        write_atomically(self._run / "server.pem", served.certificate.read_bytes(), 0o600)
        write_atomically(self._run / "server.key", served.key.read_bytes(), 0o600)
        self._write_accounts()
        begins = self.log.stat().st_size if self.log.exists() else 0
        self._process.start([self._program, "-c", self._run / "mosquitto.conf"], self._account)
        if self._appears_in_log(b" running", begins, _START_SECONDS):
            return
        exit_code, tail = self._process.exit_code(), self._process.log_tail()
        self._process.kill()
        if exit_code is not None and "Address already in use" in tail:
            raise PortTakenError(port, _SERVICE)
        raise ServiceError("service.start_failed", "the broker did not start", f"its log ends: {tail}")

    def _appears_in_log(self, words: bytes, begins: int, timeout_seconds: float) -> bool:
        """Wait until the broker, still running, logs `words` beyond the offset `begins`."""
        deadline = time.monotonic() + timeout_seconds
        while self.pid is not None and time.monotonic() < deadline:
            with self.log.open("rb") as log:
                log.seek(begins)
                if words in log.read():
                    return True
            time.sleep(0.02)
        return False

    def _load_accounts(self) -> None:
        passwords, rights = self._run / "passwords", self._run / "acl"
        if not (passwords.exists() and rights.exists()):
            return
        self._hashes = dict(line.split(":", 1) for line in passwords.read_text(encoding="utf-8").splitlines())
        self._rights = parse_acl(rights.read_text(encoding="utf-8"))

    def _write_accounts(self) -> None:
        passwords = "".join(f"{username}:{hashed}\n" for username, hashed in self._hashes.items())
        write_atomically(self._run / "passwords", passwords.encode(), 0o600)
        write_atomically(self._run / "acl", format_acl(self._rights).encode(), 0o600)
        self._account.own(self._run)


def saving_fault(log: str) -> str:
    """What a Mosquitto's log says went wrong when it last saved what it holds; nothing when nothing did."""
    _, saving, after = log.rpartition("Saving in-memory database")
    fault = re.search(r"^[^\n]*\bError:? (?P<said>[^\n]+)", after, re.MULTILINE) if saving else None
    return fault["said"].strip() if fault else ""


def hash_password(password: str) -> str:
    """A password as Mosquitto's password file keeps it: `$7$rounds$salt$PBKDF2-HMAC-SHA512`, see mosquitto_passwd(1)."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _HASH_ROUNDS)
    return f"$7${_HASH_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def format_acl(rights: Rights) -> str:
    """The rights as Mosquitto's ACL file; whatever is not listed is denied, see mosquitto.conf(5)."""
    lines = []
    for username, (publish, subscribe) in rights.items():
        lines.append(f"user {username}")
        lines += [f"topic write {topic}" for topic in publish]
        lines += [f"topic read {topic}" for topic in subscribe]
    return "\n".join(lines) + "\n"


def parse_acl(text: str) -> Rights:
    """The inverse of `format_acl`."""
    collected: dict[str, tuple[list[str], list[str]]] = {}
    current: tuple[list[str], list[str]] = ([], [])
    for line in text.splitlines():
        if line.startswith("user "):
            current = collected.setdefault(line.removeprefix("user "), ([], []))
        elif line.startswith("topic write "):
            current[0].append(line.removeprefix("topic write "))
        elif line.startswith("topic read "):
            current[1].append(line.removeprefix("topic read "))
    return {
        username: (tuple(publish), tuple(subscribe)) for username, (publish, subscribe) in collected.items()
    }


def _check_account(account: ClientAccount) -> None:
    """Refuse what the files cannot hold, and wildcards in names (the broker shuts such clients out)."""
    if not re.fullmatch(r"[^\s:+#\x00-\x1f]{1,128}", account.username):
        raise ServiceError(
            "service.bad_account",
            f"{account.username!r} cannot be a user name of the broker",
            "use up to 128 characters without blanks, ':', '+' and '#'",
        )
    for topic in (*account.publish, *account.subscribe):
        if not topic or re.search(r"[\x00-\x1f]", topic) or topic != topic.strip():
            raise ServiceError(
                "service.bad_account",
                f"{topic!r} cannot be a topic filter",
                "remove blanks and control characters",
            )
