"""Every tier is given secrets in every way it takes them, and made to fail: not one byte that it says shows one."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from common.runtime.cli import GROUP
from local.broker import Broker
from local.certificates import ensure_certificates
from local.ports import free_port
from tests.integration.gateway_rig import PATIENCE, SETTINGS, eventually

pytestmark = pytest.mark.services
REPOSITORY = Path(__file__).parents[2]
#: Each of its own, so that a failure names the way it came; with what a URL has to escape.
IN_BROKER_URL = "Broker@pass/9x"
IN_DATABASE_URL = "Store@pass/7q"
IN_EVIDENCE_URL = "Evidence@pass/5z"
IN_DEVICE_FILE = "Written@down/3k"
IN_CREDENTIAL_FILE = "Credential file=8w"
IN_VARIABLE = "Variable-token-6v"
SECRETS = (
    *(IN_BROKER_URL, IN_DATABASE_URL, IN_EVIDENCE_URL, IN_DEVICE_FILE, IN_CREDENTIAL_FILE, IN_VARIABLE),
)
#: Breaks what a function of ours does, with an error that quotes the environment: what a bug's dump would show.
SABOTAGE = """
import importlib, os, sys, threading
module, name = sys.argv[1:3]
sys.argv = ["drumtower", *sys.argv[3:]]
said = " ".join(value for key, value in os.environ.items() if key.startswith("DRUMTOWER"))
def raises(where):
    raise RuntimeError(f"a bug in {where} with {said}")
def broken(*_, **__):
    thread = threading.Thread(target=raises, args=("a thread",), name="sabotaged")
    thread.start()
    thread.join()
    raises("the main thread")
