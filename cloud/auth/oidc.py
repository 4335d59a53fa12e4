"""Signing in at the city's own provider: OpenID Connect, authorization code flow with PKCE.

Sources: OpenID Connect Core 1.0 §3.1 and §5.7, Discovery 1.0 §4.3, RFC 7636 (PKCE, S256), RFC 9207 (issuer in the
answer), RFC 9700 (best practice), RP-Initiated Logout 1.0 §2. Accounts are made by the centre alone; a provider proves who somebody is, by issuer
and subject, and never what they may do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import jwt
from pydantic import Field

from cloud.auth.errors import NotSignedInError
from common.runtime.clock import Clock
from common.runtime.config import Settings, Wrong
from common.runtime.errors import InvalidError, TransientError

#: Signatures that are asked of a key that is published; never those whose key is a password.
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
CALLBACK: Final = "/sign-in/oidc/callback"
#: Where the provider sends a browser after signing it out.
LEFT: Final = "/sign-in?out=1"
_TIMEOUT_S: Final = 10.0
_MOST_BYTES: Final = 1024 * 1024
_LEEWAY_S: Final = 60
_KNOWN_FOR_S: Final = 3600.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class OidcSettings(Settings):
    """The provider, and what the ticket centre is to it."""

    issuer: Annotated[str, Field(pattern=r"^https?://[^\s?#]+$", description="as its discovery names it")]
    client_id: Annotated[str, Field(min_length=1, max_length=200)]
    secret_file: Annotated[
        Path | None, Field(description="the client's secret, alone in a file; none: a public client")
    ] = None
    public_url: Annotated[
        str,
        Field(pattern=r"^https?://[^\s?#]+[^/\s?#]$", description="how browsers reach the ticket centre"),
    ]
    label: Annotated[str, Field(max_length=60, description="what the button of the sign-in page says")] = (
        "SSO"
    )

    def cross_faults(self) -> Iterator[Wrong]:
        """Secrets travel to the provider: over TLS, or not at all beyond this machine."""
        for name, url in (("issuer", self.issuer), ("public_url", self.public_url)):
            if not _is_safe(url):
                yield Wrong((name,), f"expected https outside of this machine, got {url!r}")


@dataclass(frozen=True, slots=True)
class Begun:
    """What a browser keeps while it is away at the provider."""

    state: str
    nonce: str
    verifier: str
    next: str

    def encoded(self) -> str:
        """For a cookie of that browser."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")

    @classmethod
    def decoded(cls, text: str) -> Self | None:
        """From the cookie, or None when it is none of ours."""
        try:
            values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return cls(**{name: str(values[name]) for name in ("state", "nonce", "verifier", "next")})
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Vouched:
    """Who somebody is to the provider, and its word for it."""

    subject: str
    id_token: str


@dataclass(frozen=True, slots=True)
class _Provider:
    authorize: str
    token: str
    keys: str
    end_session: str | None
    known_at: float


