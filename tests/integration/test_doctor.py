"""`drumtower doctor` on real parts: working, dead, full, wrong; it says what is wrong and disturbs nobody."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from common.schema.runner import migrate
from local.broker import Broker
from local.postgres import PostgresServer
from tests.conftest import Credential
from tests.fixtures.centre import Centre
from tests.fixtures.edge_gateway import PlayedGateway
from tests.fixtures.moved_database import set_ahead
from tests.integration.gateway_rig import (
    add_box,
    eventually,
    gateway_process,
    now_ms,
    readings,
    register,
    rows,
)
from tests.integration.test_cloud_process import process
from tests.integration.test_dead_mans_switch import centre
from tests.integration.test_edge_agent import SENSORS, Box, box, gateway
from tests.integration.test_gateway_disk_full import SmallDisk

__all__ = ["box", "centre", "gateway"]
pytestmark = pytest.mark.services
REPOSITORY = Path(__file__).parents[2]
OURS = ("DRUMTOWER_", "PG")


class Said:
    """What a doctor said."""

    def __init__(self, ran: subprocess.CompletedProcess[str]) -> None:
        assert ran.returncode in {0, 1}, ran.stderr
        self.code = ran.returncode
        self.text = ran.stdout
        self.findings: list[dict[str, str]] = json.loads(ran.stdout)["findings"]
        assert self.code == any(each["verdict"] == "fail" for each in self.findings)
        for each in self.findings:
            assert each["found"], each
            assert each["fix"] or each["verdict"] in {"ok", "could not check"}, each

    def __call__(self, what: str) -> tuple[str, str]:
        """Verdict and words of the one finding of this name."""
        (found,) = [each for each in self.findings if each["what"] == what]
        return found["verdict"], found["found"]

    def fix(self, what: str) -> str:
        """What it tells to do."""
        (found,) = [each for each in self.findings if each["what"] == what]
        return found["fix"]

    def failing(self) -> list[str]:
        """What fails."""
        return [each["what"] for each in self.findings if each["verdict"] == "fail"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, with nothing of this machine's own environment but the data directory of the set-up."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return subprocess.run(
        [sys.executable, "-m", "common.runtime.cli", "doctor", *arguments],
        env={**kept, "PYTHONPATH": str(REPOSITORY), **environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def ask(*arguments: str, **environment: str) -> Said:
    return Said(run(*arguments, "--json", **environment))


def surroundings(broker: Broker, credential: Credential, url: str, directory: Path) -> dict[str, str]:
    """The environment of a gateway."""
    file = directory / "gateway-credential"
    file.write_text(credential.password, encoding="utf-8")
    return {
        "DRUMTOWER_DATABASE_URL": url,
        "DRUMTOWER_BROKER_URL": broker.url.replace("mqtts://", f"mqtts://{credential.username}@"),
        "DRUMTOWER_CA_FILE": str(broker.ca_file),
        "DRUMTOWER_CREDENTIAL_FILE": str(file),
    }


def test_a_gateway_that_works_is_well_and_is_not_disturbed(
    broker: Broker, gateway_credential: Credential, database_url: str, tmp_path: Path
) -> None:
    register(database_url, "kiln", "box-0")
    around = surroundings(broker, gateway_credential, database_url, tmp_path)
    name, password = gateway_credential.username, gateway_credential.password
    with gateway_process(tmp_path / "gateway", database_url, broker, name, password) as running:
        running.await_connected()
        eventually(lambda: rows(database_url, "SELECT 1 FROM partition_lease WHERE working_at IS NOT NULL"))
        said = ask("gateway", **around)
        assert said.code == 0, said.text
        verdict, words = said("lease: default")
        assert verdict == "ok"
        assert "hears the broker and commits" in words
        assert said("broker: account") == ("ok", "a gateway is connected for default")
        assert said("broker: certificate")[0] == "ok"
        assert said("watcher outside")[0] == "warn"
        assert said("database: schema")[0] == said("database: writing")[0] == "ok"
        assert said("clock")[0] == "ok"
        assert "taken over" not in running.log
        assert running.stop() == 0
    assert rows(database_url, "SELECT fencing::int FROM partition_lease") == [(1,)]
    assert password not in said.text


def test_a_gateway_that_works_is_not_disturbed_while_the_database_cannot_be_asked(
    broker: Broker, gateway_credential: Credential, database_url: str, tmp_path: Path
) -> None:
    around = surroundings(broker, gateway_credential, database_url, tmp_path)
    name, password = gateway_credential.username, gateway_credential.password
    with gateway_process(tmp_path / "gateway", database_url, broker, name, password) as running:
        running.await_connected()
        away = "postgresql://drumtower@127.0.0.1:1/none"
        said = ask("gateway", **{**around, "DRUMTOWER_DATABASE_URL": away})
        assert said.failing() == ["database"]
        verdict, words = said("broker: account")
        assert verdict == "could not check"
        assert "whether a gateway is connected cannot be asked" in words
        assert running.stop() == 0
        assert "disconnected" not in running.log


def test_a_dead_gateway_is_said_with_what_to_type_and_its_queue_is_left_alone(
    broker: Broker, gateway_credential: Credential, database_url: str, tmp_path: Path
) -> None:
    register(database_url, "kiln", name := f"box-{secrets.token_hex(4)}")
    around = surroundings(broker, gateway_credential, database_url, tmp_path)
    account, password = gateway_credential.username, gateway_credential.password
    box = add_box(broker, "kiln", name)
    try:
        with gateway_process(tmp_path / "gateway", database_url, broker, account, password) as running:
            running.await_connected()
            running.kill()
            # Only the broker has it: this box does not send again by itself.
            box.await_connected()
            box.send(readings(1.0))
            rows(database_url, "UPDATE partition_lease SET expires_at = now() - interval '5 minutes'")
            said = ask("gateway", **around)
            verdict, words = said("lease: default")
            assert verdict == "fail"
            assert "no gateway holds it; 1 boxes go unheard" in words
            assert "drumtower gateway run" in said.fix("lease: default")
            assert said("broker: account") == ("ok", f"the broker lets {account} in")
            running.start()
            eventually(lambda: box.unreceipted() == 0)
    finally:
        box.close()
        broker.remove_client(f"kiln/{name}")


def test_a_machine_and_a_database_whose_clocks_differ_are_said(database_url: str) -> None:
    moved = set_ahead(database_url, 3600)
    said = ask("gateway", DRUMTOWER_DATABASE_URL=moved, DRUMTOWER_BROKER_URL="mqtt://127.0.0.1:1")
    assert said("clock") == ("fail", "this machine's clock is 3600.0 s behind the database's")
    assert "timedatectl set-ntp true" in said.fix("clock")


def test_a_wrong_password_and_a_dead_broker_are_told_apart(
    broker: Broker, gateway_credential: Credential, database_url: str, tmp_path: Path
) -> None:
    wrong = Credential(gateway_credential.username, "not the password")
    said = ask("gateway", **surroundings(broker, wrong, database_url, tmp_path))
    verdict, words = said("broker: account")
    assert verdict == "fail"
    assert "bad user name or password" in words or "not authorised" in words
    assert "DRUMTOWER_CREDENTIAL_FILE" in said.fix("broker: account")
    around = surroundings(broker, gateway_credential, database_url, tmp_path)
    said = ask("gateway", **{**around, "DRUMTOWER_BROKER_URL": "mqtts://127.0.0.1:1"})
    assert said("broker")[0] == "fail"
    assert said("broker: account")[0] == "could not check"


def test_a_broker_that_is_not_to_be_trusted_is_said(
    broker: Broker, gateway_credential: Credential, database_url: str, tmp_path: Path
) -> None:
    around = surroundings(broker, gateway_credential, database_url, tmp_path)
    del around["DRUMTOWER_CA_FILE"]
    said = ask("gateway", **around)
    verdict, words = said("broker: certificate")
    assert verdict == "fail"
    assert "not to be trusted" in words
    assert "DRUMTOWER_CA_FILE" in said.fix("broker: certificate")


def test_a_database_that_is_away_bare_or_behind_is_said(
    postgres_server: PostgresServer, database_url: str
) -> None:
    away = ask("cloud", DRUMTOWER_DATABASE_URL="postgresql://x:secret-word@127.0.0.1:1/none")
    assert away("database")[0] == "fail"
    assert "secret-word" not in away.text
    url = postgres_server.create_database(name := f"bare_{secrets.token_hex(4)}")
    try:
        for tier in ("cloud", "gateway"):
            bare = ask(tier, DRUMTOWER_DATABASE_URL=url, DRUMTOWER_BROKER_URL="mqtt://127.0.0.1:1")
            assert bare("database: schema") == ("fail", "there is none")
            assert bare.fix("database: schema") == "drumtower schema migrate"
    finally:
        postgres_server.drop_database(name)
    rows(database_url, "DELETE FROM schema_migration WHERE version = 70")
    behind = ask("cloud", DRUMTOWER_DATABASE_URL=database_url)
    assert behind("database: schema") == ("fail", "these steps are missing: 0070_watch.sql")
    user, _, rest = database_url.partition("@")
    wrong = ask("cloud", DRUMTOWER_DATABASE_URL=f"{user[:-4]}@{rest}")
    assert "it does not let us in" in wrong("database")[1]


@pytest.fixture(params=["disk", "answer"])
def full_database(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> Iterator[tuple[str, str]]:
    """A database that has no room where one may be made so, else one that takes no writes; with what is to be said."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=320m,mode=755", "tmpfs", str(place)]
    may_mount = os.geteuid() == 0 and shutil.which("mount") is not None
    if (
        request.param == "answer"
        or not may_mount
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        name = database_url.rpartition("/")[2]
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        yield database_url, "takes no writes"
        return
    try:
        made = SmallDisk(place)
        migrate(made.url)
        # What a machine under way has in its log, so that the server outlives the full disk.
        made.fill()
        yield made.url, "disk is full"
        made.free()
    finally:
        made.server.stop()
        subprocess.run(["umount", str(place)], check=True)


def test_a_database_without_room_is_said(full_database: tuple[str, str]) -> None:
    url, words = full_database
    said = ask("cloud", DRUMTOWER_DATABASE_URL=url)
    assert said.code == 1
    found = [each for each in said.findings if each["what"].startswith("database")]
    assert any(words in each["found"] and each["verdict"] == "fail" for each in found), found


@pytest.mark.timeout(300)
def test_a_broker_whose_disk_is_full_is_said_and_goes_on(database_url: str, tmp_path: Path) -> None:
    """Mosquitto says it only in its log: what it saves gets old, and that is what is looked at."""
    place = tmp_path / "broker"
    # What it saves alone, so that its log can still say what is the matter.
    small = place / "run"
    small.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs", str(small)]
    is_small = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        with Broker(place) as broker:
            _fill_and_free(broker, place, database_url, tmp_path, is_small=is_small)
    finally:
        if is_small:
            subprocess.run(["umount", str(small)], check=True)


def leave_a_session(broker: Broker, password: str) -> None:
    """A gateway's session without the gateway: what boxes send is kept for it."""
    listens = threading.Event()
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, "gw-default", clean_session=False, protocol=MQTTProtocolVersion.MQTTv311
    )
    client.username_pw_set("gateway", password)
    client.tls_set(ca_certs=str(broker.ca_file))
    client.on_subscribe = lambda *_: listens.set()
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.subscribe("dt/v1/+/+/up/#", qos=1)
    assert listens.wait(60)
    client.disconnect()
    client.loop_stop()


