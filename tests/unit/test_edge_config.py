"""A box's configuration: every fault at once, and what the environment says."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from common.runtime.config import InvalidConfigError
from common.runtime.errors import ConfigError
from edge.camera.stills import StillsSettings
from edge.config import (
    DeviceConfig,
    Redrawn,
    data_directory,
    drawn_outside,
    footage_file,
    load_device,
    source_of,
    uplinks_of,
)
from edge.vision.scenes.build import OutsideError, check_drawn

FIVE_FAULTS = """\
site: Gulou District
device: lamp-01
sensors:
  - {name: flood-1, kind: flod}
  - {name: flood-2, kind: flood, exposure: -1}
cameras:
  - name: cam-1
    footage: vtest
    scenes:
      - {scene: zone, id: square, zone: [[0, 0], [1, 0]]}
outbox: {max_megabytes: 5}
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "devices" / "box.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def config(**more: object) -> DeviceConfig:
    return DeviceConfig.model_validate({"site": "gulou", "device": "lamp-01", **more})


def environment(directory: Path, **more: str) -> dict[str, str]:
    (directory / "ca.pem").write_text("a certificate")
    (directory / "credential").write_text("pass word\n")
    return {
        "DRUMTOWER_BROKER_URL": "mqtts://broker.example:9883",
        "DRUMTOWER_CA_FILE": str(directory / "ca.pem"),
        "DRUMTOWER_CREDENTIAL_FILE": str(directory / "credential"),
        **more,
    }


def test_a_box_keeps_what_is_receipted_for_two_days_and_waits_for_a_thousand_receipts_at_most() -> None:
    plain = config()
    assert (plain.outbox.keep_receipted_h, plain.evidence.keep_receipted_h, plain.uplink.window) == (
        48,
        48,
        1000,
    )


def test_every_fault_is_told_at_once_with_its_line_and_what_was_meant(tmp_path: Path) -> None:
    path = write(tmp_path, FIVE_FAULTS)
    with pytest.raises(InvalidConfigError) as refused:
        load_device(path)
    assert [fault.line for fault in refused.value.faults] == [1, 4, 5, 10, 11]
    text = str(refused.value)
    assert "did you mean 'flood'?" in text
    assert "max_mb" in text
    assert f"{path}:1: site" in text


def test_names_must_differ_across_cameras_and_sensors(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "site: gulou\ndevice: lamp-01\ncameras: [{name: one, footage: bikes}]\nsensors: [{name: one, kind: rain}]\n",
    )
    with pytest.raises(InvalidConfigError, match=r"sensors\.0\.name: 'one' already stands on line 3"):
        load_device(path)


@pytest.mark.parametrize("source", ["", "footage: bikes\n    path: a.mp4"])
def test_a_camera_has_exactly_one_source(tmp_path: Path, source: str) -> None:
    path = write(tmp_path, f"site: gulou\ndevice: lamp-01\ncameras:\n  - name: one\n    {source}\n")
    with pytest.raises(InvalidConfigError, match="exactly one of footage, path, rtsp, usb and stills"):
        load_device(path)


def test_a_severity_needs_its_scene(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "site: gulou\ndevice: lamp-01\ncameras: [{name: one, footage: bikes, severity: {square: 3}}]\n",
    )
    with pytest.raises(InvalidConfigError, match=r"severity\.square: there is no scene"):
        load_device(path)


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    told = config(uplink={"broker_url": "mqtt://elsewhere", "credential_file": "/nowhere"})
    broker, _ = uplinks_of(told, environment(tmp_path))
    assert (broker.host, broker.port, broker.tls, broker.password) == (
        "broker.example",
        9883,
        True,
        "pass word",
    )
    assert broker.ca_file == tmp_path / "ca.pem"
    assert "pass word" not in repr(broker)


def test_the_file_serves_where_the_environment_says_nothing(tmp_path: Path) -> None:
    credential = tmp_path / "credential"
    credential.write_text("secret")
    told = config(uplink={"broker_url": "mqtt://broker.example", "credential_file": str(credential)})
    broker, _ = uplinks_of(told, {})
    assert (broker.host, broker.port, broker.tls, broker.ca_file) == ("broker.example", 1883, False, None)


def test_every_fault_of_the_environment_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        uplinks_of(
            config(),
            {
                "DRUMTOWER_BROKER_URL": "mqtss://broker",
                "DRUMTOWER_CA_FILE": str(tmp_path / "none.pem"),
                "DRUMTOWER_EVIDENCE_URL": "https://one,ftp://door,https://[two",
            },
        )
    message = refused.value.message
    assert message.startswith("5 faults")
    assert "expected https://host:port, got 'ftp://door'" in message
    assert "did you mean mqtts://?" in message
    assert "DRUMTOWER_CA_FILE" in message
    assert "DRUMTOWER_CREDENTIAL_FILE: missing" in message


