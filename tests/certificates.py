"""An authority of a test's own, with certificates for a server and a client, and one that nobody trusts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """PEM files; ``stranger`` is a client's certificate of an authority that is not ``authority``."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    stranger_authority: Path
    stranger: Path
    stranger_key: Path


def make_certificates(folder: Path, *, server_name: str = "localhost") -> Certificates:
    """Write certificates for a day; the server's is for this name only."""
    folder.mkdir(parents=True, exist_ok=True)
    ours, theirs = _Authority("rag_chain tests"), _Authority("somebody else")
    return Certificates(
        _write(folder / "ca.pem", ours.certificate),
        *ours.issue(folder / "server", server_name),
        *ours.issue(folder / "client", "client"),
        _write(folder / "stranger-ca.pem", theirs.certificate),
        *theirs.issue(folder / "stranger", "client"),
    )


class _Authority:
    def __init__(self, name: str) -> None:
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=None)
        builder = self._begin(self._name, self._key).add_extension(basic, critical=True)
        self.certificate = builder.sign(self._key, hashes.SHA256())

    def issue(self, stem: Path, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = self._begin(_name(name), key).add_extension(names, critical=False)
        key_file = stem.with_suffix(".key")
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return _write(stem.with_suffix(".pem"), builder.sign(self._key, hashes.SHA256())), key_file

    def _begin(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _write(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path
