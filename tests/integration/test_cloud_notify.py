"""Notifications from the table to real receivers: retried, held back, given up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.notify import repo
from cloud.notify.signing import webhook_headers
from cloud.sla.service import fire_due
from common.runtime.clock import to_ms
from local.certificates import ServerCertificate, ensure_certificates
from tests.fixtures.centre import Centre
from tests.fixtures.desk import SECRET, Desk, hook, mailbox, robot, states, tell
from tests.fixtures.receivers import HttpReceiver, http_receiver, mail_receiver

pytestmark = pytest.mark.services


@pytest.fixture
def web() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def certificate(tmp_path: Path) -> ServerCertificate:
    return ensure_certificates(tmp_path / "certificates")


def test_a_missed_clock_reaches_whoever_is_on_duty_by_every_channel(
    centre: Centre, web: HttpReceiver, certificate: ServerCertificate, tmp_path: Path
) -> None:
    with centre.database.transaction() as tx:
        tx.run(
            "INSERT INTO duty_shift (unit_code, person, phone, email, begins_at, ends_at) VALUES"
            " ('water', '林工', '13800000000', 'lin@example.org', %(a)s, %(b)s)",
            a=centre.now - timedelta(hours=1),
            b=centre.now + timedelta(hours=1),
        )
        tx.run(
            """UPDATE policy SET escalate = '[{"clock": "resolve", "to": "", "after_s": 0, "again_s": null}]'"""
        )
        tx.run("UPDATE routing_rule SET call = '{}'")
    ticket_id = centre.open_one()
    centre.clock.advance(60)
    assert fire_due(centre.database, centre.now) == 1
    (tmp_path / "password").write_text("Mail-password-2m", encoding="utf-8")
    (tmp_path / "ding").write_text("SEC-ding-secret", encoding="utf-8")
    with mail_receiver(certificate, "drum", "Mail-password-2m") as post:
        password = {"file": str(tmp_path / "password")}
        mail = mailbox(post, user="drum", password=password, ca_file=str(certificate.authority))
        ding = robot(web, tmp_path, "dingtalk", secret={"file": str(tmp_path / "ding")}, language="en")
        desk = Desk(centre, tmp_path, hook(web, tmp_path), robot(web, tmp_path, "wecom"), ding, mail)
        assert desk.send() == 4
    signed, wecom, dingtalk = web.requests
    expected = webhook_headers(signed.headers["webhook-id"], centre.now, signed.body, SECRET)
    assert {name: signed.headers[name] for name in expected} == expected
    told = json.loads(signed.body)["data"]
    assert (told["ticket_id"], told["person"], told["clock"]) == (str(ticket_id), "林工", "ack")
    assert json.loads(wecom.body)["text"]["mentioned_mobile_list"] == ["13800000000"]
    assert "催办" in json.loads(wecom.body)["text"]["content"]
    asked = parse_qs(urlsplit(dingtalk.path).query)
    assert set(asked) == {"key", "timestamp", "sign"}
    assert json.loads(dingtalk.body)["at"]["atMobiles"] == ["13800000000"]
    assert post.recipients == [["lin@example.org"]]
    assert post.encrypted == [True]
    assert post.mails[0]["Message-ID"] == f"<{signed.headers['webhook-id']}@example.org>"
    assert states(centre) == {"sent": 1}
    assert desk.send() == 0
    assert desk.counted("sent_total", channel="mail") == 1


def test_a_receiver_that_is_away_is_tried_again_later_and_later(
    centre: Centre, web: HttpReceiver, tmp_path: Path
) -> None:
    desk = Desk(centre, tmp_path, hook(web, tmp_path), first_retry_s=10, longest_retry_s=60)
    tell(centre, "r1")
    web.answers = [(503, {}, b""), (500, {}, b""), (404, {}, b"")]
    assert desk.send() == 1
    waited = []
    while states(centre) == {"waiting": 1}:
        next_at: datetime = centre.value("SELECT next_at FROM notification_delivery")
        waited.append((next_at - centre.now).total_seconds())
        centre.clock.advance(waited[-1] - 0.01)
        assert desk.send() == 0
        centre.clock.advance(0.02)
        assert desk.send() == 1
    assert [5 < waited[0] <= 10, 10 < waited[1] <= 20, 20 < waited[2] <= 40] == [True] * 3
    assert len(web.requests) == 4
    assert len({request.headers["webhook-id"] for request in web.requests}) == 1
    assert len({request.body for request in web.requests}) == 1
    assert centre.value("SELECT attempts FROM notification") == 4


def test_who_asks_for_peace_is_left_in_peace(centre: Centre, web: HttpReceiver, tmp_path: Path) -> None:
    desk = Desk(centre, tmp_path, hook(web, tmp_path), robot(web, tmp_path, "wecom"))
    tell(centre, "r1")
    web.answers = [(429, {"Retry-After": "600"}, b""), (200, {}, b'{"errcode": 45009, "errmsg": "freq"}')]
    assert desk.send() == 2
    waits = centre.rows("SELECT channel, next_at FROM notification_delivery")
    waited = {row["channel"]: (row["next_at"] - centre.now).total_seconds() for row in waits}
    assert waited == {"desk": 600, "wecom": 60}


def test_one_channel_that_fails_neither_holds_up_nor_repeats_the_others(
    centre: Centre, web: HttpReceiver, tmp_path: Path
) -> None:
    gone = hook(web, tmp_path, name="gone", url="http://127.0.0.1:9/")
    desk = Desk(centre, tmp_path, gone, hook(web, tmp_path), attempts=3)
    tell(centre, "r1")
    for _ in range(5):
        desk.send()
        centre.clock.advance(1000)
    assert len(web.requests) == 1
    assert states(centre) == {"sent": 1}
    assert desk.counted("given_up_total", channel="gone") == 1
    assert desk.counted("failed_total", channel="gone") == 3


def test_what_nobody_takes_is_given_up_and_can_be_tried_anew(
    centre: Centre, web: HttpReceiver, tmp_path: Path
) -> None:
    desk = Desk(centre, tmp_path, hook(web, tmp_path), attempts=2)
    web.usual = (500, {}, b"")
    tell(centre, "r1")
    for _ in range(4):
        desk.send()
        centre.clock.advance(1000)
    assert states(centre) == {"given_up": 1}
    assert len(web.requests) == 2
    desk.notifier.look()
    assert desk.counted("untold") == 1
    web.usual = (204, {}, b"")
    with centre.database.transaction() as tx:
        assert (
            repo.why_given_up(tx, centre.now - timedelta(days=1))
            == "after 2 tries: the receiver answered 500"
        )
        assert repo.revive(tx, centre.now - timedelta(days=1), centre.now) == 1
    desk.send()
    assert states(centre) == {"sent": 1}


def test_who_is_gone_for_good_is_not_asked_again(centre: Centre, web: HttpReceiver, tmp_path: Path) -> None:
    desk = Desk(centre, tmp_path, hook(web, tmp_path))
    web.usual = (410, {}, b"")
    tell(centre, "r1")
    desk.send()
    assert states(centre) == {"given_up": 1}


def test_a_signed_message_is_not_handed_on_to_another_address(
    centre: Centre, web: HttpReceiver, tmp_path: Path
) -> None:
    desk = Desk(centre, tmp_path, hook(web, tmp_path))
    web.usual = (302, {"Location": f"{web.url}/elsewhere"}, b"")
    tell(centre, "r1")
    desk.send()
    assert [request.path for request in web.requests] == ["/hook"]
    assert states(centre) == {"waiting": 1}


def test_mail_that_is_refused_for_good_is_given_up_and_for_now_is_tried_again(
    centre: Centre, certificate: ServerCertificate, tmp_path: Path
) -> None:
    with mail_receiver(certificate) as post:
        desk = Desk(centre, tmp_path, mailbox(post, ca_file=str(certificate.authority)))
        post.refusals = ["451 later", "554 never"]
        tell(centre, "r1")
        desk.send()
        assert states(centre) == {"waiting": 1}
        centre.clock.advance(60)
        desk.send()
        assert states(centre) == {"given_up": 1}
        assert post.mails == []


def test_mail_never_goes_to_a_server_that_cannot_prove_who_it_is(
    centre: Centre, certificate: ServerCertificate, tmp_path: Path
) -> None:
    with mail_receiver(certificate) as post:
        desk = Desk(centre, tmp_path, mailbox(post))
        tell(centre, "r1")
        desk.send()
        assert post.mails == []
    assert "CERTIFICATE" in centre.value("SELECT error FROM notification_delivery").upper()


def test_quiet_hours_hold_back_what_can_wait_until_the_morning(
    centre: Centre, web: HttpReceiver, tmp_path: Path
) -> None:
    evening = datetime(2026, 6, 1, 23, 0, tzinfo=DISTRICT_ZONE)
    centre.clock.jump((to_ms(evening) - centre.clock.now_ms()) / 1000)
    desk = Desk(centre, tmp_path, hook(web, tmp_path), quiet=[{"hours": "22:00-07:00", "units": ["centre"]}])
    tell(centre, "review", "review_due")
    tell(centre, "grave", "review_due", severity=4)
    tell(centre, "call", "call_out")
    assert desk.send() == 2
    centre.clock.advance(8 * 3600 - 1)
    assert desk.send() == 0
    centre.clock.advance(2)
    assert desk.send() == 1
    assert states(centre) == {"sent": 3}


def test_what_lies_for_more_than_a_day_is_told_no_more(
    centre: Centre, web: HttpReceiver, tmp_path: Path
) -> None:
    tell(centre, "old")
    centre.clock.advance(86_401)
    tell(centre, "new")
    desk = Desk(centre, tmp_path, hook(web, tmp_path))
    desk.send()
    assert states(centre) == {"sent": 1, "given_up": 1}
    assert len(web.requests) == 1


def test_what_no_channel_reaches_is_said_at_once(centre: Centre, web: HttpReceiver, tmp_path: Path) -> None:
    desk = Desk(centre, tmp_path, hook(web, tmp_path, units=["fire"]))
    tell(centre, "r1")
    desk.send()
    assert centre.value("SELECT error FROM notification") == "no channel of the settings reaches water"


def test_a_channel_that_left_the_settings_holds_nothing_for_ever(
    centre: Centre, web: HttpReceiver, tmp_path: Path
) -> None:
    desk = Desk(centre, tmp_path, hook(web, tmp_path))
    tell(centre, "r1")
    desk.notifier.lay_out()
    Desk(centre, tmp_path, hook(web, tmp_path, name="other")).send()
    assert states(centre) == {"given_up": 1}


def test_a_row_that_cannot_be_put_into_words_stops_none_of_the_others(
    centre: Centre, web: HttpReceiver, tmp_path: Path
) -> None:
    desk = Desk(centre, tmp_path, hook(web, tmp_path))
    tell(centre, "odd", severity=99)
    tell(centre, "right")
    desk.send()
    assert states(centre) == {"sent": 1, "given_up": 1}


def test_neither_an_error_nor_the_log_holds_a_robots_key(
    centre: Centre, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = tmp_path / "url"
    address.write_text("http://127.0.0.1:9/send?key=Robot-key-4j", encoding="utf-8")
    desk = Desk(centre, tmp_path, {"name": "wecom", "kind": "wecom", "url": {"file": str(address)}})
    tell(centre, "r1")
    desk.send()
    assert "Robot-key-4j" not in centre.value("SELECT error FROM notification_delivery")
    assert "Robot-key-4j" not in "".join(capfd.readouterr())
