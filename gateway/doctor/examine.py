"""What can be wrong with a gateway, looked at one by one."""

from __future__ import annotations

import math
import os
import ssl
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from common.runtime.broker_probe import Account, Door, expires, knock, let_in
from common.runtime.config import load_config
from common.runtime.doctor import Asked, Examination, Finding, span
from common.runtime.errors import ConfigError
from common.runtime.places import database_url
from common.runtime.watchdog import watchdog_url
from common.schema.doctor import Connection, database_findings, examined
from gateway.adapters.mapping import load_mappings
from gateway.config import BrokerAddress, GatewaySettings, read_environment
from gateway.doctor import repo
from gateway.doctor.repo import LeaseState
from gateway.foreign.cli import folder_of
from gateway.presence.repo import presences
from gateway.watch.repo import outlook
from gateway.watch.worker import BROKER_FILE, cloud_silent_s, free_bytes, saved_age_s

DEFAULT_CONFIG: Final = Path("firmware_configs/gateway.yaml")
_LATE_S: Final = 60.0
_OFF_MS: Final = 2000.0
#: Of the broker's file: `autosave_interval` is 10 seconds in what we ship, and a large queue takes its time.
_SAVED_S: Final = 120.0
_BROKER_MB: Final = 256.0
_NAMED: Final = 3