def _fill_and_free(broker: Broker, place: Path, database_url: str, tmp_path: Path, *, is_small: bool) -> None:
    broker.add_gateway("gateway", password := secrets.token_urlsafe(16))
    broker.reload()
    around = surroundings(broker, Credential("gateway", password), database_url, tmp_path)
    around["DRUMTOWER_BROKER_DATA"] = str(place / "run")
    leave_a_session(broker, password)
    saved = place / "run" / "mosquitto.db"
    eventually(saved.exists, 60)
    assert ask("gateway", **around)("broker: saving")[0] == "ok"
    box = add_box(broker, "kiln", "box-0")
    box.await_connected()
    ballast = place / "run" / "ballast"
    if is_small:
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
    else:
        # No small file system for this account: no file can be made where it writes what it saves.
        (place / "run" / "mosquitto.db.new").mkdir()
    try:
        for number in range(20):
            box.send(readings(*[float(number)] * 500))
        eventually(broker.saving_fault, 60)
        old = now_ms() / 1000 - 600
        os.utime(saved, (old, old))
    finally:
        box.close()
    said = ask("gateway", **around)
    verdict, words = said("broker: saving")
    assert verdict == "fail"
    assert "it last saved what it holds 10 min ago" in words
    assert said("broker: account") == ("ok", "the broker lets gateway in"), "it goes on from memory"
    if is_small:
        assert said("broker: disk")[0] == "fail"
        assert "its disk is full" in words
        ballast.unlink()
    else:
        (place / "run" / "mosquitto.db.new").rmdir()
    eventually(lambda: saved.stat().st_mtime > old + 1, 60)
    assert ask("gateway", **around)("broker: saving")[0] == "ok"


