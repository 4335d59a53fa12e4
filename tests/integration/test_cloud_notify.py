"""Notifications from the table to real receivers: retried, held back, given up, by workers that are killed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from prometheus_client import CollectorRegistry

from cloud.calendar.domain import DISTRICT_ZONE
from cloud.db import Database
from cloud.doctor.notify import notify_findings
from cloud.duty import repo as duty
from cloud.notify import repo
from cloud.notify.service import Notifier, NotifyMetrics
from cloud.notify.settings import NotifySettings
from cloud.notify.signing import webhook_headers
from cloud.sla.service import fire_due
from common.runtime.clock import to_ms
from common.runtime.doctor import Examination
from local.certificates import ServerCertificate, ensure_certificates
from tests.fixtures.centre import Centre
from tests.fixtures.receivers import HttpReceiver, MailReceiver, http_receiver, mail_receiver
from tests.integration.test_cloud_process import REPOSITORY, await_true, process

pytestmark = pytest.mark.services
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def centre(database_url: str) -> Iterator[Centre]:
    with Database(database_url, size=12) as database:
        built = Centre(database)
        built.build()
        yield built


@pytest.fixture
def web() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def certificate(tmp_path: Path) -> ServerCertificate:
    return ensure_certificates(tmp_path / "certificates")


class Desk:
    """A district's channels and what sends by them, stepped by hand."""

    def __init__(self, centre: Centre, directory: Path, *channels: dict[str, Any], **changed: Any) -> None:
        self.centre = centre
        (directory / "secret").write_text(SECRET + "\n", encoding="utf-8")
        self.settings = NotifySettings.model_validate({"channels": channels} | changed)
        self.registry = CollectorRegistry()
        self.notifier = Notifier(centre.database, self.settings, centre.clock, NotifyMetrics(self.registry))

    def send(self) -> int:
        """Decide and send all that is due now; how many tries that were."""
        self.notifier.lay_out()
        return sum(
            sum(1 for _ in iter(lambda it=channel: self.notifier.step(it), False))  # type: ignore[misc]
            for channel in self.settings.channels
        )

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"drumtower_notifications_{name}", labels) or 0.0


def hook(web: HttpReceiver, directory: Path, **changed: Any) -> dict[str, Any]:
    return {
        "name": "desk",
        "kind": "webhook",
        "url": f"{web.url}/hook",
        "secret": {"file": str(directory / "secret")},
    } | changed


def robot(web: HttpReceiver, directory: Path, kind: str, **changed: Any) -> dict[str, Any]:
    address = directory / f"{kind}.url"
    address.write_text(f"{web.url}/{kind}?key=Robot-key-4j", encoding="utf-8")
    return {"name": kind, "kind": kind, "url": {"file": str(address)}} | changed


def mailbox(post: MailReceiver, **changed: Any) -> dict[str, Any]:
    return {
        "name": "mail",
        "kind": "email",
        "host": "127.0.0.1",
        "port": post.port,
        "sender": "drum@example.org",
        "to": ["desk@example.org"],
    } | changed


def tell(centre: Centre, reason: str, kind: Any = "call_out", **payload: Any) -> None:
    with centre.database.transaction() as tx:
        callee = duty.callee(tx, "water", centre.now)
        notice = duty.Notice(kind, callee, {"severity": 2, **payload}, reason, centre.now)
        duty.notify(tx, notice, centre.now)


def states(centre: Centre) -> Counter[str]:
    rows = centre.rows(
        "SELECT CASE WHEN sent_at IS NOT NULL THEN 'sent' WHEN given_up_at IS NOT NULL THEN 'given_up'"
        " ELSE 'waiting' END AS state FROM notification"
    )
    return Counter(row["state"] for row in rows)


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


def test_of_a_claim_that_runs_out_while_the_receiver_thinks_both_send_and_one_marks(
    centre: Centre, web: HttpReceiver, tmp_path: Path
) -> None:
    tell(centre, "r1")
    desk = Desk(centre, tmp_path, hook(web, tmp_path))
    desk.notifier.lay_out()
    (channel,) = desk.settings.channels
    until = centre.now + timedelta(seconds=120)
    with centre.database.transaction() as tx:
        slow = repo.claim(tx, "desk", centre.now, until, 8)
    assert slow is not None
    assert not desk.notifier.step(channel)
    centre.clock.advance(121)
    assert desk.notifier.step(channel)
    sent_at = centre.value("SELECT sent_at FROM notification")
    with centre.database.transaction() as tx:
        assert not repo.mark_sent(tx, slow, centre.now + timedelta(seconds=5))
    assert centre.value("SELECT sent_at FROM notification") == sent_at


