"""Why Milvus did not do what was asked, told from what gRPC says: one line with what mends it.

pymilvus has one sentence for a server that is down, a wrong password, a missing token and TLS where
none is expected; the cause beneath it has more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag_chain.store.tls import CA_FILE, CLIENT_CERT, CLIENT_KEY, SERVER_NAME

if TYPE_CHECKING:
    from rag_chain.store.links import Address

# Parts of what gRPC says of a connection over TLS that failed, and what that means. Other versions of it may use
# other words: then the last resort names everything that it may be.
_OVER_TLS = {
    "WRONG_VERSION_NUMBER": ("speaks no TLS", "write http:// in MILVUS_URI"),
    "CERTIFICATE_VERIFY_FAILED": ("has a certificate of an authority that is not trusted", f"set {CA_FILE}"),
    "Hostname Verification": (
        "has a certificate for another name",
        f"use that name in MILVUS_URI, or set {SERVER_NAME}",
    ),
    "Unwrap failed": ("broke off the TLS handshake", f"set {CLIENT_CERT} and {CLIENT_KEY} to a pair that it trusts"),
}


def explain_refusal(address: Address, cause: BaseException | None) -> str:
    """Return why a server that listens did not take the connection."""
    code, details = status_of(cause)
    where = f"Milvus at {address.uri}"
    if code in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        if address.token:
            return f"{where} refuses the token: mend MILVUS_TOKEN (user:password, or an API key)"
        return f"{where} wants a token: set MILVUS_TOKEN (user:password, or an API key)"
    if code == "DEADLINE_EXCEEDED":
        return (
            f"{where} does not answer: see whether it hangs, or check MILVUS_URI and MILVUS_TOKEN, "
            "in case it is no Milvus"
        )
    if address.uri.startswith("https://"):
        for part, (reason, mend) in _OVER_TLS.items():
            if part in details:
                return f"{where} {reason}: {mend}"
    elif "Socket closed" in details:
        return (
            f"{where} closes the connection: if it wants TLS, write https:// in MILVUS_URI (and set {CA_FILE} "
            "where its authority is your own), else see whether it is a Milvus"
        )
    return (
        f"{where} does not take the connection: check MILVUS_URI (http:// or https://), MILVUS_TOKEN, "
        f"{CA_FILE}, {CLIENT_CERT} and whether it is up"
    )


def status_of(error: BaseException | None) -> tuple[str, str]:
    """Return the name of a gRPC error's status, and its details; two empty texts for any other error."""
    code: Any = getattr(error, "code", None)
    details: Any = getattr(error, "details", None)
    if not callable(code) or not callable(details):
        return "", ""
    return getattr(code(), "name", ""), details() or ""
