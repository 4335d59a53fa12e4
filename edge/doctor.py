"""What can be wrong with a box, looked at one by one: the edge's part of `drumtower doctor`."""

from __future__ import annotations

import http.client
import os
import sqlite3
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from common.runtime.broker_probe import Account, Door, knock, let_in
from common.runtime.doctor import Asked, Examination, Finding, span
from common.runtime.errors import DrumtowerError
from edge.config import DeviceConfig, EvidenceDoor, data_directory, load_device, uplinks_of
from edge.database import FILE_NAME, open_read_only
from edge.outbox_stats import read_stats
from edge.settings import Broker

_LATE_S: Final = 120.0
_EVIDENCE_LATE_S: Final = 3600.0
_PATIENCE_S: Final = 6.0
_LEAST_MB: Final = 64.0
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Held:
    """What the box's database says, at one instant."""

    unreceipted: int
    unreceipted_s: float
    receipted_s: float | None
    abandoned: int
    evidence_waiting: int
    evidence_s: float
    evidence_parked: int


class EdgeDoctor:
    """Examines one box: on it, with its configuration, whether its agent runs or not."""

    def __init__(self) -> None:
        self._told = Examination("edge")

    def why_not(self, asked: Asked) -> str:
        """Why there is no box here."""
        return "" if asked.config else "name the box's file: --config firmware_configs/devices/DEVICE.yaml"

    def examine(self, asked: Asked) -> Iterator[Finding]:
        """Configuration, models, cameras, sensors, outbox, evidence, broker, clock."""
        told, path = self._told, asked.config
        assert path is not None
        configs: list[DeviceConfig] = []
        yield from told.looked("configuration", partial(self._configuration, path, configs))
        if not configs:
            return
        (config,) = configs
        data = data_directory(asked.data, config, asked.environment)
        runs = is_held(data / "box.lock")
        yield (
            told.ok("agent", f"it runs on {data}")
            if runs
            else told.fail("agent", f"no agent runs on {data}", f"drumtower edge run {path} --data {data}")
        )
        yield from told.looked("cameras", partial(self._cameras, config, asked))
        yield from told.looked("sensors", partial(self._sensors, config, runs=runs))
        yield told.room("disk", data, _LEAST_MB, "free space; a full box gives up its oldest readings first")
        if data.is_dir() and not os.access(data, os.W_OK):
            yield told.fail("data", f"{data} cannot be written by this account", f"chown -R USER {data}")
        held: list[_Held] = []
        yield from told.looked("outbox", partial(self._outbox, data, held))
        places: list[tuple[Broker, EvidenceDoor | None]] = []
        yield from told.looked("environment", partial(self._environment, config, asked, places))
        for broker, door in places:
            receipted_s = held[0].receipted_s if held else None
            yield from told.looked("broker", partial(self._broker, config, broker, receipted_s, runs=runs))
            if door is not None:
                yield from told.looked("evidence door", partial(self._door, door))
                continue
            if config.cameras:
                yield told.warn(
                    "evidence door", "none is named: pictures stay on the box", "set DRUMTOWER_EVIDENCE_URL"
                )
            yield told.unknown(
                "clock",
                "only the evidence door tells a box's doctor what time it is in the district",
                "the district knows it from the box itself: drumtower gateway devices",
            )

    def _configuration(self, path: Path, configs: list[DeviceConfig]) -> Iterator[Finding]:
        config = load_device(path)
        configs.append(config)
        sensors = len(config.names) - len(config.cameras)
        yield self._told.ok(
            "configuration", f"{config.address}: {len(config.cameras)} cameras, {sensors} sensors"
        )

    def _cameras(self, config: DeviceConfig, asked: Asked) -> Iterator[Finding]:
        """Models by their fingerprints, and one frame of each camera."""
        from edge.inspect import inspect  # noqa: PLC0415 - a box without cameras does without OpenCV's start

        assert asked.config is not None
        if not config.cameras:
            return
        for found in inspect(config, asked.config, asked.environment):
            if found.error is None:
                yield self._told.ok(found.what, found.found)
            else:
                yield self._told.fail(found.what, found.error.message, found.error.hint)

    def _sensors(self, config: DeviceConfig, *, runs: bool) -> Iterator[Finding]:
        told = self._told
        if not config.modbus:
            return
        if runs:
            yield told.unknown(
                "sensors",
                "the agent has their lines for itself; device.sensor_silent tells of those that do not answer",
                "to ask each: stop the agent, then drumtower edge probe DEVICE.yaml",
            )
            return
        from edge.sensors.probe import probe  # noqa: PLC0415 - brings the Modbus stack

        for asked in probe(config.modbus):
            errors = [look.error for look in asked.looks if look.error is not None]
            what = f"sensor {asked.sensor.name}"
            if errors:
                yield told.fail(what, f"{asked.where}: {errors[0].message}", errors[0].hint)
            else:
                yield told.ok(what, f"{asked.where}: {len(asked.looks)} values read")

    def _outbox(self, data: Path, held: list[_Held]) -> Iterator[Finding]:
        told = self._told
        if not (data / FILE_NAME).is_file():
            yield told.unknown(
                "outbox", f"there is none in {data}: the box never ran there", "name it: --data DIR"
            )
            return
        with closing(open_read_only(data)) as connection:
            found = _held(connection)
        held.append(found)
        if found.unreceipted_s > _LATE_S:
            yield told.fail(
                "outbox",
                f"{found.unreceipted} packets have no receipt, the oldest for {span(found.unreceipted_s)}; they are kept",
                "see what is said of the agent and the broker; if both are well: drumtower doctor gateway there",
            )
        else:
            last = (
                "" if found.receipted_s is None else f"; the last receipt was {span(found.receipted_s)} ago"
            )
            yield told.ok("outbox", f"{found.unreceipted} packets wait for a receipt{last}")
        if found.abandoned:
            yield told.warn(
                "packets given up",
                f"{found.abandoned} were lost since this outbox was begun, for want of room",
                "a larger disk, a higher outbox.max_mb, or a line that is there more often",
            )
        said = f"{found.evidence_waiting} pictures wait"
        if found.evidence_waiting and found.evidence_s > _EVIDENCE_LATE_S:
            yield told.warn(
                "evidence", f"{said}, the oldest for {span(found.evidence_s)}", "see the evidence door"
            )
        else:
            yield told.ok("evidence", said)
        if found.evidence_parked:
            yield told.warn(
                "evidence refused",
                f"the district refused {found.evidence_parked} pictures for good",
                "the box's log says why (evidence.refused); a new credential is tried at the next start",
            )

    def _environment(
        self, config: DeviceConfig, asked: Asked, places: list[tuple[Broker, EvidenceDoor | None]]
    ) -> Iterator[Finding]:
        places.append(uplinks_of(config, asked.environment))
        yield self._told.ok("environment", "every variable that the box needs is there")

    def _broker(
        self, config: DeviceConfig, broker: Broker, receipted_s: float | None, *, runs: bool
    ) -> Iterator[Finding]:
        told, what = self._told, "broker: account"
        door = Door("DRUMTOWER_BROKER_URL", broker.host, broker.port, broker.tls, broker.ca_file)
        findings = list(knock(told, "broker", door))
        yield from findings
        if any(finding.verdict == "fail" for finding in findings):
            yield told.unknown(what, "the broker cannot be asked")
        elif not runs:
            name = str(config.address)
            client_id = f"box-{config.site}-{config.device}"
            yield let_in(told, what, door, Account(name, client_id, False, broker.password))
        elif receipted_s is not None and receipted_s < _LATE_S:
            yield told.ok(what, f"the agent is let in: it had a receipt {span(receipted_s)} ago")
        else:
            # Whoever comes as this box throws the agent out.
            yield told.unknown(
                what,
                "the agent uses it, and had no receipt lately",
                "its log says whether it is let in (uplink.refused)",
            )

    def _door(self, door: EvidenceDoor) -> Iterator[Finding]:
        for number, url in enumerate(door.urls, 1):
            parts = urlsplit(url)
            what = "evidence door" if len(door.urls) == 1 else f"evidence door {number}"
            port = parts.port or _PORTS[parts.scheme]
            place = Door(
                "DRUMTOWER_EVIDENCE_URL", parts.hostname or "", port, parts.scheme == "https", door.ca_file
            )
            findings = list(knock(self._told, what, place))
            yield from findings
            if all(finding.verdict != "fail" for finding in findings):
                yield self._clock(place)

    def _clock(self, door: Door) -> Finding:
        """How far our clock is off, by the Date of an answer (RFC 9110, section 6.6.1: whole seconds)."""
        try:
            began = time.time()
            said = _date_of(door)
        except (OSError, http.client.HTTPException, DrumtowerError) as error:
            return self._told.unknown("clock", f"the evidence door did not answer: {error}")
        if said is None:
            return self._told.unknown("clock", "the evidence door does not say what time it is")
        return self._told.clock("clock", said + 0.5 - (began + time.time()) / 2, "the district's")


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock on a file; asked of the kernel, since trying would be in an agent's way."""
    try:
        inode = str(lock.stat().st_ino)
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    return any(
        word[1] == "FLOCK" and word[5].rpartition(":")[2] == inode
        for line in lines
        if len(word := line.split()) > 5 and "->" not in word
    )


