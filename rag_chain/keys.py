"""API keys: who may do what, for which tenant. Only digests are kept; a key is shown once, when it is made."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, get_args

from rag_chain.errors import SettingsError
from rag_chain.files import write_private
from rag_chain.settings import TENANT_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Role = Literal["ask", "ingest", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

# rag_<8 hex digits that name it>_<43 characters of secret>
_KEY = re.compile(r"rag_([0-9a-f]{8})_[\w-]{43}", re.ASCII)
_NOBODY = "0" * 64
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")


@dataclass(frozen=True)
class ApiKey:
    """What is kept of a key; 256 random bits need no slow hash."""

    id: str
    name: str
    tenant: str
    roles: tuple[Role, ...]
    digest: str
    created: str


class KeyFile:
    """The keys in a file, read again when it changes.

    A file that can't be read, or says something else than keys, raises ``SettingsError``: nobody gets in
    by breaking it. One that is gone holds no keys.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()
        self._seen: tuple[int, ...] | None = None
        self._keys: dict[str, ApiKey] = {}

    def find(self, given: str) -> ApiKey | None:
        """Return the key that was given, or None; it takes as long for a wrong secret as for an unknown key."""
        keys = self.read()
        shaped = _KEY.fullmatch(given)
        known = keys.get(shaped[1]) if shaped else None
        matches = hmac.compare_digest(_digest(given), known.digest if known else _NOBODY)
        return known if matches else None

    def read(self) -> dict[str, ApiKey]:
        """Return the keys by their ids."""
        try:
            state = self.path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            if seen != self._seen:
                self._keys = _parse(self.path.read_text("utf-8"))
                self._seen = seen
        except FileNotFoundError:
            self._keys, self._seen = {}, None
        except (OSError, ValueError) as error:
            raise SettingsError(f"the keys in {self.path} can't be read: {error}") from None
        return self._keys

    def add(self, name: str, tenant: str, roles: Sequence[Role]) -> tuple[ApiKey, str]:
        """Make a key; return what is kept of it, and the key itself, which is not."""
        _check(name, tenant, roles)
        with self._locked():
            keys = dict(self.read())
            number = next(n for n in iter(lambda: secrets.token_hex(4), "") if n not in keys)
            secret = f"rag_{number}_{secrets.token_urlsafe(32)}"
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            made = ApiKey(number, name, tenant, tuple(dict.fromkeys(roles)), _digest(secret), now)
            self._write([*keys.values(), made])
        return made, secret

    def revoke(self, which: str) -> list[ApiKey]:
        """Remove the key with this id, or those with this name; return them."""
        with self._locked():
            keys = self.read().values()
            gone = [key for key in keys if which in (key.id, key.name)]
            if gone:
                self._write([key for key in keys if key not in gone])
        return gone

    def _locked(self) -> Any:
        from filelock import FileLock

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return FileLock(f"{self.path}.lock")
        except OSError as error:
            raise SettingsError(f"the keys in {self.path} can't be written: {error}") from None

    def _write(self, keys: Iterable[ApiKey]) -> None:
        text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2) + "\n"
        try:
            write_private(self.path, text)
        except OSError as error:
            raise SettingsError(f"the keys in {self.path} can't be written: {error}") from None
        self._seen = None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _parse(text: str) -> dict[str, ApiKey]:
    """Return the keys of a file; ``ValueError`` says what is wrong with it."""
    try:
        keys = [ApiKey(**{**entry, "roles": tuple(entry["roles"])}) for entry in json.loads(text)["keys"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no list of keys ({error})") from None
    for key in keys:
        _check(key.name, key.tenant, key.roles)
    return {key.id: replace(key, digest=str(key.digest)) for key in keys}


def _check(name: object, tenant: object, roles: Sequence[object]) -> None:
    """Refuse a key that would be for nobody, for nothing, or for a tenant that can't be."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError("a key needs a name of at most 100 characters")
    if not roles or any(role not in ROLES for role in roles):
        raise SettingsError(f"a key needs roles out of {', '.join(ROLES)}")
    if not isinstance(tenant, str):
        raise SettingsError("a key needs a tenant")
    check_tenant(tenant)


def check_tenant(tenant: str) -> None:
    """Raise :class:`~rag_chain.errors.SettingsError` for a name that no tenant may have."""
    if len(tenant) > 64 or not re.fullmatch(TENANT_NAME, tenant):
        raise SettingsError("a tenant's name is up to 64 small letters, digits and single hyphens")
