"""The chat page: its files, and the session in which a browser keeps an API key out of scripts' reach."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from rag_chain.server.entrance import COOKIE, find_key
from rag_chain.server.replies import Refusal

if TYPE_CHECKING:
    from starlette.datastructures import Headers

    from rag_chain.server.callers import Caller
    from rag_chain.server.entrance import Entrance

FOLDER = Path(__file__).parent / "page"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Asked for again at each visit, so that a new version is never half of an old one.
CACHING = {"Cache-Control": "no-cache"}
READ = ["GET", "HEAD"]


class SignIn(BaseModel):
    """The body of ``POST /session``."""

    key: str = Field(min_length=1, max_length=200)


def build_router(entrance: Entrance) -> APIRouter:
    """Return ``/``, ``/page``, ``/favicon.ico`` and ``/session``: open to all, for they show no documents."""
    router = APIRouter(include_in_schema=False)
    _add_files(router)
    _add_session(router, entrance)
    return router


def _add_files(router: APIRouter) -> None:
    # Read once: no path is ever made of what a request says.
    files = {path.name: _File(path) for path in FOLDER.iterdir() if path.suffix in TYPES}

    @router.api_route("/", methods=READ)
    async def show(request: Request) -> Response:
        return files["index.html"].reply(request.headers)

    @router.api_route("/favicon.ico", methods=READ)
    async def show_icon(request: Request) -> Response:
        return files["icon.svg"].reply(request.headers)

    @router.api_route("/page/{name}", methods=READ)
    async def show_file(name: str, request: Request) -> Response:
        if name not in files:
            raise Refusal(404, "NoFile", "there is no such file")
        return files[name].reply(request.headers)


def _add_session(router: APIRouter, entrance: Entrance) -> None:
    @router.get("/session")
    async def read(request: Request) -> Response:
        try:
            caller = entrance.identify(request.scope, request.headers)
        except Refusal as refusal:
            if refusal.status != 401:
                raise
            response = _tell(entrance, None)
            if entrance.locked and find_key(request.headers):
                # A key that was revoked would count as a guess at each visit.
                response.delete_cookie(COOKIE)
            return response
        return _tell(entrance, caller)

    @router.post("/session")
    async def sign_in(given: SignIn, request: Request) -> Response:
        key = given.key.strip()
        response = _tell(entrance, entrance.check_key(key, request.client.host if request.client else ""))
        response.set_cookie(COOKIE, key, secure=_is_encrypted(request), httponly=True, samesite="strict")
        return response

    @router.delete("/session")
    async def sign_out() -> Response:
        response = _tell(entrance, None)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response


class _File:
    """A file of the page, with the tag that tells its versions apart."""

    def __init__(self, path: Path) -> None:
        self._content = path.read_bytes()
        self._headers = {"ETag": f'"{sha256(self._content).hexdigest()[:16]}"', **CACHING}
        self._type = TYPES[path.suffix]

    def reply(self, headers: Headers) -> Response:
        """Return the file, or that the browser has it."""
        known = {tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")}
        if self._headers["ETag"] in known:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers, media_type=self._type)


def _tell(entrance: Entrance, caller: Caller | None) -> JSONResponse:
    """Return whether a key is needed, and for whom the browser's is; nothing of it is for a cache."""
    told: dict[str, Any] = {
        "locked": entrance.locked,
        "tenant": caller.tenant if caller else None,
        "roles": list(caller.roles) if caller else [],
    }
    return JSONResponse(told, headers={"Cache-Control": "no-store"})


def _is_encrypted(request: Request) -> bool:
    # Who lies about it in the header harms only the own cookie.
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").partition(",")[0].strip())
