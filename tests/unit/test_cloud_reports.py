"""What a report is without any I/O: positions, likeness, receipts, photos, sealing."""

from __future__ import annotations

import contextlib
import io
import itertools
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cloud.errors import TooLargeError, TooManyRequestsError
from cloud.geometry import distance_m
from cloud.limits import RateLimit
from cloud.reports import domain
from cloud.reports.coordinates import system_named, to_gcj02, to_wgs84
from cloud.reports.domain import KIN, OpenTicket, ReportSettings, Told, certain, kinship, suggestions
from cloud.reports.merging import earlier_promises
from cloud.reports.photos import take_photo
from cloud.reports.sealing import KeyRing, Sealed, add_key, drop_keys, read_keys
from cloud.sla.domain import Clock
from common.runtime.clock import ManualClock
from common.runtime.errors import ConfigError, DrumtowerError, InvalidError
from common.wire.categories import BY_CODE
from tests.fixtures.reporting import photo

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SETTINGS = ReportSettings()
WATER = "camera.standing_water"
chinese = st.tuples(
    st.floats(min_value=75, max_value=134, allow_nan=False),
    st.floats(min_value=4, max_value=53, allow_nan=False),
)


@given(chinese)
def test_a_position_of_a_chinese_map_comes_back_to_where_it_was_taken(place: tuple[float, float]) -> None:
    shown = to_gcj02(*place)
    found = to_wgs84(*shown, "GCJ-02")
    assert distance_m(*found, *place) < 0.01


def test_a_chinese_map_shows_a_place_some_hundred_metres_beside_it() -> None:
    # Tiananmen's flagpole: the published transformation moves it about 550 m to the south-east on paper.
    assert 300 < distance_m(*to_gcj02(116.3912, 39.9055), 116.3912, 39.9055) < 700
    assert to_gcj02(2.35, 48.85) == (2.35, 48.85)


@pytest.mark.parametrize("name", ["GCJ-02", "gcj02", "GCJ 02", "Amap", "高德"])
def test_a_coordinate_system_is_known_by_its_names(name: str) -> None:
    assert system_named(name) == "GCJ-02"
    assert to_wgs84(119.3, 26.08, name) != (119.3, 26.08)


@pytest.mark.parametrize(
    "name", ["WGS84", "EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84", "CGCS2000", "EPSG:4490"]
)
def test_what_is_wgs84_within_centimetres_is_taken_as_it_is(name: str) -> None:
    assert to_wgs84(119.3, 26.08, name) == (119.3, 26.08)


@pytest.mark.parametrize("name", ["", "BD-09", "mercator", "?"])
def test_a_coordinate_system_that_nobody_knows_is_refused_and_not_guessed(name: str) -> None:
    with pytest.raises(InvalidError) as caught:
        system_named(name)
    assert caught.value.code == "report.unknown_coordinates"


# ---- likeness ----


def ticket(number: int = 1, *, category: str = WATER, east_m: float = 0, opened_h: float = 0) -> OpenTicket:
    opened = NOON + timedelta(hours=opened_h)
    return OpenTicket(UUID(int=number), category, 119.3 + east_m / 99_900, 26.08, opened, opened)


def report(category: str = WATER, occurred_h: float = 0) -> Told:
    return Told(category, 119.3, 26.08, NOON + timedelta(hours=occurred_h))


def test_the_same_kind_of_matter_there_and_then_is_certain() -> None:
    assert certain(report(), [ticket()], 50, SETTINGS) == UUID(int=1)
    assert certain(report(), [ticket(1, east_m=40), ticket(2, east_m=10)], 50, SETTINGS) == UUID(int=2)


@pytest.mark.parametrize(
    "other",
    [
        ticket(east_m=60),
        ticket(category="flood.water_level"),
        ticket(opened_h=-25),
        ticket(opened_h=25),
    ],
)
def test_too_far_another_kind_or_another_day_is_not_certain(other: OpenTicket) -> None:
    assert certain(report(), [other], 50, SETTINGS) is None


