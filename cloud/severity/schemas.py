"""What the ticket centre says about severity."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from cloud.tickets.schemas import NearPlace, Severity


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class SeverityRuleRead(_Read):
    """A rule; all that it asks for must be so, null and empty ask for nothing."""

    position: int
    name: str
    category: str
    raise_to: Severity
    lasts_s: int | None
    observations: int | None
    devices: int | None
    reports: int | None
    level: float | None
    near: tuple[str, ...] = Field(description="kinds of vulnerable places")


class VulnerablePlaceRead(_Read):
    """Where harm comes sooner."""

    kind: str
    name_zh: str
    name_en: str
    lon: float
    lat: float
    radius_m: float
    categories: tuple[str, ...]


class SeverityBook(_Read):
    """The rules in force, in order, and the places that they ask for."""

    rules: tuple[SeverityRuleRead, ...]
    places: tuple[VulnerablePlaceRead, ...]


class RuleTried(_Read):
    """A rule that was tried; ``because`` is empty where it fits."""

    rule: SeverityRuleRead
    fits: bool
    because: str


class SeverityExplained(_Read):
    """How grave a matter is, and why."""

    severity: Severity
    rule: str = Field(description="the one that raised it; empty: none did")
    near: tuple[NearPlace, ...]
    tried: tuple[RuleTried, ...]
