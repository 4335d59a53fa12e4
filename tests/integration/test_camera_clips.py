"""Clips around observations: copied as they came, sealed for somebody else, and never sent."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import av
import numpy as np
import pytest
import structlog
from typer.testing import CliRunner

from common.runtime.clock import ManualClock
from common.runtime.errors import ConfigError, InvalidError
from edge.camera.recorder import Recorder
from edge.camera.rtsp import RtspSettings, RtspSource
from edge.clip_seal import new_key, seal, unseal
from edge.clips import SUFFIX, ClipSettings, ClipStore
from edge.clips_cli import app
from edge.config import DeviceConfig
from tests.fixtures.rtsp import RtspServer, encode, scene


def _store(directory: Path, clock: ManualClock, **more: float) -> tuple[ClipStore, str]:
    private, public = new_key()
    (directory / "district.public").write_text(public + "\n", encoding="ascii")
    settings = ClipSettings.model_validate({"public_key_file": "district.public", **more})
    return ClipStore(directory / "clips", settings, directory / "box.yaml", clock), private


def test_a_box_records_nothing_unless_it_is_told_to() -> None:
    assert DeviceConfig.model_validate({"site": "gulou", "device": "lamp-01"}).clips is None


def test_a_clip_is_the_streams_own_packets_from_before_the_moment_to_after_it(tmp_path: Path) -> None:
    server = RtspServer(tmp_path)
    units = encode((scene(n) for n in range(60)), gop=10)
    server.add("street", units)
    clips: list[tuple[tuple[str, ...], bytes]] = []
    with server, RtspSource(RtspSettings(url=server.url("street"))) as source:
        source.recorder = recorder = Recorder(
            1.5, 2.0, 10**7, lambda names, file: clips.append((names, file))
        )
        for frame in itertools.islice(source.frames(), 62):
            if frame.n == 28:
                recorder.ask("first")
            if frame.n == 33:
                recorder.ask("second")
    ((names, file),) = clips
    assert names == ("first", "second")
    with av.open(io.BytesIO(file), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.width) == ("h264", 320)
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert packets[0].is_keyframe
    with av.open(io.BytesIO(file), "r") as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    # From the key frame before 28 - 15 to two seconds after the second moment.
    assert 41 <= len(pictures) <= 48
    places = [
        min(range(60), key=lambda k: float(np.abs(scene(k).astype(int) - one).mean()))
        for one in pictures[::8]
    ]
    assert places[0] == 10
    assert set(np.diff(places) % 40) == {8}  # the street repeats itself after forty pictures
    # Copied, not encoded again: the slices of the stream are in the file, byte for byte.
    body = units[15].content[units[15].content.rindex(b"\x00\x00\x01") + 3 :]
    assert body in file


def test_a_camera_that_goes_ends_its_clip_and_a_codec_that_is_not_known_makes_none(tmp_path: Path) -> None:
    server = RtspServer(tmp_path)
    server.add("street", encode(scene(n) for n in range(30)))
    server.add("jpeg", encode((scene(n) for n in range(30)), codec="mjpeg"), codec="mjpeg")
    for name, wanted in (("street", 1), ("jpeg", 0)):
        clips: list[bytes] = []
        with server, RtspSource(RtspSettings(url=server.url(name))) as source:
            source.recorder = Recorder(1, 30, 10**7, lambda _, file, clips=clips: clips.append(file))  # type: ignore[misc]
            for frame in itertools.islice(source.frames(), 20):
                if frame.n == 5:
                    source.recorder.ask("one")
        assert len(clips) == wanted


def test_what_is_kept_is_limited_in_time_and_bytes(tmp_path: Path) -> None:
    server = RtspServer(tmp_path)
    server.add("street", encode((scene(n) for n in range(30)), gop=5))
    with server, RtspSource(RtspSettings(url=server.url("street"))) as source:
        source.recorder = recorder = Recorder(1.0, 1.0, 30_000, lambda _, __: None)
        most = max(recorder.held_bytes for _ in itertools.islice(source.frames(), 40))
    assert 0 < most <= 60_000


def test_a_sealed_clip_shows_nothing_and_opens_for_the_private_key_alone(tmp_path: Path) -> None:
    store, private = _store(tmp_path, ManualClock())
    content = b"ftypisom" * 1000
    store.keep("cam-1", ("0196-a", "0196-b"), content)
    (file,) = store.files()
    assert file.name.endswith(f"cam-1-0196-a{SUFFIX}")
    assert file.stat().st_mode & 0o777 == 0o600
    sealed = file.read_bytes()
    assert b"ftyp" not in sealed
    assert unseal(sealed, private) == content
    assert seal(content, new_key()[1]) != seal(content, new_key()[1])
    for spoilt in (sealed[:-1] + b"x", sealed[:40], b"not a clip"):
        with pytest.raises(InvalidError, match="expected a"):
            unseal(spoilt, private)
    with pytest.raises(InvalidError, match="this key opens"):
        unseal(sealed, new_key()[0])


def test_clips_are_let_go_by_age_and_by_size_oldest_first(tmp_path: Path) -> None:
    clock = ManualClock()
    store, _ = _store(tmp_path, clock, max_mb=1, keep_h=1)
    for n in range(6):
        store.keep("cam-1", (f"one-{n}",), bytes(250_000))
        clock.advance(60)
    assert [path.name.split("-")[-1] for path in store.files()] == [f"{n}{SUFFIX}" for n in (3, 4, 5)]
    clock.advance(3600 - 90)
    store.trim()
    assert [path.name.split("-")[-1] for path in store.files()] == [f"5{SUFFIX}"]


def test_a_clip_that_somebody_takes_away_meanwhile_stops_nothing(tmp_path: Path) -> None:
    """One thread makes clips, another trims them, and a person may look after the disk."""
    clock = ManualClock()
    store, _ = _store(tmp_path, clock, max_mb=1, keep_h=1)
    store.keep("cam-1", ("one",), bytes(100))
    (tmp_path / "clips" / f"1-cam-1-gone{SUFFIX}").symlink_to(tmp_path / "gone")
    store.trim()
    store.keep("cam-1", ("two",), bytes(100))
    assert [path.name.split("-")[-1] for path in store.files()] == [f"one{SUFFIX}", f"two{SUFFIX}"]


def test_a_disk_that_lets_no_clip_go_is_said_and_stops_nothing(tmp_path: Path) -> None:
    store, _ = _store(tmp_path, ManualClock(), max_mb=1, keep_h=1)
    (tmp_path / "clips" / f"1-cam-1-stuck{SUFFIX}").mkdir()  # no file, so it cannot be removed as one
    with structlog.testing.capture_logs() as logs:
        store.trim()
        store.keep("cam-1", ("one",), bytes(100))
    assert [log["event"] for log in logs] == ["clip.not_trimmed", "clip.disk_full"]


def test_what_a_power_cut_left_half_written_is_let_go_at_the_next_start(tmp_path: Path) -> None:
    clock = ManualClock()
    _store(tmp_path, clock)
    (tmp_path / "clips" / "1-cam-1-half.mp4.new").write_bytes(bytes(1000))
    _store(tmp_path, clock)
    assert list((tmp_path / "clips").iterdir()) == []


@pytest.mark.parametrize("key", [None, "zz", "12ab"])
def test_clips_without_a_usable_key_stop_the_start(tmp_path: Path, key: str | None) -> None:
    if key is not None:
        (tmp_path / "district.public").write_text(key, encoding="ascii")
    settings = ClipSettings(public_key_file=Path("district.public"))
    with pytest.raises((ConfigError, InvalidError)) as caught:
        ClipStore(tmp_path / "clips", settings, tmp_path / "box.yaml", ManualClock())
    assert "drumtower edge clips key" in caught.value.hint


def test_the_commands_make_keys_list_and_open(tmp_path: Path) -> None:
    run = CliRunner()
    assert run.invoke(app, ["key", str(tmp_path / "district")]).exit_code == 0
    assert (tmp_path / "district.private").stat().st_mode & 0o777 == 0o600
    settings = ClipSettings(public_key_file=Path("district.public"))
    store = ClipStore(tmp_path / "clips", settings, tmp_path / "box.yaml", ManualClock())
    store.keep("cam-1", ("0196",), b"an mp4")
    listed = run.invoke(app, ["list", str(tmp_path)]).output
    assert "cam-1-0196" in listed
    (file,) = store.files()
    opened = run.invoke(
        app,
        ["open", str(file), "--key", str(tmp_path / "district.private"), "--out", str(tmp_path / "clip.mp4")],
    )
    assert opened.exit_code == 0
    assert (tmp_path / "clip.mp4").read_bytes() == b"an mp4"


def test_nothing_leads_from_the_clips_to_the_network() -> None:
    """The uploader and the evidence store know nothing of clips."""
    edge = Path(__file__).parents[2] / "edge"
    for name in ("upload.py", "evidence.py", "uplink.py", "session.py"):
        assert "clip" not in (edge / name).read_text(encoding="utf-8").lower()
