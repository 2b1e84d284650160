"""Who is let in: the address that a request came for, the page it came from, its key and its role."""

from __future__ import annotations

import logging
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rag_chain.errors import SettingsError
from rag_chain.hosts import is_local
from rag_chain.server.callers import anybody, caller_of
from rag_chain.server.replies import Refusal

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Scope

    from rag_chain.keys import ApiKey, KeyFile, Role
    from rag_chain.server.callers import Caller
    from rag_chain.server.limits import Limits
    from rag_chain.settings import Settings

logger = logging.getLogger(__name__)

COOKIE = "rag_chain_key"
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# Who relays for others says so in one of these.
RELAYED = ("forwarded", "x-forwarded-for", "x-real-ip")
# What shows nothing of anybody's documents.
OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json", "/favicon.ico", "/session"})
OPEN_FOLDERS = ("/page/", "/static-offline-docs/", "/rag/playground/")
CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Entrance:
    """Finds out for whom a request is, or refuses it.

    While there are no API keys everybody is the settings' tenant, but only from this machine and for one of its
    own names: a web page that had its name point here would otherwise read the documents. Once there were keys,
    losing them locks everybody out.
    """

    def __init__(self, settings: Settings, keys: KeyFile, limits: Limits) -> None:
        self._settings = settings
        self._keys = keys
        self._limits = limits
        self._locked = bool(keys.read())

    @property
    def locked(self) -> bool:
        """Whether a key is needed."""
        self._locked = self._locked or bool(self._read())
        return self._locked

    def check_place(self, scope: Scope, headers: Headers) -> None:
        """Refuse requests for a foreign name, and those that a foreign web page has made."""
        if self._settings.allowed_hosts:
            names: frozenset[str] | None = frozenset(self._settings.allowed_hosts)
        else:
            names = None if self.locked or self._settings.allow_anonymous else LOCAL_NAMES
        host = headers.get("host", "")
        if names is not None and _is_served(scope) and _name_of(f"//{host}") not in names:
            raise Refusal(403, "ForeignHost", "this server is not for that host name: RAG_ALLOWED_HOSTS")
        origin = headers.get("origin")
        if origin is None or origin in self._settings.cors_origins:
            return
        if urlsplit(origin).netloc.lower() != host.lower():
            raise Refusal(403, "ForeignOrigin", "web pages of that origin may not call this server: RAG_CORS_ORIGINS")

    def identify(self, scope: Scope, headers: Headers) -> Caller:
        """Return who is asking; raises a ``Refusal``."""
        if not self.locked:
            return self._let_in_anybody(scope, headers)
        given = find_key(headers)
        if not given:
            raise Refusal(401, "Unauthenticated", "an API key is needed: Authorization: Bearer KEY", CHALLENGE)
        return self.check_key(given, _client(scope))

    def check_key(self, given: str, address: str) -> Caller:
        """Return whose key this is; raises a ``Refusal``, and counts who guesses."""
        self._read()
        if (key := self._keys.find(given)) is None:
            self._limits.note_guess(address)
            raise Refusal(401, "Unauthenticated", "this API key is not known", CHALLENGE)
        return caller_of(key)

    def _read(self) -> dict[str, ApiKey]:
        """Return the keys; nobody gets in while they can't be read."""
        try:
            return self._keys.read()
        except SettingsError as error:
            logger.error("%s", error)  # noqa: TRY400  it says all there is
            raise Refusal(503, "NoKeys", "the API keys can't be read; the server's log says why") from None

    def _let_in_anybody(self, scope: Scope, headers: Headers) -> Caller:
        local = not _is_served(scope) or (is_local(_client(scope)) and not any(name in headers for name in RELAYED))
        if local or self._settings.allow_anonymous:
            return anybody(self._settings.tenant)
        raise Refusal(
            401,
            "Unauthenticated",
            "there are no API keys yet, so only this machine is served: rag-chain keys add NAME",
            CHALLENGE,
        )


def is_open(path: str) -> bool:
    """Return whether a path shows nothing of anybody's documents."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)


def check_role(caller: Caller, role: Role) -> None:
    """Refuse a caller whose key is not for this."""
    if role not in caller.roles:
        raise Refusal(403, "Forbidden", f"this API key is not for that: it needs the role {role}")


def find_key(headers: Headers) -> str:
    """Return the key that a request carries, or nothing."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if given := headers.get("x-api-key", ""):
        return given.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _client(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


def _is_served(scope: Scope) -> bool:
    """Return whether a request came over the network, and not from this process as in tests."""
    try:
        ip_address((scope.get("server") or ("",))[0])
    except ValueError:
        # A socket file is served, too; whoever may open it is let in by its permissions.
        return False
    return True


def _name_of(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""
