"""``drumtower``: one script; each tier that is installed brings its own sub-command.

Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 a part that is not installed.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from importlib.metadata import EntryPoint, entry_points

import typer

from common.runtime.errors import ConfigError, DrumtowerError, MissingExtraError
from common.runtime.redaction import hide_environment, redacted

GROUP = "drumtower.commands"
_EXTRAS = {
    "demo": "all",
    "services": "all",
    "schema": "gateway",
    "backup": "gateway",
    "rules": "gateway",
    "routing": "cloud",
}


def main() -> None:
    """Run the sub-command that the first argument names."""
    hide_environment(os.environ)
    threading.excepthook = lambda crash: _tell_crash(crash.exc_value, crash.thread)
    try:
        _build(sys.argv[1:2])(standalone_mode=True)
    except DrumtowerError as error:
        print(f"drumtower: {error.code}: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  what to do: {error.hint}", file=sys.stderr)
        sys.exit(_exit_code(error))
    finally:
        # Now, since typer puts its own in place when it starts.
        sys.excepthook = lambda _kind, error, _trace: _tell_crash(error)


def _tell_crash(error: BaseException | None, thread: threading.Thread | None = None) -> None:
    """A bug's traceback, without the secrets that its messages quote."""
    if error is None or isinstance(error, SystemExit):
        return
    where = f"in thread {thread.name}:\n" if thread else ""
    print(redacted(where + "".join(traceback.format_exception(error))), end="", file=sys.stderr, flush=True)


def _exit_code(error: DrumtowerError) -> int:
    if isinstance(error, ConfigError):
        return 2
    return 3 if isinstance(error, MissingExtraError) else 1


def _build(chosen: list[str]) -> typer.Typer:
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        help="Drumtower (鼓楼): from the pixel on a lamp pole to a closed work order.\n\n"
        "Start with [bold]drumtower demo[/bold]; every command tells its options with --help.",
        # A frame around a traceback hides what happened in a service's log, and is not redacted.
        pretty_exceptions_enable=False,
    )
    found = {point.name: point for point in entry_points(group=GROUP)}
    for name, point in sorted(found.items()):
        if not chosen or chosen[0] == name or chosen[0] not in found:
            _add(app, name, point, required=bool(chosen) and chosen[0] == name)
    return app


def _add(app: typer.Typer, name: str, point: EntryPoint, *, required: bool) -> None:
    try:
        app.add_typer(point.load(), name=name)
    except ModuleNotFoundError as error:
        if required:
            extra = _EXTRAS.get(name, name)
            raise MissingExtraError(
                "cli.missing_extra",
                f"'drumtower {name}' needs the module {error.name!r}, which is not installed",
                f"in a clone of the repository: pip install '.[{extra}]'",
            ) from error


if __name__ == "__main__":
    main()