class GatewayDoctor:
    """Examines the gateway that is, or should be, on this machine, and what it needs."""

    def __init__(self) -> None:
        self._told = Examination("gateway")
        #: The partitions that a gateway hears the broker for; None while the store could not be asked.
        self._listening: set[str] | None = None

    def why_not(self, asked: Asked) -> str:
        """Why there is no gateway here."""
        missing = [
            name
            for name in ("DRUMTOWER_DATABASE_URL", "DRUMTOWER_BROKER_URL")
            if not asked.environment.get(name)
        ]
        return f"{' and '.join(missing)} not set" if missing else ""

    def examine(self, asked: Asked) -> Iterator[Finding]:
        """Configuration, database, lease, intake, fleet, broker, evidence door."""
        told, env = self._told, asked.environment
        settings = GatewaySettings()
        path = asked.config or DEFAULT_CONFIG
        if asked.config is not None or path.is_file():
            findings = list(told.looked("configuration", partial(self._configuration, path)))
            yield from findings
            if all(finding.verdict == "ok" for finding in findings):
                settings = load_config(path, GatewaySettings)
        yield from told.looked("environment", partial(self._environment, asked))
        url = ""
        try:
            url = database_url(env)
        except ConfigError as error:
            yield told.fail("database", error.message, error.hint)
        self._listening = None
        if url:
            found = list(database_findings(told, url))
            yield from found
            if found[0].verdict == "ok":
                yield from told.looked("store", partial(self._store, url, settings))
        yield from told.looked("broker", partial(self._broker, asked))
        yield from told.looked(
            "broker: disk", partial(self._broker_disk, env.get("DRUMTOWER_BROKER_DATA", ""))
        )
        yield from told.looked("evidence", partial(self._evidence, asked, settings))
        yield told.watcher(watchdog_url(settings.watch, env))

    def _configuration(self, path: Path) -> Iterator[Finding]:
        settings = load_config(path, GatewaySettings)
        mappings = load_mappings(folder_of(path), settings.catalogue())
        foreign = f", {len(mappings)} mapping files" if mappings else ""
        yield self._told.ok("configuration", f"{path}: {len(settings.rules)} rules{foreign}")

    def _environment(self, asked: Asked) -> Iterator[Finding]:
        read_environment(asked.environment)
        yield self._told.ok("environment", "every variable that the gateway needs is there")

    def _store(self, url: str, settings: GatewaySettings) -> Iterator[Finding]:
        """What the store says about gateways, boxes, the ticket centre; notes the partitions that hear the broker."""
        with examined(url) as connection:
            if not repo.is_of_release(connection):
                yield self._told.unknown(
                    "lease", "the schema is not of this release", "drumtower schema migrate"
                )
                return
            leases = repo.leases(connection)
            self._listening = {
                lease.partition for lease in leases if lease.is_held and lease.listening_s is not None
            }
            for lease in leases:
                yield self._lease(lease, settings)
            yield from self._fleet(connection, settings)

    def _lease(self, lease: LeaseState, settings: GatewaySettings) -> Finding:
        what = f"lease: {lease.partition}"
        if not lease.is_held or lease.holder is None:
            said = f"no gateway holds it; {lease.devices} boxes go unheard"
            if lease.silent_s is not None:
                said += f", for {span(lease.silent_s)}"
            fix = f"drumtower gateway run --partition {lease.partition}; its log says what keeps it"
            return (
                self._told.fail(what, said, fix) if lease.devices else self._told.ok(what, "nobody needs it")
            )
        since = f"{lease.holder} has held it for {span(lease.held_s or 0.0)}"
        if lease.listening_s is None:
            return self._told.fail(
                what, f"{since} and does not hear the broker", "see what is said of the broker"
            )
        behind_s = lease.silent_s or 0.0
        if behind_s > max(_LATE_S, 2 * settings.lease.ttl_s):
            return self._told.fail(
                what,
                f"{since} and has committed nothing for {span(behind_s)}",
                "see what is said of the database",
            )
        return self._told.ok(what, f"{since}, hears the broker and commits")

    def _fleet(self, connection: Connection, settings: GatewaySettings) -> Iterator[Finding]:
        told, seen = self._told, outlook(connection)
        if seen.unreceipted_s > _LATE_S:
            yield told.warn(
                "intake",
                f"the oldest packet of a box has waited {span(seen.unreceipted_s)} for its receipt",
                "after an outage that passes; else see lease, broker and database",
            )
        else:
            yield told.ok("intake", f"no box waits longer than {span(seen.unreceipted_s)} for a receipt")
        silent_s = cloud_silent_s(seen)
        if silent_s > settings.watch.cloud_silent_s:
            yield told.fail(
                "ticket centre",
                f"it has done nothing for {span(silent_s)}; {seen.inbox_waiting} observations wait for it",
                "drumtower cloud run; if it runs: drumtower doctor cloud",
            )
        elif seen.worker_age_s is None:
            yield told.unknown("ticket centre", "none was ever seen at this database", "drumtower cloud run")
        else:
            yield told.ok("ticket centre", f"it works; {seen.inbox_waiting} observations wait for it")
        boxes = presences(connection)
        yield self._some(
            "boxes silent",
            [str(one.address) for one in boxes if one.silent],
            "silent",
            "is it powered and on the network? On the box: drumtower doctor edge --config DEVICE.yaml",
        )
        yield self._some(
            "boxes kept out",
            [str(one.address) for one in boxes if one.quarantined],
            "in quarantine",
            "drumtower gateway quarantine list",
        )
        yield self._some(
            "boxes' clocks",
            [str(one.address) for one in boxes if abs(one.clock_offset_ms or 0.0) > _OFF_MS],
            "with a clock off by more than 2 s",
            "drumtower gateway devices --clock-off 2",
        )
        counts = repo.rejects_of_day(connection)
        if counts:
            said = ", ".join(f"{count} {reason}" for reason, count in counts[:_NAMED])
            yield told.warn("rejects", f"of the last day: {said}", "drumtower gateway rejects list")
        else:
            yield told.ok("rejects", "none in the last day")
        yield self._some(
            "rejects not kept",
            repo.rejects_not_kept(connection),
            "with more rejects in a day than are kept",
            "drumtower gateway quarantine show SITE/BOX, and mend it; docs/adr/0019 says why it is not kept out by itself",
        )

    def _some(self, what: str, names: list[str], how: str, fix: str) -> Finding:
        if not names:
            return self._told.ok(what, "none")
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return self._told.warn(what, f"{len(names)} {how}: {', '.join(names[:_NAMED])}{more}", fix)

    def _broker(self, asked: Asked) -> Iterator[Finding]:
        address = read_broker(asked)
        if address is None:
            yield self._told.unknown("broker", "its address is not known", "set DRUMTOWER_BROKER_URL")
            return
        door = Door("DRUMTOWER_BROKER_URL", address.host, address.port, address.tls, address.ca_file)
        findings = list(knock(self._told, "broker", door))
        yield from findings
        what = "broker: account"
        if self._listening:
            yield self._told.ok(what, f"a gateway is connected for {', '.join(sorted(self._listening))}")
        elif any(finding.verdict == "fail" for finding in findings):
            yield self._told.unknown(what, "the broker cannot be asked")
        elif self._listening is None:
            # A gateway goes on hearing the broker while the database is away: to knock as it would throw it out.
            yield self._told.unknown(
                what,
                "whether a gateway is connected cannot be asked, and to try its account would throw it out",
                "mend what is said of the database, and look again",
            )
        else:
            # The gateway's session holds its queue: it is taken over, not cleaned, and given back untouched.
            account = Account(address.username, "gw-default", True, address.password)
            yield let_in(self._told, what, door, account)

    def _broker_disk(self, named: str) -> Iterator[Finding]:
        what = "broker: disk"
        if not named:
            yield self._told.unknown(
                what,
                "it is not known where the broker saves what it holds",
                "on its machine: set DRUMTOWER_BROKER_DATA to its persistence_location, and look again",
            )
            return
        directory = Path(named)
        yield self._told.room(
            what, directory, _BROKER_MB, "free space there; nothing is lost as long as it runs"
        )
        yield self._saving(directory)

    def _saving(self, directory: Path) -> Finding:
        what = "broker: saving"
        age_s = saved_age_s(directory, time.time_ns() // 1_000_000)
        if math.isnan(age_s):
            return self._told.unknown(
                what, f"no {BROKER_FILE} can be seen in {directory}", "is that its persistence_location?"
            )
        if age_s <= _SAVED_S:
            return self._told.ok(what, f"it saved what it holds {span(age_s)} ago")
        why = (
            "its disk is full"
            if free_bytes(directory) < 2**20
            else "its disk, its rights, or it does not run"
        )
        return self._told.fail(
            what,
            f"it last saved what it holds {span(age_s)} ago ({why}); it goes on from memory, and what a crash"
            " takes boxes send again; plain MQTT devices do not",
            f"free space, then see in its log what follows 'Saving in-memory database': df -h {directory}",
        )

    def _evidence(self, asked: Asked, settings: GatewaySettings) -> Iterator[Finding]:
        named = asked.environment.get("DRUMTOWER_EVIDENCE_DIR")
        if not named:
            yield self._told.unknown(
                "evidence", "this gateway takes no pictures", "set DRUMTOWER_EVIDENCE_DIR"
            )
            return
        directory = Path(named)
        least_mb = float(max(settings.evidence.keep_free_mb, 1))
        fix = "free space there: below evidence.keep_free_mb pictures are refused, and boxes keep them"
        yield self._told.room("evidence: disk", directory, least_mb, fix)
        if directory.is_dir() and not os.access(directory, os.W_OK):
            yield self._told.fail(
                "evidence",
                f"{directory} cannot be written by this account",
                f"chown it: chown -R USER {directory}",
            )
        certificate, key = (
            asked.environment.get(name) for name in ("DRUMTOWER_TLS_CERT", "DRUMTOWER_TLS_KEY")
        )
        if certificate and key:
            ca_file = asked.environment.get("DRUMTOWER_CA_FILE")
            yield self._shown(Path(certificate), Path(key), Path(ca_file) if ca_file else None)

    def _shown(self, certificate: Path, key: Path, ca_file: Path | None) -> Finding:
        """Whether boxes will trust what the door shows: a handshake without a network."""
        what = "evidence: certificate"
        try:
            found = handshake(certificate, key, ca_file)
        except ssl.SSLCertVerificationError as error:
            return self._told.fail(
                what,
                f"{certificate}: boxes will not trust it: {error.verify_message}",
                "renew it, and restart the gateway",
            )
        except ssl.SSLError as error:
            return self._told.fail(
                what,
                f"{certificate} and {key} cannot be used: {error.reason}",
                "put a PEM file and its own key there",
            )
        return expires(self._told, what, found)


def handshake(certificate: Path, key: Path, ca_file: Path | None) -> str:
    """Until when a server's certificate is good, as a client reads it that trusts an authority.

    Raises:
        ssl.SSLError: they do not belong together, or the client does not trust it.
        OSError: a file cannot be read.
    """
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.load_cert_chain(certificate, key)
    there = ssl.create_default_context(cafile=ca_file)
    there.check_hostname = False
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = there.wrap_bio(down, up), here.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = client.getpeercert()
    assert found is not None
    return str(found["notAfter"])


def read_broker(asked: Asked) -> BrokerAddress | None:
    """The broker as the environment names it, whatever else is wrong there; None where nothing usable is named."""
    kept = ("DRUMTOWER_BROKER_URL", "DRUMTOWER_CREDENTIAL_FILE", "DRUMTOWER_CA_FILE")
    alone = {name: asked.environment[name] for name in kept if name in asked.environment}
    try:
        return read_environment(
            {**alone, "DRUMTOWER_DATABASE_URL": "postgresql://nobody@nowhere/none"}
        ).broker
    except ConfigError:
        return None
