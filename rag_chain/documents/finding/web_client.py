"""Fetch from the web: http and https only, no private addresses, within limits, and nothing twice that is unchanged."""

import hashlib
import ipaddress
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

import httpx

from rag_chain.documents.finding.found import Limits, why
from rag_chain.errors import DocumentError

USER_AGENT = f"rag-chain/{version('rag-chain')}"
_TIMEOUT = httpx.Timeout(30, connect=10)
_MAX_REDIRECTS = 5
_KEPT_DAYS = 30
_ARCHIVES = (b"PK", b"\x1f\x8b", b"BZh")
# IPv4 addresses behind a translator.
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_CONDITIONS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}


@dataclass(frozen=True)
class Fetched:
    """What an address gave: its body in a file, its content type without parameters, and when it was changed last."""

    path: Path
    content_type: str
    modified: float


class PublicTransport(httpx.HTTPTransport):
    """Connects to public addresses only, and to the very one that was looked at.

    Names are resolved here, once for each request and so for each redirect: a name that leads to a
    private address, also at its second look, leads nowhere.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to a public address of its host."""
        host = request.url.host
        address = _resolve(host, request.url.port or (443 if request.url.scheme == "https" else 80))
        return super().handle_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
        )


def _resolve(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"{host} is not known: {why(error)}") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise DocumentError(f"{host} is a private address; --allow-private (RAG_ALLOW_PRIVATE=1) has it read")
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet, in whatever form it is written."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


class WebClient:
    """Fetches addresses into files; what is there from before is asked for by its ETag."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._folder = limits.cache_folder or Path(tempfile.mkdtemp(prefix="rag_chain_web_"))
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._drop_old()
        self._client = httpx.Client(
            transport=None if limits.allow_private else PublicTransport(),
            follow_redirects=True,
            max_redirects=_MAX_REDIRECTS,
            timeout=_TIMEOUT,
            headers={"User-Agent": USER_AGENT},
        )

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def fetch(self, address: str) -> Fetched:
        """Return what is at an address; :class:`DocumentError` for anything but status 200."""
        entry = self._folder / hashlib.sha256(address.encode()).hexdigest()
        known = _read_note(entry)
        with self._stream(address, {_CONDITIONS[key]: known[key] for key in _CONDITIONS if known.get(key)}) as response:
            if response.status_code == httpx.codes.NOT_MODIFIED and known:
                os.utime(entry)
            elif response.status_code == httpx.codes.OK:
                known = self._keep(response, entry)
            else:
                raise DocumentError(f"HTTP status {response.status_code} for {without_secrets(address)}")
        return Fetched(entry, known["content-type"], float(known["modified"]))

    def status_and_text(self, address: str, max_bytes: int) -> tuple[int, str]:
        """Return the status and the beginning of a text, such as a site's rules for robots."""
        with self._stream(address, {}) as response:
            data = b""
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > max_bytes:
                    break
            return response.status_code, data[:max_bytes].decode("utf-8", "replace")

    @contextmanager
    def _stream(self, address: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        try:
            with self._client.stream("GET", address, headers=headers) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DocumentError(f"can't fetch {without_secrets(address)}: {why(error)}") from error

    def _keep(self, response: httpx.Response, entry: Path) -> dict[str, str]:
        """Put the body into the folder, and beside it a note of what to ask with the next time."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        note = {key: response.headers.get(key, "") for key in _CONDITIONS}
        note |= {"content-type": kind, "modified": str(_last_modified(response))}
        with _draft(entry) as file:
            self._copy(response, file)
        with _draft(entry.with_suffix(".json")) as file:
            file.write(json.dumps(note).encode())
        return note

    def _copy(self, response: httpx.Response, file: IO[bytes]) -> None:
        limits, end = self._limits, time.monotonic() + self._limits.download_seconds
        shown, most = without_secrets(str(response.request.url)), 0
        for chunk in response.iter_bytes():
            if not most:
                archive = chunk.startswith(_ARCHIVES)
                most = limits.max_archive_bytes if archive else limits.max_file_bytes
                setting = "RAG_MAX_ARCHIVE_BYTES" if archive else "RAG_MAX_FILE_BYTES"
            file.write(chunk)
            if file.tell() > most:
                raise DocumentError(f"over {most:,} bytes: {shown}; {setting} raises the limit")
            if time.monotonic() > end:
                raise DocumentError(f"not here after {limits.download_seconds:g} s: {shown}; RAG_DOWNLOAD_SECONDS")

    def _drop_old(self) -> None:
        """Drop what was not asked for in a month."""
        for path in self._folder.iterdir():
            if not path.suffix and path.stat().st_mtime < time.time() - _KEPT_DAYS * 86_400:
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)


def is_address(text: str) -> bool:
    """Return whether a text is an http or https address."""
    try:
        return httpx.URL(text).scheme in {"http", "https"}
    except httpx.InvalidURL:
        return False


def without_secrets(address: str) -> str:
    """Return an address without user name, password and fragment."""
    try:
        return str(httpx.URL(address).copy_with(username=None, password=None, fragment=None))
    except httpx.InvalidURL as error:
        raise DocumentError(f"not an address: {why(error)}") from None


@contextmanager
def _draft(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that is there as a whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="draft.", suffix=".part", delete=False) as file:
        try:
            yield file
        except BaseException:
            Path(file.name).unlink()
            raise
    Path(file.name).replace(path)


def _read_note(entry: Path) -> dict[str, str]:
    """Return what is known of an entry; nothing when it is not there as a whole."""
    if not entry.exists():
        return {}
    try:
        note = json.loads(entry.with_suffix(".json").read_bytes())
        return {key: str(note[key]) for key in (*_CONDITIONS, "content-type", "modified")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _last_modified(response: httpx.Response) -> float:
    try:
        return parsedate_to_datetime(response.headers.get("Last-Modified", "")).timestamp()
    except (ValueError, OverflowError):  # no such header, or no date in it
        return time.time()
