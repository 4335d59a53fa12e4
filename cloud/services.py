"""What endpoints work with. ``cloud/app.py`` puts it together and into ``app.state``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from cloud.auth.oidc import OidcSettings
from cloud.auth.service import AuthService
from cloud.db import Database
from cloud.incidents.domain import FusionRule
from cloud.incidents.known import KnownPlaces
from cloud.incidents.service import IncidentService
from cloud.limits import RateLimit
from cloud.open311.domain import Open311Settings
from cloud.reports.domain import ReportSettings
from cloud.reports.sealing import KeyRing
from cloud.stream.service import StreamHub
from cloud.tickets.service import TicketService
from cloud.verify.domain import VerifySettings
from cloud.watch.domain import WatchSettings
from cloud.whistle.domain import WhistleSettings
from common.runtime.clock import Clock, SystemClock


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one process."""

    database: Database
    tickets: TicketService
    incidents: IncidentService
    auth: AuthService
    stream: StreamHub
    rules: Sequence[FusionRule]
    evidence_directory: Path | None
    watch: WatchSettings = field(default_factory=WatchSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    whistle: WhistleSettings = field(default_factory=WhistleSettings)
    clock: Clock = field(default_factory=SystemClock)
    oidc: OidcSettings | None = None
    reports: ReportSettings = field(default_factory=ReportSettings)
    open311: Open311Settings = field(default_factory=Open311Settings)
    personal_keys: KeyRing | None = None
    known_places: KnownPlaces = field(default_factory=KnownPlaces)
    visitors: RateLimit = field(
        default_factory=lambda: RateLimit(SystemClock(), ReportSettings().public_per_minute)
    )


def services_of(request: Request) -> Services:
    """The services that an endpoint's application was built with."""
    services: Services = request.app.state.services
    return services


CurrentServices = Annotated[Services, Depends(services_of)]
