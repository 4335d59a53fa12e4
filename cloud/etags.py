"""Entity tags: whoever replaces a whole thing says which state of it they read.

A ticket's tag is its version, with a digest of the rates of a recurring place; that of rules and rotas is a digest of
what they say, so that a change by file or command counts as one over HTTP does, and one that changes nothing does not.
Pure.

Sources: RFC 9110, sections 8.8.3 and 13.1.1 (strong comparison); RFC 6585, section 3 (428).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, Self

from fastapi import Header

from cloud.errors import PreconditionRequiredError, StaleVersionError
from common.runtime.errors import InvalidError

_HINT: Final = "GET it and send the ETag of the answer as If-Match; * replaces whatever is there"
#: As RFC 9110 writes it: no spaces or quotes inside.
_TAG: Final = re.compile(r'\s*(W/)?("[\x21\x23-\x7e]*")\s*')

#: The header of a request that replaces something; optional for the framework, so that its absence is told as 428.
IfMatchHeader = Annotated[
    str | None, Header(max_length=1000, description="the ETag that was read; * for any. Without it: 428")
]
#: What an answer that can be replaced says in the OpenAPI document.
TAGGED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"headers": {"ETag": {"description": "for If-Match", "schema": {"type": "string"}}}}
}
#: How a request that replaces something can be refused besides.
REPLACES: Final = (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.PRECONDITION_REQUIRED)


def etag_of(content: Any) -> str:
    """The strong tag of what JSON can say, quotes included."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)
    return f'"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"'


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The states that a request is good for; ``tags`` is None for any."""

    tags: frozenset[str] | None

    @classmethod
    def read(cls, header: str | None) -> Self:
        """From a request.

        Raises:
            PreconditionRequiredError: there is no such header.
            InvalidError: it is no list of tags.
        """
        if header is None:
            raise PreconditionRequiredError(
                "request.no_if_match",
                "expected If-Match with the ETag of what is replaced, got none",
                _HINT,
            )
        if header.strip() == "*":
            return cls(None)
        found = [_TAG.fullmatch(one) for one in header.split(",")]
        if not all(found):
            raise InvalidError(
                "request.wrong_etag", f"expected If-Match to be an ETag, got {header[:40]!r}", _HINT
            )
        # A weak tag says that two states are alike, not that they are one: it never matches here.
        return cls(frozenset(one[2] for one in found if one is not None and one[1] is None))

    def check(self, current: str) -> None:
        """Whether the request is about the state that there is.

        Raises:
            StaleVersionError: it is about another one; nothing may be written.
        """
        if self.tags is not None and current not in self.tags:
            raise StaleVersionError(
                "request.stale",
                f"expected If-Match to be {current}, the state that there is, got another one",
                "somebody changed it since: GET it again, look at what changed, and repeat",
            )


#: For who replaces what is there without having read it: a file that is loaded, a command.
ANY_STATE: Final = IfMatch(None)
