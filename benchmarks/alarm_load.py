"""What the boxes of the alarm benchmark send: alarms, and a thousand readings a second beside them."""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from common.wire.codec import encode_packet
from common.wire.ids import uuid7
from common.wire.messages import Events, Observation, Readings, Series
from common.wire.topics import Address
from local.broker import Broker

SITE: Final = "bench"
#: Ten readings twice a second from each box: a little above what is asked, so that the least is surely kept.
BACKGROUND_BOXES: Final = 55
PACKETS_A_SECOND_EACH: Final = 2
READINGS_A_PACKET: Final = 10
ALARM_BOXES: Final = 160
#: Category → the reading that raises it (sensor, metric, value), or None where the box says so itself.
ALARMS: Final[dict[str, tuple[str, str, float] | None]] = {
    "camera.zone_occupied": None,
    "flood.water_level": None,
    "manhole.open": ("cover-1", "cover_tilt", 45.0),
    "button.emergency": ("button-1", "pressed", 1.0),
}
# Over the demo's district, 70 m and more apart, so that no two boxes share a place.
_WEST, _SOUTH, _STEP = 119.2905, 26.0705, 0.0012
_COLUMNS = 16


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm to come: which box, what kind."""

    box: int
    category: str

    @property
    def place(self) -> tuple[float, float]:
        """Where the box stands."""
        return place_of(self.box)

    @property
    def key(self) -> tuple[str, int, int]:
        """What its ticket is recognised by."""
        return key_of(self.category, *self.place)


def place_of(box: int) -> tuple[float, float]:
    """Longitude and latitude of an alarm box."""
    row, column = divmod(box, _COLUMNS)
    return round(_WEST + column * _STEP, 6), round(_SOUTH + row * _STEP, 6)


def key_of(category: str, lon: float, lat: float) -> tuple[str, int, int]:
    """Category and place in millionths of a degree."""
    return category, round(lon * 1e6), round(lat * 1e6)


@dataclass(frozen=True, slots=True)
class Sent:
    """When an alarm was sent, by two clocks, in seconds."""

    monotonic: float
    wall: float


class Boxes:
    """All boxes in one MQTT client: it publishes for each, numbering its packets."""

    def __init__(self, broker: Broker, password: str) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-load")
        self._client.username_pw_set("bench-load", password)
        self._client.tls_set_context(ssl.create_default_context(cafile=str(broker.ca_file)))
        self._client.max_inflight_messages_set(10_000)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        self._seq: dict[str, int] = {}
        self._epoch = secrets.randbits(60) + 1
        self._lock = threading.Lock()

    def send(self, box: str, data: Readings | Events) -> Sent:
        """Publish a packet of a box; when that began."""
        with self._lock:
            seq = self._seq[box] = self._seq.get(box, 0) + 1
        address = Address(SITE, box)
        payload = encode_packet(address, self._epoch, seq, time.time_ns() // 1_000_000, data)
        topic = address.up("events" if isinstance(data, Events) else "readings")
        began = Sent(time.monotonic(), time.time())
        self._client.publish(topic, payload, qos=1)
        return began

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def alarm_data(alarm: Alarm) -> Readings | Events:
    """What the box sends."""
    now_ms = time.time_ns() // 1_000_000
    reading = ALARMS[alarm.category]
    if reading is not None:
        sensor, metric, value = reading
        return Readings([Series(sensor, metric, [now_ms], [value])])
    return Events(
        [
            Observation(
                observation_id=str(uuid7(now_ms)),
                phase="start",
                revision=0,
                category=alarm.category,
                source="bench",
                sensor="eye-1",
                started_at=now_ms,
                at=now_ms,
                severity=3,
            )
        ]
    )


class Background(threading.Thread):
    """Eleven hundred readings a second that alarm nobody, spread evenly over the second."""

    def __init__(self, boxes: Boxes) -> None:
        super().__init__(name="background", daemon=True)
        self._boxes = boxes
        self._stop_it = threading.Event()

    def run(self) -> None:
        """Send until stopped, never running ahead of the clock."""
        began, sent = time.monotonic(), 0
        pause = 1 / (BACKGROUND_BOXES * PACKETS_A_SECOND_EACH)
        while not self._stop_it.wait(max(began + sent * pause - time.monotonic(), 0)):
            now_ms = time.time_ns() // 1_000_000
            at = [now_ms - 50 * n for n in reversed(range(READINGS_A_PACKET // 2))]
            quiet = [
                Series("rain-1", "rain_intensity", at, [3.0 + n for n in range(len(at))]),
                Series("flood-1", "water_depth", at, [0.01] * len(at)),
            ]
            self._boxes.send(f"quiet-{sent % BACKGROUND_BOXES:03d}", Readings(quiet))
            sent += 1

    def end(self) -> None:
        """Stop."""
        self._stop_it.set()
        self.join()
