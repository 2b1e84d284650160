"""Load and split: path, zip or URL to documents, documents to chunks."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from functools import partial
from itertools import chain, tee
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from rag_chain.documents.finding import FoundFile, Limits, Refusal, Skipped, find_files
from rag_chain.documents.finding.findings import Findings
from rag_chain.documents.finding.given import Sorting, only_paths
from rag_chain.documents.finding.spool import Spool
from rag_chain.errors import DocumentError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from langchain_core.documents import Document
    from langchain_text_splitters import TextSplitter

    from rag_chain.documents.finding.given import Given
    from rag_chain.documents.foreign_splitting import DocumentSplitter
    from rag_chain.documents.loading.file_loader import LoadOptions
    from rag_chain.settings import Settings
    from rag_chain.workers import Task, Workers

    T = TypeVar("T", bound=Task)
    R = TypeVar("R")

__all__ = ["Findings", "FoundFile", "Refusal", "Skipped", "find_files", "load_documents", "split_documents"]

logger = logging.getLogger(__name__)


def load_documents(
    paths: Given,
    settings: Settings | None = None,
    *,
    glob: str | Sequence[str] = (),
    on_refused: Callable[[Refusal], None] | None = None,
    loader_name: str | None = None,
    source_key: str | None = None,
) -> Iterator[Document]:
    """Yield one LangChain ``Document`` for every document at the given places.

    They are paths of files, folders, glob patterns, archives or http(s) addresses of pages, files, sitemaps
    and archives, or LangChain loaders and documents, see :func:`rag_chain.ingest`; ``glob`` keeps only what
    matches inside folders, archives and sitemaps. Metadata: ``source`` (path relative to its root), ``title``,
    ``uri``, ``content_hash`` (SHA-256 of the file), ``modified`` (epoch seconds).
    A document that can't be read is handed to ``on_refused`` and the run goes on; without it, it is
    logged as a warning. A place that does not exist raises ``DocumentError``.
    """
    settings = settings or _default_settings()
    refuse = on_refused or _warn
    findings = find_documents(paths, settings, glob=glob, loader_name=loader_name, source_key=source_key)
    load = partial(load_or_reason, options=build_options(settings))
    files, sent = tee(findings)
    with findings, build_workers(load, str, settings) as readers:
        for loaded, found in zip(readers.map(files), sent, strict=True):
            if isinstance(loaded, str):
                refuse(Refusal(found.source, loaded))
            else:
                yield loaded
    for refusal in findings.refused:
        refuse(refusal)


def load_or_reason(file: FoundFile, options: LoadOptions) -> Document | str:
    """Return the document, or why it is refused."""
    from rag_chain.documents.loading import load_file

    try:
        return load_file(file, options)
    except DocumentError as error:
        return str(error)


def find_documents(
    paths: Given,
    settings: Settings | None = None,
    *,
    glob: str | Sequence[str] = (),
    loader_name: str | None = None,
    source_key: str | None = None,
) -> Findings:
    """Return the files at the given places within the limits of the settings, unread, and what loaders will give."""
    limits = _find_limits(settings or _default_settings())
    find = partial(find_files, globs=(glob,) if isinstance(glob, str) else tuple(glob), limits=limits)
    if (places := only_paths(paths)) is not None:
        if loader_name is not None or source_key is not None:
            raise SettingsError("loader_name and source_key are for loaders and documents, and only paths were given")
        return Findings(find(places))
    with ExitStack() as stack:
        spool = stack.enter_context(Spool())
        sorting = Sorting(paths, spool, loader_name, source_key)
        found = [find(sorting.paths), *(scope.find() for scope in sorting.scopes)]
        stack.pop_all()
    return Findings(chain.from_iterable(found), sorting.scopes, spool)


def as_findings(rows: Iterable[tuple[str, str, str]], root: str) -> Findings:
    """Return texts that are in no file as if each were one: ``(source, title, text)``, below the address ``root``."""
    return Findings([_as_file(source, title, text, root) for source, title, text in rows])


def _as_file(source: str, title: str, text: str, root: str) -> FoundFile:
    # A title goes where Markdown pages have theirs; where there is no text it is one.
    front = f"---\ntitle: {json.dumps(title)}\n---\n\n" if title else ""
    data = f"{front}{text.strip() or title}\n".encode("utf-8", "replace")
    uri = f"{root}/{quote(source)}"
    return FoundFile(source, uri, root, 0.0, len(data), partial(bytes, data), ".md")


def split_documents(
    documents: Iterable[Document], settings: Settings | None = None, *, splitter: TextSplitter | None = None
) -> Iterator[Document]:
    """Yield the chunks of the documents in order, each a ``Document`` with a stable ``id``.

    ``text[start:end]`` of the document's text is the chunk; ``heading`` is its heading path,
    ``position`` its number in the document. ``splitter`` is any of LangChain's; where it changes a
    text, ``start`` and ``end`` are -1.
    """
    cutting = build_splitter(settings or _default_settings(), splitter)
    for document in documents:
        yield from cutting.iterate_chunks(document)


def warm_up() -> None:
    """Import what reading most documents takes, and read the vocabulary: 0.3 s that may pass while others start."""
    from rag_chain.documents.loading import markdown  # noqa: F401
    from rag_chain.documents.splitting import SectionSplitter

    SectionSplitter().split_text("# Warm up\n" + 500 * "word ")


def build_options(settings: Settings) -> LoadOptions:
    """Return what the settings say to all loaders."""
    from rag_chain.documents.loading.file_loader import LoadOptions

    return LoadOptions(_password_of(settings), settings.max_pages)


def _find_limits(settings: Settings) -> Limits:
    return Limits(
        settings.max_file_bytes,
        settings.max_archive_bytes,
        settings.max_archive_depth,
        _password_of(settings),
        settings.allow_private,
        settings.download_seconds,
        settings.web_cache.expanduser(),
    )


def _password_of(settings: Settings) -> str | None:
    return settings.document_password.get_secret_value() if settings.document_password else None


def build_workers(work: Callable[[T], R], refuse: Callable[[str], R], settings: Settings) -> Workers[T, R]:
    """Return processes that do ``work``, as many and with such bounds for one document as the settings say."""
    from rag_chain.workers import Bounds, Workers, count_workers

    bounds = Bounds(settings.document_seconds, settings.document_megabytes)
    return Workers(work, refuse, count=count_workers(settings.readers), bounds=bounds)


def build_splitter(settings: Settings, given: TextSplitter | None = None) -> DocumentSplitter:
    """Return our splitter with the sizes of the settings, or what cuts with a given one of LangChain's."""
    from rag_chain.documents.splitting import SectionSplitter

    if given is None:
        return SectionSplitter(settings.resolved_chunk_tokens, settings.chunk_overlap)
    if isinstance(given, SectionSplitter):
        return given
    from rag_chain.documents.foreign_splitting import ForeignSplitter

    return ForeignSplitter(given)


def describe_splitter(settings: Settings, given: TextSplitter | None = None) -> str:
    """Return what identifies the splitter; ``SettingsError`` when what was given is none."""
    from rag_chain.documents.splitting import describe_splitting

    if given is None:
        return describe_splitting(settings.resolved_chunk_tokens, settings.chunk_overlap)
    from rag_chain.documents import foreign_splitting

    foreign_splitting.check_splitter(given, readers=settings.readers)
    return foreign_splitting.describe_splitter(given)


def _default_settings() -> Settings:
    from rag_chain.settings import Settings

    return Settings()


def _warn(refusal: Refusal) -> None:
    logger.warning("refused %s: %s", refusal.source, refusal.reason)
