"""The storm, the sensors in it, and the loop that asks them."""

from __future__ import annotations

import itertools
import math
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from common.runtime.clock import ManualClock
from common.runtime.stop import Stop
from common.wire.codec import decode_packet
from common.wire.messages import Readings
from edge.config import load_device
from edge.database import Database, DiskFullError
from edge.observations import ObservationBook
from edge.outbox import SqliteOutbox
from edge.packets import PacketId
from edge.sensors.batch import Batch
from edge.sensors.build import build_sensors
from edge.sensors.loop import SILENT, SensorLoop
from edge.sensors.port import Reading, Sensor, SensorLostError
from edge.sensors.simulated import SimulatedSensor
from edge.sensors.storm import CALM, CYCLE_S, RAIN_S, Storm, course, hyetograph
from edge.settings import SensorSettings, StormSettings
from tests.fixtures.edge_memory_outbox import MemoryOutbox
from tests.fixtures.edge_messages import ADDRESS

DEVICES = Path(__file__).parents[2] / "firmware_configs" / "devices"
T0 = 1_767_225_600_000
#: Metric of the storm, where the demo's rules raise, where they clear.
THRESHOLDS = {
    "rain_mm_per_h": (60.0, 30.0),
    "depth_m": (0.15, 0.08),
    "sewer_level_m": (1.6, 1.2),
    "cover_tilt_deg": (15.0, 8.0),
    "smoke_db_per_m": (0.2, 0.1),
    "pressed": (1.0, 0.5),
}


class Says:
    """A sensor that says what it is told to."""

    def __init__(self, *values: float, name: str = "flood-1") -> None:
        self.name = name
        self.values = list(values)

    def read(self, at_ms: int) -> list[Reading]:
        if not self.values:
            raise SensorLostError("sensor.lost", f"{self.name} does not answer", "check its cable")
        return [Reading(self.name, "water_depth", self.values.pop(0), at_ms)]


class Slow(Says):
    """A sensor that costs a time-out each time and never answers."""

    def __init__(self, clock: ManualClock, name: str) -> None:
        super().__init__(name=name)
        self.clock = clock

    def read(self, at_ms: int) -> list[Reading]:
        self.clock.advance(1.0)
        return super().read(at_ms)


class Partly:
    """A sensor that gives one of its two values."""

    name = "air"

    def read(self, at_ms: int) -> list[Reading]:
        given = [Reading("air", "pm10", 1.0, at_ms)]
        raise SensorLostError("modbus.no_value", "air: no pm2_5", "", given)


class FullOutbox(MemoryOutbox):
    """An outbox whose disk is full until told otherwise."""

    full = True

    def append(self, data: object) -> PacketId:
        if self.full:
            raise DiskFullError("outbox.disk_full", "no room", "")
        return super().append(data)  # type: ignore[arg-type]


def values_in(outbox: MemoryOutbox) -> list[tuple[str, float]]:
    found = []
    for packet in outbox.pending(1000):
        held = outbox.payload(packet.id)
        assert held is not None
        data = decode_packet(held[1], ADDRESS).data
        assert isinstance(data, Readings)
        found += [(series.sensor, value) for series in data.series for value in series.value]
    return found


def run_loop(clock: ManualClock, loop: SensorLoop, seconds: float) -> None:
    until = clock.monotonic() + seconds
    while clock.monotonic() < until:
        clock.advance(loop.step())


def test_the_design_storm_peaks_where_it_is_told_and_carries_the_formulas_rain() -> None:
    rain = [hyetograph(second, 1200.0, 100.0) for second in range(RAIN_S)]
    assert rain.index(max(rain)) == 1200
    assert max(rain) == pytest.approx(60.0 * 100.0 / 32.9**1.011, rel=1e-6)
    # By its construction the storm's total is the intensity formula's for its whole length.
    assert sum(rain) / 3600 == pytest.approx(100.0 * 60 / (60 + 32.9) ** 1.011, rel=2e-3)
    assert hyetograph(RAIN_S, 1200.0, 100.0) == 0.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_storm_of_a_low_spot_crosses_the_demos_thresholds_within_a_minute_and_recedes(
    seed: int,
) -> None:
    skies = course(seed, 1.0)
    for metric, (raise_at, clear_at) in THRESHOLDS.items():
        values = [float(getattr(sky, metric)) for sky in skies]
        first = next(second for second, value in enumerate(values) if value >= raise_at)
        assert first / 36 < 60, metric
        assert values[-1] < clear_at, metric
        last = max(second for second, value in enumerate(values) if value >= clear_at)
        assert last / 36 < 190, metric


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), exposure=st.floats(0, 3))
def test_the_storm_never_leaves_what_is_physical(seed: int, exposure: float) -> None:
    skies = course(seed, round(exposure, 3))
    assert len(skies) == CYCLE_S
    for before, sky in itertools.pairwise(skies):
        assert sky.depth_m >= 0
        assert 0 <= sky.cover_tilt_deg <= 45
        assert sky.rain_total_mm >= before.rain_total_mm
        assert all(math.isfinite(value) for value in (sky.sewer_level_m, sky.smoke_db_per_m, sky.air_c))
        assert abs(sky.depth_m - before.depth_m) < 0.05 or before.depth_m == 0


