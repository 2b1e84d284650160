"""The page's files and its session, over ASGI, without a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from rag_chain import Settings, create_app
from rag_chain.keys import KeyFile
from rag_chain.server.entrance import COOKIE
from rag_chain.server.page_routes import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# They make elements, or code, of text.
MAKERS = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        provider="fireworks", fireworks_api_key="none", milvus_uri=str(tmp_path / "x.db"), keys_file=tmp_path / "k.json"
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url="https://testserver") as client:
        yield client


@pytest.fixture
def key(settings: Settings) -> str:
    return KeyFile(settings.keys_file).add("ann", "blue", ["ask"])[1]


def test_the_front_door_is_the_page(client: TestClient) -> None:
    """It comes with a policy that lets nothing in it run that is not a file of ours."""
    reply = client.get("/")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "unsafe" not in reply.headers["content-security-policy"]
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


PLAYGROUND = "/rag/playground/"


@pytest.mark.parametrize(
    "path", [PLAYGROUND, "/docs", "/", "/rag/playground", "/rag/input_schema", "/page/app.js", "/documents", "/docs/x"]
)
def test_code_from_text_is_for_the_playground_alone(path: str, client: TestClient) -> None:
    """Its script needs it; every other page keeps its policy, and only the vendors' two may have inline scripts."""
    policy = client.get(path, follow_redirects=False).headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert ("'unsafe-eval'" in policy) == (path == PLAYGROUND)
    assert ("'unsafe-inline'" in policy) == (path in {PLAYGROUND, "/docs"})


def test_every_file_has_its_type_and_is_not_sent_twice(client: TestClient) -> None:
    """A browser that has the file is told so."""
    types = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
    for path in FOLDER.iterdir():
        reply = client.get(f"/page/{path.name}")
        assert reply.headers["content-type"].startswith(types[path.suffix])
        again = client.get(f"/page/{path.name}", headers={"If-None-Match": f'"other", W/{reply.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert client.head(f"/page/{path.name}").status_code == 200


@pytest.mark.parametrize("name", ["other.js", "..%2fpage_routes.py", "%2e%2e/app.py", "", "__init__.py"])
def test_other_files_are_not_served(name: str, client: TestClient) -> None:
    """Only the page's own are, by their names."""
    assert client.get(f"/page/{name}").status_code == 404


def test_the_page_asks_nobody_else() -> None:
    """No file of the page names an address outside, or makes elements from text."""
    for path in FOLDER.iterdir():
        text = path.read_text("utf-8")
        outside = text.replace("http://www.w3.org/", "")
        assert all(word not in text for word in MAKERS)
        assert all(word not in outside for word in ("http://", "https://"))


def test_without_keys_there_is_nothing_to_sign_in_to(client: TestClient) -> None:
    """Everybody who is let in may do everything."""
    told = client.get("/session").json()
    assert told == {"locked": False, "tenant": "default", "roles": ["ask", "ingest", "admin"]}


def test_signing_in_and_out(client: TestClient, key: str) -> None:
    """The browser gets the key back in a cookie that no script reads and no other site sends."""
    nobody: dict[str, object] = {"locked": True, "tenant": None, "roles": []}
    assert client.get("/session").json() == nobody
    assert client.get("/documents").status_code == 401
    reply = client.post("/session", json={"key": f" {key}\n"})
    assert reply.json() == {"locked": True, "tenant": "blue", "roles": ["ask"]}
    cookie = reply.headers["set-cookie"].lower()
    assert all(flag in cookie for flag in ("httponly", "samesite=strict", "secure", "path=/"))
    assert client.get("/session").json()["tenant"] == "blue"
    assert client.put("/documents/a.md", content=b"x").status_code == 403
    assert client.delete("/session").json() == nobody
    assert client.get("/session").json() == nobody


def test_the_cookie_is_for_encrypted_connections_where_there_is_one(settings: Settings, key: str) -> None:
    """Over plain HTTP the browser would not keep it; behind a proxy that encrypts it would."""
    with TestClient(create_app(settings), base_url="http://testserver") as client:
        plain = client.post("/session", json={"key": key})
        assert "secure" not in plain.headers["set-cookie"].lower()
        relayed = client.post("/session", json={"key": key}, headers={"X-Forwarded-Proto": "https"})
        assert "secure" in relayed.headers["set-cookie"].lower()


@pytest.mark.parametrize("wrong", ["rag_00000000_" + "x" * 43, "nonsense"])
def test_a_wrong_key_is_401(wrong: str, client: TestClient, key: str) -> None:
    """And sets no cookie."""
    reply = client.post("/session", json={"key": wrong})
    assert (reply.status_code, reply.json()["error"]["type"]) == (401, "Unauthenticated")
    assert "set-cookie" not in reply.headers


def test_guessing_is_stopped(client: TestClient, key: str) -> None:
    """After thirty wrong keys from one address there are no more guesses; the right one still opens."""
    for _ in range(30):
        client.post("/session", json={"key": "wrong"})
    reply = client.post("/session", json={"key": "wrong"})
    assert client.post("/session", json={"key": key}).status_code == 200
    assert (reply.status_code, reply.json()["error"]["type"]) == (429, "TooManyRequests")


@pytest.mark.parametrize("body", [{}, {"key": ""}, {"key": "x" * 999}, [], {"key": 5}])
def test_what_is_no_key_is_422(body: object, client: TestClient, key: str) -> None:
    """Before it is looked up."""
    assert client.post("/session", json=body).status_code == 422


def test_a_revoked_key_is_taken_from_the_browser(client: TestClient, key: str, settings: Settings) -> None:
    """It would count as a guess at each visit."""
    client.post("/session", json={"key": key})
    KeyFile(settings.keys_file).revoke("ann")
    assert client.get("/session").json() == {"locked": True, "tenant": None, "roles": []}
    assert COOKIE not in client.cookies


def test_another_site_can_sign_nobody_in(client: TestClient, key: str) -> None:
    """Or it would have visitors ask its own documents."""
    reply = client.post("/session", json={"key": key}, headers={"Origin": "https://example.com"})
    assert reply.status_code == 403
