"""Footage out of a real Debian package, and the demo's freedom to run without it."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from local.errors import SetupError
from local.footage import ensure_footage, extract_member, find_footage, needs_footage
from local.progress import Progress


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A Debian package of two files."""
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: samples\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: x\n"
    )
    data = tree / "usr/share/doc/samples"
    data.mkdir(parents=True)
    (data / "street.avi").write_bytes(b"moving pictures")
    (data / "large.bin").write_bytes(bytes(5_000_000))
    built = tmp_path / "samples_1_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, built], check=True, capture_output=True)
    return built


def test_one_file_is_taken_out_of_a_package(package: Path, tmp_path: Path) -> None:
    extract_member(package, "street.avi", tmp_path / "out.avi")
    assert (tmp_path / "out.avi").read_bytes() == b"moving pictures"


def test_a_file_that_a_package_does_not_have_is_told(package: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"has no file missing\.avi"):
        extract_member(package, "missing.avi", tmp_path / "out.avi")


def test_something_that_is_no_package_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken.deb"
    broken.write_bytes(b"no archive at all")
    with pytest.raises(SetupError, match=r"broken\.deb"):
        extract_member(broken, "street.avi", tmp_path / "out.avi")


def test_without_the_archive_the_reason_is_said_once_and_the_set_up_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    said = io.StringIO()
    assert needs_footage()
    assert ensure_footage(Progress(said)) is None
    assert "the demo runs without vtest.avi: apt-get is not on the PATH" in said.getvalue()
    assert not needs_footage(), "it is not tried again at once"


def test_a_video_that_is_not_the_known_one_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    video = tmp_path / "drumtower" / "footage" / "vtest.avi"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"something else")
    assert find_footage() is None