def test_high_ground_stays_dry() -> None:
    assert max(sky.depth_m for sky in course(7, 0.3)) == 0
    assert max(sky.cover_tilt_deg for sky in course(7, 0.3)) < 1


def test_the_storm_is_the_same_for_whoever_asks_and_another_in_the_next_cycle() -> None:
    one, two = Storm(5, T0, 36), Storm(5, T0, 36)
    at = T0 + 40_000
    assert one.sky(at) == two.sky(at)
    assert one.sky(T0 - 1) == CALM
    assert one.sky(at) != one.sky(at + round(CYCLE_S / 36 * 1000))


def test_a_simulated_sensor_repeats_itself_with_its_seed() -> None:
    def measure() -> list[Reading]:
        sensor = SimulatedSensor("manhole-1", "manhole", Storm(3, T0, 36))
        return [reading for second in range(100) for reading in sensor.read(T0 + second * 1000)]

    assert measure() == measure()
    assert {reading.metric for reading in measure()} == {"cover_tilt", "water_level", "gas_ch4"}


@pytest.mark.parametrize(
    ("kind", "metrics"),
    [
        ("smoke", {"smoke_density", "temperature", "battery"}),
        ("flood", {"water_depth"}),
        ("rain", {"rain_intensity", "rain_total"}),
        ("button", {"pressed"}),
    ],
)
def test_each_kind_measures_its_metrics(kind: str, metrics: set[str]) -> None:
    ((sensor, every_s),) = build_sensors(
        [SensorSettings(name="one", kind=kind, every_s=2)],  # type: ignore[arg-type]
        StormSettings(),
        T0,
    )
    readings = sensor.read(T0)
    assert {reading.metric for reading in readings} == metrics
    assert every_s == 2
    assert all(math.isfinite(reading.value) for reading in readings)


def test_a_batch_is_due_by_count_or_by_age_and_stands_in_columns() -> None:
    batch = Batch(flush_count=3, flush_s=2.0)
    batch.add(Reading("b", "water_depth", 1.0, T0), now=10.0)
    batch.add(Reading("a", "water_depth", 2.0, T0 + 1), now=10.5)
    assert not batch.due(11.9)
    assert batch.due(12.0)
    batch.add(Reading("b", "water_depth", 3.0, T0 + 2), now=10.6)
    assert batch.due(10.6)
    assert [(one.sensor, one.at, one.value) for one in batch.peek().series] == [
        ("a", [T0 + 1], [2.0]),
        ("b", [T0, T0 + 2], [1.0, 3.0]),
    ]
    batch.clear()
    assert (len(batch), batch.due(100.0)) == (0, False)


def test_sensors_are_asked_in_their_turn_and_what_they_say_reaches_the_outbox() -> None:
    clock = ManualClock()
    outbox = MemoryOutbox(ADDRESS, clock)
    accepted: list[int] = []
    sensors: list[tuple[Sensor, float]] = [
        (Says(*range(100), name="a"), 1.0),
        (Says(*range(100), name="b"), 5.0),
    ]
    loop = SensorLoop(sensors, outbox, clock, flush_s=2.0, accepted=lambda: accepted.append(1))
    run_loop(clock, loop, 10.0)
    stop = Stop()
    stop.set()
    loop.run(stop)
    said = values_in(outbox)
    assert [value for name, value in said if name == "a"] == list(range(10))
    assert [value for name, value in said if name == "b"] == [0, 1]
    assert len(accepted) == outbox.stats().numbered
    assert loop.counts.readings == 12


def test_a_reading_that_is_no_number_is_refused_said_once_and_stops_nobody_else() -> None:
    clock = ManualClock()
    outbox = MemoryOutbox(ADDRESS, clock)
    broken = Says(1.0, math.nan, math.inf, math.nan, 2.0, name="broken")
    loop = SensorLoop([(broken, 1.0), (Says(*range(9), name="sound"), 1.0)], outbox, clock, flush_s=0.0)
    with structlog.testing.capture_logs() as logs:
        run_loop(clock, loop, 4.5)
    refused = [log for log in logs if log["event"] == "sensor.not_a_number"]
    assert len(refused) == 1
    assert "broken" in refused[0]["message"]
    assert loop.counts.refused == 3
    assert sorted(values_in(outbox)) == [("broken", 1.0), ("broken", 2.0), *(("sound", n) for n in range(5))]


