"""Web addresses: pages, sitemaps and archives; robots, private addresses, redirects, limits, and what is unchanged."""

from __future__ import annotations

import gzip
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain import Settings, ingest
from rag_chain.cli import main
from rag_chain.documents import load_documents
from rag_chain.documents.finding import FoundFile, Limits, Refusal, find_files, web_client
from rag_chain.documents.finding.web_client import is_public
from rag_chain.errors import DocumentError
from tests.documents.samples import build_pdf, build_zip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

HTML = b"<html><head><title>T</title></head><body><h1>Bears</h1><p>They sleep.</p></body></html>"
MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"


class Site:
    """A site on this machine: what is at each path, and what it was asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, str, bytes]] = {}
        self.etags: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.asked: list[tuple[str, int]] = []

    def put(self, path: str, body: bytes | str, kind: str = "text/html", status: int = 200) -> None:
        self.pages[path] = (status, kind, body if isinstance(body, bytes) else body.encode())

    def __enter__(self) -> Self:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *args: object) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path
        status, kind, body = self.pages.get(path, (404, "text/html", b"<h1>Not found</h1>"))
        if path in self.redirects:
            status, body = 302, b""
        elif path in self.etags and handler.headers.get("If-None-Match") == self.etags[path]:
            status, body = 304, b""
        self.asked.append((path, status))
        handler.send_response(status)
        if status == 302:
            handler.send_header("Location", self.redirects[path])
        if path in self.etags:
            handler.send_header("ETag", self.etags[path])
        handler.send_header("Last-Modified", MODIFIED)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


def find(address: str, tmp_path: Path, globs: list[str] | None = None, **limits: Any) -> list[Any]:
    given = {"max_file_bytes": 10_000, "max_archive_bytes": 100_000, "allow_private": True, **limits}
    return list(find_files(address, globs=globs or [], limits=Limits(cache_folder=tmp_path / "cache", **given)))


def sources(found: list[Any]) -> list[str]:
    return [finding.source for finding in found if isinstance(finding, FoundFile)]


def reasons(found: list[Any]) -> dict[str, str]:
    return {finding.source: finding.reason for finding in found if isinstance(finding, Refusal)}


def settings(tmp_path: Path, **more: Any) -> Settings:
    uri = str(tmp_path / "test.db")
    return Settings(provider="local", milvus_uri=uri, web_cache=tmp_path / "cache", allow_private=True, **more)


def test_a_page_is_a_document(site: Site, tmp_path: Path) -> None:
    """Named by host and path, dated by its server, and read as what its server says that it is."""
    site.put("/docs/bears/", HTML)
    (document,) = load_documents(f"http://{site.host}/docs/bears/#top", settings(tmp_path))
    assert document.page_content == "# Bears\n\nThey sleep."
    expected = {"source": f"{site.host}/docs/bears", "uri": f"http://{site.host}/docs/bears/", "modified": 1445412480}
    assert expected.items() <= document.metadata.items()


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/readme.md", "text/plain", b"A page"),
        ("/report", "application/pdf", build_pdf(["A page"])),
        ("/notes.txt", "application/octet-stream", b"A page"),
    ],
)
def test_other_documents_are_read_too(site: Site, tmp_path: Path, path: str, kind: str, body: bytes) -> None:
    """The content type counts; where it is vague, the name."""
    site.put(path, body, kind)
    (document,) = load_documents(f"http://{site.host}{path}", settings(tmp_path))
    assert document.page_content == "A page"


@pytest.mark.parametrize("packed", [False, True])
def test_a_sitemap_gives_its_pages(site: Site, tmp_path: Path, packed: bool) -> None:
    """Also those of sitemaps in it; a page that is gone is refused and never indexed."""
    pages = "".join(f"<url><loc>http://{site.host}/{name}</loc></url>" for name in ("a", "gone", "b", "c.png"))
    inner = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{pages}</urlset>'.encode()
    place = "/inner.xml.gz" if packed else "/inner.xml"
    site.put(place, gzip.compress(inner) if packed else inner, "application/xml")
    index = f"<sitemapindex><sitemap><loc>http://{site.host}{place}</loc></sitemap></sitemapindex>"
    site.put("/sitemap.xml", index, "text/xml")
    site.put("/a", HTML)
    site.put("/b", HTML)
    site.put("/c.png", b"\x89PNG", "image/png")
    found = find(f"http://{site.host}/sitemap.xml", tmp_path)
    assert sources(found) == [f"{site.host}/a", f"{site.host}/b"]
    assert reasons(found) == {
        f"{site.host}/gone": f"HTTP status 404 for http://{site.host}/gone",
        f"{site.host}/c.png": "no loader for image/png",
    }
    assert sources(find(f"http://{site.host}/sitemap.xml", tmp_path, ["*/b"])) == [f"{site.host}/b"]


def test_an_archive_is_read(site: Site, tmp_path: Path) -> None:
    """Its members have its address as their root."""
    site.put("/docs.zip", build_zip({"faq/a.md": "x", "b.md": "y"}), "application/zip")
    (file,) = find(f"http://user:secret@{site.host}/docs.zip", tmp_path, ["faq/*"])
    root = f"http://{site.host}/docs.zip"
    assert (file.source, file.root, file.uri, file.read()) == ("faq/a.md", root, f"{root}!/faq/a.md", b"x")


def test_robots_are_respected(site: Site, tmp_path: Path) -> None:
    """What a site keeps from robots is refused; one that can't say is left alone."""
    site.put("/robots.txt", "User-agent: *\nDisallow: /private\n", "text/plain")
    site.put("/private/a", HTML)
    site.put("/a", HTML)
    with pytest.raises(DocumentError, match=r"robots\.txt of its site keeps it from robots"):
        find(f"http://{site.host}/private/a", tmp_path)
    assert ("/private/a", 200) not in site.asked
    assert sources(find(f"http://{site.host}/a", tmp_path)) == [f"{site.host}/a"]
    site.put("/robots.txt", "", status=503)
    with pytest.raises(DocumentError, match=r"HTTP status 503 for .*robots\.txt: try again later"):
        find(f"http://{site.host}/a", tmp_path)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104  an address to be refused
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_private_addresses_are_known(address: str, public: bool) -> None:
    """Loopback, private, link-local, shared and multicast ones, also in the clothes of IPv6."""
    assert is_public(address) is public


