"""Traces go where OpenTelemetry's variables say, with the steps' names and without a word of anybody's."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest

from rag_chain import Settings, create_app, ingest
from rag_chain.settings import wants_traces
from tests.serving import serving

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = "Where do rows live?"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:opentelemetry")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:openinference")
def test_traces_hold_names_and_no_texts(settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector gets the spans of a question: each step by its name; neither question, answer nor passage."""
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    ingest(folder, settings)
    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        with serving(create_app(settings)) as address:
            output = httpx.post(f"{address}/rag/invoke", json={"input": QUESTION}, timeout=30).json()["output"]
        collector.shutdown()
        thread.join()
    told = b"".join(received)
    for name in (b"rag_chain", b"retrieve", b"prompt", b"model"):
        assert name in told
    for text in (QUESTION, output["answer"][:20], output["sources"][0]["text"][:20], settings.milvus_uri):
        assert text.encode() not in told


def test_nothing_is_traced_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an endpoint, or with the SDK disabled, there are no traces."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    assert not wants_traces()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert wants_traces()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not wants_traces()
