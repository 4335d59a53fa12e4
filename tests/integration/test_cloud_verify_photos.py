"""A person's photo as the proof of a claim: whose counts, when, and what is none."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloud.errors import ConflictError, ForbiddenError, TooLargeError
from cloud.reports.coordinates import to_wgs84
from cloud.tickets.domain import Action, State
from common.runtime.errors import InvalidError
from tests.fixtures.centre import BORDER_LON, Centre, person
from tests.fixtures.claims import Claim
from tests.fixtures.photos import MAKER, file_report

pytestmark = pytest.mark.services


@pytest.fixture
def claim(centre: Centre, tmp_path: Path) -> Claim:
    return Claim(centre, tmp_path)


def test_a_photo_closes_what_no_device_can_see_once_another_person_accepts_it(
    claim: Claim, centre: Centre, tmp_path: Path
) -> None:
    claim.go_blind()
    kept = claim.upload(account=person("handler", "grid-a"))
    file = tmp_path / kept["sha256"][:2] / f"{kept['sha256']}.jpg"
    assert MAKER.encode() not in file.read_bytes()
    assert b"Exif" not in file.read_bytes()
    assert kept["width"] < kept["height"]  # upright, as its orientation said
    assert claim.detail.state is State.VERIFYING
    done = centre.tickets.act(claim.ticket_id, Action.ACCEPT, person("dispatcher", "street-a"))
    assert (done.state, done.closed_by, done.overridden) == ("closed", "photo", False)
    assert done.events[-1].detail == {"photos": [kept["sha256"]]}
    (accepted,) = claim.photos.photos(claim.ticket_id)
    assert accepted["accepted_by"] == "dispatcher-street-a"


def test_nobody_accepts_his_own_photo(claim: Claim, centre: Centre) -> None:
    claim.go_blind()
    alone = person("dispatcher", "street-a")
    claim.upload(account=alone)
    with pytest.raises(ConflictError) as caught:
        centre.tickets.act(claim.ticket_id, Action.ACCEPT, alone)
    assert caught.value.code == "ticket.no_photo"


def test_while_devices_can_look_they_decide(claim: Claim, centre: Centre) -> None:
    claim.upload()
    with pytest.raises(ConflictError) as caught:
        centre.tickets.act(claim.ticket_id, Action.ACCEPT, person())
    assert caught.value.code == "ticket.not_blind"


def test_the_handling_unit_does_not_have_the_last_word(claim: Claim, centre: Centre) -> None:
    claim.go_blind()
    claim.upload()
    with pytest.raises(ForbiddenError):
        centre.tickets.act(claim.ticket_id, Action.ACCEPT, person("handler", "water"))


def test_a_photo_of_an_earlier_claim_proves_nothing_of_the_next(claim: Claim, centre: Centre) -> None:
    claim.go_blind()
    claim.upload()
    centre.tickets.act(claim.ticket_id, Action.REOPEN, person(), note="still wet")
    claim.claim()
    claim.go_blind()
    with pytest.raises(ConflictError) as caught:
        centre.tickets.act(claim.ticket_id, Action.ACCEPT, person())
    assert caught.value.code == "ticket.no_photo"
    with pytest.raises(ConflictError) as caught:
        claim.upload()
    assert caught.value.code == "photo.used_before"


def test_one_photo_proves_one_ticket(claim: Claim, centre: Centre, tmp_path: Path) -> None:
    claim.upload()
    other = Claim(centre, tmp_path, lon=BORDER_LON + 0.003)
    with pytest.raises(ConflictError) as caught:
        other.upload()
    assert caught.value.code == "photo.used_before"


def test_the_same_photo_sent_twice_is_one(claim: Claim) -> None:
    first, second = claim.upload(), claim.upload()
    assert first["photo_id"] == second["photo_id"]
    assert [event.kind for event in claim.detail.events].count("photo_added") == 1


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"lon": BORDER_LON + 0.001}, "photo.elsewhere"),
        ({"lat": 91.0, "lon": 0.0}, "photo.elsewhere"),
        ({"taken_at": -10.0}, "photo.before_claim"),
        ({"taken_at": 3600.0}, "photo.in_future"),
        ({"content": b"\xff\xd8\xff\xe0 no picture at all"}, "report.no_photo"),
        ({"content": b"GIF89a" + b"\0" * 100}, "report.no_photo"),
        ({"content": b""}, "report.no_photo"),
        ({"coordinate_system": "BD-09"}, "report.unknown_coordinates"),
        ({"coordinate_system": ""}, "report.unknown_coordinates"),
    ],
)
def test_what_is_no_proof_is_refused_and_nothing_is_written(
    claim: Claim, changed: dict[str, Any], code: str
) -> None:
    if "taken_at" in changed:
        changed = {"taken_at": claim.centre.now + timedelta(seconds=changed["taken_at"])}
    with pytest.raises(InvalidError) as caught:
        claim.upload(**changed)
    assert caught.value.code == code
    assert claim.photos.photos(claim.ticket_id) == []


def test_a_photo_beyond_the_limit_is_refused(claim: Claim) -> None:
    with pytest.raises(TooLargeError):
        claim.upload(content=b"\xff\xd8" + b"\0" * 20_000_000)


def test_a_photo_in_gcj02_is_converted_when_it_says_so_and_lies_elsewhere_when_it_does_not(
    claim: Claim,
) -> None:
    lon, lat = claim.detail.lon, claim.detail.lat
    # Where a position in GCJ-02 has to stand so that it means the ticket's place.
    shifted = [lon, lat]
    for _ in range(20):
        back = to_wgs84(shifted[0], shifted[1], "GCJ-02")
        shifted = [shifted[0] + lon - back[0], shifted[1] + lat - back[1]]
    with pytest.raises(InvalidError) as caught:
        claim.upload(lon=shifted[0], lat=shifted[1])
    assert caught.value.code == "photo.elsewhere"
    kept = claim.upload(lon=shifted[0], lat=shifted[1], coordinate_system="GCJ-02")
    assert kept["distance_m"] < 1
    assert (kept["lon"], kept["coordinate_system"]) == (pytest.approx(lon, abs=1e-5), "GCJ-02")


def test_a_photo_is_not_accepted_over_the_head_of_who_reported_it(claim: Claim, centre: Centre) -> None:
    file_report(centre.database, claim.ticket_id, centre.now)
    claim.go_blind()
    claim.upload()
    with pytest.raises(ConflictError) as caught:
        centre.tickets.act(claim.ticket_id, Action.ACCEPT, person())
    assert caught.value.code == "ticket.reporter_asked"
    centre.clock.advance(86_401)
    assert centre.tickets.act(claim.ticket_id, Action.ACCEPT, person()).closed_by == "photo"
