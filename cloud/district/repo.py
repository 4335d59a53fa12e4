"""The district in the database. The only module of the district that speaks SQL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from cloud.db import Queries, Transaction
from cloud.district.domain import KINDS, MapFeature, Unit
from cloud.district.geometry import Ring
from cloud.district.schemas import (
    DistrictFile,
    EscalateEntry,
    PolicyEntry,
    RuleEntry,
    StandInEntry,
    StormEntry,
)
from cloud.etags import etag_of

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
    lock(tx)  # two loads at once would each see half of the other's
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
            email=unit.email,
            hours=unit.hours or "",
            duty=unit.duty,
        )
    for unit in district.units:  # who stands in may come later in the order
        tx.run(_SQL["store_stand_in"], unit_code=unit.code, after_hours=unit.after_hours)
    gone = tx.rows(_SQL["clear_other_areas"], kept=[unit.code for unit in district.units])
    return [str(row["unit_code"]) for row in gone]


def store_rules(tx: Transaction, district: DistrictFile) -> None:
    """Write calendars, routing, policies, the ladder, the plan for storms and map features anew."""
    for name in ("clear_calendars", "clear_ladder", "clear_features"):
        tx.run(_SQL[name])
    for entry in district.calendars:
        calendar = entry.calendar()
        tx.run(
            _SQL["store_calendar"],
            name=calendar.name,
            days=sorted(calendar.days),
            hours=Jsonb(calendar.hours),
            holidays=calendar.holidays,
        )
    store_routing(tx, district.routing)
    days = {entry.name: entry.calendar().day_s for entry in district.calendars}
    store_policies(tx, district.policies, district.storm, days)
    for level, step in enumerate(district.ladder, start=1):
        values = step.model_dump(exclude={"unit"})
        tx.run(_SQL["store_level"], level=level, target=step.unit, **values)
    for position, feature in enumerate(district.features, start=1):
        tx.run(
            _SQL["store_feature"],
            position=position,
            kind=feature.kind,
            name_zh=feature.name_zh,
            name_en=feature.name_en,
            shape=_shape(tuple(feature.points), closed=feature.kind == "park"),
        )


def store_routing(tx: Transaction, routing: Sequence[RuleEntry]) -> None:
    """Write the routing rules anew: they have no identity but their order."""
    tx.run(_SQL["clear_rules"])
    for position, rule in enumerate(routing, start=1):
        values = rule.model_dump() | {
            "place": list(rule.place),
            "during": rule.during or "",
            "outside": rule.outside or "",
        }
        tx.run(_SQL["store_rule"], position=position, **values)


def store_stand_ins(tx: Transaction, stand_ins: Sequence[StandInEntry]) -> None:
    """Write who stands in for whom anew; a unit's hours stay where nobody does."""
    tx.run(_SQL["clear_stand_ins"])
    for entry in stand_ins:
        tx.run(_SQL["store_unit_hours"], **entry.model_dump())


def store_policies(
    tx: Transaction, policies: Sequence[PolicyEntry], storm: StormEntry | None, days: Mapping[str, int]
) -> None:
    """Write the policies anew, and what a storm does.

    ``days`` has the working seconds of each calendar's day: a day of a policy with hours is a working day.
    """
    tx.run(_SQL["clear_policies"])
    tx.run(_SQL["clear_storm_plan"])
    of_storms = storm.policies if storm is not None else []
    for position, policy in enumerate([*of_storms, *policies], start=1):
        day_s = days.get(policy.hours or "", 86_400)
        tx.run(
            _SQL["store_policy"],
            position=position,
            name=policy.name,
            category=policy.category,
            min_severity=policy.min_severity,
            ack_s=policy.acknowledge.under(day_s),
            arrive_s=policy.arrive.under(day_s),
            resolve_s=policy.resolve.under(day_s),
            hours=policy.hours or "",
            storm=position <= len(of_storms),
            escalate=Jsonb([_escalation(one) for one in policy.escalate]),
        )
    if storm is not None:
        rule = storm.rule
        tx.run(
            _SQL["store_storm_plan"],
            categories=storm.categories,
            raise_to=storm.raise_to,
            rule_categories=rule.categories if rule else [],
            rule_incidents=rule.incidents if rule else 0,
            rule_within_s=int(rule.within) if rule else 0,
            rule_area=rule.area if rule else "centre",
            rule_quiet_s=int(rule.quiet) if rule else 0,
        )


def _escalation(one: EscalateEntry) -> dict[str, Any]:
    again = None if one.again is None else int(one.again)
    return {"clock": one.clock, "to": one.to or "", "after_s": int(one.after or 0), "again_s": again}


def all_units(tx: Transaction) -> list[Unit]:
    """Every unit, from the top down and then by code."""
    return [
        Unit(**{**row, "area": _ring(row["area"])}) for row in tx.rows(_SQL["all_units"], kinds=list(KINDS))
    ]


def parents(tx: Transaction) -> dict[str, str | None]:
    """The code above each unit."""
    return {row["unit_code"]: row["parent_code"] for row in tx.rows(_SQL["parents"])}


def policies(tx: Transaction) -> list[dict[str, Any]]:
    """The policies in force, those of storms first."""
    return tx.rows(_SQL["policies"])


def routing(tx: Transaction) -> list[dict[str, Any]]:
    """The routing rules in force."""
    return tx.rows(_SQL["routing"])


def stand_ins(tx: Transaction) -> list[dict[str, Any]]:
    """Who takes what comes outside a unit's hours."""
    return tx.rows(_SQL["stand_ins"])


def routing_etag(tx: Transaction) -> str:
    """Changes with the routing rules and the stand-ins."""
    return etag_of([routing(tx), stand_ins(tx)])


def policies_etag(tx: Transaction) -> str:
    """Changes with the policies and with what a storm does."""
    return etag_of([policies(tx), tx.rows(_SQL["storm_plan"])])


def lock(tx: Transaction) -> None:
    """Keep others from loading a district or changing its rules, to the end of the transaction."""
    tx.run(_SQL["lock_units"])


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