def test_kin_matters_near_by_are_suggested_the_likeliest_first() -> None:
    near = ticket(1, category="flood.water_level", east_m=10)
    farther = ticket(2, category="flood.water_level", east_m=100)
    same = ticket(3, east_m=60)
    strange = ticket(4, category="noise.construction")
    far = ticket(5, east_m=400)
    long_ago = ticket(6, opened_h=-80)
    found = suggestions(report(), [near, farther, same, strange, far, long_ago], SETTINGS)
    assert [one.ticket_id.int for one in found] == [3, 1, 2]
    assert found[0].score == pytest.approx(1 - 0.8 * 60 / 300, abs=0.01)
    assert found[1].kinship == 0.7


@given(st.sampled_from(sorted(BY_CODE)), st.sampled_from(sorted(BY_CODE)))
def test_kinship_is_mutual_and_only_the_same_kind_is_wholly_akin(one: str, other: str) -> None:
    assert kinship(one, other) == kinship(other, one)
    assert (kinship(one, other) == 1.0) == (one == other)


def test_kin_are_categories_that_there_are() -> None:
    assert set(itertools.chain.from_iterable(KIN)) <= set(BY_CODE)


def test_people_report_what_lasts_and_not_the_troubles_of_boxes() -> None:
    assert domain.is_reportable("road.damaged")
    assert not domain.is_reportable("camera.no_helmet")
    assert not domain.is_reportable("device.silent")
    assert not domain.is_reportable("no.such")


def test_a_time_to_come_is_refused_and_a_clock_that_is_a_little_fast_is_not() -> None:
    assert domain.check_time(NOON + timedelta(minutes=4), NOON) == NOON
    assert domain.check_time(NOON - timedelta(days=2), NOON) == NOON - timedelta(days=2)
    with pytest.raises(InvalidError) as caught:
        domain.check_time(NOON + timedelta(minutes=6), NOON)
    assert caught.value.code == "report.in_the_future"


def test_a_receipt_names_the_districts_day_and_tells_nothing_else() -> None:
    late = datetime(2026, 6, 1, 17, tzinfo=UTC)
    assert domain.receipt_number(late, b"\0\0\0\0\0") == "R-20260602-AAAAAAAA"


def test_a_request_that_comes_again_gets_the_same_secret_and_no_other_request_does() -> None:
    assert domain.secret_for("key-1", b"salt") == domain.secret_for("key-1", b"salt")
    assert len({domain.secret_for(key, salt) for key in ("a", "b") for salt in (b"1", b"2")}) == 4
    assert domain.mac_of("key", b"body") != domain.mac_of("key", b"other")


def test_of_two_promises_the_earlier_one_holds_for_the_merged_work() -> None:
    def clock(name: str, minutes: int, state: str = "running") -> Clock:
        return Clock(name, 1, state, NOON, NOON + timedelta(minutes=minutes))  # type: ignore[arg-type]

    mine = (clock("ack", 5, "met"), clock("arrive", 30), clock("resolve", 60))
    others = (clock("ack", 1), clock("arrive", 40), clock("resolve", 20))
    after, moved = earlier_promises(mine, others)
    assert moved == ["resolve"]
    assert [one.due_at for one in after] == [NOON + timedelta(minutes=wait) for wait in (5, 30, 20)]
    assert [one.version for one in after] == [1, 1, 2]


# ---- photos ----


def test_a_photo_is_made_anew_without_what_the_phone_hid_in_it() -> None:
    sent = photo(with_place=True)
    assert b"SECRET-MAKER" in sent
    kept = take_photo(sent, 10)
    assert b"SECRET-MAKER" not in kept.jpeg
    with Image.open(io.BytesIO(kept.jpeg)) as opened:
        assert (opened.format, dict(opened.getexif()), opened.info.get("comment")) == ("JPEG", {}, None)
        assert opened.size == (kept.width, kept.height) == (48, 64), "upright, as it was to be shown"


def test_a_png_is_taken_and_a_large_one_made_smaller() -> None:
    kept = take_photo(photo("PNG", (4000, 1000)), 10)
    assert (kept.width, kept.height) == (2560, 640)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"not a photo",
        b"\xff\xd8\xff\xe0" + b"\0" * 200,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 200,
        photo()[:200],
        photo("GIF"),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_what_is_no_photo_is_refused(sent: bytes) -> None:
    with pytest.raises(InvalidError) as caught:
        take_photo(sent, 10)
    assert caught.value.code == "report.no_photo"


