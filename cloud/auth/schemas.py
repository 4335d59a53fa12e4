"""What the API says of service tokens and of who looked at a picture."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from cloud.auth.domain import Role, Scope
from cloud.auth.tokens import LONGEST_DAYS


class TokenRequest(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,46}[a-z0-9])?$")] = Field(
        description="what it is for; histories show it as token:name"
    )
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=40)]
    role: Role
    unit_code: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$")] = Field(
        description="the role acts on this unit and all below it"
    )
    days: Annotated[int, Field(ge=1, le=LONGEST_DAYS, description="how long it is good")] = 365


class TokenRead(BaseModel):
    """What is known of a token; the token itself is not."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    token_id: UUID
    name: str
    role: Role
    unit_code: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None = Field(description="to the minute")
    revoked_at: datetime | None


class NewToken(TokenRead):
    """A token just made."""

    token: str = Field(description="shown once; send it as Authorization: Bearer")


class TokenList(BaseModel):
    """Every token, revoked ones too."""

    items: tuple[TokenRead, ...]


class EvidenceView(BaseModel):
    """Somebody looked at a picture."""

    at: datetime
    actor: str
    address: str


class EvidenceViews(BaseModel):
    """Who looked, the latest first; the last thousand."""

    items: tuple[EvidenceView, ...]
