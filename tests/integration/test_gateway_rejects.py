"""Dead letters and kept-out boxes, as a person works with them: looked at, tried again, dropped, all written down."""

from __future__ import annotations

import getpass
import hashlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from common.runtime.stop import Stop
from common.wire.codec import encode_packet
from common.wire.topics import Address
from gateway.decode import Decoded, Decoder, RawMessage
from gateway.fleet import repo as fleet
from gateway.fleet.audit import this_person
from gateway.lease import LeaseKeeper
from gateway.metrics_catalogue import Metric, catalogue
from gateway.rejects import repo as kept
from gateway.rejects.retry import Retrier, StillRejectedError
from gateway.store import Limits, Store
from tests.integration.gateway_rig import now_ms, readings, register, rows
from tests.integration.test_gateway_cli import drumtower

pytestmark = pytest.mark.services
BOX, OTHER = Address("kiln", "box-0"), Address("kiln", "box-1")
GARBAGE = b"\x1b[2J not JSON"


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store of two boxes under a lease."""
    register(database_url, "kiln", "box-0", "box-1")
    lease = LeaseKeeper(database_url, "default", "test").try_acquire()
    assert lease is not None
    made = Store(database_url, "default", lease.fencing, metrics=catalogue(), stop=Stop(), limits=Limits())
    yield made
    made.close()
    lease.release()


def decoded(payload: bytes, address: Address = BOX) -> Decoded:
    """Whatever some bytes are."""
    return Decoder().decode(RawMessage(address.up("readings"), payload, False, now_ms(), len(payload)))


def unknown(seq: int, address: Address = BOX) -> Decoded:
    """A packet of a metric that nobody declared."""
    return decoded(encode_packet(address, 9, seq, now_ms(), readings(1.0, metric="phlogiston")), address)


def test_rejects_are_listed_by_box_with_their_bytes(store: Store, database_url: str) -> None:
    store.commit([unknown(1), unknown(2), unknown(1, OTHER), decoded(GARBAGE)])
    listed = drumtower("rejects", "list", "--box", "kiln/box-0", url=database_url).stdout
    assert "not_json" in listed
    assert "unknown_metric" in listed
    assert "kiln/box-1" not in listed
    assert str(len(GARBAGE)) in listed
    assert drumtower("rejects", "list", "--box", "kiln", url=database_url).returncode == 2


def test_a_reject_is_inspected_without_touching_the_terminal(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    store.commit([decoded(GARBAGE), unknown(1)])
    ids = dict(rows(database_url, "SELECT reason, reject_id FROM reject"))
    bad = drumtower("rejects", "show", str(ids["not_json"]), url=database_url).stdout
    assert "\x1b" not in bad
    assert "\\x1b[2J not JSON" in bad
    assert "says now: cannot be read" in bad
    file = tmp_path / "payload"
    shown = drumtower(
        "rejects", "show", str(ids["unknown_metric"]), "--save", str(file), url=database_url
    ).stdout
    for part in ("packet 9-1", "sender kiln/box-0", "s1/phlogiston", "1 readings", "next:"):
        assert part in shown
    assert rows(database_url, "SELECT payload FROM reject WHERE reason = 'unknown_metric'") == [
        (file.read_bytes(),)
    ]


def test_dropping_needs_a_reason_and_is_written_down_for_ever(store: Store, database_url: str) -> None:
    store.commit([decoded(GARBAGE), unknown(1), unknown(2), unknown(1, OTHER)])
    assert drumtower("rejects", "drop", "--reason", "not_json", url=database_url).returncode == 2
    assert drumtower("rejects", "drop", "--because", "x", url=database_url).returncode == 2
    assert (
        drumtower("rejects", "drop", "--reason", "not_json", "--because", " ", url=database_url).returncode
        == 2
    )
    missing = drumtower("rejects", "drop", "1", "999", "--because", "test", url=database_url)
    assert (missing.returncode, "nothing was dropped" in missing.stderr) == (1, True)
    assert rows(database_url, "SELECT count(*)::int FROM reject") == [(4,)]
    chosen = ("--reason", "unknown_metric", "--box", "kiln/box-0")
    dropped = drumtower("rejects", "drop", *chosen, "--because", "a test device", url=database_url)
    assert (dropped.returncode, dropped.stdout.startswith("2 dropped")) == (0, True), dropped.stderr
    (digest,) = {hashlib.sha256(GARBAGE).hexdigest()}
    ((garbage,),) = rows(database_url, "SELECT reject_id FROM reject WHERE reason = 'not_json'")
    assert drumtower("rejects", "drop", str(garbage), "--because", "noise", url=database_url).returncode == 0
    assert rows(database_url, "SELECT reason FROM reject") == [("unknown_metric",)]
    told = rows(
        database_url,
        "SELECT actor, action, detail ->> 'reason', detail ->> 'why', (detail ->> 'seq')::int, detail ->> 'sha256' = %s"
        " FROM audit WHERE action = 'reject.dropped' ORDER BY audit_id",
        digest,
    )
    who = getpass.getuser()
    assert told == [
        (who, "reject.dropped", "unknown_metric", "a test device", 1, False),
        (who, "reject.dropped", "unknown_metric", "a test device", 2, False),
        (who, "reject.dropped", "not_json", "noise", None, True),
    ]
    listed = drumtower("audit", url=database_url).stdout
    assert "a test device" in listed
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        rows(database_url, "DELETE FROM audit RETURNING 1")


def test_a_retry_takes_each_packet_in_once_and_says_who_did_it(store: Store, database_url: str) -> None:
    """Also when boxes send the same again before, while and after."""
    batch = [unknown(seq) for seq in (1, 2, 3)]
    store.commit(batch)
    declared = catalogue([Metric("phlogiston", "g", 0, 9)])
    with fleet.connect(database_url, "test") as connection:
        retrier = Retrier(connection, declared, Limits())
        first, *others = kept.ids(connection)
        assert retrier.retry(first) == 1
        store.commit(batch)
        assert sum(map(retrier.retry, others)) == 2
        store.commit(batch)
        assert kept.ids(connection) == []
    assert rows(database_url, "SELECT count(*)::int FROM reading") == [(3,)]
    assert rows(database_url, "SELECT committed, missing, duplicates FROM device_packets") == [(3, 0, 6)]
    assert rows(
        database_url, "SELECT action, detail ->> 'reason', count(*)::int FROM audit GROUP BY 1, 2"
    ) == [("reject.retried", "unknown_metric", 3)]


def test_what_the_database_refuses_again_stays_and_keeps_no_other_from_being_tried(
    store: Store, database_url: str
) -> None:
    at = now_ms()
    rows(database_url, "ALTER TABLE reading ADD CONSTRAINT cold CHECK (value <> 66)")
    store.commit([decoded(encode_packet(BOX, 9, 1, at, readings(66.0, metric="phlogiston"))), unknown(2)])
    limits, metrics = Limits(), catalogue([Metric("phlogiston", "g", 0, 99)])
    with fleet.connect(database_url, "test") as connection:
        first, second = kept.ids(connection)
        retrier = Retrier(connection, metrics, limits)
        with pytest.raises(StillRejectedError, match="database_refused"):
            retrier.retry(first)
        assert retrier.retry(second) == 1
        assert kept.ids(connection) == [first]
    assert rows(database_url, "SELECT action FROM audit ORDER BY audit_id") == [
        ("reject.refused",),
        ("reject.retried",),
    ]


def test_what_another_person_takes_in_meanwhile_keeps_no_other_from_being_tried(
    store: Store, database_url: str
) -> None:
    store.commit([unknown(1), unknown(2)])
    with fleet.connect(database_url, "test") as connection:
        first, second = kept.ids(connection)
        with fleet.transaction(connection):
            kept.drop(connection, kept.Choice(ids=(first,)), this_person(), "tried by somebody else")
    tried = drumtower("rejects", "retry", str(first), str(second), url=database_url)
    assert f"there is no reject {first}" in tried.stdout
    assert "0 taken in with 0 readings, 1 still rejected" in tried.stdout
    assert tried.returncode == 1


def test_a_retry_that_fails_leaves_the_reject_and_a_line_that_says_why(
    store: Store, database_url: str
) -> None:
    store.commit([unknown(1), decoded(GARBAGE)])
    tried = drumtower("rejects", "retry", "--box", "kiln/box-0", url=database_url)
    assert tried.returncode == 1
    assert "2 still rejected" in tried.stdout
    assert rows(database_url, "SELECT count(*)::int FROM reject") == [(2,)]
    told = rows(database_url, "SELECT actor, action, detail ->> 'why' FROM audit ORDER BY audit_id")
    assert [(who, what) for who, what, _ in told] == [(getpass.getuser(), "reject.refused")] * 2
    assert {why.split(": ")[1] for _, _, why in told} == {"unknown_metric", "not_json"}


def test_who_looks_at_rejects_and_at_boxes_kept_out_is_written_down_and_shown_when_asked_for(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    store.commit([decoded(GARBAGE)])
    ((reject_id,),) = rows(database_url, "SELECT reject_id FROM reject")
    for words in (
        ("rejects", "list", "--box", "kiln/box-0"),
        ("rejects", "show", str(reject_id)),
        ("rejects", "show", str(reject_id), "--save", str(tmp_path / "payload")),
        ("quarantine", "list"),
        ("quarantine", "show", "kiln/box-0"),
    ):
        assert drumtower(*words, url=database_url).returncode == 0, words
    assert drumtower("rejects", "show", "999", url=database_url).returncode == 1
    looked = rows(
        database_url,
        "SELECT actor, action, coalesce(detail ->> 'box', detail ->> 'topic'), (detail ->> 'saved')::bool"
        " FROM audit ORDER BY audit_id",
    )
    who, topic = getpass.getuser(), BOX.up("readings")
    assert looked == [
        (who, "reject.listed", "kiln/box-0", None),
        (who, "reject.inspected", topic, False),
        (who, "reject.inspected", topic, True),
        (who, "quarantine.listed", None, None),
        (who, "quarantine.inspected", "kiln/box-0", None),
    ]
    assert "nothing was done by hand" in drumtower("audit", url=database_url).stdout
    assert drumtower("audit", "--looks", url=database_url).stdout.count("reject.inspected") == 2


def test_what_cannot_be_written_into_the_audit_is_not_shown(store: Store, database_url: str) -> None:
    store.commit([decoded(GARBAGE)])
    ((reject_id,),) = rows(database_url, "SELECT reject_id FROM reject")
    rows(
        database_url,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$",
    )
    rows(
        database_url,
        "CREATE TRIGGER is_full BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    shown = drumtower("rejects", "show", str(reject_id), url=database_url)
    assert (shown.returncode, "disk is full" in shown.stderr) == (1, True), shown.stderr
    assert "not JSON" not in shown.stdout


def test_a_box_is_kept_out_by_hand_shown_and_released(store: Store, database_url: str) -> None:
    store.commit([unknown(1)])
    assert drumtower("quarantine", "put", "kiln/box-0", url=database_url).returncode == 2
    assert drumtower("quarantine", "put", "kiln/nobody", "--because", "x", url=database_url).returncode == 1
    ran = drumtower("quarantine", "put", "kiln/box-0", "--because", "its key was stolen", url=database_url)
    assert ran.returncode == 0, ran.stderr
    assert (
        drumtower("quarantine", "put", "kiln/box-0", "--because", "again", url=database_url).returncode == 1
    )
    store.close()  # the registry is read again, as it is every ten seconds
    store.commit([decoded(encode_packet(BOX, 9, 2, now_ms(), readings(1.0)))])
    shown = drumtower("quarantine", "show", "kiln/box-0", url=database_url).stdout
    for part in ("its key was stolen", "quarantined: 1 with", "unknown_metric: 1 with", "streams 1", "next:"):
        assert part in shown
    freed = drumtower("quarantine", "release", "kiln/box-0", "--because", "has a new one", url=database_url)
    assert freed.returncode == 0, freed.stderr
    told = rows(
        database_url, "SELECT phase, detail ->> 'why' FROM observation WHERE source = 'quarantine' ORDER BY 1"
    )
    assert told == [("end", "released"), ("start", "its key was stolen")]
    done = "SELECT action, detail ->> 'why' FROM audit WHERE detail ? 'why' ORDER BY audit_id"
    assert rows(database_url, done) == [
        ("quarantine.put", "its key was stolen"),
        ("quarantine.released", "has a new one"),
    ]
    assert "is not quarantined" in drumtower("quarantine", "show", "kiln/box-0", url=database_url).stdout
    assert drumtower("quarantine", "show", "kiln/nobody", url=database_url).returncode == 1


def test_a_reading_that_the_database_refuses_is_found_among_hundreds_and_the_rest_goes_in(
    store: Store, database_url: str
) -> None:
    rows(database_url, "ALTER TABLE reading ADD CHECK (value <> 13)")
    poison = {71, 180, 181}
    batch = [
        decoded(
            encode_packet(address, 9, seq, now_ms(), readings(13.0 if seq in poison else 1.0, 2.0)), address
        )
        for seq in range(1, 201)
        for address in (BOX, OTHER)
        if address is BOX or seq not in poison
    ]
    result = store.commit(batch)
    assert result.rejects == {"database_refused": len(poison)}
    assert rows(database_url, "SELECT seq FROM reject ORDER BY 1") == [(seq,) for seq in sorted(poison)]
    assert rows(database_url, "SELECT count(*)::int FROM reading") == [(2 * (len(batch) - len(poison)),)]
    assert rows(database_url, "SELECT committed, missing FROM device_packets ORDER BY device_id") == [
        (200, 0),
        (197, 3),
    ]
    rows(database_url, "ALTER TABLE reading DROP CONSTRAINT reading_value_check")
    with fleet.connect(database_url, "test") as connection:
        retrier = Retrier(connection, catalogue(), Limits())
        assert sum(map(retrier.retry, kept.ids(connection))) == 2 * len(poison)
    assert rows(database_url, "SELECT count(*)::int FROM reading") == [(2 * len(batch),)]