@pytest.mark.parametrize(
    ("content", "said"), [("", "expected one line"), ("a\nb\n", "expected one line"), (None, "cannot read")]
)
def test_a_credential_is_one_line(tmp_path: Path, content: str | None, said: str) -> None:
    told = environment(tmp_path)
    if content is None:
        (tmp_path / "credential").unlink()
    else:
        (tmp_path / "credential").write_text(content)
    with pytest.raises(ConfigError, match=said):
        uplinks_of(config(), told)


@pytest.mark.parametrize("port", ["0x50", "99999"])
def test_a_port_is_a_port(tmp_path: Path, port: str) -> None:
    with pytest.raises(ConfigError, match="expected a port"):
        uplinks_of(config(), environment(tmp_path, DRUMTOWER_BROKER_URL=f"mqtts://broker:{port}"))


def test_evidence_may_stay_on_the_box(tmp_path: Path) -> None:
    assert uplinks_of(config(), environment(tmp_path))[1] is None
    _, door = uplinks_of(config(), environment(tmp_path, DRUMTOWER_EVIDENCE_URL="https://door.example:9443/"))
    assert door is not None
    assert (door.urls, door.username, door.password) == (
        ("https://door.example:9443",),
        "gulou/lamp-01",
        "pass word",
    )
    with pytest.raises(ConfigError, match="expected https://host:port"):
        uplinks_of(config(), environment(tmp_path, DRUMTOWER_EVIDENCE_URL="ftp://door"))


def test_evidence_may_go_through_any_of_several_doors(tmp_path: Path) -> None:
    told = environment(tmp_path, DRUMTOWER_EVIDENCE_URL="https://one:9443/, https://two:9444")
    _, door = uplinks_of(config(), told)
    assert door is not None
    assert door.urls == ("https://one:9443", "https://two:9444")
    told = environment(tmp_path, DRUMTOWER_EVIDENCE_URL="htps://one,https://two,https://")
    with pytest.raises(ConfigError, match="2 faults"):
        uplinks_of(config(), told)


def test_data_lies_where_the_option_or_the_environment_says(tmp_path: Path) -> None:
    assert data_directory(tmp_path, config(), {"DRUMTOWER_DATA": "/elsewhere"}) == tmp_path
    assert data_directory(None, config(), {"DRUMTOWER_DATA": "/elsewhere"}) == Path("/elsewhere")
    assert data_directory(None, config(), {}) == Path(".drumtower/boxes/lamp-01")


def test_a_mistyped_footage_is_a_fault_and_not_another_film(tmp_path: Path) -> None:
    path = write(tmp_path, "site: gulou\ndevice: lamp-01\ncameras:\n  - name: one\n    footage: vtset\n")
    with pytest.raises(InvalidConfigError, match="did you mean 'vtest'") as refused:
        load_device(path)
    assert [(fault.line, fault.key) for fault in refused.value.faults] == [(5, "cameras.0.footage")]


