"""TLS to a Milvus server: the certificates that the settings name, checked before pymilvus gets them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from rag_chain.errors import SettingsError

CA_FILE, CLIENT_CERT, CLIENT_KEY = "RAG_MILVUS_CA_FILE", "RAG_MILVUS_CLIENT_CERT", "RAG_MILVUS_CLIENT_KEY"
SERVER_NAME = "RAG_MILVUS_SERVER_NAME"


@dataclass(frozen=True)
class Tls:
    """Whom to trust and what to show: paths of PEM files, and the name that the server's certificate is for.

    Without any of them an https:// address is checked against the authorities that gRPC brings.
    """

    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    server_name: str = ""

    def arguments(self) -> dict[str, str]:
        """Return what pymilvus wants; it leaves out, without a word, a client's certificate without an authority."""
        if self.client_cert:
            files = {"ca_pem_path": self.ca_file, "client_pem_path": self.client_cert}
            given = files | {"client_key_path": self.client_key}
        else:
            given = {"server_pem_path": self.ca_file}
        return {name: value for name, value in (given | {"server_name": self.server_name}).items() if value}

    def check(self, uri: str) -> None:
        """Raise ``SettingsError`` for what pymilvus would pass over in silence, and for files that are none."""
        given = self._given()
        if given and not uri.startswith("https://"):
            raise SettingsError(f"{given[0]} is set, but MILVUS_URI is {uri}, which has no TLS: make it https://")
        if bool(self.client_cert) != bool(self.client_key):
            raise SettingsError(f"a client's certificate needs its key: set both {CLIENT_CERT} and {CLIENT_KEY}")
        if self.client_cert and not self.ca_file:
            raise SettingsError(f"{CLIENT_CERT} needs the authority of the server's certificate: set {CA_FILE}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca_file:
            _check_file(CA_FILE, self.ca_file)
            try:
                context.load_verify_locations(self.ca_file)
            except ssl.SSLError:
                raise SettingsError(f"{CA_FILE}: {self.ca_file} holds no certificates: name a PEM file") from None
        if self.client_cert:
            _check_file(CLIENT_CERT, self.client_cert)
            _check_file(CLIENT_KEY, self.client_key)
            self._check_pair(context)

    def _check_pair(self, context: ssl.SSLContext) -> None:
        try:
            # With a password, though an empty one, nobody is asked for it on the terminal.
            context.load_cert_chain(self.client_cert, self.client_key, password="")
        except ssl.SSLError:
            raise SettingsError(
                f"{CLIENT_KEY}: {self.client_key} is not the unencrypted key of the certificate "
                f"{self.client_cert}: name the PEM files of one pair"
            ) from None

    def _given(self) -> list[str]:
        names = {CA_FILE: self.ca_file, CLIENT_CERT: self.client_cert, CLIENT_KEY: self.client_key}
        return [name for name, value in (names | {SERVER_NAME: self.server_name}).items() if value]


def _check_file(name: str, path: str) -> None:
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{name}: {path} can't be read ({error.strerror}): mend the path") from None
