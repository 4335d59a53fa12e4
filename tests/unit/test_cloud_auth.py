"""Roles, waits and passwords, without a database."""

from __future__ import annotations

import uuid
from itertools import pairwise, product
from typing import Literal, get_args

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY

from cloud.auth.domain import ROLES, Account, Action, Role, wait_after, what_is_wrong
from cloud.auth.passwords import Passwords, generate_password
from cloud.auth.roles import ALLOWED, may, may_any
from cloud.tickets.domain import OWN_COMMANDS, TRANSITIONS

#: Rows are actions, columns roles, in the order of ROLES: viewer handler dispatcher supervisor admin.
MATRIX = {
    "note": "no yes yes yes yes",
    "acknowledge": "no yes yes yes yes",
    "arrive": "no yes yes yes yes",
    "resolve": "no yes yes yes yes",
    "dispatch": "no no yes yes yes",
    "transfer": "no no yes yes yes",
    "call": "no no yes yes yes",
    "suspend": "no no yes yes yes",
    "resume": "no no yes yes yes",
    "escalate": "no no yes yes yes",
    "reopen": "no no yes yes yes",
    "void": "no no no yes yes",
    "confirm": "no no no yes yes",
    "storm": "no no no yes yes",
    "duty": "no no yes yes yes",
    "accept": "no no yes yes yes",
    "photo": "no yes yes yes yes",
    "report": "no yes yes yes yes",
    "merge": "no no yes yes yes",
    "split": "no no yes yes yes",
    "personal": "no no yes yes yes",
    "told": "no yes yes yes yes",
    "rate": "no no yes yes yes",
    "audit": "no no no yes yes",
    "shelve": "no no yes yes yes",
    "manage": "no no no no yes",
}


def somebody(role: Role, reach: frozenset[str] = frozenset({"east", "mill"})) -> Account:
    return Account(uuid.UUID(int=1), "somebody", role, "east", reach=reach)


@pytest.mark.parametrize(("role", "action"), list(product(ROLES, get_args(Action))))
def test_the_access_matrix_holds_within_the_subtree_and_nowhere_else(role: Role, action: Action) -> None:
    allowed = MATRIX[action].split()[ROLES.index(role)] == "yes"
    account = somebody(role)
    assert may(account, action, "east") is allowed
    assert may(account, action, "mill") is allowed
    assert not may(account, action, "west")
    assert not may(account, action, "centre")
    assert may_any(account, action, [None, "west", "mill"]) is allowed
    assert not may_any(account, action, [None, "west"])


def test_every_action_stands_in_the_table_and_a_higher_role_may_never_do_less() -> None:
    assert set(ALLOWED) == set(get_args(Action)) == set(MATRIX)
    for allowed in ALLOWED.values():
        assert all(high in allowed for low, high in pairwise(ROLES) if low in allowed)


def test_every_step_that_people_take_with_a_ticket_has_its_roles() -> None:
    steps = {action.value for action, step in TRANSITIONS.items() if not step.by_system}
    assert steps <= set(ALLOWED)
    by_system = {action for action, step in TRANSITIONS.items() if step.by_system} - OWN_COMMANDS
    assert not {action.value for action in by_system} & set(ALLOWED)


def test_waits_grow_from_the_fifth_failure_and_end_at_a_quarter_of_an_hour() -> None:
    assert [wait_after(count) for count in range(1, 12)] == [0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900]
    assert wait_after(10_000) == 900


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("short", "at least 10"),
        ("x" * 300, "at most 200"),
        ("aaaaaaaaaaaaaa", "different characters"),
        ("hello-somebody-1", "account's name"),
    ],
)
def test_a_weak_password_says_why(password: str, words: str) -> None:
    assert words in (what_is_wrong("somebody", password) or "")


def test_a_made_password_is_good_and_never_the_same() -> None:
    made = {generate_password() for _ in range(50)}
    assert len(made) == 50
    assert all(what_is_wrong("somebody", password) is None for password in made)


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords()


def test_a_password_is_told_from_another_however_it_was_typed(passwords: Passwords) -> None:
    stored = passwords.hash("grün-und-klar-9")
    assert stored.startswith("$argon2id$")
    assert passwords.check(stored, "gru\u0308n-und-klar-9")  # u and its dots typed apart
    assert not passwords.check(stored, "grun-und-klar-9")
    assert not passwords.check("not a hash", "grün-und-klar-9")
    assert not passwords.check(None, "grün-und-klar-9")
    assert not passwords.check(stored, "x" * 1_000_000)


class _Recording(PasswordHasher):
    """Remembers against which hashes it verified."""

    def __init__(self) -> None:
        of = RFC_9106_LOW_MEMORY
        super().__init__(of.time_cost, of.memory_cost, of.parallelism, of.hash_len, of.salt_len, type=of.type)
        self.verified: list[str | bytes] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - argon2's name
        self.verified.append(hash)
        return super().verify(hash, password)


def test_an_unknown_account_costs_as_much_as_a_wrong_password() -> None:
    """The time that it takes follows: it is asked for by the hash's parameters, and by nothing else."""
    hasher = _Recording()
    passwords = Passwords(hasher)
    stored = passwords.hash("a-good-password")
    assert not passwords.check(stored, "a-wrong-password")
    assert not passwords.check(None, "a-wrong-password")
    known, nobodys = map(str, hasher.verified)
    assert known == stored != nobodys
    assert extract_parameters(nobodys) == extract_parameters(stored)


def test_a_hash_of_weaker_parameters_is_noticed(passwords: Passwords) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("a-good-password")
    assert passwords.is_dated(weak)
    assert passwords.check(weak, "a-good-password")
    assert not passwords.is_dated(passwords.hash("a-good-password"))