def test_several_workers_send_each_once(
    centre: Centre, database_url: str, web: HttpReceiver, tmp_path: Path
) -> None:
    for number in range(60):
        tell(centre, f"r{number}")
    with Database(database_url, size=8) as other:
        desks = [Desk(centre, tmp_path, hook(web, tmp_path)) for _ in range(4)]
        desks[3].notifier._database = other
        barrier = threading.Barrier(4)

        def work(desk: Desk) -> None:
            barrier.wait()
            desk.send()
            desk.send()

        threads = [threading.Thread(target=work, args=(desk,)) for desk in desks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert states(centre) == {"sent": 60}
    assert Counter(Counter(r.headers["webhook-id"] for r in web.requests).values()) == {1: 60}


def test_two_workers_killed_at_random_send_each_at_least_once_and_mark_it_once(
    centre: Centre, database_url: str, web: HttpReceiver, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    file = tmp_path / "cloud.yaml"
    notify = {
        "channels": [hook(web, tmp_path, timeout_s=1), hook(web, tmp_path, name="second", timeout_s=1)],
        "claim_s": 3,
        "attempts": 50,
        "first_retry_s": 0.2,
        "longest_retry_s": 1,
        "every_s": 0.05,
        "expire_after_h": 720,
    }
    file.write_text(yaml.safe_dump({"notify": notify}), encoding="utf-8")
    with centre.database.transaction() as tx:
        tx.run("CREATE TABLE marked (id bigint)")
        tx.run(
            "CREATE FUNCTION note_mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO marked VALUES (new.id); RETURN new; END $$"
        )
        tx.run(
            "CREATE TRIGGER note_mark AFTER UPDATE ON notification FOR EACH ROW"
            " WHEN (old.sent_at IS DISTINCT FROM new.sent_at) EXECUTE FUNCTION note_mark()"
        )
    centre.clock.jump(time.time() - centre.clock.now_ms() / 1000)
    chance = random.Random(20)
    web.answers = [(503, {}, b"") if chance.random() < 0.2 else web.usual for _ in range(600)]
    arguments = ("--role", "worker", "--config", str(file))
    killed = 0
    with ExitStack() as workers:
        running = [workers.enter_context(process(database_url, *arguments)) for _ in range(2)]
        for number in range(240):
            tell(centre, f"r{number}")
            if number % 40 == 39:
                before = len(web.requests)
                await_true(lambda floor=before: len(web.requests) > floor + 5)  # type: ignore[misc]
                victim = chance.randrange(2)
                running[victim].kill()
                running[victim] = workers.enter_context(process(database_url, *arguments))
                killed += 1
        await_true(lambda: states(centre) == {"sent": 240})
        await_true(
            lambda: centre.value("SELECT count(*) FROM notification_delivery WHERE state <> 'sent'") == 0
        )
    ids = Counter((r.headers["webhook-id"]) for r in web.requests)
    assert len(ids) == 240
    assert (
        centre.value("SELECT count(*) FROM marked")
        == centre.value("SELECT count(DISTINCT id) FROM marked")
        == 240
    )
    assert killed == 6


def test_the_commands_list_try_and_revive(
    centre: Centre, database_url: str, web: HttpReceiver, tmp_path: Path
) -> None:
    desk = Desk(centre, tmp_path, hook(web, tmp_path), attempts=1)
    file = tmp_path / "cloud.yaml"
    file.write_text(yaml.safe_dump({"notify": {"channels": [hook(web, tmp_path)]}}), encoding="utf-8")
    centre.clock.jump(time.time() - centre.clock.now_ms() / 1000)
    web.usual = (500, {}, b"")
    tell(centre, "r1")
    desk.send()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "common.runtime.cli", "cloud", "notify", *arguments],
            cwd=REPOSITORY,
            env={"PATH": "/usr/bin:/bin", "DRUMTOWER_DATABASE_URL": database_url, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )

    listed = run("list", "--state", "given-up")
    assert "the receiver answered 500" in listed.stdout
    assert "desk: 0 sent, 0 wait, 1 given up" in listed.stdout
    failed = run("test", "--channel", "desk", "--config", str(file))
    assert failed.returncode == 1
    assert "the receiver answered 500" in failed.stderr
    web.usual = (200, {}, b"")
    assert run("test", "--channel", "desk", "--config", str(file)).returncode == 0
    assert "1 are tried again" in run("retry").stdout
    assert "did you mean 'desk'" in run("test", "--channel", "dusk", "--config", str(file)).stderr
    assert states(centre) == {"waiting": 1}


def test_the_doctor_says_that_nobody_is_told_and_why(
    centre: Centre, web: HttpReceiver, tmp_path: Path
) -> None:
    def findings(settings: NotifySettings) -> dict[str, tuple[str, str]]:
        with centre.database.transaction() as tx:
            found = notify_findings(Examination("cloud"), tx, settings)
            return {one.what: (one.verdict, one.found) for one in found}

    centre.clock.jump(time.time() - centre.clock.now_ms() / 1000)
    tell(centre, "r1")
    none = findings(NotifySettings())
    assert none["notifications"][0] == "warn"
    assert "1 wait" in none["notifications"][1]
    desk = Desk(centre, tmp_path, hook(web, tmp_path), attempts=1)
    web.usual = (500, {}, b"")
    desk.send()
    told = findings(desk.settings)
    assert told["notifications"] == ("ok", "by desk; nothing waits")
    assert told["notifications: given up"] == (
        "fail",
        "1 within a day, 1 of them calls: after 1 tries: the receiver answered 500",
    )
