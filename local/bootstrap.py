"""Set everything up on a bare machine: `python3 -m local.bootstrap`, which is what `make setup` runs.

Runs on the system's Python before the virtual environment exists, so it and what it imports use the standard
library alone. Doing it twice does nothing the second time.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - said here, in words, before newer syntax below fails to import
    sys.exit(
        f"error: Python 3.11 or later is needed, and this is {sys.version.split()[0]}\n"
        "  what to do: run `make PYTHON=python3.11 setup` with the name of a newer Python"
    )

import argparse
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local import attempts
from local.apt import require_apt
from local.browser import browser_is_ready, ensure_browser
from local.checkers import checkers_are_ready, ensure_checkers
from local.errors import SetupError
from local.footage import ensure_footage, needs_footage
from local.packages import ensure_services, services_are_ready
from local.progress import Progress
from local.promtool import ensure_promtool, promtool_is_ready
from local.python_packages import ensure_python, python_is_ready
from local.rtsp import ensure_rtsp, rtsp_is_ready
from local.training import ensure_training, training_is_ready, training_requirement

_HELP_END = """\
what it does:
  python    a virtual environment in .venv with the pinned packages of requirements/dev.txt
  services  TimescaleDB and Mosquitto from Debian's archive, unpacked to a private prefix; nothing of the system
            changes, and where both are installed already (or DRUMTOWER_DATABASE_URL and DRUMTOWER_BROKER_URL
            name your own) nothing is fetched
  footage   a street video from Debian's archive; the demo uses a bundled one where it cannot be had
  browser   Chromium and a Chinese font, for tests and screenshots only
  rtsp      GStreamer's RTSP server, for tests of cameras only
  checkers  Compose and systemd's verifier, for tests of docker/ only
  promtool  Prometheus' own checker, for tests of the alert rules only
  training  PyTorch without an accelerator, in an environment of its own, for tests of training only; where pip has
            no such build, --with goes on without it, says so, and tries again a day later

environment:
  DRUMTOWER_DATA   where prefix, databases and logs are (default: .drumtower in the repository)
  XDG_CACHE_HOME   downloads are kept in drumtower/ below it, for all clones (default: ~/.cache)
  apt and pip use the sources, proxies and mirrors that they are configured for on this machine

examples:
  python3 -m local.bootstrap
  python3 -m local.bootstrap --again
  python3 -m local.bootstrap --with browser
  python3 -m local.bootstrap --only services
"""


@dataclass(frozen=True)
class Part:
    """One part of the set-up: whether it is up to date, and what brings it there.

    What is optional is not to be had for every machine; asked for beside others it stops nobody, and where it could not be
    had it is not tried again for a day while its requirement stays the same.
    """

    is_ready: Callable[[], bool]
    ensure: Callable[[Progress], object]
    optional: bool = False
    requirement: Callable[[], Mapping[str, str]] = dict


def _services_are_elsewhere() -> bool:
    return bool(os.environ.get("DRUMTOWER_DATABASE_URL") and os.environ.get("DRUMTOWER_BROKER_URL"))


PARTS = {
    "python": Part(python_is_ready, ensure_python),
    "services": Part(lambda: _services_are_elsewhere() or services_are_ready(), ensure_services),
    "footage": Part(lambda: not needs_footage(), ensure_footage),
    "browser": Part(browser_is_ready, ensure_browser),
    "rtsp": Part(rtsp_is_ready, ensure_rtsp),
    "checkers": Part(checkers_are_ready, ensure_checkers),
    "promtool": Part(promtool_is_ready, ensure_promtool),
    "training": Part(training_is_ready, ensure_training, optional=True, requirement=training_requirement),
}
_USUAL = ("python", "services", "footage")


def set_up(names: list[str], progress: Progress, *, demanded: bool = True) -> None:
    """Bring the parts `names` up to date; raises SetupError at the first that cannot be.

    Unless all are demanded, an optional one that cannot be had, or lately could not, is told and left out.
    """
    started = time.monotonic()
    missing = [name for name in names if not PARTS[name].is_ready()]
    due = [name for name in missing if demanded or not _could_not_be_had(name, progress)]
    if not due:
        progress.say("everything else is set up" if missing else "everything is set up")
        return
    progress.say(f"setting up {', '.join(due)} (the first time takes a minute or two)")
    if "services" in due:
        require_apt()  # said now, not after a quarter of a gigabyte of Python packages
    for name in due:
        _set_up_one(name, progress, demanded=demanded)
    progress.say(f"set up in {time.monotonic() - started:.0f} s")


def _set_up_one(name: str, progress: Progress, *, demanded: bool) -> None:
    part = PARTS[name]
    try:
        part.ensure(progress)
    except SetupError as error:
        if part.optional:
            attempts.remember(name, part.requirement(), error.message)
        if demanded or not part.optional:
            raise
        progress.say(f"{name} is left out, and its tests will say so: {error.message}")
        progress.say(f"  what to do: {error.hint}")
    else:
        attempts.forget(name)


def _could_not_be_had(name: str, progress: Progress) -> bool:
    """Whether a part is not worth another try yet; says so."""
    part = PARTS[name]
    failure = attempts.failed_lately(name, part.requirement()) if part.optional else None
    if failure is None:
        return False
    progress.say(
        f"{name} is left out, and its tests will say so: it could not be had at {failure.when} ({failure.reason});"
        " `make setup` tries again at once"
    )
    return True


def _forget_failures() -> list[str]:
    """The parts that could not be had, no longer remembered as such."""
    failed = [name for name in attempts.failed_parts() if name in PARTS]
    for name in failed:
        attempts.forget(name)
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="python3 -m local.bootstrap",
        description="Set Drumtower up on this machine: no root needed, no Docker, nothing of the system changed.",
        epilog=_HELP_END,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", choices=list(PARTS), action="append", help="this part alone (may be repeated)"
    )
    parser.add_argument(
        "--with",
        choices=["browser", "rtsp", "checkers", "promtool", "training"],
        action="append",
        dest="also",
        default=[],
        help="and this part as well",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="and the parts that could not be had lately, as `make setup` does",
    )
    chosen = parser.parse_args(arguments)
    if chosen.only and chosen.again:
        parser.error(
            "expected --only or --again, found both: --only tries its part at once, whatever could not be had lately;"
            " leave --again out"
        )
    progress = Progress()
    try:
        if chosen.again:
            chosen.also += _forget_failures()
        parts = list(dict.fromkeys(chosen.only or [*_USUAL, *chosen.also]))
        set_up(parts, progress, demanded=bool(chosen.only))
    except SetupError as error:
        progress.say(f"error: {error.message}")
        progress.say(f"  what to do: {error.hint}")
        return 1
    except OSError as error:  # a full disk or a missing permission, wherever it shows first
        progress.say(f"error: {error.strerror}: {error.filename or 'while writing'}")
        progress.say("  what to do: check the space and permissions of DRUMTOWER_DATA and XDG_CACHE_HOME")
        return 1
    except KeyboardInterrupt:
        progress.say("interrupted; run the same command again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
