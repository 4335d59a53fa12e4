"""Where the set-up keeps things, and the locks that let two set-ups run at once. Standard library only."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from local.errors import SetupError

REPOSITORY = Path(__file__).resolve().parents[1]


def data_directory() -> Path:
    """The directory of this clone's prefix, databases, keys and logs: `DRUMTOWER_DATA` or `<repository>/.drumtower`.

    Raises SetupError where the path holds a character that the dynamic loader or a shell wrapper cannot carry.
    """
    chosen = os.environ.get("DRUMTOWER_DATA", "")
    directory = Path(chosen).expanduser().absolute() if chosen else REPOSITORY / ".drumtower"
    # The dynamic loader splits its --library-path at ':' and ';' and expands '$'; there is no escaping.
    forbidden = sorted({character for character in str(directory) if character in ':;$"\\`\n'})
    if forbidden:
        raise SetupError(
            f"the data directory {str(directory)!r} holds {' '.join(map(repr, forbidden))}, which a library path "
            "cannot hold",
            "set DRUMTOWER_DATA to a directory with a plainer name",
        )
    return directory


def cache_directory() -> Path:
    """The directory of downloads that all clones of one user share: `$XDG_CACHE_HOME/drumtower`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if base:
        return Path(base).expanduser().absolute() / "drumtower"
    try:
        return Path.home() / ".cache" / "drumtower"
    except RuntimeError as error:
        raise SetupError(
            "this account has no home directory to keep downloads in", "set XDG_CACHE_HOME"
        ) from error


def make_directory(directory: Path) -> Path:
    """Create `directory` with its parents; raises SetupError in one clear line where that is not possible."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"cannot create {directory}: {error.strerror}",
            "set DRUMTOWER_DATA and XDG_CACHE_HOME to directories that this account may write",
        ) from error
    return directory


@contextmanager
def exclusive_lock(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the file lock `path`; `on_wait` is called once where another process holds it.

    The kernel drops the lock with the process, so a killed set-up never leaves one behind.
    """
    make_directory(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SetupError(
            f"cannot write {path}: {error.strerror}",
            "set DRUMTOWER_DATA and XDG_CACHE_HOME to directories that this account may write",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write `content` so that a reader sees the old file or the new one, never half of one."""
    make_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(mode)
    temporary.replace(path)