setattr(importlib.import_module(module), name, broken)
from common.runtime.cli import main
main()
"""


@dataclass
class Place:
    """Files and an environment that are full of secrets."""

    directory: Path
    broker: Broker
    database_url: str
    variables: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        return path

    @property
    def wrong_broker(self) -> str:
        return f"mqtts://gulou:{quote(IN_BROKER_URL, safe='')}@127.0.0.1:{self.broker.port}"

    @property
    def wrong_database(self) -> str:
        parts = urlsplit(self.database_url)
        return f"postgresql://{parts.username}:{quote(IN_DATABASE_URL, safe='')}@127.0.0.1:{parts.port}{parts.path}"

    def device(self, more: str = "") -> Path:
        return self.write(
            "box.yaml", f"site: gulou\ndevice: lamp-1\nsensors: [{{name: s-1, kind: smoke}}]\n{more}"
        )


@pytest.fixture
def place(tmp_path: Path, broker: Broker, database_url: str) -> Iterator[Place]:
    made = Place(tmp_path, broker, database_url)
    credential = made.write("credential", IN_CREDENTIAL_FILE + "\n")
    certificate = ensure_certificates(tmp_path / "certificates")
    made.write("gateway.yaml", SETTINGS)
    made.variables = {
        "DRUMTOWER_BROKER_URL": made.wrong_broker,
        "DRUMTOWER_DATABASE_URL": made.wrong_database,
        "DRUMTOWER_EVIDENCE_URL": f"https://gulou:{quote(IN_EVIDENCE_URL, safe='')}@127.0.0.1:{free_port()}",
        "DRUMTOWER_CREDENTIAL_FILE": str(credential),
        "DRUMTOWER_CA_FILE": str(broker.ca_file),
        "DRUMTOWER_TLS_CERT": str(certificate.certificate),
        "DRUMTOWER_TLS_KEY": str(certificate.key),
        "DRUMTOWER_EVIDENCE_DIR": str(tmp_path / "evidence"),
        "DRUMTOWER_DATA": str(tmp_path / "data"),
        "DRUMTOWER_API_TOKEN": IN_VARIABLE,
    }
    yield made
    assert_secret([path.read_bytes() for path in tmp_path.rglob("*.log")])


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "common.runtime.cli", *map(str, words)]


def environment(place: Place, **more: str) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("DRUMTOWER")},
        "COLUMNS": "400",  # a table that breaks a line would hide a secret from this test, not from a reader
        "PYTHONPATH": str(REPOSITORY),
        **place.variables,
        **more,
    }


def run(place: Place, *words: str | Path, **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(*words),
        cwd=place.directory,
        env=environment(place, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )


def assert_secret(texts: list[bytes]) -> None:
    """None of the secrets is in any form in what was said, nor the half of one that a wrong reading leaves."""
    said = b"\n".join(texts)
    for secret in SECRETS:
        forms = {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]}
        forms |= {
            secret.replace("@", "-"),
            secret.replace("/", "-"),
            base64.b64encode(secret.encode()).decode(),
            *re.split(r"[@/= ]", secret),
        }
        for form in forms:
            if len(form) > 6:
                assert form.encode() not in said, f"{form!r} was said: {said.decode()}"


def unparsable(place: Place) -> str:
    return place.wrong_database.replace(quote(IN_DATABASE_URL, safe=""), IN_DATABASE_URL.replace("@", "%"))


def half_escaped(place: Place) -> str:
    return place.wrong_database.replace(quote(IN_DATABASE_URL, safe=""), IN_DATABASE_URL.replace("/", "-"))


#: What is run, the variable that is set otherwise, and a word that must be said: else it failed for another reason.
Failing = tuple[tuple[str, ...], dict[str, Callable[[Place], str]], str]
FAILING: dict[str, Failing] = {
    "edge: broker of another scheme": (
        ("edge", "run", "box.yaml"),
        {"DRUMTOWER_BROKER_URL": lambda place: place.wrong_broker.replace("mqtts", "mqttt")},
        "did you mean mqtt",
    ),
    "edge: broker with a port that is none": (
        ("edge", "run", "box.yaml"),
        {"DRUMTOWER_BROKER_URL": lambda _: f"mqtts://gulou:{IN_BROKER_URL.replace('@', '-')}@h"},
        "DRUMTOWER_BROKER_URL",
    ),
    "edge: evidence of another scheme": (
        ("edge", "run", "box.yaml"),
        {
            "DRUMTOWER_EVIDENCE_URL": lambda _: (
                f"ftp://gulou:{IN_EVIDENCE_URL}@h,https://a:{IN_EVIDENCE_URL}@h"
            )
        },
        "expected https://host:port",
    ),
    "edge: a credential of two lines": (
        ("edge", "run", "box.yaml"),
        {
            "DRUMTOWER_CREDENTIAL_FILE": lambda place: str(
                place.write("two", f"{IN_CREDENTIAL_FILE}\n{IN_VARIABLE}\n")
            )
        },
        "expected one line",
    ),
    "edge: check": (("edge", "check", "box.yaml"), {}, "lamp-1"),
    "gateway: unparsable": (
        ("gateway", "run", "--config", "gateway.yaml"),
        {"DRUMTOWER_DATABASE_URL": unparsable},
        "DRUMTOWER_DATABASE_URL: expected",
    ),
    "gateway: half escaped": (
        ("gateway", "devices"),
        {"DRUMTOWER_DATABASE_URL": half_escaped},
        "does not answer",
    ),
    "gateway: broker of another scheme": (
        ("gateway", "run", "--config", "gateway.yaml"),
        {"DRUMTOWER_BROKER_URL": lambda place: place.wrong_broker.replace("mqtts", "mqttt")},
        "DRUMTOWER_BROKER_URL",
    ),
    "schema: wrong password": (("schema", "migrate"), {}, "password authentication failed"),
    "rules: wrong password": (("rules", "show"), {}, "password authentication failed"),
    "backup: wrong password": (("backup", "create", "backup"), {}, "password authentication failed"),
    "backup: half escaped": (("backup", "create", "backup"), {"DRUMTOWER_DATABASE_URL": half_escaped}, ""),
    "cloud: wrong password": (("cloud", "run", "--port", "0", "--log-level", "debug"), {}, ""),
    "cloud: half escaped": (("cloud", "summary"), {"DRUMTOWER_DATABASE_URL": half_escaped}, ""),
    "cloud: account": (("cloud", "account", "list"), {}, ""),
}


@pytest.mark.parametrize("case", FAILING.values(), ids=list(FAILING))
def test_what_cannot_start_says_why_without_a_secret(place: Place, case: Failing) -> None:
    words, others, told = case
    place.device()
    ran = run(place, *words, **{name: value(place) for name, value in others.items()})
    said = ran.stdout + ran.stderr
    assert ran.returncode or words[1] == "check"
    assert told.encode() in said, said.decode()
    assert_secret([said])


def test_a_faulty_file_is_quoted_without_the_secret_that_somebody_wrote_into_it(place: Place) -> None:
    url = f"mqtt://gulou:{IN_DEVICE_FILE}@h:1883"
    place.device(f"uplink: {{broker_ur: '{url}', mqtt: '{url}', keepalive_s: '{url}', ca_file: ['{url}']}}\n")
    for words in (("edge", "run", "box.yaml"), ("edge", "check", "box.yaml")):
        ran = run(place, *words)
        assert b"broker_url" in ran.stderr
        assert b"***" in ran.stderr
        assert_secret([ran.stdout, ran.stderr])


@pytest.mark.parametrize(
    ("words", "module", "name"),
    [
        (("edge", "run", "box.yaml"), "edge.app", "Agent"),
        (("gateway", "run", "--config", "gateway.yaml"), "gateway.app", "Gateway"),
        (("cloud", "run", "--port", "0"), "cloud.app", "Cloud"),
    ],
    ids=["edge", "gateway", "cloud"],
)
def test_a_bugs_traceback_shows_no_secret(
    place: Place, words: tuple[str, ...], module: str, name: str
) -> None:
    place.device()
    ran = subprocess.run(
        [sys.executable, place.write("sabotage.py", SABOTAGE), module, name, *words],
        cwd=place.directory,
        env=environment(place),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ran.returncode == 1
    assert b"in thread sabotaged" in ran.stderr
    assert ran.stderr.count(b"Traceback (most recent call last)") == 2, ran.stderr.decode()
    assert b"mqtts://gulou:***@127.0.0.1" in ran.stderr
    assert_secret([ran.stdout, ran.stderr])


@pytest.mark.parametrize(
    ("tier", "kind"),
    [
        *(
            (tier, kind)
            for tier in ("edge", "gateway", "cloud")
            for kind in ("wrong password", "nobody there")
        ),
        ("gateway", "wrong database password"),
    ],
)
def test_what_runs_and_is_refused_tells_no_secret_in_log_or_metrics(
    place: Place, tier: str, kind: str
) -> None:
    place.device("uplink: {reconnect_s: 0.1, longest_reconnect_s: 0.2, drain_s: 0}\n")
    port = free_port()
    words = {
        "edge": ("edge", "run", "box.yaml", "--metrics-port", str(port), "--log-level", "debug"),
        "gateway": (
            *(
                "gateway",
                "run",
                "--config",
                "gateway.yaml",
                "--metrics-port",
                str(port),
                "--log-level",
                "debug",
            ),
            *("--evidence-port", str(free_port())),
        ),
        "cloud": (
            *("cloud", "run", "--port", str(free_port()), "--metrics-port", str(port)),
            *("--log-level", "debug"),
        ),
    }[tier]
    more = {} if "database" in kind else {"DRUMTOWER_DATABASE_URL": place.database_url}
    if kind == "nobody there":
        more["DRUMTOWER_BROKER_URL"] = place.wrong_broker.replace(str(place.broker.port), str(free_port()))
    log = place.directory / "process.log"
    with log.open("wb") as written:
        running = subprocess.Popen(
            command(*words),
            cwd=place.directory,
            env=environment(place, **more),
            stdout=written,
            stderr=written,
        )
    try:
        wanted = {"edge": b"uplink.", "gateway": b"broker", "cloud": b"listening on"}[tier]
        wanted = b"password authentication failed" if "database" in kind else wanted
        eventually(lambda: wanted in log.read_bytes())
        answered = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE)
        assert answered.status_code == 200
        running.send_signal(signal.SIGTERM)
        running.wait(PATIENCE)
    finally:
        running.kill()
        running.wait()
    assert_secret([log.read_bytes(), answered.content])
    assert str(urlsplit(place.database_url).password) not in log.read_text() + answered.text


@pytest.mark.parametrize("name", ["edge", "gateway", "cloud", "backup"])
def test_no_help_shows_a_secret_of_the_environment(place: Place, name: str) -> None:
    ran = run(place, name, "--help")
    assert ran.returncode == 0
    assert_secret([ran.stdout, ran.stderr])


@pytest.mark.parametrize(
    "words",
    [
        (name, tier)
        for name in (point.name for point in entry_points(group=GROUP) if point.name == "doctor")
        for tier in ("edge", "gateway", "cloud")
    ],
    ids=" ".join,
)
def test_no_doctor_shows_a_secret_of_what_is_wrong(place: Place, words: tuple[str, str]) -> None:
    config = {"edge": place.device(), "gateway": place.directory / "gateway.yaml"}.get(words[1])
    ran = run(place, *words, *(("--config", config) if config else ()))
    assert ran.stdout
    assert_secret([ran.stdout, ran.stderr])
