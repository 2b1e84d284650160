"""A bare client of the imitated Fireworks API, for the tests of the imitation."""

import json
import ssl
from typing import Any

import httpx

from tests.fireworks_server import FireworksServer

EMBEDDING = "nomic-ai/nomic-embed-text-v1.5"
CHAT = "accounts/fireworks/models/gpt-oss-120b"
RERANK = "fireworks/qwen3-reranker-8b"
# Never used, as there is no TLS here; httpx would otherwise load all root certificates for each client.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class RawClient(httpx.Client):
    """Asks once, and hands out what came back."""

    def __init__(self, server: FireworksServer, key: str = "test-key") -> None:
        headers = {"Authorization": f"Bearer {key}"}
        super().__init__(base_url=server.base, headers=headers, verify=NO_TLS, timeout=5, trust_env=False)

    def embed(self, *texts: str, **more: Any) -> httpx.Response:
        """Ask for embeddings; keywords are further fields."""
        return self.post("/v1/embeddings", json={"input": list(texts), "model": EMBEDDING, **more})

    def rerank(self, query: str, *documents: str, **more: Any) -> httpx.Response:
        """Ask for the documents' scores."""
        body = {"model": RERANK, "query": query, "documents": list(documents), **more}
        return self.post("/v1/rerank", json=body)

    def chat(self, prompt: str = "Where is data?", **more: Any) -> httpx.Response:
        """Ask for an answer, as a whole or as a stream."""
        return self.post("/v1/chat/completions", json=chat_body(prompt, **more))


def chat_body(prompt: str, **more: Any) -> dict[str, Any]:
    """Return the body of a chat request with one message."""
    return {"messages": [{"role": "user", "content": prompt}], "model": CHAT, **more}


def stream_lines(text: str) -> list[str]:
    """Return the data of each server-sent event."""
    return [event.removeprefix("data: ") for event in text.split("\n\n")[:-1]]


def stream_events(text: str) -> list[dict[str, Any]]:
    """Return the events of a complete stream."""
    *events, end = stream_lines(text)
    assert end == "[DONE]"
    return [json.loads(event) for event in events]
