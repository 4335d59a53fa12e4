"""Photos of what was done, over HTTP."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, computed_field


class TicketPhoto(BaseModel):
    """A photo by somebody who went there."""

    model_config = ConfigDict(frozen=True)

    photo_id: UUID
    sha256: str
    width: int
    height: int
    lon: float = Field(description="WGS-84")
    lat: float = Field(description="WGS-84")
    coordinate_system: str = Field(description="in which the position came")
    distance_m: float = Field(description="from the ticket's place")
    claimed_at: datetime = Field(description="the claim that it is about")
    taken_at: datetime
    uploaded_at: datetime
    account_name: str
    note: str
    accepted_at: datetime | None
    accepted_by: str | None

    @computed_field  # type: ignore[prop-decorator] # pydantic's own way
    @property
    def url(self) -> str:
        """Where the picture is."""
        return f"/api/evidence/{self.sha256}"


class TicketPhotos(BaseModel):
    """A ticket's photos, the oldest first."""

    items: tuple[TicketPhoto, ...]
