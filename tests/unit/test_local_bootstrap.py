"""The set-up: what it says when something is missing, and that two of them do not collide."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from local import attempts, bootstrap, python_packages, training
from local.errors import SetupError
from local.packages import service_binaries
from local.paths import REPOSITORY, data_directory, exclusive_lock, write_atomically
from local.prefix import require_room
from local.progress import Progress
from local.python_packages import explain


def run_set_up(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local.bootstrap", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )


def test_without_apt_the_set_up_says_so_in_one_line_and_what_to_do(tmp_path: Path) -> None:
    ended = run_set_up(
        "--only", "services", PATH=str(tmp_path), DRUMTOWER_DATA=str(tmp_path), XDG_CACHE_HOME=str(tmp_path)
    )
    lines = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert [line for line in lines if line.startswith("error: apt-get is not on the PATH")]
    assert lines[-1].startswith("  what to do: ")
    assert "Traceback" not in ended.stderr


def test_a_missing_apt_is_told_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def must_not_run(progress: Progress) -> None:
        pytest.fail("Python packages were fetched first")

    monkeypatch.setenv("PATH", str(tmp_path))
    parts = {name: bootstrap.Part(lambda: False, must_not_run) for name in ("python", "services")}
    monkeypatch.setattr(bootstrap, "PARTS", parts)
    with pytest.raises(SetupError, match="apt-get is not on the PATH"):
        bootstrap.set_up(["python", "services"], Progress(io.StringIO()))


def test_servers_of_ones_own_make_the_service_packages_needless(tmp_path: Path) -> None:
    ended = run_set_up(
        "--only",
        "services",
        PATH=str(tmp_path),
        DRUMTOWER_DATA=str(tmp_path),
        DRUMTOWER_DATABASE_URL="postgresql://db.example/drumtower",
        DRUMTOWER_BROKER_URL="mqtts://broker.example:8883",
    )
    assert ended.returncode == 0, ended.stderr


def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run_set_up("--only", "services", DRUMTOWER_DATA=str(tmp_path / "file" / "data"))
    assert ended.returncode == 1
    assert "error: cannot create" in ended.stderr
    assert "DRUMTOWER_DATA" in ended.stderr


def test_a_data_directory_that_a_library_path_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", "/tmp/a:b")
    with pytest.raises(SetupError, match="cannot hold"):
        data_directory()


def test_servers_asked_for_before_the_set_up_name_the_command_to_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    monkeypatch.setattr("local.packages.system_postgres", lambda: None)
    with pytest.raises(SetupError, match="postgres is not set up") as refused:
        service_binaries()
    assert "make setup" in refused.value.hint


def test_the_help_teaches_parts_and_environment() -> None:
    ended = run_set_up("--help")
    assert ended.returncode == 0
    for word in ("services", "footage", "browser", "DRUMTOWER_DATA", "XDG_CACHE_HOME", "examples:"):
        assert word in ended.stdout


def test_a_wrong_part_is_a_usage_error() -> None:
    ended = run_set_up("--only", "kitchen")
    assert ended.returncode == 2
    assert "choose from" in ended.stderr


def test_too_small_a_disk_is_told_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"MB free, and \d+ MB are needed"):
        require_room(tmp_path, 10**18)


def test_too_small_a_disk_for_the_environment_sends_the_clone_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    monkeypatch.setattr(python_packages, "_STAMP", tmp_path / "stamp")
    monkeypatch.setattr(python_packages, "_ROOM_BYTES", 10**18)
    with pytest.raises(SetupError) as refused:
        python_packages.ensure_python(Progress(io.StringIO()))
    assert refused.value.hint == "free some space, or clone the repository to a roomier disk"


def test_a_python_without_ensurepip_names_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    monkeypatch.setattr(python_packages, "ENVIRONMENT", tmp_path / "venv")
    monkeypatch.setattr(python_packages, "_STAMP", tmp_path / "venv" / "stamp")
    monkeypatch.setattr(python_packages, "lacks_ensurepip", lambda: True)
    with pytest.raises(SetupError, match="ensurepip is missing") as refused:
        python_packages.ensure_python(Progress(io.StringIO()))
    assert "python3-venv" in refused.value.hint


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n    rich==14.1 from x:\n"
            "        Expected sha256 00\n",
            "not the one that was pinned – pip: rich==14.1",
        ),
        ("WARNING: Retrying: NewConnectionError: Temporary failure in name resolution", "cannot be reached"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: No matching distribution found for av==99", "does not have a pinned package"),
        ("ERROR: something else", "something else"),
    ],
)
def test_each_failure_of_pip_becomes_one_line_and_names_the_log(output: str, message: str) -> None:
    error = explain(output, Path("pip.log"))
    assert message in error.message
    assert "\n" not in error.message
    assert "pip.log" in error.hint


def test_an_environment_of_another_list_of_packages_is_not_up_to_date(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pinned = tmp_path / "dev.txt"
    pinned.write_text("rich==14.1\n")
    monkeypatch.setattr(python_packages, "_REQUIREMENTS", pinned)
    monkeypatch.setattr(python_packages, "_STAMP", tmp_path / "stamp.json")
    assert not python_packages.python_is_ready()
    python_packages.write_stamp()
    assert python_packages.python_is_ready()
    pinned.write_text("rich==14.2\n")
    assert not python_packages.python_is_ready()


def test_a_part_that_is_up_to_date_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def must_not_run(progress: Progress) -> None:
        pytest.fail("a part that is ready was set up again")

    part = bootstrap.Part(lambda: True, must_not_run)
    monkeypatch.setattr(bootstrap, "PARTS", {"services": part})
    said = io.StringIO()
    bootstrap.set_up(["services"], Progress(said))
    assert said.getvalue() == "everything is set up\n"


def test_a_lock_is_held_by_one_at_a_time_and_waiting_is_told(tmp_path: Path) -> None:
    waits = threading.Event()
    order: list[str] = []

    def second() -> None:
        with exclusive_lock(tmp_path / "lock", waits.set):
            order.append("second")

    with exclusive_lock(tmp_path / "lock"):
        other = threading.Thread(target=second)
        other.start()
        assert waits.wait(10)
        time.sleep(0.05)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]


def test_a_file_is_replaced_whole_and_with_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "secret"
    write_atomically(target, b"old", 0o600)
    write_atomically(target, b"new", 0o600)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_step_that_fails_says_so_on_one_plain_line() -> None:
    said = io.StringIO()
    with pytest.raises(ValueError, match="broken"), Progress(said).step("fetch things") as step:  # noqa: PT012
        step.megabytes(3_000_000, 40_000_000)
        raise ValueError("broken")
    assert said.getvalue().startswith("  fetch things: failed, 3 of 40 MB")
    assert said.getvalue().count("\n") == 1


def _refusing(progress: Progress) -> None:
    raise SetupError("no index has it", "name another index")


def test_an_optional_part_that_cannot_be_had_is_told_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    said = io.StringIO()
    made: list[str] = []
    parts = {
        "training": bootstrap.Part(lambda: False, _refusing, optional=True),
        "rtsp": bootstrap.Part(lambda: False, lambda _: made.append("rtsp")),
    }
    monkeypatch.setattr(bootstrap, "PARTS", parts)
    bootstrap.set_up(["training", "rtsp"], Progress(said), demanded=False)
    assert made == ["rtsp"]
    assert "training is left out, and its tests will say so: no index has it" in said.getvalue()
    with pytest.raises(SetupError, match="no index has it"):
        bootstrap.set_up(["training"], Progress(said))


def _training(ensure: Callable[[Progress], object], **requirement: str) -> dict[str, bootstrap.Part]:
    return {"training": bootstrap.Part(lambda: False, ensure, optional=True, requirement=lambda: requirement)}


def test_a_part_that_could_not_be_had_is_not_tried_again_for_a_day_unless_somebody_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    tried: list[float] = []
    now = [1_767_225_600.0]
    monkeypatch.setattr(time, "time", lambda: now[0])

    def refusing(progress: Progress) -> None:
        tried.append(now[0])
        _refusing(progress)

    def set_up(*, demanded: bool = False, torch: str = "2") -> str:
        monkeypatch.setattr(bootstrap, "PARTS", _training(refusing, torch=torch))
        said = io.StringIO()
        bootstrap.set_up(["training"], Progress(said), demanded=demanded)
        return said.getvalue()

    assert "what to do: name another index" in set_up()
    now[0] += 86_000
    told = set_up()
    assert len(tried) == 1
    assert told.splitlines()[1:] == ["everything else is set up"]
    for part in (
        "training is left out",
        "could not be had at 20",
        "(no index has it)",
        "`make setup` tries again",
    ):
        assert part in told.splitlines()[0]
    with pytest.raises(SetupError, match="no index has it"):
        set_up(demanded=True)
    assert len(tried) == 2, "asked for by its name"
    now[0] += 86_000
    set_up()
    assert len(tried) == 2, "the last attempt counts"
    set_up(torch="3")
    assert len(tried) == 3, "another build is wanted"
    now[0] += 86_401
    set_up(torch="3")
    assert len(tried) == 4, "a day has passed"
    now[0] -= 3600
    set_up(torch="3")
    assert len(tried) == 5, "the clock was set back: nobody knows how long ago that was"


def test_what_could_not_be_had_is_tried_by_make_setup_and_forgotten_once_it_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    monkeypatch.setattr(bootstrap, "_USUAL", ())
    made: list[str] = []
    monkeypatch.setattr(bootstrap, "PARTS", _training(lambda _: made.append("training")))
    assert bootstrap.main(["--again"]) == 0
    assert made == [], "nobody asked for it yet"
    monkeypatch.setattr(bootstrap, "PARTS", _training(_refusing))
    assert bootstrap.main(["--with", "training"]) == 0
    monkeypatch.setattr(bootstrap, "PARTS", _training(lambda _: made.append("training")))
    assert bootstrap.main(["--with", "training"]) == 0
    assert made == []
    assert bootstrap.main(["--again"]) == 0
    assert made == ["training"]
    assert attempts.failed_parts() == []


def test_one_part_alone_and_all_that_could_not_be_had_are_not_asked_for_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    attempts.remember("training", {}, "no index has it")
    with pytest.raises(SystemExit) as ended:
        bootstrap.main(["--only", "python", "--again"])
    assert ended.value.code == 2
    assert "expected --only or --again, found both" in capsys.readouterr().err
    assert attempts.failed_parts() == ["training"], "nothing is forgotten that nobody tries"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"training": 7}', '{"training": {"at": 1}}'])
def test_a_memory_that_cannot_be_read_costs_one_more_try(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    (tmp_path / "not_had.json").write_text(content, encoding="utf-8")
    assert attempts.failed_lately("training", {}) is None
    attempts.remember("training", {"torch": "2"}, "no index has it")
    assert attempts.failed_lately("training", {"torch": "2"}) is not None


def test_make_setup_tries_again_and_what_begins_with_it_does_not() -> None:
    def told(*goals: str) -> str:
        command = ["make", "--dry-run", "--no-print-directory", *goals]
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    assert "local.bootstrap --again" in told("setup")
    assert "--again" not in told("check")


def test_what_training_needs_is_installed_again_when_its_pins_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    pins = tmp_path / "torch.txt"
    pins.write_text("torch==2\n", encoding="utf-8")
    monkeypatch.setattr(training, "_LISTS", (pins,))
    assert training.training_python() is None
    training.write_stamp()
    assert training.training_python() == tmp_path / "training" / "bin" / "python"
    pins.write_text("torch==3\n", encoding="utf-8")
    assert training.training_python() is None


@pytest.mark.parametrize(
    "machine",
    [
        ("CPython", "Linux", "x86_64", "3.12"),
        ("CPython", "Linux", "x86_64", "3.13"),
        ("CPython", "Linux", "aarch64", "3.11"),
        ("PyPy", "Linux", "x86_64", "3.11"),
    ],
)
def test_a_python_that_no_build_of_torch_is_pinned_for_is_told_before_pip_calls_it_a_forgery(
    machine: tuple[str, str, str, str],
) -> None:
    with pytest.raises(SetupError, match="no build of torch for this Python is pinned") as caught:
        training.require_build(machine)
    assert "expected CPython 3.11 on Linux x86_64" in caught.value.message
    assert "DRUMTOWER_TRAINER" in caught.value.hint
    training.require_build(("CPython", "Linux", "x86_64", "3.11"))


def test_torch_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRUMTOWER_DATA", str(tmp_path))
    monkeypatch.setattr(training, "_BUILT_FOR", ("CPython", "Linux", "x86_64", "3.99"))
    with pytest.raises(SetupError, match="no build of torch for this Python"):
        training.ensure_training(Progress(io.StringIO()))
    assert not training.training_environment().exists()


def test_the_one_build_that_torchs_list_has_a_hash_of_is_the_one_that_is_asked_for() -> None:
    pinned = (Path(__file__).parents[2] / "requirements" / "torch.txt").read_text(encoding="utf-8")
    assert pinned.count("--hash=") == 1, "more builds: local/training.py may take more machines"
    assert "CPython 3.11 on x86-64" in pinned


def test_a_build_of_torch_that_no_index_has_is_told_with_what_else_helps(tmp_path: Path) -> None:
    said = (
        "ERROR: Ignored the following versions that require a different python version: 3.7\n"
        "ERROR: No matching distribution found for torch==2.13.0+cpu\n"
    )
    told = training.not_to_be_had(explain(said, tmp_path / "pip.log"), tmp_path / "pip.log")
    assert "requirements/torch.txt" in told.message
    assert "torch==2.13.0+cpu" in told.message
    assert "DRUMTOWER_TRAINER" in told.hint