def test_fetched_footage_comes_first_then_what_ships(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    (tmp_path / "footage").mkdir()
    (tmp_path / "footage" / "bikes.mp4").write_text("")
    told = config(cameras=[{"name": "one", "footage": "vtest"}, {"name": "two", "path": "a/b.mp4"}])
    one, two = told.cameras
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    named = {"DRUMTOWER_FOOTAGE_DIR": str(fetched)}
    with structlog.testing.capture_logs() as logs:
        assert footage_file(one, path, named) == tmp_path / "footage" / "bikes.mp4"
    (said,) = logs
    assert (said["event"], said["camera"], said["wanted"], said["played"]) == (
        "camera.footage_replaced",
        "one",
        "vtest",
        "bikes",
    )
    (fetched / "vtest.avi").write_text("")
    with structlog.testing.capture_logs() as logs:
        assert footage_file(one, path, named) == fetched / "vtest.avi"
    assert logs == []
    assert footage_file(one, path, {}) == tmp_path / "footage" / "bikes.mp4"
    assert footage_file(two, path, named) == tmp_path / "devices" / "a" / "b.mp4"


OUTSIDE = """\
site: gulou
device: lamp-01
cameras:
  - name: cam-1
    footage: vtest
    scenes:
      - {scene: zone, id: square, zone: [[0, 0], CORNER, [1, 0]]}
      - scene: water
        id: low-point
        road: [[0, 0], [1, 1], [1, 0]]
        gauge:
          foot: [0.5, 1]
          top: [0.5, TOP]
          metres: 1
  - {name: cam-2, footage: bikes}
"""


def _drawn(directory: Path, corner: str = "[1, 1]", top: str = "0") -> Path:
    return write(directory, OUTSIDE.replace("CORNER", corner).replace("TOP", top))


@pytest.mark.parametrize(
    ("corner", "said"),
    [
        (
            "[640, 1]",
            "zone.1.0: expected a share of the picture's width, 0 to 1, got 640; divide pixels by its width",
        ),
        (
            "[1, 480]",
            "zone.1.1: expected a share of the picture's height, 0 to 1, got 480; divide pixels by its height",
        ),
        ("[1.5, 1]", "zone.1.0: expected a share of the picture's width, 0 to 1, got 1.5"),
        ("[-0.1, 1]", "zone.1.0: expected a share of the picture's width, 0 to 1, got -0.1"),
    ],
)
def test_a_zone_outside_the_picture_is_its_cameras_fault_alone_and_has_a_line(
    tmp_path: Path, corner: str, said: str
) -> None:
    path = _drawn(tmp_path, corner)
    one, two = load_device(path).cameras
    (fault,) = drawn_outside(path)
    assert str(fault).startswith(f"{path}:7: cameras.0.scenes.0.{said}")
    with pytest.raises(OutsideError, match="expected scene square within the picture") as blind:
        check_drawn(one.scenes)
    assert said in blind.value.message
    check_drawn(two.scenes)


def test_a_gauge_line_that_leaves_the_picture_is_said_too(tmp_path: Path) -> None:
    (fault,) = drawn_outside(_drawn(tmp_path, top="-0.2"))
    assert (fault.line, fault.key) == (13, "cameras.0.scenes.1.gauge.top.1")


@pytest.mark.parametrize("corner", ["[.nan, 1]", "[left, 1]", "[1]"])
def test_a_corner_that_is_no_place_at_all_is_refused_with_its_line_and_what_else_is_wrong(
    tmp_path: Path, corner: str
) -> None:
    with pytest.raises(InvalidConfigError) as refused:
        load_device(_drawn(tmp_path, corner, top="7"))
    assert [fault.line for fault in refused.value.faults][-1] == 13
    assert "box.yaml:7: cameras.0.scenes.0.zone" in refused.value.message


def test_scenes_are_read_anew_once_their_file_has_changed_and_can_be_read(tmp_path: Path) -> None:
    path = _drawn(tmp_path, "[640, 1]")
    redrawn = Redrawn(path, "cam-1")
    assert redrawn() == load_device(path).cameras[0]
    assert redrawn() is None
    path.write_text(path.read_text() + "sensors: 7\n")
    with structlog.testing.capture_logs() as logs:
        assert (redrawn(), redrawn()) == (None, None)
    assert [(log["event"], log["camera"]) for log in logs] == [("camera.not_redrawn", "cam-1")]
    assert "sensors" in logs[0]["message"]
    camera = redrawn() if _drawn(tmp_path, "[0.5, 1]") else None
    assert camera is not None
    check_drawn(camera.scenes)
    path.unlink()
    assert redrawn() is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rtsp: {url: 'rtsp://viewer:pw@192.0.2.1/1'}", "credential_file"),
        ("rtsp: {url: 'http://192.0.2.1/1'}", "rtsp://host/path"),
        ("rtsp: {url: 'rtsp://192.0.2.1/1', transport: tpc}", "tcp"),
        ("usb: {device: /dev/video0, width: 5}", "64"),
        ("stills: {directory: a, every_s: 0}", "greater than 0"),
    ],
)
def test_a_camera_that_cannot_be_is_refused_with_what_can(tmp_path: Path, source: str, said: str) -> None:
    text = f"site: gulou\ndevice: lamp-01\ncameras:\n  - name: cam-1\n    {source}\n"
    with pytest.raises(InvalidConfigError) as refused:
        load_device(write(tmp_path, text))
    assert "box.yaml:5" in refused.value.message
    assert said in refused.value.message


def test_where_pictures_come_from_is_told_whole_and_without_secrets(tmp_path: Path) -> None:
    beside = tmp_path / "devices" / "box.yaml"
    cameras = config(
        cameras=[
            {"name": "a", "rtsp": {"url": "rtsp://192.0.2.1/1"}},
            {"name": "b", "usb": {"device": "/dev/video0"}},
            {"name": "c", "stills": {"directory": "uploads"}},
            {"name": "d", "path": "film.mp4"},
        ]
    ).cameras
    assert [camera.source for camera in cameras] == [
        "camera rtsp://192.0.2.1/1",
        "camera /dev/video0",
        "pictures uploads",
        "footage film.mp4",
    ]
    stills, film = source_of(cameras[2], beside, {}), source_of(cameras[3], beside, {})
    assert isinstance(stills, StillsSettings)
    assert stills.directory == beside.parent / "uploads"
    assert film == beside.parent / "film.mp4"
