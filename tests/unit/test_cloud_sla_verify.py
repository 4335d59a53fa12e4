"""Whether a claim is true: by looks made after it, never by silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cloud.verify.domain import Sighting, Verdict, VerifySettings, decide

CLAIM = datetime(2026, 6, 1, 12, tzinfo=UTC)
SETTINGS = VerifySettings(looks=3, settle_s=20, grace_s=60, blind_after_s=600)


def at(seconds: float) -> datetime:
    return CLAIM + timedelta(seconds=seconds)


DRAINED = Sighting(last_start=at(-900), goes_on_at=None, ended_at=at(-30), looks=3, last_look=at(25))


def verdict(*sightings: Sighting, now: float = 30) -> Verdict:
    return decide(sightings, CLAIM, at(now), SETTINGS)


def test_enough_clean_looks_after_the_claim_close() -> None:
    assert verdict(DRAINED) is Verdict.CLEAN


def test_too_few_looks_or_too_early_ones_wait() -> None:
    assert verdict(replace(DRAINED, looks=2)) is Verdict.WAIT
    assert verdict(replace(DRAINED, last_look=at(19))) is Verdict.WAIT


def test_looks_count_from_the_end_of_what_was_seen() -> None:
    drained_later = replace(DRAINED, ended_at=at(40))
    assert verdict(replace(drained_later, last_look=at(55)), now=60) is Verdict.WAIT
    assert verdict(replace(drained_later, last_look=at(60)), now=60) is Verdict.CLEAN


def test_what_begins_after_the_claim_is_dirty() -> None:
    assert verdict(replace(DRAINED, last_start=at(1))) is Verdict.DIRTY


def test_what_goes_on_is_given_time_to_drain_and_then_is_dirty() -> None:
    goes_on = replace(DRAINED, goes_on_at=at(-5), ended_at=None, looks=2, last_look=at(50))
    assert verdict(goes_on, now=55) is Verdict.WAIT
    assert verdict(replace(goes_on, last_look=at(61)), now=65) is Verdict.DIRTY
    assert verdict(replace(goes_on, goes_on_at=at(61)), now=65) is Verdict.DIRTY


def test_one_of_two_devices_that_is_silent_keeps_the_ticket_waiting() -> None:
    silent = replace(DRAINED, looks=0, last_look=None)
    assert verdict(DRAINED, silent) is Verdict.WAIT
    assert verdict(DRAINED, silent, now=600) is Verdict.BLIND


@given(st.integers(-3600, 0), st.none() | st.integers(-3600, 0), st.integers(0, 10**7))
def test_silence_is_never_resolved(start: int, end: int | None, now: int) -> None:
    silent = Sighting(
        at(start), None if end is not None else at(start), at(end) if end is not None else None, 0, None
    )
    assert verdict(silent, now=now) in {Verdict.WAIT, Verdict.BLIND}


def test_a_ticket_that_no_device_raised_waits_for_a_person() -> None:
    assert verdict(now=30) is Verdict.WAIT
    assert verdict(now=700) is Verdict.BLIND