def test_a_centre_that_works_is_well_and_a_dead_one_is_said(centre: Centre, database_url: str) -> None:
    with process(database_url, "--role", "worker"):
        eventually(lambda: rows(database_url, "SELECT 1 FROM worker_heartbeat"))
        said = ask("cloud", DRUMTOWER_DATABASE_URL=database_url)
        assert said.code == 0, said.text
        assert said("workers")[0] == said("inbox")[0] == said("clocks")[0] == "ok"
    rows(database_url, "UPDATE worker_heartbeat SET at = at - interval '10 minutes'")
    centre.put(centre.device("lamp-1"))
    rows(database_url, "UPDATE observation_inbox SET queued_at = now() - interval '5 minutes'")
    rows(
        database_url,
        "INSERT INTO inbox_failed VALUES (9, now(), 3, 'ValueError: odd', 1, gen_random_uuid(), 'start', 'x', '{}')",
    )
    rows(
        database_url,
        "INSERT INTO partition_lease (partition, expires_at, working_at)"
        " VALUES ('default', '-infinity', now() - interval '1 hour')",
    )
    said = ask("cloud", DRUMTOWER_DATABASE_URL=database_url)
    assert said.failing() == ["workers", "inbox", "inbox: failed", "gateway: default"]
    assert "the last was heard 10 min ago" in said("workers")[1]
    assert "drumtower cloud retry-failed" in said.fix("inbox: failed")
    assert said("gateway: default")[1] == "silent for 60 min: nobody holds the lease"