class Oidc:
    """The way to one provider.

    Args:
        settings: which, and who we are to it.
        clock: for how long its addresses stay known.
    """

    def __init__(self, settings: OidcSettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._provider: _Provider | None = None
        self._secret = _secret_of(settings.secret_file)

    @property
    def callback(self) -> str:
        """Where the provider sends a browser back to; registered there."""
        return self.settings.public_url + CALLBACK

    def begin(self, target: str) -> tuple[str, Begun]:
        """The address to send a browser to, and what it has to bring back.

        Raises:
            TransientError: the provider does not answer.
            InvalidError: it answers what no provider says.
        """
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        begun = Begun(state, nonce, verifier, target)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(begun.verifier.encode()).digest()).decode()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.settings.client_id,
                "redirect_uri": self.callback,
                "scope": "openid",
                "state": begun.state,
                "nonce": begun.nonce,
                "code_challenge": challenge.rstrip("="),
                "code_challenge_method": "S256",
            }
        )
        address = self._known().authorize
        return f"{address}{'&' if '?' in address else '?'}{query}", begun

    def end(self, id_token: str) -> str | None:
        """The address that signs a browser out at the provider too; None where the provider has none.

        Args:
            id_token: with which it signed in; empty when it is not known any more, then the provider may ask.

        Raises:
            TransientError: the provider does not answer.
            InvalidError: it answers what no provider says.
        """
        address = self._known().end_session
        if address is None:
            return None
        told = {
            "client_id": self.settings.client_id,
            "post_logout_redirect_uri": self.settings.public_url + LEFT,
        }
        if id_token:
            told["id_token_hint"] = id_token
        return f"{address}{'&' if '?' in address else '?'}{urlencode(told)}"

    def finish(self, begun: Begun | None, answer: Mapping[str, str]) -> Vouched:
        """Who came back: the one that the provider vouches for.

        Args:
            begun: what the browser kept.
            answer: the query that it came back with.

        Raises:
            NotSignedInError: another browser, a refusal, or a token that does not hold.
            TransientError: the provider does not answer.
        """
        if begun is None or not hmac.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
            raise _refused("expected the browser that went to the provider, got another one")
        if answer.get("iss", self.settings.issuer) != self.settings.issuer:
            raise _refused("expected an answer of our provider, got another one's")
        if "code" not in answer:
            raise _refused(f"the provider said {answer.get('error', 'nothing')[:80]!r}")
        told = self._ask_token(answer["code"], begun.verifier)
        token = told.get("id_token")
        if not isinstance(token, str):
            raise _refused("expected an id_token, got none")
        return Vouched(self._subject(token, begun.nonce), token)

    def _subject(self, token: str, nonce: str) -> str:
        try:
            key = self._key_of(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self.settings.client_id,
                issuer=self.settings.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise _refused(f"the id_token does not hold: {error}") from error
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise _refused("the id_token was made for another sign-in")
        if claims.get("azp", self.settings.client_id) != self.settings.client_id:
            raise _refused("the id_token was made for another program")
        return str(claims["sub"])

    def _key_of(self, token: str) -> jwt.PyJWK:
        """The provider's key that the token names; asked for each time, so that a new key is known at once."""
        wanted = jwt.get_unverified_header(token).get("kid")
        keys = jwt.PyJWKSet.from_dict(self._ask(self._known().keys)).keys
        fitting = [key for key in keys if wanted is None or key.key_id == wanted]
        if len(fitting) != 1:
            raise jwt.InvalidKeyError(f"expected one key {wanted!r} of the provider, found {len(fitting)}")
        return fitting[0]

    def _ask_token(self, code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.callback,
            "code_verifier": verifier,
            "client_id": self.settings.client_id,
        }
        headers = {}
        if self._secret is not None:
            # RFC 6749 §2.3.1: each part encoded as in a form before the two are joined.
            pair = f"{quote(self.settings.client_id, safe='')}:{quote(self._secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        return self._ask(self._known().token, urlencode(form).encode(), headers)

    def _known(self) -> _Provider:
        now = self._clock.monotonic()
        if self._provider is None or now - self._provider.known_at > _KNOWN_FOR_S:
            address = self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
            told = self._ask(address)
            if told.get("issuer") != self.settings.issuer:
                raise InvalidError(
                    "auth.wrong_issuer",
                    f"expected the provider {self.settings.issuer!r}, it calls itself {told.get('issuer')!r}",
                    "write the issuer exactly as the provider does",
                )
            found = [told.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
            urls = [one for one in found if isinstance(one, str) and _is_safe(one)]
            if len(urls) != len(found):
                raise InvalidError("auth.no_provider", f"expected three addresses over https, got {found}")
            authorize, token, keys = urls
            leaving = told.get("end_session_endpoint")
            if not isinstance(leaving, str) or not _is_safe(leaving):
                leaving = None  # it is not asked of a provider
            self._provider = _Provider(authorize, token, keys, leaving, now)
        return self._provider

    @staticmethod
    def _ask(url: str, form: bytes | None = None, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        # Only addresses that _is_safe lets pass come here.
        sent = {"Accept": "application/json", **(headers or {})}
        request = urllib.request.Request(url, form, sent)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
                told = json.loads(response.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise _refused(f"the provider refused with {error.code}") from error
            raise _away(error) from error
        except (OSError, HTTPException, ValueError) as error:
            raise _away(error) from error
        if not isinstance(told, dict):
            raise _refused("expected a JSON object of the provider")
        return told


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _secret_of(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(
            "auth.no_secret", f"expected the client's secret in a file, got: {error}"
        ) from error
    if not secret:
        raise InvalidError("auth.no_secret", f"expected the client's secret in {path}, found an empty file")
    return secret


def _refused(why: str) -> NotSignedInError:
    return NotSignedInError("auth.not_vouched", why, "sign in again, or with a password")


def _away(error: Exception) -> TransientError:
    return TransientError(
        "auth.provider_away", f"the provider does not answer: {error}", "sign in with a password meanwhile"
    )
