"""``firmware_configs/sites/<site>.yaml``: the boxes of a site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from common.runtime.config import Fault, InvalidConfigError, Settings, Wrong, load_config, load_each
from common.runtime.settings import one_of, texts, twice
from gateway.config import GatewaySettings, Name


class DeviceEntry(Settings):
    """One box: where it stands (WGS-84 degrees), what people call it, how long it may be silent."""

    name: Name
    title_zh: Annotated[str, Field(max_length=100)] = ""
    title_en: Annotated[str, Field(max_length=100)] = ""
    lon: Annotated[float, Field(ge=-180, le=180)]
    lat: Annotated[float, Field(ge=-90, le=90)]
    partition: Name | None = None
    silent_after_s: Annotated[int, Field(ge=1, le=30 * 86_400)] | None = None


class Site(Settings):
    """One site. ``partition`` and ``silent_after_s`` are what its devices have unless they say otherwise."""

    site: Name
    title_zh: Annotated[str, Field(max_length=100)] = ""
    title_en: Annotated[str, Field(max_length=100)] = ""
    partition: Name = "default"
    silent_after_s: Annotated[int, Field(ge=1, le=30 * 86_400)] = 120
    devices: Annotated[tuple[DeviceEntry, ...], Field(min_length=1)]

    def cross_faults(self) -> Iterator[Wrong]:
        """A site has each device once."""
        names = texts(device.name for device in self.devices)
        yield from twice((("devices", number, "name"), name) for number, name in names)


def load_site(path: Path) -> Site:
    """Read a site's file, which is named after it.

    Raises:
        InvalidConfigError: with every fault found.
    """

    def named_after_its_file(site: Site) -> Iterator[Wrong]:
        if site.right("site") and site.site != path.stem:
            yield Wrong(("site",), f"expected {path.stem!r} as the file is named, got {site.site!r}")

    return load_config(path, Site, named_after_its_file)


def load_sites(folder: Path) -> list[Site]:
    """All sites of a folder, in the order of their names.

    Raises:
        InvalidConfigError: with the faults of all files at once.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise InvalidConfigError([Fault(folder, 1, "", "expected at least one <site>.yaml here, found none")])
    return load_each(paths, load_site)


def load_all(config: Path, folder: Path) -> tuple[GatewaySettings, list[Site]]:
    """The gateway's settings and all sites; rules may only name sites that have a file.

    Raises:
        InvalidConfigError: with the faults of all files at once.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml"))

    def sites_of_rules(settings: GatewaySettings) -> Iterator[Wrong]:
        for number, rule in enumerate(settings.rules):
            for place, site in texts(rule.sites):
                if site not in known:
                    yield Wrong(("rules", number, "sites", place), one_of(site, known))

    faults: list[Fault] = []
    try:
        settings = load_config(config, GatewaySettings, sites_of_rules)
    except InvalidConfigError as error:
        faults += error.faults
    try:
        sites = load_sites(folder)
    except InvalidConfigError as error:
        faults += error.faults
    if faults:
        raise InvalidConfigError(faults)
    return settings, sites
