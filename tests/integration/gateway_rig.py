"""A gateway as a process of its own, and a box that does nothing but send until it is receipted."""

from __future__ import annotations

import os
import secrets
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

from common.wire.codec import Data, decode_receipt, encode_packet
from common.wire.messages import Events, Observation, Readings, Receipt, Series
from common.wire.topics import Address
from local.broker import Broker

#: How long a slow machine may take for what takes a moment here, in seconds; only what fails waits so long.
PATIENCE = 150.0
SETTINGS = """
lease: {ttl_s: 2}
receipts: {every_packets: 20, every_s: 0.5, gap_s: 1}
silence: {sweep_s: 0.3}
rules:
  - id: smoke
    metric: smoke_density
    category: smoke.alarm
    raise_at: 0.15
    clear_at: 0.08
    severity: [{at: 0.15, severity: 3}]
"""


def now_ms() -> int:
    """The machine's time."""
    return time.time_ns() // 1_000_000


def eventually(question: Callable[[], Any], seconds: float = PATIENCE, every: float = 0.05) -> Any:
    """Wait until something is true; its value. Fails with the last value otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(every)


def register(
    url: str, site: str, *devices: str, partition: str = "default", silent_after_s: int = 120
) -> None:
    """Devices in the registry, without credentials."""
    with psycopg.connect(url, autocommit=True) as connection:
        for device in devices:
            connection.execute(
                "INSERT INTO device (site, name, partition, lon, lat, silent_after_s)"
                " VALUES (%s, %s, %s, 119.3, 26.1, %s)",
                [site, device, partition, silent_after_s],
            )


def readings(
    *values: float, at: int | None = None, sensor: str = "s1", metric: str = "temperature"
) -> Readings:
    """A readings packet's data: one series, a millisecond apart."""
    start = now_ms() if at is None else at
    return Readings([Series(sensor, metric, [start + i for i in range(len(values))], list(values))])


def events(*ids: str, at: int | None = None, category: str = "camera.zone_crowded") -> Events:
    """An events packet's data: one start each."""
    moment = now_ms() if at is None else at
    return Events(
        [
            Observation(
                observation_id=one,
                phase="start",
                revision=0,
                category=category,
                source="zone:square",
                sensor="cam-1",
                started_at=moment,
                at=moment,
                severity=2,
            )
            for one in ids
        ]
    )


@dataclass
class GatewayProcess:
    """``drumtower gateway run`` against real services."""

    directory: Path
    database_url: str
    broker_url: str
    ca_file: Path
    credential: str
    partition: str = "default"
    settings: str = SETTINGS
    extra: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    #: Another program than ``drumtower``, which finds in ``extra`` what it needs.
    command: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> GatewayProcess:
        """Start it; its log is ``gateway.log`` in its directory."""
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "gateway.yaml"
        config.write_text(self.settings, encoding="utf-8")
        credential = self.directory / "credential"
        credential.write_text(self.credential, encoding="utf-8")
        environment = {
            **os.environ,
            "DRUMTOWER_DATABASE_URL": self.database_url,
            "DRUMTOWER_BROKER_URL": self.broker_url,
            "DRUMTOWER_CA_FILE": str(self.ca_file),
            "DRUMTOWER_CREDENTIAL_FILE": str(credential),
            **self.extra,
        }
        drumtower = (sys.executable, "-m", "common.runtime.cli", "gateway", "run", "--config", str(config))
        with (self.directory / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command or [*drumtower, "--partition", self.partition, *self.options],
                env=environment,
                stderr=log,
                stdout=log,
            )
        return self

    @property
    def log(self) -> str:
        """What it said so far."""
        return (self.directory / "gateway.log").read_text(encoding="utf-8")

    def await_connected(self) -> GatewayProcess:
        """Wait until it holds the lease and hears what boxes say."""
        eventually(lambda: "connected to the broker" in self.log)
        listens = "SELECT 1 FROM partition_lease WHERE partition = %s AND listening_since IS NOT NULL"
        eventually(lambda: rows(self.database_url, listens, self.partition))
        return self

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@contextmanager
def gateway_process(
    directory: Path,
    database_url: str,
    broker: Broker,
    username: str,
    password: str,
    **more: Any,
) -> Iterator[GatewayProcess]:
    """A gateway that is stopped in the end, whatever happened to it."""
    url = broker.url.replace("mqtts://", f"mqtts://{username}@")
    gateway = GatewayProcess(directory, database_url, url, broker.ca_file, password, **more)
    try:
        yield gateway.start()
    finally:
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.kill()


