"""Service tokens over HTTP, and who looked at a picture."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, status

from cloud.auth import repo
from cloud.auth.api import CurrentAccount
from cloud.auth.schemas import EvidenceView, EvidenceViews, NewToken, TokenList, TokenRead, TokenRequest
from cloud.auth.tokens import TokenService
from cloud.problem import responses
from cloud.services import CurrentServices

access = APIRouter(prefix="/api", tags=["access"])
_MANAGES = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_MOST_VIEWS = 1000


def token_service(request: Request) -> TokenService:
    """The tokens, as wired into the application."""
    service: TokenService = request.app.state.tokens
    return service


Tokens = Annotated[TokenService, Depends(token_service)]


@access.get("/tokens", responses=responses(*_MANAGES))
def list_tokens(tokens: Tokens, _account: CurrentAccount) -> TokenList:
    """Every service token: whose name, which scopes, used when."""
    return TokenList(items=tuple(TokenRead.model_validate(token) for token in tokens.tokens()))


@access.post("/tokens", responses=responses(*_MANAGES), status_code=status.HTTP_201_CREATED)
def add_token(request: TokenRequest, tokens: Tokens, account: CurrentAccount) -> NewToken:
    """Make a service token for a unit that you manage. Its text is in this answer and nowhere else."""
    text, kept = tokens.add(
        request.name,
        request.scopes,
        role=request.role,
        unit_code=request.unit_code,
        days=request.days,
        by=account,
    )
    return NewToken.model_validate(TokenRead.model_validate(kept).model_dump() | {"token": text})


@access.post("/tokens/{token_id}/revoke", responses=responses(*_MANAGES, HTTPStatus.NOT_FOUND))
def revoke_token(token_id: UUID, tokens: Tokens, account: CurrentAccount) -> TokenRead:
    """Let a token in no more, from this moment on."""
    return TokenRead.model_validate(tokens.revoke(token_id, by=account))


@access.get("/evidence/{sha256}/views", responses=responses(*_MANAGES))
def evidence_views(
    sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")],
    services: CurrentServices,
    _account: CurrentAccount,
) -> EvidenceViews:
    """Who looked at a picture and when."""
    with services.database.transaction() as transaction:
        rows = repo.evidence_views(transaction, sha256, _MOST_VIEWS)
    return EvidenceViews(items=tuple(EvidenceView.model_validate(row) for row in rows))
