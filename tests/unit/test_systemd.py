"""docker/systemd/: units that systemd's own verifier takes, with commands that there are, and secrets as credentials."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer

from common.runtime.cli import GROUP
from edge.settings import UplinkSettings
from local.checkers import unit_verifier

REPOSITORY = Path(__file__).parents[2]
UNITS = REPOSITORY / "docker" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
PROGRAM = "/opt/drumtower/bin/drumtower"
#: Of ten, where ten is a service that may do anything; systemd calls up to two and a half OK.
EXPOSED = 25


def settings(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[":
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with a program that is on this machine: the verifier looks whether there is one."""
    here = shutil.which("true")
    for unit in [*SERVICES, *UNITS.glob("*.timer")]:
        text = unit.read_text(encoding="utf-8").replace(PROGRAM, str(here))
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    return tmp_path


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [unit_verifier(), *words], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}
    )


def test_systemd_takes_every_unit_without_a_word(installed: Path) -> None:
    ran = analyze("verify", "--man=no", *sorted(installed.iterdir()))
    said = [line for line in ran.stderr.splitlines() if "drumtower" in line]
    assert (ran.returncode, said) == (0, []), ran.stderr


def test_systemd_would_not_take_a_unit_that_is_wrong(installed: Path) -> None:
    unit = installed / "drumtower-gateway.service"
    unit.write_text(
        unit.read_text(encoding="utf-8").replace("Restart=always", "Restart=ever"), encoding="utf-8"
    )
    assert "restart specifier" in analyze("verify", "--man=no", unit).stderr


@pytest.mark.parametrize("service", SERVICES, ids=lambda unit: unit.stem)
def test_a_service_may_do_little(installed: Path, service: Path) -> None:
    ran = analyze("security", "--offline=yes", f"--threshold={EXPOSED}", installed / service.name)
    assert ran.returncode == 0, ran.stdout.splitlines()[-1]
    said = settings(service)
    assert said["User"] == ["drumtower"]
    assert said["NoNewPrivileges"] == ["yes"]
    assert said["ProtectSystem"] == ["strict"]


def command(service: Path) -> list[str]:
    (line,) = settings(service)["ExecStart"]
    words = shlex.split(line)
    if words[0] == "/bin/sh":
        words = shlex.split(words[2].removeprefix("exec "))
    assert words[0] == PROGRAM
    return words[1:]


@pytest.mark.parametrize("service", SERVICES, ids=lambda unit: unit.stem)
def test_what_a_service_starts_is_what_our_command_line_takes(service: Path) -> None:
    words = command(service)
    points = {point.name: point for point in entry_points(group=GROUP)}
    here: Any = typer.main.get_command(points[words[0]].load())
    rest = words[1:]
    while getattr(here, "commands", None):
        here, rest = here.commands[rest[0]], rest[1:]
    # The parser itself reads the line, with its types and limits; a missing value or a stray word is an error.
    assert here.make_context("drumtower", list(rest))


def test_every_variable_is_one_that_the_operators_page_lists() -> None:
    told = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    for file in UNITS.iterdir():
        for variable in re.findall(r"DRUMTOWER_[A-Z_]+", file.read_text(encoding="utf-8")):
            assert f"`{variable}`" in told, (file.name, variable)


def test_every_secret_is_a_credential_and_none_stands_in_a_unit_or_its_environment() -> None:
    for service in SERVICES:
        said = settings(service)
        loaded = {name.split(":")[0] for name in said.get("LoadCredential", [])}
        used = [value for value in said.get("Environment", []) if "%d/" in value]
        used += [value.split()[-2] for value in said.get("ExecStartPre", [])]
        assert {value.split("%d/")[1] for value in used} == loaded
        assert all(
            name.split(":")[1].startswith("/etc/drumtower/credentials/")
            for name in said.get("LoadCredential", [])
        )
    for file in UNITS.iterdir():
        assert not re.search(r"://[^/\s]*:[^/\s@]*@", file.read_text(encoding="utf-8")), file.name


@pytest.mark.parametrize(
    "service", [one for one in SERVICES if "pgpass" in one.read_text()], ids=lambda unit: unit.stem
)
def test_the_password_file_is_a_copy_that_libpq_takes(service: Path) -> None:
    said = settings(service)
    (directory,) = said["RuntimeDirectory"]
    copy = f"%t/{directory}/pgpass"
    assert said["RuntimeDirectoryMode"] == ["0700"]
    assert said["ExecStartPre"] == [f"/usr/bin/install -m 0600 %d/pgpass {copy}"]
    assert f"PGPASSFILE={copy}" in said["Environment"]
    assert Path("/usr/bin/install").is_file()
    assert directory.replace("%i", "") == service.stem.replace("@", "-")


def test_the_web_interface_is_given_the_keys_of_personal_data() -> None:
    said = settings(UNITS / "drumtower-cloud-web.service")
    assert "personal.keys:/etc/drumtower/credentials/personal.keys" in said["LoadCredential"]
    assert "DRUMTOWER_PERSONAL_KEYS_FILE=%d/personal.keys" in said["Environment"]
    told = (UNITS / "README.md").read_text(encoding="utf-8")
    assert "personal new-key --file /etc/drumtower/credentials/personal.keys" in told


def test_every_file_of_variables_has_an_example_and_every_unit_a_row_that_tells_of_it() -> None:
    read = (UNITS / "README.md").read_text(encoding="utf-8")
    for unit in SERVICES:
        for file in settings(unit).get("EnvironmentFile", []):
            assert (UNITS / f"{Path(file).name}.example").is_file()
        assert f"`{unit.stem.removesuffix('.service')}" in read.replace("-backup.timer", "-backup")


def test_a_service_that_stays_comes_back_and_is_given_time_to_end_in_order() -> None:
    for service in SERVICES:
        said = settings(service)
        if said["Type"] == ["oneshot"]:
            continue
        assert said["Restart"] == ["always"]
        assert said["StartLimitIntervalSec"] == ["0"]
        (seconds,) = said["TimeoutStopSec"]
        assert float(seconds.removesuffix("s")) >= 2 * UplinkSettings().drain_s
        assert "WatchdogSec" not in said, "nobody would answer it"
