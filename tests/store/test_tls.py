"""Certificates and tokens for a Milvus server: what makes no sense is refused before, what the server refuses is told.

One server with TLS and one with mutual TLS are started for it; ``tests/milvus_server.py`` says how.
"""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc

from rag_chain import Settings, build_chain, ingest
from rag_chain.cli import main
from rag_chain.diagnosis import diagnose
from rag_chain.errors import SettingsError, StoreError, StoreUnreachableError
from rag_chain.store.collection import open_store
from rag_chain.store.links import Address
from rag_chain.store.tls import Tls
from rag_chain.store.vendor import pymilvus
from tests.certificates import Certificates, make_certificates
from tests.milvus_server import ROOT_TOKEN, MilvusServer, running_milvus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUESTION = "Where do rows live?"
HTTPS = "https://localhost:1"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for all of this module."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=["tls", "mutual"])
def server(
    request: pytest.FixtureRequest,
    certificates: Certificates,
    milvus_binaries: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MilvusServer]:
    """A server with authentication that speaks TLS, and one that wants a certificate, too."""
    folder, mutual = tmp_path_factory.mktemp("milvus"), request.param == "mutual"
    server = MilvusServer(folder, milvus_binaries, authentication=True, certificates=certificates, mutual=mutual)
    with running_milvus(server):
        yield server


@pytest.fixture
def right(server: MilvusServer, certificates: Certificates) -> dict[str, Any]:
    """The settings that the server accepts."""
    given = {"milvus_uri": server.uri, "milvus_token": ROOT_TOKEN, "milvus_ca_file": certificates.authority}
    pair = {"milvus_client_cert": certificates.client, "milvus_client_key": certificates.client_key}
    return given | pair if server.mutual else given


def refusal(given: dict[str, Any]) -> str:
    """Return the one line with which a connection is refused."""
    with pytest.raises(StoreUnreachableError) as caught:
        open_store(Settings(**given))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.server
def test_documents_go_in_and_answers_come_out(right: dict[str, Any], online: Settings, folder: Path) -> None:
    """Ours and LangChain's clients use the certificates alike; a wrong setting beside them finds no open door."""
    settings = online.with_changes(**right)
    assert len(ingest(folder, settings).added) == 3
    assert build_chain(settings).invoke(QUESTION)["grounded"]


@pytest.mark.server
def test_what_is_wrong_is_told_apart(
    right: dict[str, Any], server: MilvusServer, certificates: Certificates, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each in one line that names the setting, also while this process has an open connection; gRPC adds nothing."""
    with open_store(Settings(**right)) as store:
        assert store.version()
        assert "wants a token: set MILVUS_TOKEN" in refusal(right | {"milvus_token": None})
        assert "refuses the token: mend MILVUS_TOKEN" in refusal(right | {"milvus_token": "root:wrong"})
        assert "set RAG_MILVUS_CA_FILE" in refusal(right | {"milvus_ca_file": certificates.stranger_authority})
        by_number = right | {"milvus_uri": server.uri.replace("localhost", "127.0.0.1")}
        assert "RAG_MILVUS_SERVER_NAME" in refusal(by_number)
        open_store(Settings(**by_number, milvus_server_name="localhost")).close()
        plain = {"milvus_uri": server.uri.replace("https", "http"), "milvus_token": ROOT_TOKEN}
        assert "write https:// in MILVUS_URI" in refusal(plain)
        without = {name: value for name, value in right.items() if "client" not in name}
        strange = {"milvus_client_cert": certificates.stranger, "milvus_client_key": certificates.stranger_key}
        for given in (without, without | strange) if server.mutual else ():
            assert "set RAG_MILVUS_CLIENT_CERT and RAG_MILVUS_CLIENT_KEY" in refusal(given)
    assert capfd.readouterr().err == ""


@pytest.mark.server
def test_the_doctor_says_it_too(right: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The check of Milvus fails with what mends it; the command line says it in one line."""
    checks = diagnose({**right, "milvus_token": "root:wrong", "provider": "local"})["checks"]
    (check,) = (check for check in checks if check["name"] == "milvus")
    assert not check["ok"]
    assert "refuses the token" in check["detail"]
    assert "MILVUS_TOKEN" in check["mend"]
    assert main(["search", "x", "--milvus-uri", right["milvus_uri"]]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.server
def test_a_user_who_may_not_write_is_told_so(right: dict[str, Any], online: Settings, folder: Path) -> None:
    """What the user may not do is named, with the ways out."""
    with open_store(Settings(**right)) as store:
        store.client.create_user("reader", "secret-1")
    settings = online.with_changes(**right | {"milvus_token": "reader:secret-1", "collection": "others"})
    with pytest.raises(StoreError, match=r"does not allow .* mend MILVUS_TOKEN, or give its user the right"):
        ingest(folder, settings)


@pytest.mark.server
def test_a_server_without_tls_says_so(milvus_binaries: Path, certificates: Certificates, tmp_path: Path) -> None:
    """An https:// address of a server that speaks none."""
    with running_milvus(MilvusServer(tmp_path / "milvus", milvus_binaries)) as server:
        given = {"milvus_uri": server.uri.replace("http", "https"), "milvus_ca_file": certificates.authority}
        assert "speaks no TLS: write http:// in MILVUS_URI" in refusal(given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"milvus_uri": "http://localhost:1"}, "RAG_MILVUS_CA_FILE is set, but MILVUS_URI is http://localhost:1"),
        ({"milvus_ca_file": "nowhere.pem"}, "RAG_MILVUS_CA_FILE: nowhere.pem can't be read"),
        ({"milvus_ca_file": "empty.pem"}, "RAG_MILVUS_CA_FILE: empty.pem holds no certificates"),
        ({"milvus_client_key": None}, "set both RAG_MILVUS_CLIENT_CERT and RAG_MILVUS_CLIENT_KEY"),
        ({"milvus_ca_file": None}, "RAG_MILVUS_CLIENT_CERT needs .* set RAG_MILVUS_CA_FILE"),
        ({"milvus_client_key": "nowhere.key"}, "RAG_MILVUS_CLIENT_KEY: nowhere.key can't be read"),
        ({"milvus_client_key": "stranger.key"}, "is not the unencrypted key of the certificate"),
    ],
)
def test_files_that_make_no_sense_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    """What the vendor would pass over, or tell nobody why it fails, is a wrong setting."""
    files = make_certificates(tmp_path)
    (tmp_path / "empty.pem").touch()
    given = {"milvus_uri": HTTPS, "milvus_ca_file": files.authority, "milvus_client_cert": files.client}
    settings = Settings(**{**given, "milvus_client_key": files.client_key, **change})
    with pytest.raises(SettingsError, match=message) as caught:
        open_store(settings)
    assert "\n" not in str(caught.value)


