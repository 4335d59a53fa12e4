"""What each role may do, and where: the one place that decides.

Reading stands in no row: whoever is signed in reads everything of the centre (docs/adr/0007).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloud.auth.domain import Account, Action, Role

_HANDLERS: frozenset[Role] = frozenset({"handler", "dispatcher", "supervisor", "admin"})
_DISPATCHERS: frozenset[Role] = frozenset({"dispatcher", "supervisor", "admin"})
_SUPERVISORS: frozenset[Role] = frozenset({"supervisor", "admin"})

#: Who may do what, on tickets of their own unit and of every unit below it.
ALLOWED: Mapping[Action, frozenset[Role]] = {
    "note": _HANDLERS,
    "acknowledge": _HANDLERS,
    "arrive": _HANDLERS,
    "resolve": _HANDLERS,
    "dispatch": _DISPATCHERS,  # give an unassigned one an owner
    "transfer": _DISPATCHERS,  # hand on to another unit
    "call": _DISPATCHERS,  # whistle departments in
    "suspend": _DISPATCHERS,
    "resume": _DISPATCHERS,
    "escalate": _DISPATCHERS,
    "reopen": _DISPATCHERS,
    "void": _SUPERVISORS,  # declare a false alarm
    "confirm": _SUPERVISORS,  # close without a clean look
    "accept": _DISPATCHERS,  # another's photo, where no device can look
    "photo": _HANDLERS,  # of what was done, there and after the claim
    "storm": _SUPERVISORS,  # begin and end storm mode in an area
    "duty": _DISPATCHERS,  # write the rota of a unit
    "rate": _DISPATCHERS,  # the street's word on a unit's work
    "audit": _SUPERVISORS,  # who looked at which picture
    "report": _HANDLERS,  # take a report down, and what its reporter answers
    "merge": _DISPATCHERS,  # let a ticket rest in another one
    "split": _DISPATCHERS,  # and take it out again
    "personal": _DISPATCHERS,  # see who reported
    "told": _HANDLERS,  # read what reporters wrote, and see their photos
    "shelve": _DISPATCHERS,  # let an alarm call no one for a while
    "manage": frozenset({"admin"}),  # accounts and configuration
}


def may(account: Account, action: Action, unit_code: str) -> bool:
    """Whether an account may do something to what a unit owns: its role allows it and the unit is its own or below."""
    return account.role in ALLOWED[action] and unit_code in account.reach


def may_any(account: Account, action: Action, unit_codes: Iterable[str | None]) -> bool:
    """Whether one of several units lets it: a ticket's owner, those called, the grid it lies in."""
    return any(may(account, action, code) for code in unit_codes if code is not None)
