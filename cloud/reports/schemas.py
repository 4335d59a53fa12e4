"""What comes in as a report, and what the ticket centre says about reports."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from cloud.instants import Instant
from cloud.reports.domain import ReportChannel
from cloud.tickets.domain import State
from cloud.tickets.schemas import CategoryCode, Severity

_NO_NUL = r"^[^\x00]*$"
Text = Annotated[str, Field(max_length=2000, pattern=_NO_NUL)]
Short = Annotated[str, Field(max_length=200, pattern=_NO_NUL)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
System = Annotated[str, Field(min_length=1, max_length=40, pattern=_NO_NUL)]
PersonName = Annotated[str, Field(max_length=60, pattern=_NO_NUL)]
Phone = Annotated[str, Field(max_length=40, pattern=r"^[0-9+()\-. ]*$")]
Email = Annotated[str, Field(max_length=120, pattern=r"^([^@\s\x00]+@[^@\s\x00]+)?$")]
_SYSTEM_TEXT = "of lon and lat, by name: WGS-84, GCJ-02 (Amap, Tencent maps) or CGCS2000; never guessed"


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True)


class Reporter(BaseModel):
    """Who reports, as far as they say; kept sealed, shown by role, deleted some time after the closing."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: PersonName = ""
    phone: Phone = ""
    email: Email = ""

    @property
    def is_anonymous(self) -> bool:
        """Whether they said nothing."""
        return not (self.name or self.phone or self.email)


class ReportBody(BaseModel):
    """What every report says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: CategoryCode
    description: Annotated[str, Field(min_length=1, max_length=2000, pattern=_NO_NUL)]
    lon: Longitude
    lat: Latitude
    coordinate_system: System = Field(default="WGS-84", description=_SYSTEM_TEXT)
    address: Short = ""
    occurred_at: Instant | None = Field(default=None, description="when it was seen; by default now")
    reporter: Reporter = Reporter()


class ReportRequest(ReportBody):
    """A report taken down by the hotline, a grid worker, for a leader, or by another system."""

    channel: Literal["hotline", "grid", "leader", "other"]
    external_id: Annotated[str, Field(max_length=100, pattern=_NO_NUL)] = Field(
        default="", description="its number in the system that sends it"
    )
    severity: Severity | None = Field(default=None, description="by default the category's")


class Suggested(_Read):
    """An open ticket that may be about the same; a person decides."""

    ticket_id: UUID
    number: str = ""
    category: str = ""
    state: State | None = None
    report_id: UUID | None = Field(default=None, description="the report by which it looks so")
    score: float = Field(description="0 to 1: nearness in place, time and kind, multiplied")
    parts: dict[str, Any] = Field(description="distance_m, apart_s, kinship")


class Filed(_Read):
    """A report was taken down."""

    report_id: UUID
    receipt: str
    secret: str = Field(description="with the receipt it shows the progress; told once")
    received_at: datetime
    ticket_id: UUID
    ticket_number: str
    attached: bool = Field(description="true: it joined the open ticket of its matter")
    suggestions: tuple[Suggested, ...] = ()


class Receipt(_Read):
    """What a citizen is given."""

    receipt: str
    secret: str = Field(description="keep it: with the receipt it shows the progress")
    received_at: datetime


class Progress(_Read):
    """How a reported matter stands."""

    receipt: str
    category: str
    category_zh: str
    category_en: str
    step: Literal["received", "in_hand", "being_checked", "done", "put_aside"]
    received_at: datetime
    changed_at: datetime
    unit_zh: str
    unit_en: str
    asks: bool = Field(description="the unit says it is solved: is it really? POST …/answer")
    may_rate: bool = Field(description="it is closed and not rated yet: POST …/rating")
    stars: int | None


class Answer(BaseModel):
    """Is it really done?"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    done: bool
    note: Text = ""


class Rating(BaseModel):
    """How it was done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stars: Annotated[int, Field(ge=1, le=5)]
    note: Text = ""


class PhotoRef(_Read):
    """A photo of a report."""

    sha256: str
    width: int
    height: int
    url: str


class ReportSummary(_Read):
    """A line of the list; who reported stands elsewhere."""

    report_id: UUID
    receipt: str
    channel: ReportChannel
    source: str
    external_id: str
    category: str
    category_zh: str
    category_en: str
    lon: float
    lat: float
    coordinate_system: str = Field(description="the one that it came in; lon and lat are WGS-84")
    occurred_at: datetime
    received_at: datetime
    photos: tuple[PhotoRef, ...]
    ticket_id: UUID
    ticket_number: str
    ticket_state: State
    stars: int | None
    has_person: bool = Field(description="whether who reported is known and not deleted yet")


class ReportLink(_Read):
    """A ticket that a report stands or stood in."""

    n: int
    ticket_id: UUID
    number: str
    at: datetime
    because: Literal["opened", "attached", "merged", "split"]
    actor_name: str


class AnswerRead(_Read):
    """What a reporter said when asked."""

    n: int
    at: datetime
    done: bool
    note: str = Field(description="empty where the text is not shown")


class ReportText(_Read):
    """What the reporter wrote."""

    description: str
    address: str
    rating: str = Field(description="the words of the rating")


class ReportDetail(ReportSummary):
    """A report with where it stood and what was answered."""

    links: tuple[ReportLink, ...]
    answers: tuple[AnswerRead, ...]
    text: ReportText | None = Field(
        description="for who works on its ticket (a handler or above of its unit, its grid or one called onto it);"
        " null for others, and in the answer to a change"
    )


class ReportPage(_Read):
    """Newest first; ``next_cursor`` gives the page after this one."""

    items: tuple[ReportSummary, ...]
    next_cursor: str | None


class ReportQuery(BaseModel):
    """Which reports, and which page of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ticket_id: UUID | None = None
    channel: ReportChannel | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=200, description="next_cursor of the page before")] = None


class SuggestionList(_Read):
    """The likeliest first."""

    items: tuple[Suggested, ...]


class MergeRequest(BaseModel):
    """Merge a ticket into another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    into: UUID = Field(description="the ticket in which the work goes on")
    note: Annotated[str, Field(min_length=1, max_length=2000, pattern=_NO_NUL)]
    expected_version: int | None = Field(default=None, ge=1, description="of the ticket that is merged")


class SplitRequest(BaseModel):
    """Undo a merge, or take reports out of a ticket that are about something else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ticket_id: UUID | None = Field(default=None, description="the merged ticket that goes its own way again")
    report_ids: Annotated[tuple[UUID, ...], Field(max_length=50)] = Field(
        default=(), description="reports that get a ticket of their own"
    )
    note: Annotated[str, Field(min_length=1, max_length=2000, pattern=_NO_NUL)]
