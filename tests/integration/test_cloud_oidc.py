"""Signing in at the city's provider: the whole way over real HTTP, and every lie on it refused."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import ValidationError
from typer.testing import CliRunner

from cloud.app import Cloud
from cloud.auth.cli import app as account_app
from cloud.auth.errors import NotSignedInError
from cloud.auth.oidc import CALLBACK, Begun, Oidc, OidcSettings
from cloud.auth.service import AuthService
from cloud.config import CloudSettings, Environment
from cloud.db import Database
from common.runtime.clock import SystemClock
from common.runtime.errors import InvalidError, TransientError
from common.runtime.stop import Stop
from local.ports import free_port
from tests.fixtures.centre import PASSWORD, Centre
from tests.fixtures.oidc_provider import CLIENT, SECRET, Provider, running_provider

pytestmark = pytest.mark.services
ENGLISH = {"drumtower_language": "en"}


@dataclass
class House:
    """A ticket centre that knows a provider, and somebody who is known at both."""

    url: str
    database: Database
    provider: Provider
    auth: AuthService

    def browser(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, cookies=ENGLISH, timeout=60)

    def sign_in(self, browser: httpx.Client, target: str = "/map") -> httpx.Response:
        """Go to the provider and come back; the answer to coming back."""
        gone = browser.get("/sign-in/oidc", params={"next": target})
        assert gone.status_code == 303, gone.text
        back = httpx.get(gone.headers["location"], timeout=60)
        assert back.status_code == 303, back.text
        assert back.headers["location"].startswith(self.url + CALLBACK)
        return browser.get(back.headers["location"])


def settings_for(provider: Provider, secret_file: Path, public_url: str) -> OidcSettings:
    return OidcSettings(
        issuer=provider.url, client_id=CLIENT, secret_file=secret_file, public_url=public_url, label="City ID"
    )


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


@pytest.fixture
def house(database_url: str, tmp_path: Path, provider: Provider) -> Iterator[House]:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n", encoding="utf-8")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = CloudSettings(oidc=settings_for(provider, secret, url))
    cloud = Cloud(settings, Environment(database_url, tmp_path), SystemClock(), "api", port=port)
    stop = Stop()
    with Database(database_url, size=4) as database:
        Centre(database).build()
        auth = AuthService(database, SystemClock())
        auth.add_account("lin", PASSWORD, "dispatcher", "street-a")
        cloud.start()
        thread = threading.Thread(target=cloud.run, args=(stop,))
        thread.start()
        try:
            yield House(url, database, provider, auth)
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()


def audit(house: House) -> list[dict[str, Any]]:
    with house.database.transaction() as tx:
        return tx.rows("SELECT action, actor, detail FROM audit ORDER BY audit_id")


def test_who_is_linked_comes_in_as_their_account_and_goes_where_they_wanted(house: House) -> None:
    house.auth.link("lin", house.provider.url, "u-1001")
    with house.browser() as browser:
        assert "Sign in with City ID" in browser.get("/sign-in").text
        came = house.sign_in(browser)
        assert (came.status_code, came.headers["location"]) == (303, "/map")
        assert "drumtower_oidc" not in browser.cookies
        assert "lin" in browser.get("/map").text
        assert browser.get("/api/tickets").status_code == 200
    last = audit(house)[-1]
    assert (last["action"], last["actor"], last["detail"]) == ("sign_in", "lin", {"by": house.provider.url})


def test_who_is_not_linked_or_disabled_or_unlinked_stays_out(house: House) -> None:
    with house.browser() as browser:
        unknown = house.sign_in(browser)
        assert unknown.status_code == 401
        assert "the ticket centre does not" in unknown.text
        assert audit(house)[-1]["detail"] == {"issuer": house.provider.url, "subject": "u-1001"}
        house.auth.link("lin", house.provider.url, "u-1001")
        assert house.sign_in(browser).status_code == 303
        assert house.auth.unlink("lin") == 1
        assert browser.get("/api/tickets").status_code == 401
        assert house.sign_in(browser).status_code == 401
        house.auth.link("lin", house.provider.url, "u-1001")
        house.auth.disable("lin")
        assert house.sign_in(browser).status_code == 401
        assert browser.get("/api/tickets").status_code == 401


OTHER_KEY = rsa.generate_private_key(65537, 2048)


LIES: tuple[dict[str, Any], ...] = (
    {"claims": {"aud": "another-program"}},
    {"claims": {"iss": "http://127.0.0.1:1"}},
    {"claims": {"exp": 1_000_000_000}},
    {"claims": {"exp": None}},
    {"claims": {"iat": 9_000_000_000}},
    {"claims": {"nonce": "another"}},
    {"claims": {"nonce": None}},
    {"claims": {"sub": None}},
    {"claims": {"azp": "another-program"}},
    {"signs_with": OTHER_KEY},
    {"header": {"kid": "two"}},
    {"header": {"alg": "HS256"}, "signs_with": "x" * 64},
    {"header": {"alg": "none"}},
    {"refuses": True},
)


def test_a_lie_on_the_way_lets_nobody_in_and_the_truth_does(house: House) -> None:
    house.auth.link("lin", house.provider.url, "u-1001")
    truth: dict[str, Any] = {"claims": {}, "header": {}, "signs_with": None, "refuses": False}
    with house.browser() as browser:
        for lie in LIES:
            for name, value in (truth | lie).items():
                setattr(house.provider, name, value)
            refused = house.sign_in(browser)
            assert refused.status_code == 401, lie
            assert "did not confirm who you are" in refused.text
            assert "drumtower_session" not in browser.cookies
        for name, value in truth.items():
            setattr(house.provider, name, value)
        assert house.sign_in(browser).status_code == 303


def test_an_answer_belongs_to_the_browser_that_asked_and_a_code_is_good_once(house: House) -> None:
    house.auth.link("lin", house.provider.url, "u-1001")
    with house.browser() as mine, house.browser() as theirs:
        address = mine.get("/sign-in/oidc").headers["location"]
        back = httpx.get(address, timeout=60).headers["location"]
        assert theirs.get(back).status_code == 401
        theirs.get("/sign-in/oidc")
        assert theirs.get(back).status_code == 401
        assert mine.get(back).status_code == 303
        assert mine.get(back).status_code == 401
        for broken in ("", "x", "?state=x", "?code=x"):
            assert mine.get(f"{CALLBACK}{broken}").status_code in {401, 404}


def test_what_goes_to_the_provider_and_where_one_comes_back_to_stays_on_this_site(house: House) -> None:
    house.auth.link("lin", house.provider.url, "u-1001")
    with house.browser() as browser:
        gone = browser.get("/sign-in/oidc", params={"next": "https://elsewhere.example/"})
        query = parse_qs(urlsplit(gone.headers["location"]).query)
        assert query["code_challenge_method"] == ["S256"]
        assert query["redirect_uri"] == [house.url + CALLBACK]
        assert SECRET not in gone.headers["location"]
        kept = gone.headers["set-cookie"]
        assert "HttpOnly" in kept
        assert "SameSite=lax" in kept
        back = httpx.get(gone.headers["location"], timeout=60).headers["location"]
        assert browser.get(back).headers["location"] == "/"


def test_a_provider_that_is_away_leaves_the_password(tmp_path: Path, provider: Provider) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET, encoding="utf-8")
    nobody = Provider(url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransientError, match="does not answer"):
        Oidc(settings_for(nobody, secret, "http://127.0.0.1:8080"), SystemClock()).begin("/")
    provider.issuer = "https://another.example"
    with pytest.raises(InvalidError, match="calls itself"):
        Oidc(settings_for(provider, secret, "http://127.0.0.1:8080"), SystemClock()).begin("/")
    provider.issuer = ""
    oidc = Oidc(settings_for(provider, secret, "http://127.0.0.1:8080"), SystemClock())
    _, begun = oidc.begin("/")
    with pytest.raises(NotSignedInError, match="another one's"):
        oidc.finish(begun, {"state": begun.state, "code": "x", "iss": "https://mixed-up.example"})
    with pytest.raises(NotSignedInError, match="refused with 400"):
        oidc.finish(begun, {"state": begun.state, "code": "never given"})


def test_a_centre_without_a_provider_shows_no_button_and_has_no_way_there(
    database_url: str, tmp_path: Path
) -> None:
    cloud = Cloud(CloudSettings(), Environment(database_url, tmp_path), SystemClock(), "api", port=0)
    stop = Stop()
    cloud.start()
    thread = threading.Thread(target=cloud.run, args=(stop,))
    thread.start()
    try:
        with httpx.Client(base_url=cloud.url, timeout=60) as browser:
            assert "/sign-in/oidc" not in browser.get("/sign-in").text
            assert browser.get("/sign-in/oidc").status_code == 404
    finally:
        stop.set()
        thread.join(60)


def test_the_command_links_and_unlinks(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRUMTOWER_DATABASE_URL", house.database.url)
    runner, whom = CliRunner(), ["--issuer", house.provider.url, "--subject", "u-7"]
    assert runner.invoke(account_app, ["link", "lin", *whom]).exit_code == 0
    twice = runner.invoke(account_app, ["link", "lin", *whom])
    assert "linked to an account already" in str(twice.exception)
    assert runner.invoke(account_app, ["link", "nobody", *whom]).exit_code != 0
    assert "1 taken away" in runner.invoke(account_app, ["unlink", "lin"]).output


def sign_out(browser: httpx.Client) -> httpx.Response:
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/").text)
    assert found is not None
    return browser.post("/sign-out", data={"csrf_token": found[1]})


def test_who_came_by_the_provider_is_signed_out_there_too(house: House) -> None:
    house.auth.link("lin", house.provider.url, "u-1001")
    house.provider.leaves_at = f"{house.provider.url}/leave?realm=city"
    with house.browser() as browser:
        house.sign_in(browser)
        gone = sign_out(browser)
        assert gone.status_code == 200
        assert "You are signed out" in gone.text
        seconds, _, address = gone.headers["refresh"].partition("; url=")
        assert seconds == "0"
        assert address.startswith(house.provider.leaves_at)
        told = parse_qs(urlsplit(address).query)
        assert told["post_logout_redirect_uri"] == [f"{house.url}/sign-in?out=1"]
        (word,) = told["id_token_hint"]
        assert jwt.decode(word, options={"verify_signature": False})["sub"] == "u-1001"
        assert browser.get("/").headers["location"] == "/sign-in"
        assert not {"drumtower_session", "drumtower_vouched"} & set(browser.cookies)


def test_who_came_with_a_password_is_signed_out_here_alone(house: House) -> None:
    house.auth.link("lin", house.provider.url, "u-1001")
    house.provider.leaves_at = f"{house.provider.url}/leave"
    with house.browser() as browser:
        house.sign_in(browser)  # and forgets it when somebody signs in with a password after
        page = browser.get("/sign-in").text
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert found is not None
        form = {"name": "lin", "password": PASSWORD, "csrf_token": found[1]}
        assert browser.post("/sign-in", data=form).status_code == 303
        left = sign_out(browser)
    assert (left.status_code, left.headers["location"]) == (303, "/sign-in?out=1")
    assert "refresh" not in left.headers


@pytest.mark.parametrize("leaves_at", [None, "http://elsewhere.example/leave"])
def test_a_provider_without_a_safe_way_out_is_left_alone(house: House, leaves_at: str | None) -> None:
    house.auth.link("lin", house.provider.url, "u-1001")
    house.provider.leaves_at = leaves_at
    with house.browser() as browser:
        house.sign_in(browser)
        left = sign_out(browser)
    assert (left.status_code, left.headers["location"]) == (303, "/sign-in?out=1")


def test_a_word_too_long_for_a_cookie_is_not_sent_back(house: House) -> None:
    house.auth.link("lin", house.provider.url, "u-1001")
    house.provider.leaves_at = f"{house.provider.url}/leave"
    house.provider.claims = {"groups": "x" * 5000}
    with house.browser() as browser:
        house.sign_in(browser)
        address = sign_out(browser).headers["refresh"].partition("; url=")[2]
    assert address.startswith(f"{house.provider.url}/leave?client_id={CLIENT}&")
    assert "id_token_hint" not in address


@pytest.mark.parametrize("text", ["", "x", "e30", "bnVsbA", "é"])
def test_a_cookie_that_is_none_of_ours_is_none(text: str) -> None:
    assert Begun.decoded(text) is None


def test_secrets_go_over_tls_or_stay_on_this_machine() -> None:
    OidcSettings(issuer="https://id.example/realm", client_id="x", public_url="https://centre.example")
    with pytest.raises(ValidationError, match=r"https.*http://id\.example.*https.*http://centre\.example"):
        OidcSettings(issuer="http://id.example", client_id="x", public_url="http://centre.example")
    begun = Begun("a", "b", "c", "/")
    assert Begun.decoded(begun.encoded()) == begun
