"""The district in the database. The only module of the district that speaks SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cloud.db import Queries, Transaction
from cloud.district.domain import KINDS, MapFeature, Unit
from cloud.district.geometry import Ring
from cloud.district.schemas import DistrictFile

_POINT = re.compile(r"\(([-+0-9.e]+),([-+0-9.e]+)\)")
_SQL = Queries("cloud.district")


def store_units(tx: Transaction, district: DistrictFile, areas: Mapping[str, Ring]) -> list[str]:
    """Write the units; again with the same file changes nothing.

    Args:
        tx: the transaction.
        district: the checked file.
        areas: the area of each unit that has one, by code.

    Returns:
        The units in the database that the file no longer names. They stay, because history names them, but
        lose their area, so that no place leads to them any more.
    """
    tx.run(_SQL["lock_units"])  # two loads at once would each see half of the other's
    for unit in sorted(district.units, key=lambda unit: KINDS.index(unit.kind)):
        tx.run(
            _SQL["store_unit"],
            unit_code=unit.code,
            parent_code=unit.parent,
            kind=unit.kind,
            name_zh=unit.name_zh,
            name_en=unit.name_en,
            area=_shape(areas[unit.code]) if unit.code in areas else None,
            lead=unit.lead,
            phone=unit.phone,
        )
    gone = tx.rows(_SQL["clear_other_areas"], kept=[unit.code for unit in district.units])
    return [str(row["unit_code"]) for row in gone]


def store_rules(tx: Transaction, district: DistrictFile) -> None:
    """Write routing, policies and map features anew: they have no identity but their order."""
    for name in ("clear_rules", "clear_policies", "clear_features"):
        tx.run(_SQL[name])
    for position, rule in enumerate(district.routing, start=1):
        tx.run(_SQL["store_rule"], position=position, **rule.model_dump())
    for position, policy in enumerate(district.policies, start=1):
        tx.run(
            _SQL["store_policy"],
            position=position,
            name=policy.name,
            category=policy.category,
            min_severity=policy.min_severity,
            ack_s=policy.acknowledge,
            arrive_s=policy.arrive,
            resolve_s=policy.resolve,
        )
    for position, feature in enumerate(district.features, start=1):
        tx.run(
            _SQL["store_feature"],
            position=position,
            kind=feature.kind,
            name_zh=feature.name_zh,
            name_en=feature.name_en,
            shape=_shape(tuple(feature.points), closed=feature.kind == "park"),
        )


def all_units(tx: Transaction) -> list[Unit]:
    """Every unit, from the top down and then by code."""
    return [
        Unit(**{**row, "area": _ring(row["area"])}) for row in tx.rows(_SQL["all_units"], kinds=list(KINDS))
    ]


def parents(tx: Transaction) -> dict[str, str | None]:
    """The code above each unit."""
    return {row["unit_code"]: row["parent_code"] for row in tx.rows(_SQL["parents"])}


def map_features(tx: Transaction) -> list[MapFeature]:
    """What is drawn under the units, in order."""
    return [
        MapFeature(row["kind"], row["name_zh"], row["name_en"], _ring(row["shape"]) or ())
        for row in tx.rows(_SQL["all_features"])
    ]


def grid_at(tx: Transaction, lon: float, lat: float) -> str | None:
    """The grid that owns a place (WGS-84 degrees), or None outside the district."""
    code: str | None = tx.one(_SQL["grid_at"], lon=lon, lat=lat)["unit_code"]
    return code


def _shape(ring: Ring, *, closed: bool = True) -> str:
    """PostgreSQL's text of a polygon, or of an open path."""
    inside = ",".join(f"({x!r},{y!r})" for x, y in ring)
    return f"({inside})" if closed else f"[{inside}]"


def _ring(text: str | None) -> Ring | None:
    if text is None:
        return None
    return tuple((float(x), float(y)) for x, y in _POINT.findall(text))
