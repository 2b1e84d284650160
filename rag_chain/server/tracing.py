"""Traces for OpenTelemetry, when its own environment variables say where to; with times and names, without texts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from rag_chain.errors import SettingsError
from rag_chain.settings import wants_traces

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

# Everything that OpenInference can leave out; a trace is read by others than those who ask.
HIDDEN = (
    "hide_inputs",
    "hide_outputs",
    "hide_input_messages",
    "hide_output_messages",
    "hide_prompts",
    "hide_choices",
    "hide_retrieval_documents",
    "hide_embeddings_text",
    "hide_embeddings_vectors",
    "hide_llm_tools",
)


def start_tracing() -> Callable[[], None]:
    """Trace every chain of this process, if OTEL_EXPORTER_OTLP_ENDPOINT or its kind are set; return what ends it.

    Raises :class:`~rag_chain.errors.SettingsError` when they are, and the ``telemetry`` extra is not installed.
    """
    if not wants_traces():
        return lambda: None
    try:
        from openinference.instrumentation import TraceConfig
        from openinference.instrumentation.langchain import LangChainInstrumentor
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            f"traces need {error.name}: pip install 'rag-chain[telemetry]', or unset OTEL_EXPORTER_OTLP_ENDPOINT"
        ) from error
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before it.
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "rag-chain"}).merge(Resource.create()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    hidden: dict[str, Any] = dict.fromkeys(HIDDEN, True)
    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider, config=TraceConfig(**hidden))
    logger.info("traces are sent by OTLP")

    def end() -> None:
        instrumentor.uninstrument()
        provider.shutdown()

    return end
