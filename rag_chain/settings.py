"""Every knob of rag_chain, with its default and environment name; the only reader of the environment."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict
from typing_extensions import Self

from rag_chain.errors import SettingsError
from rag_chain.hosts import is_local
from rag_chain.milvus_settings import MilvusSettings

FIREWORKS_API_BASE = "https://api.fireworks.ai/inference"
FIREWORKS_EMBEDDING_MODEL = "nomic-ai/nomic-embed-text-v1.5"
FIREWORKS_CHAT_MODEL = "accounts/fireworks/models/gpt-oss-120b"
FIREWORKS_CHAT_FALLBACKS = ("accounts/fireworks/models/glm-5p3-flash",)
# These have an environment name of their own, known from the vendor's documentation; all others start with RAG_.
VENDOR_SETTINGS = ("fireworks_api_key", "fireworks_api_base", "milvus_uri", "milvus_token", "milvus_db_name")

DEFAULT_TENANT = "default"
TENANT_NAME = "^[a-z0-9]+(-[a-z0-9]+)*$"

Provider = Literal["fireworks", "local"]
Engine = Literal["local", "ray"]


def environment_name(field: str) -> str:
    """Return the environment name of a setting: the vendors' own names, ``RAG_`` before the others."""
    return field.upper() if field in VENDOR_SETTINGS else f"RAG_{field.upper()}"


def without_version(address: str) -> str:
    """Return an API's base address without the ``/v1`` at its end: clients disagree on who appends it, ours do."""
    return address.rstrip("/").removesuffix("/v1").rstrip("/")


