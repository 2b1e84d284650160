"""What is at a web address: an archive, a sitemap with its pages, or one document."""

import mimetypes
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit
from urllib.robotparser import RobotFileParser

from rag_chain.documents.finding.archives import find_in_archive
from rag_chain.documents.finding.found import Finding, FoundFile, Limits, Refusal, read_path
from rag_chain.documents.finding.web_client import USER_AGENT, Fetched, WebClient, is_address, without_secrets
from rag_chain.documents.loading.table import SUPPORTED_SUFFIXES
from rag_chain.documents.loading.xml_tree import local_name, parse_xml
from rag_chain.errors import DocumentError

_MAX_ROBOTS_BYTES = 500_000
_MAX_SITEMAPS_BELOW = 3
_MAX_PAGES = 50_000
_MOST_DELAY = 10.0
# What servers say when they do not know, or say of texts of every kind.
_VAGUE_TYPES = {"", "text/plain", "application/octet-stream", "binary/octet-stream"}


def find_at_address(address: str, matches: Callable[[str], bool], limits: Limits) -> Iterator[Finding]:
    """Yield what is there; :class:`DocumentError` when that is nothing to read.

    Robots are told by each site what they may fetch; a page that is refused in a sitemap is a
    refusal, and the others go on.
    """
    with closing(WebClient(limits)) as client:
        robots = _Robots(client)
        robots.require(address)
        fetched = client.fetch(address)
        start = _read_start(fetched)
        if start.startswith(b"PK") or _is_tar(address, start):
            root = without_secrets(address)
            yield from find_in_archive(fetched.path.open("rb"), root, fetched.modified, matches, limits)
        elif _is_sitemap(start) or address.endswith(".xml.gz"):
            pages = _list_pages(address, fetched, client, limits.max_file_bytes)
            wanted = (page for page in pages if matches(_source_of(page)))
            yield from _find_pages(without_secrets(address), wanted, client, robots)
        else:
            yield _take(address, without_secrets(address), fetched)


class _Robots:
    """What each site wants robots to leave alone (RFC 9309)."""

    def __init__(self, client: WebClient) -> None:
        self._client = client
        self._rules: dict[str, RobotFileParser] = {}
        self._next: dict[str, float] = {}

    def require(self, address: str) -> None:
        """Wait as long as the site asks for; :class:`DocumentError` when the address is not for robots."""
        parts = urlsplit(without_secrets(address))
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._rules:
            self._rules[origin] = self._fetch(origin)
        rules = self._rules[origin]
        if not rules.can_fetch(USER_AGENT, address):
            raise DocumentError(f"robots.txt of its site keeps it from robots: {without_secrets(address)}")
        time.sleep(max(0.0, self._next.get(origin, 0.0) - time.monotonic()))
        delay = rules.crawl_delay(USER_AGENT)
        self._next[origin] = time.monotonic() + min(float(delay or 0), _MOST_DELAY)

    def _fetch(self, origin: str) -> RobotFileParser:
        rules = RobotFileParser()
        status, text = self._client.status_and_text(f"{origin}/robots.txt", _MAX_ROBOTS_BYTES)
        if status >= 500:
            raise DocumentError(f"HTTP status {status} for {without_secrets(origin)}/robots.txt: try again later")
        rules.parse(text.splitlines() if status == 200 else [])
        return rules


def _find_pages(root: str, pages: Iterable[str], client: WebClient, robots: _Robots) -> Iterator[Finding]:
    """Yield the pages of a sitemap, one fetched after the other."""
    for number, page in enumerate(pages):
        if number == _MAX_PAGES:
            yield Refusal(_source_of(page), f"its sitemap has more than {_MAX_PAGES:,} pages")
            return
        try:
            robots.require(page)
            yield _take(page, root, client.fetch(page))
        except DocumentError as error:
            yield Refusal(_source_of(page), str(error))


def _list_pages(
    address: str, fetched: Fetched, client: WebClient, most: int, deepest: int = _MAX_SITEMAPS_BELOW
) -> Iterator[str]:
    """Yield the addresses in a sitemap and in those that it names."""
    root = parse_xml(_unpack(read_path(fetched.path), most), "sitemap")
    if local_name(root) not in {"urlset", "sitemapindex"}:
        raise DocumentError(f"not a sitemap: {without_secrets(address)}")
    for element in root:
        place = next((child.text.strip() for child in element if local_name(child) == "loc" and child.text), "")
        if not is_address(place):
            continue
        if local_name(root) == "urlset":
            yield place
        elif deepest:
            yield from _list_pages(place, client.fetch(place), client, most, deepest - 1)


def _unpack(data: bytes, most: int) -> bytes:
    """Return a sitemap that may be compressed, as far as it may go."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        unpacked = zlib.decompressobj(wbits=31).decompress(data, most)
    except zlib.error as error:
        raise DocumentError(f"not a readable sitemap: {error}") from error
    return unpacked


def _take(address: str, root: str, fetched: Fetched) -> Finding:
    """Return the document at an address, by what its server or its name say that it is."""
    source = _source_of(address)
    named = PurePosixPath(urlsplit(address).path).suffix.lower()
    guessed = mimetypes.guess_extension(fetched.content_type) or ""
    suffix = named if fetched.content_type in _VAGUE_TYPES and named in SUPPORTED_SUFFIXES else guessed.lower()
    if suffix not in SUPPORTED_SUFFIXES:
        return Refusal(source, f"no loader for {fetched.content_type or 'what its server does not name'}")
    return FoundFile(
        source=source,
        uri=without_secrets(address),
        root=root,
        modified=fetched.modified,
        size=fetched.path.stat().st_size,
        reader=partial(read_path, fetched.path),
        suffix=suffix,
    )


def _source_of(address: str) -> str:
    """Return a page's host, path and query, without what only the browser wants."""
    parts = urlsplit(without_secrets(address))
    path = unquote(parts.path).rstrip("/")
    return f"{parts.netloc}{path}{f'?{parts.query}' if parts.query else ''}"


def _read_start(fetched: Fetched) -> bytes:
    with fetched.path.open("rb") as file:
        return file.read(2_000)


def _is_tar(address: str, start: bytes) -> bool:
    packed = start.startswith((b"\x1f\x8b", b"BZh")) and not address.endswith(".xml.gz")
    return packed or start[257:262] == b"ustar"


def _is_sitemap(start: bytes) -> bool:
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and (b"<urlset" in start or b"<sitemapindex" in start)
