"""The door on the real database: sign-in, waits, sessions, accounts, audit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from cloud.auth.cli import app
from cloud.auth.errors import AccountError, TooManyAttemptsError, WrongPasswordError
from cloud.auth.service import AuthService
from cloud.db import Database
from cloud.district.service import load_district
from common.runtime.clock import ManualClock

DEMO = Path(__file__).parents[2] / "firmware_configs" / "districts" / "demo.yaml"
PASSWORD = "correct-horse-9"

pytestmark = pytest.mark.services


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=6) as opened:
        load_district(opened, DEMO)
        yield opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def service(database: Database, clock: ManualClock) -> AuthService:
    service = AuthService(database, clock)
    service.add_account("lin", PASSWORD, "dispatcher", "yunxi", "林值班员")
    return service


def rows(database: Database, statement: str) -> list[dict[str, Any]]:
    with database.transaction() as tx:
        return tx.rows(statement)


def test_a_session_knows_who_and_how_far_they_reach(service: AuthService) -> None:
    begun = service.sign_in(" Lin ", PASSWORD, "127.0.0.1")
    session = service.session(begun.token)
    assert session is not None
    account = session.account
    assert (account.name, account.role, account.unit_code) == ("lin", "dispatcher", "yunxi")
    assert account.shown_name == "林值班员"
    assert "songjing-1" in account.reach
    assert len(account.reach) == 1 + 3 + 9
    assert not account.reach & {"centre", "heqiao", "water"}


def test_the_database_holds_neither_password_nor_token(service: AuthService, database: Database) -> None:
    begun = service.sign_in("lin", PASSWORD, "127.0.0.1")
    everything = str(rows(database, "SELECT s, a FROM session s, account a"))
    assert begun.token not in everything
    assert PASSWORD not in everything
    assert len(rows(database, "SELECT 1 FROM session WHERE length(token_hash) = 32")) == 1


def test_a_session_ends_by_sign_out_by_time_and_by_a_new_password(
    service: AuthService, clock: ManualClock
) -> None:
    first, second, third = (service.sign_in("lin", PASSWORD, "127.0.0.1") for _ in range(3))
    service.sign_out(first.token, "127.0.0.1")
    service.sign_out(first.token, "127.0.0.1")  # twice is no error
    assert service.session(first.token) is None
    assert service.session(second.token) is not None
    service.set_password("lin", "another-horse-8")
    assert service.session(second.token) is None
    fourth = service.sign_in("lin", "another-horse-8", "127.0.0.1")
    clock.advance(12 * 3600 - 1)
    assert service.session(fourth.token) is not None
    clock.advance(2)
    assert service.session(fourth.token) is None
    assert service.session(third.token) is None
    assert service.session("") is None


def test_a_disabled_account_is_out_at_once_and_stays_out(service: AuthService) -> None:
    begun = service.sign_in("lin", PASSWORD, "127.0.0.1")
    service.disable("lin")
    assert service.session(begun.token) is None
    with pytest.raises(WrongPasswordError):
        service.sign_in("lin", PASSWORD, "127.0.0.1")


def test_wrong_passwords_make_one_wait_and_the_wait_is_told(service: AuthService, clock: ManualClock) -> None:
    for _ in range(5):
        with pytest.raises(WrongPasswordError):
            service.sign_in("lin", "wrong-horse-1", "10.0.0.1")
    with pytest.raises(TooManyAttemptsError) as caught:
        service.sign_in("lin", PASSWORD, "10.0.0.1")
    assert 29 <= caught.value.wait_s <= 31
    assert service.sign_in("lin", PASSWORD, "10.0.0.2")  # from elsewhere nobody is kept out
    clock.advance(31)
    assert service.sign_in("lin", PASSWORD, "10.0.0.1")
    for _ in range(4):  # a good one wiped the count
        with pytest.raises(WrongPasswordError):
            service.sign_in("lin", "wrong-horse-1", "10.0.0.1")
    assert service.sign_in("lin", PASSWORD, "10.0.0.1")


def test_an_unknown_name_is_refused_in_the_same_words_and_counted_too(service: AuthService) -> None:
    with pytest.raises(WrongPasswordError) as known:
        service.sign_in("lin", "wrong-horse-1", "10.0.0.1")
    with pytest.raises(WrongPasswordError) as unknown:
        service.sign_in("nobody", "wrong-horse-1", "10.0.0.1")
    assert str(known.value) == str(unknown.value)
    for _ in range(4):
        with pytest.raises(WrongPasswordError):
            service.sign_in("nobody", "wrong-horse-1", "10.0.0.1")
    with pytest.raises(TooManyAttemptsError):
        service.sign_in("nobody", "wrong-horse-1", "10.0.0.1")


def test_many_tries_at_once_do_not_slip_past_the_count(service: AuthService) -> None:
    outcomes: list[type[Exception]] = []

    def attempt() -> None:
        try:
            service.sign_in("lin", "wrong-horse-1", "10.0.0.1")
        except (WrongPasswordError, TooManyAttemptsError) as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=attempt) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(WrongPasswordError) == 5
    assert outcomes.count(TooManyAttemptsError) == 7


@pytest.mark.parametrize("name", ["", "x" * 10_000, "li\0n", "林", "'; DROP TABLE account; --"])
def test_a_strange_name_is_only_a_wrong_one(service: AuthService, name: str) -> None:
    with pytest.raises(WrongPasswordError):
        service.sign_in(name, "wrong-horse-1", "10.0.0.9")


def test_who_came_and_went_stands_in_the_audit_for_ever(service: AuthService, database: Database) -> None:
    begun = service.sign_in("lin", PASSWORD, "10.0.0.1")
    service.sign_out(begun.token, "10.0.0.1")
    with pytest.raises(WrongPasswordError):
        service.sign_in("lin", "wrong-horse-1", "10.0.0.1")
    lines = rows(database, "SELECT action, actor, address FROM audit ORDER BY audit_id")
    assert [line["action"] for line in lines] == ["account_added", "sign_in", "sign_out", "sign_in_refused"]
    assert lines[1] == {"action": "sign_in", "actor": "lin", "address": "10.0.0.1"}
    for change in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation), database.transaction() as tx:
            tx.run(change)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (("lin", PASSWORD, "viewer", "centre"), "auth.account_exists"),
        (("Chen Wei", PASSWORD, "viewer", "centre"), "auth.bad_name"),
        (("chen", "short", "viewer", "centre"), "auth.weak_password"),
        (("chen", PASSWORD, "boss", "centre"), "auth.no_role"),
        (("chen", PASSWORD, "viewer", "yunxy"), "auth.no_unit"),
    ],
)
def test_an_account_that_cannot_be_says_why(
    service: AuthService, asked: tuple[str, str, str, str], code: str
) -> None:
    with pytest.raises(AccountError) as caught:
        service.add_account(*asked)
    assert caught.value.code == code


def test_accounts_are_kept_from_the_command_line(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATABASE_URL", database_url)
    run = CliRunner().invoke
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n", encoding="utf-8")
    added = run(app, ["add", "chen", "--role", "admin", "--unit", "centre", "--password-file", str(file)])
    assert added.exit_code == 0, added.output
    assert PASSWORD not in added.output
    made = run(app, ["password", "chen", "--generate"])
    assert made.exit_code == 0, made.output
    password = made.output.split("(shown once):")[1].split()[0]
    service = AuthService(database, ManualClock())
    assert service.sign_in("chen", password, "127.0.0.1").session.account.role == "admin"
    listed = run(app, ["list"])
    assert "chen" in listed.output
    assert "admin" in listed.output
    refused = run(app, ["add", "wei", "--role", "viewer", "--unit", "centre"])
    assert isinstance(refused.exception, AccountError)  # no terminal to ask at
    assert run(app, ["disable", "chen"]).exit_code == 0
