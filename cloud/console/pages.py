"""Rendering: templates, what every page knows, and the headers that keep a page to itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from cloud.auth.service import Session
from cloud.console.marking import device_markers, ticket_markers
from cloud.console.texts import DEFAULT_LANGUAGE, LANGUAGES, Texts, texts

LANGUAGE_COOKIE: Final = "drumtower_language"
STATIC: Final = Path(str(files("cloud.console") / "static"))

#: Nothing from elsewhere, no script or style inside the page, no frame around it.
_CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@cache
def environment() -> Environment:
    """The templates. A name that a template does not get is an error, not an empty place."""
    made = Environment(
        loader=PackageLoader("cloud.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"static": _static, "ticket_markers": ticket_markers, "device_markers": device_markers}
    return made


@cache
def _static(name: str) -> str:
    """The address of a static file; it changes with the content, so browsers may keep it for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def language_of(request: Request) -> str:
    """The language that a browser chose; Chinese until it does."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    return chosen if chosen in LANGUAGES else DEFAULT_LANGUAGE


def render(
    request: Request,
    template: str,
    *,
    session: Session | None = None,
    status: int = 200,
    **values: Any,
) -> HTMLResponse:
    """A page or a part of one, in the browser's language."""
    t: Texts = texts(language_of(request))
    html = (
        environment()
        .get_template(template)
        .render(
            t=t,
            language=t.language,
            other_language=next(one for one in LANGUAGES if one != t.language),
            here=_here(request),
            account=session.account if session else None,
            csrf_token=session.csrf_token if session else "",
            **values,
        )
    )
    headers = {"Cache-Control": "no-store", "Content-Language": t.language, **SECURITY_HEADERS}
    return HTMLResponse(html, status, headers)


def _here(request: Request) -> str:
    """This page's address, for coming back after a change of language; a posted form goes to its page."""
    if request.method != "GET":
        return request.url.path.removesuffix("/actions")
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path


def safe_next(target: str) -> str:
    """An address on this site to go on to; anything else, which could lead elsewhere, becomes the start page."""
    plain = target.isascii() and target.isprintable() and "\\" not in target
    return target if plain and target.startswith("/") and not target.startswith("//") else "/"
