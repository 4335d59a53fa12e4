"""GStreamer's RTSP server in a prefix, for tests of cameras that speak RTSP. Standard library only.

It comes from Debian's archive like database and broker. Of the hundreds of packages in the closure of its plugins
(drawing, sound, encoders) only those are taken that serve H.264, H.265 and JPEG from memory: some 30 MB. The server
itself is a script of a few lines (``tests/fixtures/rtsp-serve``) that the prefix's own Python runs.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from local.errors import SetupError
from local.paths import data_directory
from local.prefix import PackageSet, ensure_prefix, is_unpacked
from local.progress import Progress
from local.wrapping import find_loader, library_directories, wrap

_PYTHON = "usr/bin/python3.13"
_WANTED = (
    "gir1.2-gst-rtsp-server-1.0",
    "python3-gi",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
)
_TAKEN = (
    *_WANTED,
    "libc6|libgcc-s1|libstdc\\+\\+6|libatomic1|zlib1g|libexpat1|libssl3t64|libbz2-1.0|liblzma5|libzstd1",
    "libpython3.13-minimal|libpython3.13-stdlib|python3.13-minimal|python3.13",
    "libglib2.0-0t64|libffi8|libpcre2-8-0|libselinux1|libmount1|libblkid1|libcap2|libelf1t64|liborc-0.4-0t64",
    "gir1.2-glib-2.0|gir1.2-girepository-2.0|libgirepository-1.0-1|libgirepository-2.0-0",
    "gir1.2-gstreamer-1.0|gir1.2-gst-plugins-base-1.0|libgstrtspserver-1.0-0",
    "libgstreamer1.0-0|libgstreamer-plugins-base1.0-0|libgstreamer-plugins-bad1.0-0|gstreamer1.0-plugins-base",
    "libdw1t64|libunwind8|libudev1|libgudev-1.0-0",
)
#: All other plugins go: most would look in vain for libraries that were left out, at every start.
_PLUGINS = ("app", "coreelements", "rtp", "rtpmanager", "typefindfunctions", "udp", "videoparsersbad")
_SCRIPT = """\
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
needed = ["appsrc", "h264parse", "h265parse", "rtph264pay", "rtph265pay", "rtpjpegpay", "rtpbin", "udpsrc"]
print(*[name for name in needed if Gst.ElementFactory.find(name) is None])
"""


def rtsp_prefix() -> Path:
    """The directory that the RTSP server is unpacked to."""
    return data_directory() / "prefix" / "rtsp"


def rtsp_python() -> Path:
    """The Python that has GStreamer's RTSP server; raises SetupError before the set-up."""
    found = rtsp_prefix() / _PYTHON
    if not found.exists():
        raise SetupError(
            f"the RTSP server of the tests is not set up: {found} does not exist",
            "run `python3 -m local.bootstrap --only rtsp`, which `make test` does too",
        )
    return found


def rtsp_is_ready() -> bool:
    """Whether the server can be started without any further set-up."""
    return is_unpacked(rtsp_prefix(), _packages())


def ensure_rtsp(progress: Progress) -> None:
    """Fetch and unpack the server; does nothing where that is done. Raises SetupError."""
    ensure_prefix(rtsp_prefix(), _packages(), progress)


def _packages() -> PackageSet:
    return PackageSet(
        title="RTSP server",
        names=_WANTED,
        left_out=(f"(?!(?:{'|'.join(_TAKEN)})$).*",),
        pruned=("etc", "var", "usr/share/doc", "usr/share/man", "usr/share/locale"),
        suite="trixie",
        room_bytes=200_000_000,
        finish=_finish,
    )


def _finish(prefix: Path) -> None:
    """Put the Python behind its wrapper and see that it finds every part of the server."""
    libraries = library_directories(prefix)
    plugins = next(prefix.glob("usr/lib/*/gstreamer-1.0")).relative_to(prefix)
    kept = {f"libgst{name}.so" for name in _PLUGINS}
    for plugin in (prefix / plugins).iterdir():
        if plugin.is_file() and plugin.name not in kept:
            plugin.unlink()
    environment = {
        "PYTHONHOME": "$root/usr",
        "PYTHONPATH": "$root/usr/lib/python3/dist-packages",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GI_TYPELIB_PATH": f"$root/{plugins.parent}/girepository-1.0",
        "GST_PLUGIN_SYSTEM_PATH_1_0": f"$root/{plugins}",
        "GST_REGISTRY": "$root/gstreamer-registry.bin",
        # The scanner would be a program of its own that needs a wrapper too.
        "GST_REGISTRY_FORK": "no",
    }
    wrap(prefix / _PYTHON, prefix, find_loader(prefix), libraries, environment)
    # Also writes the registry of plugins, so that servers start at once.
    tried = subprocess.run([prefix / _PYTHON, "-c", _SCRIPT], capture_output=True, text=True, check=False)
    if tried.returncode or tried.stdout.strip():
        said = tried.stdout.strip() or (tried.stderr.strip().splitlines() or ["nothing"])[-1]
        raise SetupError(
            f"the unpacked RTSP server is not complete: {said}",
            "this Debian release packages it differently; tests of RTSP cameras cannot run here",
        )
