"""What the demo says when something is in its way, before and while it runs."""

from __future__ import annotations

import socket
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from common.runtime.errors import ConfigError, DrumtowerError
from local.demo import cli
from local.demo.part import last_words
from local.demo.stack import CONFIGS, Plan, Stack
from local.ports import PortTakenError, free_port


def refused(*arguments: str) -> DrumtowerError:
    """What `drumtower demo` gives up with."""
    error = CliRunner().invoke(cli.app, list(arguments)).exception
    assert isinstance(error, DrumtowerError)
    return error


def test_too_small_a_disk_is_told_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    monkeypatch.setattr(cli, "_ROOM_BYTES", 10**18)
    error = refused("--for", "5")
    assert "MB are needed" in error.message
    assert error.hint == "free some space, or set DRUMTOWER_DATA to a directory on a roomier disk"
    assert list(tmp_path.iterdir()) == [tmp_path / "demo.lock"]


def test_a_data_directory_that_cannot_be_used_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", "/tmp/a:b")
    assert "cannot hold" in refused("--for", "5").message


def test_a_disk_that_fills_up_while_it_runs_is_told_with_the_way_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cli._no_room(tmp_path) == []
    monkeypatch.setattr(cli, "_LEAST_ROOM_BYTES", 10**18)
    (fault,) = cli._no_room(tmp_path)
    assert f"the disk of {tmp_path} is full" in fault
    assert "--keep" in fault


def test_a_store_that_stops_answering_is_two_lines_and_names_its_log(tmp_path: Path) -> None:
    stack = Stack(Plan(data=tmp_path, boxes=()))
    with pytest.raises(DrumtowerError) as raised, cli._store_answers(stack):
        raise psycopg.OperationalError("connection failed\nFATAL:  No space left on device\n")
    assert raised.value.message == "the store stopped answering: FATAL:  No space left on device"
    assert "make demo ARGS=--keep" in raised.value.hint


def test_a_box_that_no_site_names_is_told_with_the_file_to_change(tmp_path: Path) -> None:
    box = tmp_path / "lamp-77.yaml"
    box.write_text("site: gulou\ndevice: lamp-77\nsensors: [{name: rain-1, kind: rain}]\n", encoding="utf-8")
    stack = Stack(Plan(data=tmp_path / "data", boxes=(box,), port=free_port()))
    with pytest.raises(ConfigError, match="gulou/lamp-77") as raised:
        stack.start()
    assert raised.value.hint == f"add `lamp-77` to the devices of {CONFIGS / 'sites' / 'gulou'}.yaml"
    assert not (tmp_path / "data").exists()


def test_a_taken_port_names_the_command_with_another(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortTakenError) as raised:
            Stack(Plan(data=tmp_path, boxes=(), port=taken.getsockname()[1])).start()
    assert raised.value.hint.endswith('or choose another port: make demo ARGS="--port 8090"')


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        ("x\nTraceback (most recent call last):\n  File\nRuntimeError: a bug", "RuntimeError: a bug"),
        (
            "x\ndrumtower: edge.no_room: full\n  what to do: free",
            "drumtower: edge.no_room: full\n  what to do: free",
        ),
        ("(no output)", "(no output)"),
    ],
)
def test_of_a_part_that_ended_the_error_is_told_and_not_the_traceback(tail: str, words: str) -> None:
    assert last_words(tail) == words
