"""A headless Chromium with a Chinese font, for tests and screenshots. Standard library only.

The system's is used where installed. Else Debian's, of the machine's own release, is unpacked to the prefix and
finds its libraries by LD_LIBRARY_PATH: it starts itself again through /proc/self/exe, so it cannot run behind
the wrapper that the servers run behind, and so it needs the release that fits the machine's own libc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from local.errors import SetupError
from local.paths import data_directory, write_atomically
from local.prefix import PackageSet, ensure_prefix, is_unpacked
from local.progress import Progress

_SYSTEM_NAMES = (
    "chromium",
    "google-chrome",
    "google-chrome-stable",
    "chromium-browser",
    "chromium-headless-shell",
)
_FONT_PACKAGES = ("fonts-wqy-microhei",)
# Playwright's own driver needs it, and a bare machine has it not.
_DRIVER_PACKAGES = ("libatomic1",)
_BROWSER_PACKAGES = ("chromium-headless-shell",)
_EXECUTABLE = "usr/lib/chromium/chromium-headless-shell"
_LEFT_OUT = (
    # Must be the machine's own: its dynamic loader runs the browser.
    "libc6|libc-bin|libc-l10n|locales|tzdata",
    # Drivers of real graphics cards and their compiler; without a display Chromium draws by itself.
    "libgl1-mesa-dri|libllvm[0-9]+.*|libz3-4|libgl1|libglx.*|libglapi-mesa|libvulkan1|mesa-.*|libdrm-(?!2|common).*",
    # Desktop integration, sound servers' tools and maintainer scripts.
    "perl.*|libperl5.*|lib.*-perl|debconf|ucf|sensible-utils|dbus.*|adduser|passwd|init-system-helpers|x11-utils",
    "xdg-utils|libgtk-.*|adwaita-icon-theme|hicolor-icon-theme|shared-mime-info|fontconfig|tar|dpkg",
)
_PRUNED = ("etc", "var", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/chromium/locales")
# Says the order of fonts, so that a screenshot looks alike on a machine with many and on one with none.
_FONT_CONFIGURATION = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>{fonts}</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{cache}</cachedir>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <alias binding="strong"><family>sans-serif</family><prefer>{family}</prefer></alias>
  <alias binding="strong"><family>system-ui</family><prefer>{family}</prefer></alias>
  <alias binding="strong"><family>monospace</family><prefer>{mono}</prefer></alias>
</fontconfig>
"""
_FAMILY = "<family>WenQuanYi Micro Hei</family>"
_MONO = "<family>DejaVu Sans Mono</family><family>WenQuanYi Micro Hei Mono</family>"


@dataclass(frozen=True)
class Browser:
    """How to start Chromium: its program, and the environment it needs (a whole one, to be passed as it is)."""

    executable: Path
    environment: dict[str, str]

    #: Arguments that a run in a container or as root needs.
    arguments: tuple[str, ...] = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu-sandbox")


def system_browser() -> Path | None:
    """The installed Chromium or Chrome, if there is one."""
    for name in _SYSTEM_NAMES:
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    return None


def browser_prefix() -> Path:
    """The directory that browser and font are unpacked to."""
    return data_directory() / "prefix" / "browser"


def _browser_packages() -> PackageSet:
    installed = system_browser() is not None
    return PackageSet(
        title="fonts" if installed else "browser and fonts",
        names=(*_FONT_PACKAGES, *_DRIVER_PACKAGES, *(() if installed else _BROWSER_PACKAGES)),
        left_out=_LEFT_OUT,
        pruned=_PRUNED,
        suite=None,
        room_bytes=50_000_000 if installed else 800_000_000,
        finish=_check,
    )


def browser_is_ready() -> bool:
    """Whether `chromium_command` can answer without any further set-up."""
    return is_unpacked(browser_prefix(), _browser_packages())


def ensure_browser(progress: Progress) -> None:
    """Fetch and unpack the font, and the browser where none is installed. Raises SetupError."""
    ensure_prefix(browser_prefix(), _browser_packages(), progress)


def chromium_command() -> Browser:
    """How to start Chromium, for Playwright's `executable_path` and `env`; raises SetupError before the set-up."""
    prefix = browser_prefix()
    if not browser_is_ready():
        raise SetupError(
            f"the browser is not set up in {prefix}", "run `python3 -m local.bootstrap --only browser`"
        )
    configuration = prefix.parent / "browser-fonts.conf"
    content = _FONT_CONFIGURATION.format(
        fonts=escape(str(prefix / "usr/share/fonts")),
        cache=escape(str(prefix.parent / "browser-font-cache")),
        family=_FAMILY,
        mono=_MONO,
    )
    if not configuration.exists() or configuration.read_text(encoding="utf-8") != content:
        write_atomically(configuration, content.encode())
    environment = {**os.environ, "FONTCONFIG_FILE": str(configuration)}
    installed = system_browser()
    if installed is not None:
        return Browser(installed, environment)
    return Browser(prefix / _EXECUTABLE, {**environment, "LD_LIBRARY_PATH": _library_path(prefix)})


@contextmanager
def driver_environment() -> Iterator[None]:
    """Let Playwright start its driver on a bare machine: wrap the *start* of `sync_playwright` in it.

    The driver takes its environment from this process, so the library path is there only while it starts.
    """
    before = os.environ.get("LD_LIBRARY_PATH")
    own = _library_path(browser_prefix())
    os.environ["LD_LIBRARY_PATH"] = f"{before}:{own}" if before else own
    try:
        yield
    finally:
        if before is None:
            del os.environ["LD_LIBRARY_PATH"]
        else:
            os.environ["LD_LIBRARY_PATH"] = before


def _library_path(prefix: Path) -> str:
    directories = [*prefix.glob("usr/lib/*-linux-gnu*"), *prefix.glob("lib/*-linux-gnu*")]
    nested = [directory / name for directory in directories for name in ("nss", "pulseaudio")]
    return ":".join(str(directory) for directory in [*directories, *nested] if directory.is_dir())


def _check(prefix: Path) -> None:
    """Ask the machine's own loader whether it finds every library of an unpacked browser."""
    program = prefix / _EXECUTABLE
    if not program.exists():
        return
    environment = {**os.environ, "LD_LIBRARY_PATH": _library_path(prefix)}
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False, env=environment)
    missing = [line.split("=>")[0].strip() for line in listed.stdout.splitlines() if "not found" in line]
    if missing:
        raise SetupError(
            f"the unpacked browser lacks {', '.join(missing[:4])}",
            "install chromium with apt, then try again",
        )
