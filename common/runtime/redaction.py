"""The one place that keeps secrets out of words: everything a process says of itself passes through here.

Logs (:mod:`common.runtime.log`), errors (:mod:`common.runtime.errors`) and tracebacks
(:mod:`common.runtime.cli`) do. Two ways, since each misses what the other finds: by the shape of what is said
(a password in a URL, ``password=…``, a header, a private key), and by the secrets that this process was given.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote

HIDDEN: Final = "***"
#: What names a secret: the key of a value in a log, a variable of the environment, a setting in a URL.
_NAMES: Final = r"passw(?:or)?d|passphrase|secret|token|credential|authorization|cookie|private_key|api_?key"
_SECRET_NAME: Final = re.compile(_NAMES, re.IGNORECASE)
#: Variables that name a file; what it holds is the secret, not where it is.
_PLACES: Final = ("_FILE", "_DIR", "_PATH")
#: Shorter ones would also be found inside ordinary words; they are still hidden by the shape of what is said.
_SHORTEST: Final = 6

#: ``scheme://user:password@``. To the last @ of the word: who did not escape the password's own must not see it
#: told. ``user:password@`` itself is how our own messages show the form.
_IN_URL: Final = re.compile(
    r"(?P<head>[a-z][a-z0-9+.-]*://[^\s:/@'\"<>]*:)(?!password@)(?:(?!://)[^\s'\"<>])*(?=@)", re.IGNORECASE
)
#: ``password=…`` of a connection string or a URL's query, ``"password": "…"`` of JSON or a Python dictionary.
_NAMED: Final = re.compile(
    rf"(?P<head>(?:{_NAMES})(?:\s*=\s*|['\"]\s*:\s*))(?:'[^']*'|\"[^\"]*\"|[^\s'\"&,;)}}\]]+)", re.IGNORECASE
)
_HEADER: Final = re.compile(
    r"(?P<head>\b(?:proxy-)?(?:authorization|(?:set-)?cookie)['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n]+",
    re.IGNORECASE,
)
_PRIVATE_KEY: Final = re.compile(
    r"(?P<head>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_SHAPES: Final = (_IN_URL, _NAMED, _HEADER, _PRIVATE_KEY)


class Secrets:
    """The secrets that a process was given, in the forms in which they may turn up."""

    def __init__(self) -> None:
        self._forms: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Hide it from now on, also quoted for a URL, escaped for JSON or in base64."""
        if len(secret) < _SHORTEST:
            return
        forms = {
            *(secret, quote(secret, safe=""), quote(secret), quote_plus(secret)),
            *(json.dumps(secret)[1:-1], repr(secret)[1:-1]),
            base64.b64encode(secret.encode()).decode(),
        }
        if not forms <= self._forms:
            # One assignment each, for other threads read them; the longest first, for one may begin like another.
            self._forms |= forms
            self._pattern = re.compile("|".join(map(re.escape, sorted(self._forms, key=len, reverse=True))))

    def hidden_in(self, text: str) -> str:
        """The text without them."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text


#: Of this process. There is one, because what leaves a process leaves it from anywhere: a library's log, a crash.
_given = Secrets()


def redacted(text: str) -> str:
    """A text without what is, or looks like, a secret."""
    for shape in _SHAPES:
        text = shape.sub(rf"\g<head>{HIDDEN}", text)
    return _given.hidden_in(text)


def redacted_value(value: Any, name: str = "") -> Any:
    """A value of a log's event without secrets, however deep they are in it."""
    if name and _SECRET_NAME.search(name) and not name.upper().endswith(_PLACES):
        return HIDDEN
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, bytes):
        return redacted(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {key: redacted_value(inside, str(key)) for key, inside in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted_value(inside) for inside in value]
    clean = redacted(said := repr(value))  # as the renderers would show it
    return value if clean == said else clean


def hide(secret: str) -> None:
    """Keep this secret out of all that the process says from now on."""
    _given.add(secret)


def hide_environment(variables: Mapping[str, str]) -> None:
    """Hide what the environment holds of secrets: passwords in addresses, and variables that are called so."""
    for name, value in variables.items():
        if "://" in value:
            hide_address(value)
        elif _SECRET_NAME.search(name) and not name.upper().endswith(_PLACES):
            hide(value)


def hide_address(url: str) -> None:
    """Hide the password of a URL, or of several with commas between, whether they are well formed or not."""
    found = [match[1] for match in re.finditer(r"://[^\s:/@,]*:(\S*?)@(?=[^@]*(?:,|$))", url)]
    found += [match[1] for match in re.finditer(rf"(?:{_NAMES})=([^\s&]+)", url, re.IGNORECASE)]
    for password in found:
        hide(password)
        hide(unquote(password))
        # Not escaped, it is taken apart: a message about an unknown host then quotes its second half.
        for piece in re.split(r"[@/:?#]", password):
            hide(piece)


def read_secret(file: Path) -> str:
    """The one line of a secret's file, which is hidden from then on.

    Raises:
        OSError: when the file cannot be read.
        UnicodeDecodeError: when it holds no text.
    """
    secret = file.read_text(encoding="utf-8").strip()
    for line in secret.splitlines():
        hide(line.strip())
    return secret