def test_a_sensor_that_does_not_answer_is_logged_once_and_asked_again_ever_more_rarely() -> None:
    clock = ManualClock()
    outbox = MemoryOutbox(ADDRESS, clock)
    silent = Says(name="silent")
    loop = SensorLoop([(silent, 1.0)], outbox, clock, flush_s=0.0)
    with structlog.testing.capture_logs() as logs:
        run_loop(clock, loop, 6.5)
        assert loop.counts.silent == 3  # after 0, 1 and 3 seconds
        silent.values = [7.0, 8.0]
        run_loop(clock, loop, 2.0)
    assert [log["event"] for log in logs].count("sensor.lost") == 1
    assert values_in(outbox) == [("silent", 7.0), ("silent", 8.0)]


def test_one_that_is_silent_keeps_nobody_from_being_heard_at_once() -> None:
    clock = ManualClock()
    outbox = MemoryOutbox(ADDRESS, clock)
    slow: list[tuple[Sensor, float]] = [(Slow(clock, name=f"slow-{n}"), 1.0) for n in range(5)]
    sound = Says(*range(30), name="sound")
    loop = SensorLoop([(sound, 1.0), *slow], outbox, clock, flush_s=0.0)
    run_loop(clock, loop, 60.0)
    # Each silent one costs a second, less and less often: the sound one still has most of its turns.
    assert len(values_in(outbox)) >= 25
    assert loop.silent == 5


def test_what_a_sensor_gave_all_the_same_is_kept_and_it_is_asked_as_often_as_ever() -> None:
    clock = ManualClock()
    outbox = MemoryOutbox(ADDRESS, clock)
    loop = SensorLoop([(Partly(), 1.0)], outbox, clock, flush_s=0.0)
    run_loop(clock, loop, 4.5)
    assert values_in(outbox) == [("air", 1.0)] * 5
    assert loop.counts.silent == 5


def test_a_silent_sensor_is_a_condition_that_begins_after_its_time_and_ends_when_it_answers(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    with closing(Database(tmp_path)) as database:
        outbox = SqliteOutbox(database, ADDRESS, clock)
        book = ObservationBook(database, outbox, clock)
        silent = Says(1.0, name="silent")
        loop = SensorLoop([(silent, 1.0)], outbox, clock, flush_s=0.0, silent_after_s=15.0, book=book)
        run_loop(clock, loop, 14.0)
        assert loop.silent == 0
        run_loop(clock, loop, 20.0)
        (known,) = book.open_conditions()
        assert (known.category, known.source, known.sensor) == (SILENT, "sensor:silent", "silent")
        assert known.started_at == T0 + 1000
        assert known.detail["code"] == "sensor.lost"
        assert loop.silent == 1
        silent.values = [2.0] * 20
        run_loop(clock, loop, 16.0)
        assert (book.open_conditions(), loop.silent) == ([], 0)


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_how_long_a_sensor_is_silent_does_not_depend_on_what_the_clock_is_set_to(
    tmp_path: Path, jump_s: float
) -> None:
    clock = ManualClock()
    with closing(Database(tmp_path)) as database:
        outbox = SqliteOutbox(database, ADDRESS, clock)
        book = ObservationBook(database, outbox, clock)
        silent = Says(1.0, name="silent")
        loop = SensorLoop([(silent, 1.0)], outbox, clock, flush_s=0.0, silent_after_s=15.0, book=book)
        run_loop(clock, loop, 5.0)
        clock.jump(jump_s)
        run_loop(clock, loop, 9.0)
        assert loop.silent == 0
        run_loop(clock, loop, 20.0)
        assert loop.silent == 1


def test_a_sensor_that_answers_again_after_a_restart_ends_what_was_begun_before_it(tmp_path: Path) -> None:
    clock = ManualClock()
    for said, open_after in (((), 1), (range(9), 0)):
        with closing(Database(tmp_path)) as database:
            outbox = SqliteOutbox(database, ADDRESS, clock)
            book = ObservationBook(database, outbox, clock)
            loop = SensorLoop([(Says(*said), 1.0)], outbox, clock, book=book)
            run_loop(clock, loop, 2.0 if said else 40.0)
            assert len(book.open_conditions()) == open_after


def test_readings_wait_for_a_full_disk_and_are_given_up_only_beyond_their_limit() -> None:
    clock = ManualClock()
    outbox = FullOutbox(ADDRESS, clock)
    loop = SensorLoop([(Says(*range(1000)), 1.0)], outbox, clock, flush_count=5, flush_s=1.0)
    run_loop(clock, loop, 30.0)
    assert loop.counts.lost == 0
    outbox.full = False
    run_loop(clock, loop, 1.5)
    assert len(values_in(outbox)) >= 30
    outbox.full = True
    run_loop(clock, loop, 120.0)
    assert loop.counts.lost == 100


def test_the_demo_boxes_load_and_their_sensors_answer() -> None:
    configs = [load_device(path) for path in sorted(DEVICES.glob("*.yaml"))]
    assert len(configs) >= 2
    for config in configs:
        for sensor, _ in build_sensors(config.sensors, config.storm, T0):
            assert sensor.read(T0 + 50_000)
