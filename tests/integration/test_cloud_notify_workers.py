"""Several workers, also killed ones, send each notification and mark it once; what the commands and the doctor say."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from cloud.db import Database
from cloud.doctor.notify import notify_findings
from cloud.notify import repo
from cloud.notify.settings import NotifySettings
from common.runtime.doctor import Examination
from tests.fixtures.centre import Centre
from tests.fixtures.desk import SECRET, Desk, hook, states, tell
from tests.fixtures.receivers import HttpReceiver, http_receiver
from tests.integration.test_cloud_process import REPOSITORY, await_true, process

pytestmark = pytest.mark.services


@pytest.fixture
def web() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


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
            if number % 40 == 0:
                before = len(web.requests)
            tell(centre, f"r{number}")
            if number % 40 == 39:
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