class Box:
    """Numbers packets, sends them at QoS 1 and sends again what no receipt has covered, until it has."""

    def __init__(self, broker: Broker, address: Address, password: str, epoch: int | None = None) -> None:
        self.address = address
        self.epoch = epoch or secrets.randbits(40) + 1
        self.numbered = 0
        self.receipts: list[Receipt] = []
        self._waiting: dict[int, tuple[str, bytes]] = {}
        self._lock = threading.Lock()
        self._connected = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, f"box-{address.site}-{address.device}", protocol=mqtt.MQTTv311
        )
        self._client.username_pw_set(str(address), password)
        self._client.tls_set(ca_certs=str(broker.ca_file), cert_reqs=ssl.CERT_REQUIRED)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._connected.clear()
        self._client.on_message = self._on_message
        self._client.connect_async("127.0.0.1", broker.port, keepalive=10)
        self._client.loop_start()

    def send(self, data: Data) -> int:
        """Number a packet and send it; its sequence number."""
        kind = "readings" if isinstance(data, Readings) else "events"
        with self._lock:
            self.numbered += 1
            payload = encode_packet(self.address, self.epoch, self.numbered, now_ms(), data)
            self._waiting[self.numbered] = (self.address.up(kind), payload)
            self._publish(self.numbered)
            return self.numbered

    def resend(self) -> int:
        """Send everything again that is not receipted; how many that are."""
        with self._lock:
            for seq in self._waiting:
                self._publish(seq)
            return len(self._waiting)

    def unreceipted(self) -> int:
        """How many packets no receipt has covered."""
        with self._lock:
            return len(self._waiting)

    def settle(self, seconds: float = PATIENCE) -> None:
        """Send again and again until all is receipted."""
        deadline = time.monotonic() + seconds
        while self.unreceipted():
            assert time.monotonic() < deadline, f"{self.address}: {self.unreceipted()} without a receipt"
            if not eventually_or_not(lambda: not self.unreceipted(), 3.0):
                self.resend()

    def publish_raw(self, kind: str, payload: bytes, *, retain: bool = False) -> None:
        """Send bytes that are no packet."""
        self.await_connected()
        said = self._client.publish(self.address.up(kind), payload, qos=1, retain=retain)
        said.wait_for_publish(PATIENCE)
        assert said.is_published()

    def await_connected(self) -> None:
        """Wait until the broker let it in."""
        assert self._connected.wait(PATIENCE), f"{self.address} did not connect"

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, seq: int) -> None:
        if self._connected.is_set():
            topic, payload = self._waiting[seq]
            self._client.publish(topic, payload, qos=1)

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(self.address.down("receipt"), qos=1)
        self._connected.set()
        self.resend()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        receipt = decode_receipt(bytes(message.payload), self.address)
        if int(receipt.epoch, 16) != self.epoch:
            return
        with self._lock:
            self.receipts.append(receipt)
            missing = {seq for first, last in receipt.gaps for seq in range(first, last + 1)}
            for seq in list(self._waiting):
                if seq <= receipt.upto or (receipt.gaps and seq <= receipt.highest and seq not in missing):
                    del self._waiting[seq]


def eventually_or_not(question: Callable[[], bool], seconds: float) -> bool:
    """Whether something came true within that time."""
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def add_box(broker: Broker, site: str, device: str, epoch: int | None = None) -> Box:
    """A box with an account at the running broker."""
    password = secrets.token_urlsafe(16)
    broker.add_device(site, device, password)
    broker.reload()
    return Box(broker, Address(site, device), password, epoch)


def rows(url: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Ask the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []
