"""Which devices watch one place, by where they stand and by nothing that came in. Pure.

Of all registered devices, in the order of their names, each becomes an *anchor* that has none within the radius of a
category yet (a greedy net: every device has an anchor within the radius, and no two anchors are that near). A device
belongs to its nearest anchor. So who is heard first decides nothing: not where a matter lies, and not with whom the
middle one of three goes that stand in a chain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cloud.geometry import box_around, distance_m
from cloud.incidents.domain import Device, Matter, nearest

_FAR_LATITUDE: Final = 85.0

Cell = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Net:
    """Points in cells at least as wide as the radius, so that nine cells hold all that is within it."""

    radius_m: float
    wide: float
    high: float
    cells: dict[Cell, list[Device]]

    def put(self, device: Device) -> None:
        self.cells.setdefault(self._cell(device.lon, device.lat), []).append(device)

    def nearest(self, lon: float, lat: float) -> Device | None:
        """The nearest within the radius; of two equally near the one with the earlier name."""
        near = ((distance_m(lon, lat, one.lon, one.lat), one) for one in self._around(lon, lat))
        within = [entry for entry in near if entry[0] <= self.radius_m]
        return min(within, key=lambda entry: (entry[0], name_order(entry[1])))[1] if within else None

    def _around(self, lon: float, lat: float) -> Iterator[Device]:
        x, y = self._cell(lon, lat)
        for column in (x - 1, x, x + 1):
            for row in (y - 1, y, y + 1):
                yield from self.cells.get((column, row), ())

    def _cell(self, lon: float, lat: float) -> Cell:
        return math.floor(lon / self.wide), math.floor(lat / self.high)


def name_order(device: Device) -> tuple[str, str]:
    """The order of devices that is the same in every database: their numbers are not."""
    return device.site, device.name


class Places:
    """Where devices stand.

    Args:
        devices: all that are registered.
    """

    def __init__(self, devices: Iterable[Device] = ()) -> None:
        self._devices = sorted(devices, key=name_order)
        self._nets: dict[float, _Net] = {}

    def anchor_of(self, lon: float, lat: float, radius_m: float) -> Device | None:
        """The nearest anchor within the radius of a point; None where no device is known to stand near it."""
        return self._net(radius_m).nearest(lon, lat)

    def is_anchor(self, lon: float, lat: float, radius_m: float) -> bool:
        """Whether an anchor stands exactly there."""
        found = self.anchor_of(lon, lat, radius_m)
        return found is not None and (found.lon, found.lat) == (lon, lat)

    def _net(self, radius_m: float) -> _Net:
        net = self._nets.get(radius_m)
        if net is None:
            # As wide as the radius is where the meridians stand nearest to each other.
            highest = max((abs(device.lat) for device in self._devices), default=0.0)
            box = box_around(0.0, min(highest, _FAR_LATITUDE), radius_m)
            net = _Net(radius_m, box.east, (box.north - box.south) / 2, {})
            for device in self._devices:
                if net.nearest(device.lon, device.lat) is None:
                    net.put(device)
            self._nets[radius_m] = net
        return net


def choose_matter(
    places: Places, near: Sequence[Matter], lon: float, lat: float, radius_m: float
) -> tuple[Matter | None, tuple[float, float]]:
    """The matter of a point, of those near it, and where a new one would lie.

    It is the one at the point's anchor. Where there is none yet, the nearest within the radius of the point, else of the
    anchor, that lies at no anchor: people told of it where no device stands, or a device that stood there was moved.
    So no two matters of a category ever lie within its radius of each other.

    Args:
        places: where devices stand.
        near: those within twice the radius.
        lon: of the point, in WGS-84 degrees.
        lat: of the point.
        radius_m: of the category.
    """
    anchor = places.anchor_of(lon, lat, radius_m)
    if anchor is None:
        return nearest(near, lon, lat, radius_m), (lon, lat)
    own = [matter for matter in near if (matter.lon, matter.lat) == (anchor.lon, anchor.lat)]
    if own:
        return min(own, key=lambda matter: matter.matter_id), (anchor.lon, anchor.lat)
    free = [matter for matter in near if not places.is_anchor(matter.lon, matter.lat, radius_m)]
    found = nearest(free, lon, lat, radius_m) or nearest(free, anchor.lon, anchor.lat, radius_m)
    return found, (anchor.lon, anchor.lat)
