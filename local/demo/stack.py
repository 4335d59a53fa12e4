"""Everything on one machine: the two services, and each tier as a child process, as an operator would run them.

The order is the data's way backwards: store and broker, gateway, ticket centre, boxes; stopping goes the other way,
so that what the boxes still hold arrives before the gateway goes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx

from cloud.reports.sealing import add_key
from common.runtime.config import load_each
from common.runtime.errors import ConfigError, DrumtowerError
from common.schema.runner import migrate
from common.wire.topics import Address
from edge.config import DeviceConfig, load_device
from gateway.fleet.sites import load_sites
from local.broker import Broker
from local.certificates import ServerCertificate, ensure_certificates
from local.demo.part import Part
from local.demo.provision import Provision, provision
from local.paths import REPOSITORY, write_atomically
from local.ports import free_port, require_free
from local.postgres import PostgresServer

CONFIGS = REPOSITORY / "firmware_configs"


@dataclass(frozen=True)
class Plan:
    """What to run and where to keep it.

    Args:
        data: the directory of databases, keys, evidence, outboxes and logs of this run.
        boxes: configuration files of the boxes, each of which a site's file names.
        port: where the ticket centre's page is served on 127.0.0.1.
        gateways: how many gateways stand ready; one holds the lease.
        footage: a directory with more footage than the repository ships.
        database_url: a database that is there already, instead of our own.
        broker_url: a broker that is there already; it must know the credentials in ``credentials``.
        credentials: a folder with the files ``gateway`` and ``{site}.{device}``; by default made in ``data``.
    """

    data: Path
    boxes: tuple[Path, ...]
    port: int = 8080
    gateways: int = 1
    sites: Path = CONFIGS / "sites"
    district: Path = CONFIGS / "districts" / "demo.yaml"
    rules: Path = CONFIGS / "gateway.yaml"
    footage: Path | None = None
    database_url: str | None = None
    broker_url: str | None = None
    credentials: Path | None = None

    @property
    def secrets(self) -> Path:
        """The folder of credentials and passwords; beside the data, so that a database that stays keeps its people."""
        return self.credentials or self.data.with_name(f"{self.data.name}-secrets")


@dataclass
class Stack:
    """The running whole. Usable as a context manager, which starts and stops it.

    Args:
        plan: what to run.
        say: told each step in a few words.
    """

    plan: Plan
    say: Callable[[str], None] = field(default=lambda _text: None)
    postgres: PostgresServer | None = None
    broker: Broker | None = None
    gateways: list[Part] = field(default_factory=list)
    cloud: Part | None = None
    boxes: dict[str, Part] = field(default_factory=dict)
    database_url: str = ""
    broker_url: str = ""
    provision: Provision | None = None
    box_data: dict[Address, Path] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Start everything; what was started is stopped again where a step fails."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self.stop()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.plan.port}"

    @property
    def evidence_directory(self) -> Path:
        """Where the gateway keeps evidence and the ticket centre reads it."""
        return self.plan.data / "evidence"

    def database_for(self, part: str) -> str:  # noqa: ARG002 - whoever puts something between them asks for whom
        """The store's address as the named part is told it."""
        return self.database_url

    def broker_for(self, part: str) -> str:  # noqa: ARG002
        """The broker's address as the named part is told it."""
        return self.broker_url

    def make_box(self, config: Path, data: Path, environment: Mapping[str, str]) -> Part:
        """A box's process, not started yet."""
        log = self.plan.data / "logs" / f"{config.stem}.log"
        return Part(f"box {config.stem}", log, ["edge", "run", config, "--data", data], environment)

    def parts(self) -> list[Part]:
        """Every tier's process."""
        return [*self.gateways, *([self.cloud] if self.cloud else []), *self.boxes.values()]

    def start(self) -> None:
        """Start everything in order; raises DrumtowerError with one clear line."""
        require_free(
            self.plan.port, "the ticket centre's page", 'choose another port: make demo ARGS="--port 8090"'
        )
        boxes = self._load_boxes()
        for name in ("logs", "evidence", "boxes"):
            (self.plan.data / name).mkdir(parents=True, exist_ok=True)
        certificate = ensure_certificates(self.plan.data / "certificates")
        self._start_database()
        self._prepare()
        self._start_broker()
        doors = self._start_gateways(certificate)
        self._start_cloud()
        self._start_boxes(boxes, ",".join(f"https://127.0.0.1:{port}" for port in doors), certificate)

    def stop(self) -> None:
        """Stop everything in order; boxes first, so that nothing they hold is left behind."""
        for box in self.boxes.values():
            box.ask_to_stop()
        for part in (*self.boxes.values(), *reversed(self.gateways), *([self.cloud] if self.cloud else [])):
            part.stop()
        if self.broker:
            self.broker.stop()
        if self.postgres:
            self.postgres.stop()

    def stop_boxes(self) -> None:
        """Stop the boxes alone: they send what they hold and wait for its receipts."""
        for box in self.boxes.values():
            box.ask_to_stop()
        for box in self.boxes.values():
            box.stop()

    def faults(self) -> list[str]:
        """Each part that should run and does not, with its last words."""
        return [
            f"{part.name} ended: {fault}\n  its log: {part.log}"
            for part in self.parts()
            if (fault := part.fault())
        ]

    def _start_database(self) -> None:
        if self.plan.database_url:
            self.database_url = self.plan.database_url
        else:
            self.say("starting TimescaleDB")
            self.postgres = PostgresServer(self.plan.data / "postgres")
            self.postgres.start()
            self.database_url = self.postgres.create_database("drumtower")

    def _prepare(self) -> None:
        self.say("preparing the database, the district and the accounts")
        migrate(self.database_url)
        self.provision = provision(self.database_url, self.plan.sites, self.plan.district, self.plan.secrets)

    def _load_boxes(self) -> list[DeviceConfig]:
        """Their configurations; raises ConfigError for a box that no site's file names: the gateway would not know it."""
        boxes = load_each(self.plan.boxes, load_device)
        known = {
            Address(site.site, device.name) for site in load_sites(self.plan.sites) for device in site.devices
        }
        for file, box in zip(self.plan.boxes, boxes, strict=True):
            if box.address not in known:
                raise ConfigError(
                    "demo.unknown_box",
                    f"expected the box {box.address} of {file} in the file of its site, found nothing there",
                    f"add `{box.device}` to the devices of {self.plan.sites / box.site}.yaml",
                )
        return boxes

    def _start_broker(self) -> None:
        assert self.provision is not None
        if self.plan.broker_url:
            self.broker_url = self.plan.broker_url
            return
        self.say("starting Mosquitto")
        self.broker = Broker(self.plan.data / "broker")
        for address, password in self.provision.boxes.items():
            self.broker.add_device(address.site, address.device, password)
        self.broker.add_gateway("gateway", self.provision.gateway_password)
        self.broker.start()
        self.broker_url = self.broker.url

    def _ca_file(self, certificate: ServerCertificate) -> Path:
        """One file of authorities: the evidence door's and the broker's."""
        bundle = self.plan.data / "certificates" / "trusted.pem"
        parts = [certificate.authority.read_bytes()]
        if self.broker:
            parts.append(self.broker.ca_file.read_bytes())
        elif external := os.environ.get("DRUMTOWER_CA_FILE"):
            parts.append(Path(external).read_bytes())
        write_atomically(bundle, b"".join(parts))
        return bundle

    def _start_gateways(self, certificate: ServerCertificate) -> list[int]:
        """Start them; the ports of their evidence doors, all of which the boxes know."""
        self.say("starting the gateway")
        doors: list[int] = []
        for number in range(self.plan.gateways):
            name = f"gateway-{number + 1}"
            environment = {
                "DRUMTOWER_DATABASE_URL": self.database_for(name),
                "DRUMTOWER_BROKER_URL": self.broker_for(name),
                "DRUMTOWER_CA_FILE": str(self._ca_file(certificate)),
                "DRUMTOWER_CREDENTIAL_FILE": str(self.plan.secrets / "gateway"),
                "DRUMTOWER_EVIDENCE_DIR": str(self.evidence_directory),
                "DRUMTOWER_TLS_CERT": str(certificate.certificate),
                "DRUMTOWER_TLS_KEY": str(certificate.key),
                "DRUMTOWER_DATA": str(self.plan.data / name),
            }
            doors.append(free_port())
            self.gateways.append(
                Part(
                    name,
                    self.plan.data / "logs" / f"{name}.log",
                    ["gateway", "run", "--config", self.plan.rules, "--evidence-port", str(doors[-1])],
                    environment,
                )
            )
            self.gateways[-1].start()
        return doors

    def _start_cloud(self) -> None:
        self.say("starting the ticket centre")
        self.cloud = Part(
            "the ticket centre",
            self.plan.data / "logs" / "cloud.log",
            ["cloud", "run", "--host", "127.0.0.1", "--port", str(self.plan.port)],
            {
                "DRUMTOWER_DATABASE_URL": self.database_for("cloud"),
                "DRUMTOWER_EVIDENCE_DIR": str(self.evidence_directory),
                "DRUMTOWER_PERSONAL_KEYS_FILE": str(self._personal_keys()),
            },
        )
        self.cloud.start()
        self.await_page()

    def _personal_keys(self) -> Path:
        """What seals who reported: made on this machine like the passwords, kept with --keep."""
        keys = self.plan.secrets / "personal.keys"
        if not keys.exists():
            add_key(keys, datetime.now(UTC))
        return keys

    def await_page(self, seconds: float = 90.0) -> None:
        """Wait until the page answers; raises DrumtowerError with the ticket centre's last words."""
        assert self.cloud is not None
        deadline = time.monotonic() + seconds
        while True:
            try:
                if httpx.get(f"{self.address}/healthz", timeout=2).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            if self.cloud.pid is None or time.monotonic() > deadline:
                raise DrumtowerError(
                    "demo.no_page",
                    f"the ticket centre did not answer on {self.address}: {self.cloud.fault() or 'still starting'}",
                    f"its log is {self.cloud.log}",
                )
            time.sleep(0.1)

    def _start_boxes(
        self, boxes: Sequence[DeviceConfig], evidence_url: str, certificate: ServerCertificate
    ) -> None:
        assert self.provision is not None
        trusted = self._ca_file(certificate)
        for config, box in zip(self.plan.boxes, boxes, strict=True):
            name = config.stem
            self.say(f"starting the box {name}")
            data = self.plan.data / "boxes" / name
            data.mkdir(parents=True, exist_ok=True)
            self.box_data[box.address] = data
            credential = self.provision.credential_file(box.address)
            environment = {
                "DRUMTOWER_BROKER_URL": self.broker_for(name),
                "DRUMTOWER_CA_FILE": str(trusted),
                "DRUMTOWER_CREDENTIAL_FILE": str(credential),
                "DRUMTOWER_EVIDENCE_URL": evidence_url,
                "DRUMTOWER_DATA": str(data),
            }
            if self.plan.footage:
                environment["DRUMTOWER_FOOTAGE_DIR"] = str(self.plan.footage)
            self.boxes[name] = self.make_box(config, data, environment)
            self.boxes[name].start()


def hidden(url: str) -> str:
    """A URL without its password, for people to read."""
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url


def elsewhere() -> dict[str, str | Path]:
    """The services that the environment names, as arguments of a plan.

    Raises:
        ConfigError: when a broker is named without the credentials that it knows.
    """
    found: dict[str, str | Path] = {}
    if database := os.environ.get("DRUMTOWER_DATABASE_URL"):
        found["database_url"] = database
    if broker := os.environ.get("DRUMTOWER_BROKER_URL"):
        folder = os.environ.get("DRUMTOWER_CREDENTIALS_DIR")
        if not folder:
            raise ConfigError(
                "demo.no_credentials",
                "DRUMTOWER_BROKER_URL is set, DRUMTOWER_CREDENTIALS_DIR is not",
                "name a folder with the passwords that broker knows: one file `gateway`, one `SITE.DEVICE` a box",
            )
        found |= {"broker_url": broker, "credentials": Path(folder)}
    return found