class Settings(MilvusSettings):
    """Settings from keywords, then the environment, then ``.env``; frozen.

    ``Settings(milvus_uri="./my.db", provider="local")`` overrides what the environment says.
    A value that makes no sense raises :class:`~rag_chain.errors.SettingsError`.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_file=".env",
        env_ignore_empty=True,
        env_prefix="RAG_",
        hide_input_in_errors=True,
    )

    fireworks_api_key: SecretStr | None = Field(
        None, validation_alias="fireworks_api_key", description="Key of the Fireworks API."
    )
    fireworks_api_base: str = Field(
        FIREWORKS_API_BASE,
        validation_alias="fireworks_api_base",
        description="One base address for chat, embeddings and rerank; any OpenAI-compatible server works.",
    )
    milvus_uri: str = Field(
        "./rag_chain.db",
        validation_alias="milvus_uri",
        description="A path ending in .db is Milvus Lite; http(s):// is a Milvus server or Zilliz Cloud.",
    )
    milvus_token: SecretStr | None = Field(
        None, validation_alias="milvus_token", description="Token, or user:password, of the Milvus server."
    )
    milvus_db_name: str | None = Field(
        None, validation_alias="milvus_db_name", description="Database on the Milvus server."
    )
    move_token: SecretStr | None = Field(
        None,
        description="Token, or user:password, of the Milvus that rag-chain move writes to; default: MILVUS_TOKEN where "
        "that is the same server.",
    )
    milvus_ca_file: Path | None = Field(
        None,
        description="PEM file with the authorities to trust for an https:// Milvus; default: the public ones.",
    )
    milvus_client_cert: Path | None = Field(
        None, description="PEM file with the certificate to show to a Milvus that wants one (mutual TLS)."
    )
    milvus_client_key: Path | None = Field(None, description="PEM file with the key of that certificate.")
    milvus_server_name: str | None = Field(
        None, description="Name in the certificate of Milvus, where it is not the one in MILVUS_URI."
    )
    collection: str = Field(
        "documents", description="Name of the collection.", pattern="^[A-Za-z_][A-Za-z0-9_]{0,159}$"
    )
    tenant: str = Field(
        DEFAULT_TENANT,
        description="Whose documents: each tenant has a collection of its own. Small letters, digits, single hyphens.",
        pattern=TENANT_NAME,
        max_length=64,
    )
    provider: Literal["auto", "fireworks", "local"] = Field(
        "auto", description="Who embeds and answers; auto is fireworks when there is a key, else local."
    )
    embedding_model: str = Field(
        FIREWORKS_EMBEDDING_MODEL,
        description="Embedding model; with the local provider multilingual, or a folder with model.onnx and "
        "tokenizer.json.",
    )
    embedding_dimensions: int | None = Field(
        None,
        gt=0,
        description="Vector length, below the model's own only where it was trained for it (Matryoshka); "
        "default: the model's own.",
    )
    embedding_batch: int = Field(64, gt=0, le=2048, description="Most texts in one embedding request.")
    embedding_batch_tokens: int = Field(65_536, gt=0, description="About the most tokens in one embedding request.")
    embedding_concurrency: int = Field(8, gt=0, le=256, description="Most embedding requests in flight.")
    embedding_price: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Dollars for a million embedded tokens; default: the price list of November 2026.",
    )
    embedding_requests_per_minute: int = Field(
        6000,
        gt=0,
        description="Requests a minute, for the estimate of --plan and as the most that all processes of --engine ray "
        "send; the local engine adapts to the provider's answers. 10 without a payment method.",
    )
    embedding_tokens_per_minute: int = Field(
        27_000_000,
        gt=0,
        description="Tokens a minute, for the same: the limit of small models since October 2026; "
        "whether it holds for embedding models is not documented. The provider's headers lower it.",
    )
    chat_model: str = Field(FIREWORKS_CHAT_MODEL, description="Chat model that writes the answer.")
    chat_fallbacks: Annotated[tuple[str, ...], NoDecode] = Field(
        FIREWORKS_CHAT_FALLBACKS,
        description="Chat models to try, in order, when the first is not served or too busy; comma-separated. "
        "The default goes with the default chat model only.",
    )
    rerank_model: str | None = Field(
        None, description="Rerank model over the candidates, e.g. fireworks/qwen3-reranker-8b."
    )
    rerank_floor: float | None = Field(
        None, allow_inf_nan=False, description="Chunks that the rerank model scores lower are left out."
    )
    retriever: Literal["hybrid", "dense", "bm25"] = Field(
        "hybrid", description="How chunks are searched: by vectors and words together, or by one of them."
    )
    dense_weight: float = Field(
        0.6, ge=0, le=1, description="Share of the vectors in hybrid search; the words have the rest."
    )
    search_depth: int = Field(
        100, gt=0, le=1000, description="Chunks that hybrid search takes from each of its two rankings."
    )
    candidates: int = Field(30, gt=0, le=1000, description="Chunks that are reranked, filtered and merged to sources.")
    floor: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Chunks with a lower raw cosine are left out; default: 0.25 for the local model, else none.",
    )
    diversity: float | None = Field(
        None, ge=0, le=1, description="Weight of unlikeness to other sources in choosing them (MMR); default: off."
    )
    mode: Literal["strict", "open"] = Field(
        "strict", description="open lets the model answer from general knowledge where the documents are silent."
    )
    context_tokens: int = Field(
        6000, ge=200, description="About the most tokens of sources and conversation in a prompt."
    )
    max_answer_tokens: int = Field(2048, gt=0, description="Most tokens that the chat model may generate.")
    top_k: int = Field(5, gt=0, le=100, description="Number of sources given to the chat model.")
    chunk_tokens: int | None = Field(
        None, ge=16, le=8000, description="Most tokens in a chunk; default: 200 local, 400 fireworks."
    )
    language: str = Field(
        "english",
        description="Language whose word endings keyword search looks past, as Snowball names it; or none. "
        "Chinese, Japanese and Korean need nothing.",
    )
    chunk_overlap: int = Field(40, ge=0, description="Tokens that neighbouring chunks of a section share.")
    readers: int | None = Field(
        None, ge=0, le=64, description="Processes that load and split; default: the cores but one, at most 4."
    )
    max_file_bytes: int = Field(100_000_000, gt=0, description="Larger documents are refused.")
    max_pages: int = Field(5_000, gt=0, description="PDF documents with more pages are refused.")
    max_archive_bytes: int = Field(2_000_000_000, gt=0, description="Most bytes unpacked from one archive.")
    document_password: SecretStr | None = Field(
        None, description="Password that is tried on encrypted documents and archives."
    )
    document_seconds: float = Field(60.0, gt=0, description="Most seconds for reading one document.")
    document_megabytes: int = Field(400, ge=100, description="Most memory for reading one document, on Linux.")
    max_archive_depth: int = Field(1, ge=0, le=10, description="How deep archives that are in archives are opened.")
    allow_private: bool = Field(False, description="Fetch from addresses that are not public, too.")
    download_seconds: float = Field(600.0, gt=0, description="Most seconds for fetching one address.")
    web_cache: Path = Field(
        Path("~/.cache/rag_chain/web"), description="Folder for what was fetched, so that it is not fetched twice."
    )
    keys_file: Path = Field(
        Path("./rag_chain.keys.json"), description="File with the digests of the API keys that rag-chain keys makes."
    )
    upload_folder: Path = Field(
        Path("./rag_chain.uploads"), description="Folder for documents that were uploaded, with one for each tenant."
    )
    allow_anonymous: bool = Field(
        False, description="Serve everybody who can reach the server while there are no API keys."
    )
    requests_per_minute: int = Field(600, gt=0, description="Requests a minute that each API key may make.")
    concurrent_requests: int = Field(64, gt=0, description="Requests that each API key may have in flight.")
    total_requests: int = Field(512, gt=0, description="Requests that the server works on at once; more get a 503.")
    max_body_bytes: int = Field(1_000_000, gt=0, description="Largest body of a request that is no upload.")
    max_batch: int = Field(32, gt=0, description="Most questions in one batch.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins of web pages that may call the server, comma-separated; default: its own only."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Host names that requests may be for, comma-separated; default: this machine's own names while "
        "there are no API keys, else any.",
    )
    drain_seconds: float = Field(30.0, ge=0, description="Seconds that open streams get to end when the server stops.")
    log_json: bool = Field(False, description="Write the server's log as one JSON document a line.")
    metrics_open: bool = Field(False, description="Show /metrics to callers without an admin key, too.")
    footnotes: bool = Field(False, description="Append the cited sources to the text of OpenAI-compatible answers.")
    request_timeout: float = Field(60.0, gt=0, description="Seconds for one model request, retries included.")
    store_timeout: float = Field(30.0, gt=0, description="Seconds for one call to Milvus.")

    def __init__(self, **values: Any) -> None:
        # extra="ignore" is for foreign names in .env; a misspelt keyword must not pass in silence.
        if unknown := sorted(set(values) - set(type(self).model_fields)):
            raise SettingsError(f"no setting is named {unknown[0]!r}")
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None

    @field_validator("chat_fallbacks", "cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("language", mode="after")
    @classmethod
    def _known_language(cls, value: str) -> str:
        if value in {"english", "none"}:
            return value
        from Stemmer import algorithms

        if value not in algorithms():
            raise ValueError(f"must be none, or one of {', '.join(algorithms())}")
        return value

    @field_validator("fireworks_api_base", mode="after")
    @classmethod
    def _without_version(cls, value: str) -> str:
        return without_version(value)

    @field_validator("milvus_uri", mode="before")
    @classmethod
    def _path_or_address(cls, value: object) -> object:
        text = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(text, str) or "://" in text:
            return text
        if not text.endswith(".db"):
            raise ValueError("must be a path that ends in .db, or an http(s):// address")
        return str(Path(text).expanduser())

    def with_changes(self, **changes: Any) -> Self:
        """Return these settings with some replaced, checked like any others."""
        return type(self)(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})

    def with_absolute_paths(self) -> Self:
        """Return these settings for processes that have another working folder."""
        model = Path(self.embedding_model).expanduser()
        paths = {"embedding_model": str(model.absolute())} if self._names_folder(model) else {}
        if self.is_milvus_lite:
            paths["milvus_uri"] = str(Path(self.milvus_uri).absolute())
        return self.model_copy(update=paths)

    def _names_folder(self, model: Path) -> bool:
        return self.resolved_provider == "local" and model.is_dir()

    @property
    def resolved_provider(self) -> Provider:
        """Who embeds and answers, with ``auto`` resolved.

        Raises :class:`~rag_chain.errors.SettingsError` when Fireworks is asked for without a key.
        """
        has_key = self.fireworks_api_key is not None and bool(self.fireworks_api_key.get_secret_value().strip())
        if self.provider == "fireworks" and not has_key:
            raise SettingsError("no Fireworks key: set FIREWORKS_API_KEY, or RAG_PROVIDER=local to work without one")
        if self.provider == "auto":
            return "fireworks" if has_key else "local"
        return self.provider

    @property
    def chat_models(self) -> tuple[str, ...]:
        """The chat model and its fallbacks; who names a model of their own wants that one or an error."""
        own = self.chat_model != FIREWORKS_CHAT_MODEL and self.chat_fallbacks == FIREWORKS_CHAT_FALLBACKS
        return (self.chat_model,) if own else (self.chat_model, *self.chat_fallbacks)

    @property
    def tenant_collection(self) -> str:
        """The name of the tenant's collection.

        Tenants' names hold neither underscores nor double hyphens, so no two tenants, and no tenant and
        generation of another one's collection (``documents__t_acme__2``), have the same name.
        """
        own = "" if self.tenant == DEFAULT_TENANT else f"__t_{self.tenant.replace('-', '_')}"
        return f"{self.collection}{own}"

    @property
    def is_milvus_lite(self) -> bool:
        """Whether the store is a Milvus Lite path and not a server."""
        return "://" not in self.milvus_uri

    @property
    def is_milvus_in_clear(self) -> bool:
        """Whether the token and all texts travel unencrypted to a Milvus on another machine."""
        parts = urlsplit(self.milvus_uri)
        return parts.scheme == "http" and not is_local(parts.hostname or "")

    @property
    def resolved_chunk_tokens(self) -> int:
        """Most tokens in a chunk, with the provider's default filled in.

        The local model reads 256 tokens; 200 leaves room for title and headings.
        """
        return self.chunk_tokens or (200 if self.resolved_provider == "local" else 400)


@contextmanager
def hidden_from_vendors(*names: str) -> Iterator[None]:
    """Hide environment names while a vendor is imported, and undo what its import sets.

    pymilvus refuses to be imported when MILVUS_URI is a path, and loads any ``.env`` above its own folder.
    gRPC, which it imports, is told to write nothing beside the errors that it raises.
    """
    before = dict(os.environ)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.update(dict.fromkeys(names, ""))
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({name: before[name] for name in names if name in before})


def keep_to_itself() -> None:
    """Have onnxruntime report to nobody; from 1.29 on it does by default, from its import on."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def prepare_ray(address: str | None) -> str | None:
    """Return the address given, or that of Ray's own variable; have Ray report to nobody.

    To be called before anything speaks to Milvus: Ray starts its processes by fork, and while gRPC, with a connection
    open, prepares for that, one child of 200 aborts before it begins.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    return address or os.environ.get("RAY_ADDRESS") or None


def read_variable(name: str, option: str) -> str:
    """Return the value of an environment variable that an option names; ``SettingsError`` when it is not set."""
    if name not in os.environ:
        raise SettingsError(f"{option}: the environment has no {name or 'variable without a name'}: export it first")
    return os.environ[name]


def wants_traces() -> bool:
    """Return whether OpenTelemetry's own variables say where traces are to go."""
    places = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(os.environ.get(name) for name in places) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def environment_with(names: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a process of our own: this one's, with some names set."""
    return {**os.environ, **names}


def _explain(error: ValidationError) -> str:
    """Put the first thing that is wrong with the settings into one line, without repeating secrets."""
    first = error.errors(include_input=False, include_url=False)[0]
    field = str(first["loc"][0]) if first["loc"] else "settings"
    message = first["msg"].removeprefix("Value error, ")
    return f"{environment_name(field)}: {message[:1].lower()}{message[1:]}"
