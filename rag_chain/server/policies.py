"""The security headers of every response: what a page may load and run, and who may show it."""

from __future__ import annotations

POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
# The vendors' pages have scripts and styles in themselves.
INLINE = f"{POLICY}; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'"
# LangServe's playground compiles the chain's schema into a function that checks the form.
INLINE_AND_EVAL = f"{INLINE} 'unsafe-eval'"
DOCS, PLAYGROUND = "/docs", "/rag/playground/"
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def security_headers(path: str) -> dict[str, str]:
    """Return the headers for a response from this path."""
    return {**HEADERS, "content-security-policy": _policy_for(path)}


def _policy_for(path: str) -> str:
    if path.startswith(PLAYGROUND):
        return INLINE_AND_EVAL
    return INLINE if path == DOCS else POLICY
