"""The summary's form."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from cloud.tickets.domain import Channel, State


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class IncidentFigures(_Part):
    """Incidents."""

    conditions: int
    open: int = Field(description="conditions that still go on")
    ticket_worthy: int
    act_hours: int = Field(description="incidents that count passing acts, one a device, category and hour")
    acts: int = Field(description="passing acts counted in them")


class TicketFigures(_Part):
    """Tickets."""

    total: int
    open: int = Field(description="neither closed nor void")
    dispatched: int = Field(description="that ever got an owner")
    unassigned: int
    overdue: int = Field(description="open ones with a missed clock")
    blind: int = Field(description="claimed as resolved, and no device can look")
    overridden: int = Field(description="closed by a supervisor's word")
    by_state: dict[State, int]
    by_channel: dict[Channel, int]
    dispatched_by_channel: dict[Channel, int]


class InboxFigures(_Part):
    """The hand-over from the gateway."""

    waiting: int
    failed: int
    oldest_s: float | None


class Checks(_Part):
    """Promises, looked up in the tables themselves; each is zero or something is wrong."""

    matters_with_two_open_tickets: int
    incidents_without_exactly_one_ticket: int


class Summary(_Part):
    """How the whole centre stands."""

    incidents: IncidentFigures
    tickets: TicketFigures
    inbox: InboxFigures
    checks: Checks
    stream_head: int = Field(description="the newest event of the stream")

    @property
    def sound(self) -> bool:
        """Nothing failed, and every promise is kept."""
        return (
            self.inbox.failed == 0
            and self.checks.matters_with_two_open_tickets == 0
            and self.checks.incidents_without_exactly_one_ticket == 0
        )
