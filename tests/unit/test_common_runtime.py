"""Configuration, errors, logs, clock and stop: a person can act on what they are told."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from common.runtime import cli
from common.runtime.clock import ManualClock, to_datetime, to_ms
from common.runtime.config import InvalidConfigError, Settings, load_config, parse_config
from common.runtime.errors import DrumtowerError
from common.runtime.log import redact
from common.runtime.stop import Stop


class ZoneScene(Settings):
    scene: Literal["zone"]
    limit: int = Field(ge=1)


class LaneScene(Settings):
    scene: Literal["wrong_way"]
    direction: tuple[float, float]


class Camera(Settings):
    name: str
    codec: Literal["h264", "h265"] = "h264"
    scenes: list[Annotated[ZoneScene | LaneScene, Field(discriminator="scene")]] = Field(default=[])


class Box(Settings):
    site: str
    cameras: list[Camera] = Field(default=[])


FIVE_FAULTS = """\
site: 7
cameras:
  - name: cam-1
    codecs: h264
    scenes:
      - scene: zone
        limit: 0
      - scene: zoen
  - codec: h266
"""


def test_every_fault_is_told_at_once_with_file_line_key_and_nearest_name() -> None:
    with pytest.raises(InvalidConfigError) as refused:
        parse_config(FIVE_FAULTS, Path("lamp.yaml"), Box)
    told = [str(fault) for fault in refused.value.faults]
    assert told == [
        "lamp.yaml:1: site: Input should be a valid string, got 7",
        "lamp.yaml:4: cameras.0.codecs: unknown key (did you mean 'codec'?); allowed: codec, name, scenes",
        "lamp.yaml:7: cameras.0.scenes.0.limit: Input should be greater than or equal to 1, got 0",
        "lamp.yaml:8: cameras.0.scenes.1.scene: expected one of zone, wrong_way, got 'zoen' (did you mean 'zone'?)",
        "lamp.yaml:8: cameras.0.scenes.1.limit: missing",
        "lamp.yaml:9: cameras.1.name: missing",
        "lamp.yaml:9: cameras.1.codec: expected one of h264, h265, got 'h266' (did you mean 'h265'?)",
    ]


def test_an_unknown_key_of_a_chosen_scene_is_told_what_that_scene_allows() -> None:
    text = "site: a\ncameras:\n- name: c\n  scenes:\n  - scene: zone\n    limit: 2\n    limits: 3\n"
    with pytest.raises(InvalidConfigError) as refused:
        parse_config(text, Path("b.yaml"), Box)
    assert [str(fault) for fault in refused.value.faults] == [
        "b.yaml:7: cameras.0.scenes.0.limits: unknown key (did you mean 'limit'?); allowed: limit, scene"
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("site: [", "not YAML"),
        ("site: a\nsite: b\n", "stands twice"),
        ("", "site: missing"),
        ("- a\n", "valid dictionary"),
        ("site: a\t\x01", "not YAML"),
        ("site: !foo x", "not YAML"),
        ("? [a]\n: b", "not YAML"),
        ("site: &x [*x]", "an alias holds itself"),
        ("site: !!int abc", "not YAML: invalid literal"),
        ("site: " + "[" * 3000, "less depth"),
    ],
)
def test_what_is_not_a_configuration_is_said_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(text)
    with pytest.raises(InvalidConfigError, match=told) as refused:
        load_config(path, Box)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "none.yaml", Box)


def test_a_right_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text("site: gulou\ncameras:\n- name: cam-1\n  scenes:\n  - {scene: zone, limit: 3}\n")
    box = load_config(path, Box)
    assert box.cameras[0].scenes == [ZoneScene(scene="zone", limit=3)]


def test_secrets_do_not_reach_the_log() -> None:
    event = redact(None, "info", {"password": "hunter2", "url": "postgresql://u:hunter2@h/db", "event": "x"})
    assert "hunter2" not in str(event)
    assert event["url"] == "postgresql://u:***@h/db"


def test_an_error_says_what_to_do() -> None:
    error = DrumtowerError("a.b", "expected 1, found 2", "give 1")
    assert str(error) == "expected 1, found 2 (give 1)"


@given(st.integers(0, 4_000_000_000_000))
def test_an_instant_is_the_same_on_the_wire_and_in_the_store(at_ms: int) -> None:
    assert to_ms(to_datetime(at_ms)) == at_ms


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_ms(datetime(2026, 1, 1))  # noqa: DTZ001 - the fault that is meant


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(to_ms(datetime(2026, 1, 1, tzinfo=UTC)))
    before = clock.now_ms()
    clock.sleep(1.5)
    clock.jump(-3600)
    assert clock.now_ms() == before + 1500 - 3_600_000
    assert clock.monotonic() == 1.5


def test_a_signal_stops_a_loop_in_good_order() -> None:
    program = "from common.runtime.stop import Stop; s = Stop().on_signals(); print('up', flush=True); s.wait(20); print(s.reason)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        os.kill(child.pid, signal.SIGTERM)
        assert child.stdout.readline() == "SIGTERM\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_what_the_main_thread_is_never_told_of(number: signal.Signals) -> None:
    """One that comes as the main thread begins to wait is not told to it until it wakes; here it never is."""
    program = (
        "import signal; from common.runtime.stop import Stop; s = Stop().on_signals()\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT}); print('up', flush=True)\n"
        "s.wait(20); print(s.reason)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        os.kill(child.pid, number)
        assert child.stdout.readline() == f"{number.name}\n"


@pytest.mark.parametrize(
    ("number", "ends_at_once"), [(signal.SIGTERM, False), (signal.SIGINT, True)], ids=["SIGTERM", "Ctrl-C"]
)
def test_only_a_second_ctrl_c_cuts_an_orderly_stop_short(number: signal.Signals, ends_at_once: bool) -> None:
    program = (
        "import time; from common.runtime.stop import Stop; s = Stop().on_signals(); print('up', flush=True)\n"
        "while not s.is_set(): time.sleep(0.01)\n"
        f"print('stopping', flush=True); time.sleep({20 if ends_at_once else 1}); print('stopped in order', flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        os.kill(child.pid, number)
        assert child.stdout.readline() == "stopping\n"
        os.kill(child.pid, number)
        assert ("in order" in child.stdout.read()) is not ends_at_once


def test_signals_upon_signals_stop_a_loop_that_looks_all_the_time() -> None:
    """In the middle of whatever it does with the flag, setting it included: it must not wait for itself."""
    program = (
        "from common.runtime.stop import Stop; s = Stop().on_signals(); print('up', flush=True)\n"
        "while not s.wait(1e-6): pass\n"
        "s.wait(0.5); print('stopped in order', flush=True)"
    )
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "up\n"
            for _ in range(200):
                os.kill(child.pid, signal.SIGTERM)
            assert child.stdout.read() == "stopped in order\n"


def test_the_first_reason_to_stop_is_kept() -> None:
    stop = Stop()
    stop.set("the lease was lost")
    stop.set("asked to")
    assert stop.wait(0)
    assert stop.reason == "the lease was lost"


def test_a_part_that_is_not_installed_is_said_with_exit_code_3(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['psycopg'] = None\n")
    ran = subprocess.run(
        [sys.executable, "-m", "common.runtime.cli", "schema", "list"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 3
    assert "pip install '.[gateway]'" in ran.stderr


def test_a_bug_in_a_service_is_logged_as_a_plain_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not cli._build([]).pretty_exceptions_enable