def test_right_files_are_tried(tmp_path: Path) -> None:
    """Then it is about whether somebody listens."""
    files = make_certificates(tmp_path)
    pair = {"milvus_client_cert": files.client, "milvus_client_key": files.client_key}
    with pytest.raises(StoreUnreachableError, match="no Milvus at https://localhost:1"):
        open_store(Settings(milvus_uri=HTTPS, milvus_ca_file=files.authority, **pair))


def test_the_vendor_gets_what_it_reads() -> None:
    """The authority has one name for TLS and another for mutual TLS."""
    tls = Tls("ca.pem", server_name="milvus").arguments()
    assert tls == {"server_pem_path": "ca.pem", "server_name": "milvus"}
    assert Address(HTTPS, tls=Tls("ca.pem")).arguments()["server_pem_path"] == "ca.pem"
    mutual = Tls("ca.pem", "me.pem", "me.key").arguments()
    pair = {"client_pem_path": "me.pem", "client_key_path": "me.key"}
    assert mutual == {"ca_pem_path": "ca.pem", **pair}
    assert Address("/x/y.db", tls=Tls("ca.pem")).arguments() == {"uri": "/x/y.db"}


class Greeter(milvus_pb2_grpc.MilvusServiceServicer):  # type: ignore[misc]  # generated, without types
    """As much of a Milvus as connecting asks for; it remembers the tokens."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def Connect(self, request: Any, context: Any) -> Any:  # noqa: N802  the service's name
        shown = dict(context.invocation_metadata()).get("authorization", "")
        self.tokens.append(base64.b64decode(shown).decode())
        return milvus_pb2.ConnectResponse(status=common_pb2.Status())

    def GetVersion(self, request: Any, context: Any) -> Any:  # noqa: N802  the service's name
        return milvus_pb2.GetVersionResponse(status=common_pb2.Status(), version="2.6.0")


@pytest.fixture
def greeter(certificates: Certificates) -> Iterator[tuple[str, Greeter]]:
    """The address of a server on loopback that wants a certificate."""
    server, service = grpc.server(ThreadPoolExecutor(2)), Greeter()
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(service, server)
    pair = (certificates.server_key.read_bytes(), certificates.server.read_bytes())
    trusted = certificates.authority.read_bytes()
    shown = grpc.ssl_server_credentials([pair], root_certificates=trusted, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", shown)
    server.start()
    yield f"https://localhost:{port}", service
    server.stop(None).wait()


def test_an_open_connection_is_lent_to_nobody(greeter: tuple[str, Greeter], certificates: Certificates) -> None:
    """Not to settings with other certificates or none, nor to a client of pymilvus' own; each shows its own token."""
    uri, service = greeter
    pair = {"milvus_client_cert": certificates.client, "milvus_client_key": certificates.client_key}
    right = {"milvus_uri": uri, "milvus_ca_file": certificates.authority, "store_timeout": 3.0}
    strange = {"milvus_client_cert": certificates.stranger, "milvus_client_key": certificates.stranger_key}
    with open_store(Settings(**right, **pair, milvus_token="first")) as store:
        for other in ({}, strange):
            with pytest.raises(StoreUnreachableError):
                open_store(Settings(**right, **other, milvus_token="first"))
        with pytest.raises(pymilvus.MilvusException):
            pymilvus.MilvusClient(uri, token="first", server_pem_path=str(certificates.authority), timeout=2)
        open_store(Settings(**right, **pair, milvus_token="second")).close()
        assert store.client.get_server_version() == "2.6.0"
    assert service.tokens == ["first", "second"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://milvus:19530", True),
        ("http://10.0.0.7:19530", True),
        ("http://localhost:19530", False),
        ("http://127.0.0.1:19530", False),
        ("https://milvus:19530", False),
        ("./test.db", False),
    ],
)
def test_what_travels_unencrypted_is_known(uri: str, expected: bool) -> None:
    """Over http:// to another machine."""
    assert Settings(milvus_uri=uri).is_milvus_in_clear is expected