@pytest.mark.parametrize("host", ["{host}", "localhost:{port}", "2130706433:{port}", "0x7f.1:{port}"])
def test_private_addresses_are_refused(site: Site, tmp_path: Path, host: str) -> None:
    """However they are written, and nothing is sent there."""
    site.put("/a", HTML)
    address = host.format(host=site.host, port=site.host.partition(":")[2])
    with pytest.raises(DocumentError, match="--allow-private"):
        find(f"http://{address}/a", tmp_path, allow_private=False)
    assert site.asked == []


def test_names_and_redirects_to_private_addresses_are_refused(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public name that leads here, and a public site that sends us here."""
    site.put("/a", HTML)
    site.redirects["/moved"] = f"http://inner.test:{site.host.partition(':')[2]}/a"
    port = site.host.partition(":")[2]
    look_up, resolve = socket.getaddrinfo, web_client._resolve
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: look_up("127.0.0.1", *rest, **more))
    with pytest.raises(DocumentError, match=r"inner\.test is a private address"):
        find(f"http://inner.test:{port}/a", tmp_path, allow_private=False)
    # To this test public.test is a public address that happens to be this machine.
    here = {"public.test": "127.0.0.1"}
    monkeypatch.setattr(web_client, "_resolve", lambda host, port: here.get(host) or resolve(host, port))
    with pytest.raises(DocumentError, match=r"inner\.test is a private address"):
        find(f"http://public.test:{port}/moved", tmp_path, allow_private=False)
    assert [path for path, _ in site.asked] == ["/robots.txt", "/moved"]


def test_the_command_takes_an_address(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And refuses a private one unless it is told otherwise."""
    site.put("/a", HTML)
    store = ["--provider", "local", "--milvus-uri", str(tmp_path / "test.db"), "--json"]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAG_WEB_CACHE", str(tmp_path / "cache"))
        assert main(["ingest", f"http://{site.host}/a", *store]) == 1
        assert "--allow-private" in capsys.readouterr().err
        assert main(["ingest", f"http://{site.host}/a", *store, "--allow-private"]) == 0
        assert main(["search", "bears", *store]) == 0
    assert f"{site.host}/a" in capsys.readouterr().out


def test_what_is_unchanged_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    """The second ingest asks with the ETag, gets no body, and has nothing to do; a change is noticed."""
    site.put("/a", HTML)
    site.etags["/a"] = '"one"'
    own = settings(tmp_path)
    assert ingest(f"http://{site.host}/a", own).added == [f"{site.host}/a"]
    assert ingest(f"http://{site.host}/a", own).unchanged == [f"{site.host}/a"]
    assert [status for path, status in site.asked if path == "/a"] == [200, 304]
    site.put("/a", HTML.replace(b"sleep", b"eat"))
    site.etags["/a"] = '"two"'
    assert ingest(f"http://{site.host}/a", own).changed == [f"{site.host}/a"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone", "HTTP status 404 for http"),
        ("for-ever", "Exceeded maximum allowed redirects"),
        ("elsewhere", "can't fetch"),
        ("large", "RAG_MAX_FILE_BYTES raises the limit"),
        ("large.zip", "RAG_MAX_ARCHIVE_BYTES raises the limit"),
        ("broken.xml", "not a readable sitemap"),
    ],
)
def test_what_is_no_document_is_an_error(site: Site, tmp_path: Path, path: str, reason: str) -> None:
    """The error says what came instead, without the password in the address; nothing half is kept."""
    site.redirects |= {"/for-ever": "/for-ever", "/elsewhere": "file:///etc/passwd"}
    site.put("/large", b"x" * 10_001)
    site.put("/large.zip", b"PK" + b"x" * 100_000, "application/zip")
    site.put("/broken.xml", "<urlset><url>", "text/xml")
    with pytest.raises(DocumentError, match=reason) as caught:
        find(f"http://user:secret@{site.host}/{path}", tmp_path)
    assert "secret" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("draft.*"))


@pytest.mark.parametrize(
    "address", ["ftp://x/a.zip", "file:///etc/passwd", "http://", "http://[", "http://127.0.0.1:1/a"]
)
def test_other_addresses_are_errors(address: str, tmp_path: Path) -> None:
    """Only http and https are fetched, and no connection is a DocumentError."""
    with pytest.raises(DocumentError):
        find(address, tmp_path)
