"""The ticket centre's settings: an optional YAML file for its habits, the environment for its places."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cloud.audit.service import AuditSettings
from cloud.auth.oidc import OidcSettings
from cloud.dispatch.domain import fits
from cloud.incidents.domain import DEFAULT_RULES, FusionRule
from cloud.notify.settings import NotifySettings
from cloud.open311.domain import Open311Settings
from cloud.reports.domain import ReportSettings
from cloud.verify.domain import VerifySettings
from cloud.watch.domain import WatchSettings
from cloud.whistle.domain import WhistleSettings
from common.runtime.config import Settings, Wrong, load_config
from common.runtime.places import database_url
from common.runtime.settings import nearest, texts
from common.wire.categories import BY_CODE

#: Which parts of the ticket centre a process is.
Role = Literal["api", "worker", "all"]


class CloudSettings(Settings):
    """Everything has a default that suits a district; ``DRUMTOWER_CLOUD_CONFIG`` names a file that changes some."""

    fusion: Annotated[
        tuple[FusionRule, ...],
        Field(description="how observations become matters; the first rule that fits"),
    ] = DEFAULT_RULES
    verify: VerifySettings = VerifySettings()
    watch: WatchSettings = WatchSettings()
    audit: AuditSettings = AuditSettings()
    oidc: Annotated[
        OidcSettings | None, Field(description="the city's own sign-in; none: passwords alone")
    ] = None
    notify: NotifySettings = NotifySettings()
    whistle: WhistleSettings = WhistleSettings()
    reports: ReportSettings = ReportSettings()
    open311: Open311Settings = Open311Settings()
    workers: Annotated[int, Field(ge=1, le=16, description="threads that apply observations")] = 1
    sweep_s: Annotated[
        float, Field(ge=0.1, le=60, description="how often clocks and claims are looked through")
    ] = 1.0
    stream_keep_h: Annotated[
        float, Field(gt=0, description="how long a browser may be away and still be given all it missed")
    ] = 24.0
    connections: Annotated[int, Field(ge=4, le=200, description="to the database, at most")] = 16

    def cross_faults(self) -> Iterator[Wrong]:
        """Fusion is for categories there are."""
        for number, category in texts(rule.category for rule in self.fusion):
            if not any(fits(category, code) for code in BY_CODE):
                yield Wrong(
                    ("fusion", number, "category"),
                    f"no category is called {category!r}{nearest(category, BY_CODE)}",
                )


@dataclass(frozen=True, slots=True)
class Environment:
    """What differs from machine to machine."""

    database_url: str = field(repr=False)
    evidence_directory: Path | None
    personal_keys_file: Path | None = None


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Where the database, the pictures and the keys of personal data are.

    Raises:
        ConfigError: when the environment names no database.
    """
    env = os.environ if variables is None else variables
    evidence = env.get("DRUMTOWER_EVIDENCE_DIR", "")
    keys = env.get("DRUMTOWER_PERSONAL_KEYS_FILE", "")
    return Environment(database_url(env), Path(evidence) if evidence else None, Path(keys) if keys else None)


def read_settings(path: Path | None) -> CloudSettings:
    """The settings, from a file when one is named here or by ``DRUMTOWER_CLOUD_CONFIG``.

    Raises:
        InvalidConfigError: with every fault of the file.
    """
    named = os.environ.get("DRUMTOWER_CLOUD_CONFIG", "")
    chosen = path or (Path(named) if named else None)
    return load_config(chosen, CloudSettings) if chosen else CloudSettings()
