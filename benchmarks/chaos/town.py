"""The system that chaos happens to: real processes, as an operator runs them, with links that can be spoilt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from benchmarks.chaos.clock import set_offset
from benchmarks.chaos.disk import SmallDisk
from benchmarks.chaos.links import Link, Switchboard
from benchmarks.chaos.plan import Cast
from common.wire.topics import Address
from local.demo.part import Part
from local.demo.stack import CONFIGS, Plan, Stack

SITE: Final = "chaos"
#: The box whose disk is small, and the one whose outbox may only hold a megabyte.
SMALL_DISK, SMALL_OUTBOX, CAMERA = "small-disk", "small-outbox", "lamp"
_DISK_KB: Final = 5500
#: name, longitude, latitude; hub-1, hub-2 and the lamp stand within the radius of one matter.
_PLACES: Final = (
    ("hub-1", 119.30585, 26.09120),
    ("hub-2", 119.30600, 26.09130),
    ("hub-3", 119.29240, 26.09080),
    (SMALL_DISK, 119.29560, 26.08350),
    (SMALL_OUTBOX, 119.29570, 26.08360),
    (CAMERA, 119.30575, 26.09115),
)
#: Patience as on a bad night: what takes minutes in a district is to take seconds here.
_UPLINK: Final = {
    "resend_after_s": 5,
    "reconnect_s": 0.5,
    "longest_reconnect_s": 4,
    "keepalive_s": 5,
    "replay_per_s": 500,
    "status_every_s": 3,
}
_GATEWAY: Final = {
    "lease": {"ttl_s": 3},
    "receipts": {"every_packets": 100, "every_s": 2, "gap_s": 2},
    "silence": {"sweep_s": 1},
}


@dataclass
class Town(Stack):
    """A stack whose boxes have clocks and disks of their own, and whose parts meet over links."""

    switchboard: Switchboard = field(default_factory=Switchboard)
    links: dict[str, Link] = field(default_factory=dict)
    disks: dict[str, SmallDisk] = field(default_factory=dict)
    worker: Part | None = None

    def start(self) -> None:
        """Start everything, and a second worker of the ticket centre."""
        boxes = self.plan.data / "boxes"
        if SMALL_DISK in {path.stem for path in self.plan.boxes}:
            self.disks[SMALL_DISK] = SmallDisk(boxes / SMALL_DISK, _DISK_KB)
        super().start()
        self.worker = Part(
            "the second worker",
            self.plan.data / "logs" / "worker.log",
            ["cloud", "run", "--role", "worker"],
            {"DRUMTOWER_DATABASE_URL": self.database_url},
        )
        self.worker.start()

    def stop(self) -> None:
        """Stop everything, the links last."""
        if self.worker:
            self.worker.stop()
        super().stop()
        for disk in self.disks.values():
            disk.close()
        self.switchboard.close()

    def parts(self) -> list[Part]:
        """Every tier's process."""
        return [*super().parts(), *([self.worker] if self.worker else [])]

    def database_for(self, part: str) -> str:
        """Gateways reach the store over a link each, the ticket centre directly."""
        if not part.startswith("gateway"):
            return self.database_url
        port = urlsplit(self.database_url).port
        assert port is not None
        through = self._link(f"{part} to database", port).port
        return self.database_url.replace(f":{port}/", f":{through}/")

    def broker_for(self, part: str) -> str:
        """Everybody reaches the broker over a link of their own."""
        assert self.broker is not None
        return f"mqtts://127.0.0.1:{self._link(f'{part} to broker', self.broker.port).port}"

    def make_box(self, config: Path, data: Path, environment: Mapping[str, str]) -> Part:
        """A box whose clock can be set."""
        clock = self.clock_of(config.stem)
        set_offset(clock, 0)
        log = self.plan.data / "logs" / f"{config.stem}.log"
        return Part(f"box {config.stem}", log, [config, data, clock], environment, "benchmarks.chaos.box")

    def clock_of(self, box: str) -> Path:
        """The file with the offset of a box's clock."""
        return self.plan.data / f"{box}.clock"

    def addresses(self) -> dict[Address, Path]:
        """Each box and its data directory."""
        return {Address(SITE, name): self.data_of(name) for name in self.boxes}

    def data_of(self, name: str) -> Path:
        """A box's data directory."""
        return self.plan.data / "boxes" / name

    def cast(self) -> Cast:
        """Whom and what a plan may name."""
        return Cast(
            boxes=tuple(self.boxes),
            gateways=tuple(part.name for part in self.gateways),
            links=tuple(self.links),
            disks=tuple(
                (name, f"{name} to broker") for name in (SMALL_DISK, SMALL_OUTBOX) if name in self.boxes
            ),
            clocks=tuple(self.boxes),
        )

    def _link(self, name: str, port: int) -> Link:
        if name not in self.links:
            self.links[name] = self.switchboard.connect(port)
        return self.links[name]


def lay_out(data: Path, port: int, *, camera: bool) -> Plan:
    """Write the configurations of a town into a directory, and plan to run it there."""
    folder = data / "configs"
    names = [name for name, _, _ in _PLACES if camera or name != CAMERA]
    _write(
        folder / "sites" / f"{SITE}.yaml",
        {
            "site": SITE,
            "silent_after_s": 15,
            "devices": [
                {"name": name, "lon": lon, "lat": lat} for name, lon, lat in _PLACES if name in names
            ],
        },
    )
    for number, name in enumerate(names):
        _write(box_config(data, name), {**_box(name, number), **_contents(name)})
    rules = yaml.safe_load((CONFIGS / "gateway.yaml").read_text(encoding="utf-8"))
    _write(folder / "gateway.yaml", {**rules, **_GATEWAY})
    return Plan(
        data=data,
        boxes=tuple(box_config(data, name) for name in names),
        port=port,
        gateways=2,
        sites=folder / "sites",
        rules=folder / "gateway.yaml",
    )


def silence(data: Path, name: str) -> None:
    """Let a box measure nothing from its next start on: it only sends what it still holds."""
    _write(box_config(data, name), _box(name, 0))


def box_config(data: Path, name: str) -> Path:
    """Where a box's configuration is."""
    return data / "configs" / "devices" / f"{name}.yaml"


def _box(name: str, number: int) -> dict[str, Any]:
    made: dict[str, Any] = {"site": SITE, "device": name, "uplink": _UPLINK}
    made["storm"] = {"seed": 7 + number, "time_scale": 60}
    if name == SMALL_OUTBOX:
        made["outbox"] = {"max_mb": 1}
    return made


def _contents(name: str) -> dict[str, Any]:
    if name == CAMERA:
        demo = yaml.safe_load((CONFIGS / "devices" / "lamp-02.yaml").read_text(encoding="utf-8"))
        cameras = [
            {**camera, "footage": None, "path": str(CONFIGS / "footage" / "bikes.mp4")}
            for camera in demo["cameras"]
        ]
        return {"cameras": cameras, "sensors": [{"name": "smoke-1", "kind": "smoke"}]}
    kinds = ("smoke", "manhole", "flood", "rain", "button")
    hasty = name in {SMALL_DISK, SMALL_OUTBOX}
    every_s = 0.05 if hasty else 0.25
    sensors = [{"name": f"{kind}-1", "kind": kind, "every_s": every_s} for kind in kinds]
    # A packet for each turn of a hasty box: what fills a disk in days elsewhere fills it in seconds here.
    return {"sensors": sensors, "readings": {"flush_count": 1 if hasty else 20, "flush_s": 1}}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
