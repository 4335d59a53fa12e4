"""``firmware_configs/sites/<site>.yaml``: the boxes of a site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from common.runtime.config import Fault, InvalidConfigError, Settings, load_config
from gateway.config import Name


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

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        seen: set[str] = set()
        for device in self.devices:
            if device.name in seen:
                raise ValueError(f"device {device.name!r} stands twice; keep one")
            seen.add(device.name)
        return self


def load_site(path: Path) -> Site:
    """Read a site's file, which is named after it.

    Raises:
        InvalidConfigError: with every fault found.
    """
    site = load_config(path, Site)
    if site.site != path.stem:
        message = f"expected {path.stem!r} as the file is named, got {site.site!r}"
        raise InvalidConfigError([Fault(path, 1, "site", message)])
    return site


def load_sites(folder: Path) -> list[Site]:
    """All sites of a folder, in the order of their names.

    Raises:
        InvalidConfigError: with the faults of all files at once.
    """
    sites: list[Site] = []
    faults: list[Fault] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            sites.append(load_site(path))
        except InvalidConfigError as error:
            faults += error.faults
    if not sites and not faults:
        faults.append(Fault(folder, 1, "", "expected at least one <site>.yaml here, found none"))
    if faults:
        raise InvalidConfigError(faults)
    return sites