def test_a_box_that_works_is_well_and_a_dead_one_is_said(
    box: Box, gateway: PlayedGateway, gateway_credential: Credential
) -> None:
    box.configure(sensors=SENSORS)
    around = {
        "DRUMTOWER_BROKER_URL": box.broker.url,
        "DRUMTOWER_CA_FILE": str(box.broker.ca_file),
        "DRUMTOWER_CREDENTIAL_FILE": str(box.directory / "credential"),
    }
    named = ("edge", "--config", str(box.directory / "box.yaml"), "--data", str(box.data))
    running = box.start()
    eventually(lambda: gateway.committed >= 5)
    eventually(lambda: "had a receipt" in ask(*named, **around)("broker: account")[1], every=1.0)
    said = ask(*named, **around)
    assert said.code == 0, said.text
    assert said("agent")[0] == said("outbox")[0] == said("broker: certificate")[0] == "ok"
    assert "uplink.taken_over" not in box.log
    running.kill()
    running.wait()
    said = ask(*named, **around)
    assert said.failing() == ["agent"]
    assert said("broker: account") == ("ok", f"the broker lets {box.address} in")
    (box.directory / "credential").write_text("wrong")
    assert ask(*named, **around)("broker: account")[0] == "fail"
    (box.directory / "box.yaml").write_text("site: gulou\ndevice: x\ncamaras: []\n")
    said = ask(*named, **around)
    assert said.failing() == ["configuration"]
    assert "box.yaml:3: camaras" in said("configuration")[1]


def test_people_get_a_table_and_nothing_here_is_said(database_url: str) -> None:
    nothing = run()
    assert nothing.returncode == 2
    assert "nothing to examine here" in nothing.stderr
    ran = run("cloud", DRUMTOWER_DATABASE_URL=database_url)
    assert "database: schema" in ran.stdout
    assert "→ drumtower cloud load-district" in " ".join(ran.stdout.split())
    both = run(DRUMTOWER_DATABASE_URL=database_url, DRUMTOWER_BROKER_URL="mqtt://127.0.0.1:1")
    assert {"gateway", "cloud"} <= set(both.stdout.split())
    assert "not examined: edge" in both.stdout
