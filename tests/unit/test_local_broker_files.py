"""The broker's account files: what is written can be read again, and what they cannot hold is refused."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.broker import Broker, format_acl, hash_password, parse_acl
from local.processes import ServiceError

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-/_", min_size=1, max_size=20)
TOPICS = st.lists(st.text("abcdefgh0123456789/+#-", min_size=1, max_size=20), max_size=3).map(tuple)


@given(st.dictionaries(NAMES, st.tuples(TOPICS, TOPICS), max_size=5))
def test_rights_written_are_the_rights_read(
    rights: dict[str, tuple[tuple[str, ...], tuple[str, ...]]],
) -> None:
    assert parse_acl(format_acl(rights)) == rights


def test_a_password_is_kept_as_pbkdf2_with_a_salt_of_its_own() -> None:
    _, kind, rounds, salt, digest = hash_password("鼓楼 secret").split("$")
    expected = hashlib.pbkdf2_hmac("sha512", "鼓楼 secret".encode(), base64.b64decode(salt), int(rounds))
    assert kind == "7"
    assert base64.b64decode(digest) == expected
    assert hash_password("x") != hash_password("x")


@pytest.mark.parametrize("username", ["", "a:b", "site/+", "#", "two words", "line\nbreak", "x" * 200])
def test_user_names_that_the_files_cannot_hold_are_refused(tmp_path: Path, username: str) -> None:
    with pytest.raises(ServiceError) as refused:
        Broker(tmp_path, program=tmp_path / "mosquitto").add_client(username, "secret", [], [])
    assert refused.value.code == "service.bad_account"


@pytest.mark.parametrize("topic", ["", " a/b", "a/b\ntopic readwrite #"])
def test_topics_that_would_grant_more_than_they_say_are_refused(tmp_path: Path, topic: str) -> None:
    with pytest.raises(ServiceError) as refused:
        Broker(tmp_path, program=tmp_path / "mosquitto").add_client("box", "secret", [topic], [])
    assert refused.value.code == "service.bad_account"