def test_a_spoilt_photo_is_refused_or_made_anew_and_nothing_else() -> None:
    generator = random.Random(4)
    for form in ("JPEG", "PNG"):
        good = photo(form)
        for _ in range(300):
            spoilt = bytearray(good)
            for _ in range(generator.randint(1, 12)):
                spoilt[generator.randrange(len(spoilt))] = generator.randrange(256)
            # Anything else than this one error would come through.
            with contextlib.suppress(InvalidError):
                take_photo(bytes(spoilt), 10)


def test_a_small_file_that_unfolds_to_a_huge_picture_is_refused() -> None:
    with pytest.raises(InvalidError, match="million pixels"):
        take_photo(photo("PNG", (9000, 6000)), 10)


def test_a_photo_too_large_is_told_how_large_it_may_be() -> None:
    with pytest.raises(TooLargeError, match=r"at most 10 MB, got one of 20\.0 MB"):
        take_photo(b"x" * 20_000_000, 10)


# ---- sealing ----


@given(st.binary(max_size=200), st.binary(max_size=16))
def test_what_is_sealed_opens_where_it_belongs(text: bytes, belongs_to: bytes) -> None:
    ring = KeyRing([("old", b"1" * 32), ("new", b"2" * 32)])
    sealed = ring.seal(text, belongs_to)
    assert sealed.key_id == "new"
    assert ring.open(sealed, belongs_to) == text
    with pytest.raises(DrumtowerError) as caught:
        ring.open(sealed, belongs_to + b"x")
    assert caught.value.code == "personal.does_not_open"


def test_a_changed_text_and_a_missing_key_are_told_apart() -> None:
    ring = KeyRing([("only", b"1" * 32)])
    sealed = ring.seal(b"phone", b"r")
    changed = Sealed(sealed.key_id, sealed.nonce, bytes([sealed.sealed[0] ^ 1]) + sealed.sealed[1:])
    with pytest.raises(DrumtowerError) as caught:
        ring.open(changed, b"r")
    assert caught.value.code == "personal.does_not_open"
    with pytest.raises(DrumtowerError) as caught:
        KeyRing([("other", b"1" * 32)]).open(sealed, b"r")
    assert caught.value.code == "personal.key_missing"


def test_a_new_key_stands_last_in_a_file_that_its_owner_alone_reads(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first, second = add_key(path, NOON), add_key(path, NOON)
    assert path.stat().st_mode & 0o777 == 0o600
    ring = read_keys(path)
    assert [key_id for key_id, _ in ring.keys] == [first, second]
    assert ring.newest == second
    assert str(ring.keys[0][1]) not in repr(ring)
    drop_keys(path, {first})
    assert [key_id for key_id, _ in read_keys(path).keys] == [second]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "personal.wrong_key_file"),
        ("k1 AAAA\n", "personal.wrong_key_file"),
        ("K 1\n", "personal.wrong_key_file"),
        (f"k1 {'A' * 43}=\nk1 {'A' * 43}=\n", "personal.wrong_key_file"),
    ],
)
def test_a_file_that_holds_no_keys_says_so(tmp_path: Path, content: str, code: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        read_keys(path)
    assert caught.value.code == code


def test_a_file_of_keys_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    add_key(path, NOON)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="0640"):
        read_keys(path)
    with pytest.raises(ConfigError) as caught:
        read_keys(tmp_path / "none")
    assert caught.value.code == "personal.no_key_file"


# ---- visitors ----


def test_a_copy_that_systemd_made_for_one_account_counts_as_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "personal.keys"
    add_key(path, NOON)
    path.chmod(0o440)  # an access list of one account shows like this
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert len(read_keys(path).keys) == 1
    path.chmod(0o444)
    with pytest.raises(ConfigError, match="readable by its owner alone"):
        read_keys(path)


def test_an_address_that_asks_too_often_is_told_how_long_to_wait() -> None:
    clock = ManualClock()
    limit = RateLimit(clock, 6)
    for _ in range(6):
        limit.count("1.2.3.4")
    with pytest.raises(TooManyRequestsError) as caught:
        limit.count("1.2.3.4")
    assert (caught.value.code, caught.value.wait_s) == ("request.too_many", 10)
    limit.count("5.6.7.8")
    clock.sleep(caught.value.wait_s)
    limit.count("1.2.3.4")
