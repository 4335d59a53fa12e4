"""Secrets are kept out of words by the shape of what is said, and by what the process was given."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from common.runtime import cli, redaction
from common.runtime.errors import ConfigError, DrumtowerError
from common.runtime.log import configure_logging, get_logger
from common.runtime.places import database_url
from common.runtime.redaction import (
    Secrets,
    hide,
    hide_address,
    hide_environment,
    read_secret,
    redacted,
    redacted_value,
)

SECRET = "hunter2-Correct/Horse"


def fail_opening() -> None:
    raise OSError(f"cannot open mqtt://u:{SECRET}@h")


@pytest.fixture(autouse=True)
def nothing_given_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_given", Secrets())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("mqtts://gulou:hunter2@broker:8883 is away", "mqtts://gulou:***@broker:8883 is away"),
        ("mqtts://gulou:hun@ter/2@broker:8883", "mqtts://gulou:***@broker:8883"),
        ("'https://a:hunter2@b','https://c:hunter2@d'", "'https://a:***@b','https://c:***@d'"),
        ("https://a:hunter2@b,https://c:hunter2@d", "https://a:***@b,https://c:***@d"),
        ("postgresql://:hunter2@h/db?sslmode=require", "postgresql://:***@h/db?sslmode=require"),
        ("host=h password=hunter2 dbname=d", "host=h password=*** dbname=d"),
        ("host=h password='hunter2 two' dbname=d", "host=h password=*** dbname=d"),
        ("https://h/x?token=hunter2&y=1", "https://h/x?token=***&y=1"),
        ("{'user': 'gulou', 'password': 'hunter2'}", "{'user': 'gulou', 'password': ***}"),
        ("Authorization: Basic aHVudGVyMg==\nAccept: */*", "Authorization: ***\nAccept: */*"),
        ("Set-Cookie: session=hunter2; Secure", "Set-Cookie: ***"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(said: str, told: str) -> None:
    assert redacted(said) == told


@pytest.mark.parametrize(
    "said",
    [
        "postgresql://drumtower@database:5432/drumtower?passfile=/run/secrets/passfile",
        "expected postgresql://user:password@host:port/name, found nothing",
        "DRUMTOWER_CREDENTIAL_FILE: expected one line, the password, in /etc/drumtower/credential",
        'FATAL: password authentication failed for user "drumtower"',
        "mqtts://[::1]:8883 and http://127.0.0.1:8080/tickets/7",
        "give --password-file FILE or --generate",
    ],
)
def test_what_tells_no_secret_is_told_as_it_is(said: str) -> None:
    assert redacted(said) == said


def test_a_private_key_is_hidden_even_where_it_is_cut_off() -> None:
    key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\nhunter2\n"
    assert "hunter2" not in redacted(key)
    assert redacted(key + "-----END EC PRIVATE KEY-----\nafter").endswith("\nafter")


def test_a_secret_that_was_given_is_hidden_in_every_form_of_it() -> None:
    hide(SECRET)
    quoted = json.dumps({"x": SECRET + "\u00e9"})
    encoded = base64.b64encode(SECRET.encode()).decode()
    for said in (f"got {SECRET}!", f"at {quote(SECRET, safe='')}", quoted, f"Basic {encoded}"):
        assert "***" in redacted(said)
        assert "Horse" not in redacted(said)


@given(st.text(min_size=6, max_size=40), st.text(), st.text())
def test_no_text_around_a_secret_makes_it_visible(secret: str, before: str, after: str) -> None:
    given_now = Secrets()
    given_now.add(secret)
    assert secret not in given_now.hidden_in(before + secret + after).split("***")


@given(st.text())
def test_any_text_can_be_redacted_and_redacted_text_stays_as_it_is(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


def test_short_words_are_not_taken_for_secrets_everywhere() -> None:
    hide("on")
    assert redacted("one connection") == "one connection"


def test_passwords_of_the_environment_are_hidden_and_the_names_of_files_are_not() -> None:
    hide_environment(
        {
            "DRUMTOWER_BROKER_URL": "mqtts://gateway:hun%40ter-22@broker",
            "API_TOKEN": "abcdefgh-9",
            "DRUMTOWER_CREDENTIAL_FILE": "/etc/drumtower/credential",
            "HOME": "/home/drumtower",
        }
    )
    said = "hun@ter-22 hun%40ter-22 abcdefgh-9 /etc/drumtower/credential /home/drumtower"
    assert redacted(said) == "*** *** *** /etc/drumtower/credential /home/drumtower"


def test_the_second_half_of_a_password_that_was_not_escaped_is_hidden_too() -> None:
    hide_address("postgresql://drumtower:correct@horse-battery@host/db")
    assert "horse" not in redacted('could not translate host name "horse-battery@host"')


def test_a_secret_read_from_a_file_is_hidden_also_where_the_file_has_too_many_lines(tmp_path: Path) -> None:
    file = tmp_path / "credential"
    file.write_text(f"{SECRET}\nanother-one\n", encoding="utf-8")
    assert read_secret(file) == f"{SECRET}\nanother-one"
    assert redacted(f"{SECRET} and another-one") == "*** and ***"


def test_an_error_quotes_no_secret_however_it_is_told() -> None:
    error = DrumtowerError("a.b", "cannot reach mqtts://u:hunter2@h", "try mqtts://u:hunter2@h")
    told = f"{error} {error!r} {error.args} {error.message} {error.hint}"
    assert "hunter2" not in told
    assert "mqtts://u:***@h" in told


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://u:hunter2-x@h/db",
        "postgresql://u:hun/ter2-x@h/db",
        "postgresql://u:hun#ter2-x@h:5432/db",
        "postgresql://u:hunter2-x%@h/db",
        "hunter2-x",
    ],
)
def test_a_database_address_that_cannot_be_read_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigError, match="expected postgresql://user:password@host") as refused:
        database_url({"DRUMTOWER_DATABASE_URL": url})
    assert "ter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:p%40x@h:5432/db?sslmode=require", "postgres://h1:1,h2:2/db", "host=h dbname=d"],
)
def test_a_database_address_that_can_be_read_is_taken_as_it_is(url: str) -> None:
    assert database_url({"DRUMTOWER_DATABASE_URL": url}) == url


def test_values_are_redacted_however_deep_they_are() -> None:
    hide(SECRET)
    value = {
        "broker": ({"password": "x", "at": [f"mqtt://a:{SECRET}@h", SECRET.encode()]},),
        "n": 3,
        "t": True,
    }
    assert redacted_value(value) == {
        "broker": [{"password": "***", "at": ["mqtt://a:***@h", "***"]}],
        "n": 3,
        "t": True,
    }
    assert redacted_value(Path("/x")) == Path("/x")
    assert redacted_value(OSError(f"no {SECRET}")) == "OSError('no ***')"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_log_tells_no_secret_in_event_value_or_traceback(
    monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr := io.StringIO())
    before, configured = structlog.get_config(), structlog.is_configured()
    hide(SECRET)
    try:
        configure_logging("edge", level="debug", as_json=as_json)
        try:
            fail_opening()
        except OSError:
            get_logger("x").exception(
                "event", url=f"mqtt://u:{SECRET}@h", deep={"token": "abc", "b": [SECRET]}
            )
        said = "connect to %s failed"
        record = logging.LogRecord(
            "some.library", logging.WARNING, "", 0, said, (f"http://u:{SECRET}@h",), None
        )
        assert (
            logging.lastResort is not None
        )  # pytest has handlers of its own, a service has none but this one
        logging.lastResort.handle(record)
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.configure(**before) if configured else structlog.reset_defaults()
    told = stderr.getvalue()
    assert "Horse" not in told
    assert "abc" not in told
    assert "OSError: cannot open mqtt://u:***@h" in told.replace("\\n", "\n")
    assert "warning some.library: connect to http://u:***@h failed" in told


def test_a_crash_tells_its_traceback_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", told := io.StringIO())
    hide(SECRET)
    try:
        fail_opening()
    except OSError as first:
        error = ValueError(f"got {SECRET}")
        error.__cause__ = first
        cli._tell_crash(error)
        cli._tell_crash(error, threading.current_thread())
    assert "ValueError: got ***" in told.getvalue()
    assert "OSError: cannot open mqtt://u:***@h" in told.getvalue()
    assert "test_redaction.py" in told.getvalue()
    assert "hunter2" not in told.getvalue()