def _held(connection: sqlite3.Connection) -> _Held:
    stats = read_stats(connection)
    now = time.time_ns() // 1_000_000
    last = connection.execute(
        "SELECT receipted_at FROM packet WHERE receipted_at IS NOT NULL ORDER BY id DESC LIMIT 1"
    ).fetchone()
    waiting, queued_at, parked = connection.execute(
        "SELECT count(*) FILTER (WHERE receipted_at IS NULL AND parked IS NULL),"
        " min(queued_at) FILTER (WHERE receipted_at IS NULL AND parked IS NULL),"
        " count(*) FILTER (WHERE parked IS NOT NULL) FROM evidence"
    ).fetchone()
    return _Held(
        unreceipted=stats.unreceipted,
        unreceipted_s=_age_s(stats.oldest_unreceipted_ms, now) or 0.0,
        receipted_s=_age_s(last[0] if last else None, now),
        abandoned=stats.abandoned,
        evidence_waiting=waiting,
        evidence_s=_age_s(queued_at, now) or 0.0,
        evidence_parked=parked,
    )


def _age_s(at_ms: int | None, now_ms: int) -> float | None:
    return None if at_ms is None else max(now_ms - at_ms, 0) / 1000


def _date_of(door: Door) -> float | None:
    made: http.client.HTTPConnection
    if door.tls:
        context = ssl.create_default_context(cafile=door.ca_file)
        made = http.client.HTTPSConnection(door.host, door.port, timeout=_PATIENCE_S, context=context)
    else:
        made = http.client.HTTPConnection(door.host, door.port, timeout=_PATIENCE_S)
    with closing(made):
        made.request("HEAD", "/")
        said = made.getresponse().getheader("Date")
    try:
        return None if said is None else parsedate_to_datetime(said).timestamp()
    except ValueError:
        return None
