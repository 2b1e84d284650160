"""The documents' door: list, read, upload one at a time with progress, remove."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from rag_chain.errors import RagChainError
from rag_chain.pipeline import ingest
from rag_chain.server.callers import current_caller
from rag_chain.server.replies import Refusal, error_body, message_of
from rag_chain.server.sse import event, stream_events
from rag_chain.store.documents import remove_document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fastapi.responses import StreamingResponse

    from rag_chain.ingestion.report import IngestReport
    from rag_chain.ingestion.run import Progress
    from rag_chain.server.service import Service
    from rag_chain.settings import Settings

logger = logging.getLogger(__name__)

MOST_LISTED = 1000
# Neither a path, nor hidden, nor something that a system gives a meaning to.
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|. ][^\x00-\x1f\x7f/\\:*?\"<>|]{0,150}")


def build_router(service: Service) -> APIRouter:
    """Return ``/documents``."""
    router = APIRouter(prefix="/documents", tags=["documents"])

    _add_readers(router, service)
    _add_writers(router, service)
    return router


def _add_readers(router: APIRouter, service: Service) -> None:
    @router.get("")
    async def list_all(q: str = "", limit: int = 100) -> dict[str, Any]:
        """Return the documents whose name or title holds ``q``, by name."""
        entries = await service.list_documents(current_caller())
        wanted = [e for e in entries if q.lower() in e.source.lower() or q.lower() in e.title.lower()]
        shown = wanted[: max(0, min(limit, MOST_LISTED))]
        return {"documents": [asdict(entry) for entry in shown], "total": len(wanted)}

    @router.get("/{source:path}")
    async def read(source: str) -> dict[str, str]:
        """Return a document's text."""
        text = await service.read_document(current_caller(), source)
        if text is None:
            raise _no_document()
        return {"source": source, "text": text}


def _add_writers(router: APIRouter, service: Service) -> None:
    @router.put("/{name}", response_model=None)
    async def upload(name: str, request: Request) -> StreamingResponse:
        """Take a document, ``name`` with its file's suffix, and ingest it.

        Events: ``progress`` with how many chunks are embedded, then ``done`` with what became of it, or ``error``.
        """
        settings = service.for_caller(current_caller()).settings
        folder = settings.upload_folder.expanduser() / settings.tenant
        path = await _receive(request, folder, check_name(name), settings.max_file_bytes)
        return stream_events(_ingest(path, settings))

    @router.delete("/{source:path}")
    async def remove(source: str) -> dict[str, Any]:
        """Remove a document."""
        chunks = await run_in_threadpool(_remove, service, source)
        if not chunks:
            raise _no_document()
        return {"source": source, "chunks": chunks}


def check_name(name: str) -> str:
    """Return a file's name that stands for nothing but itself; raises a ``Refusal``."""
    if unquote(name) != name or not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise Refusal(422, "BadName", "a document's name is a plain file name, such as notes.md")
    return name


def _no_document() -> Refusal:
    return Refusal(404, "NoDocument", "there is no such document")


def _remove(service: Service, source: str) -> int:
    caller = current_caller()
    with service.open_store(caller) as store:
        removed = remove_document(store, source)
    settings = service.for_caller(caller).settings
    if _NAME.fullmatch(source):
        (settings.upload_folder.expanduser() / settings.tenant / source).unlink(missing_ok=True)
    return removed


async def _receive(request: Request, folder: Path, name: str, most: int) -> Path:
    """Write the body to the folder; one that breaks off, or is too large, leaves what was there before."""
    too_large = Refusal(413, "TooLarge", f"a document may have {most:,} bytes: RAG_MAX_FILE_BYTES")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    await run_in_threadpool(folder.mkdir, parents=True, exist_ok=True)
    with _draft(folder) as draft:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise too_large
            await run_in_threadpool(draft.write, part)
        if not size:
            raise Refusal(422, "Empty", "the document is empty")
        draft.close()
        return await run_in_threadpool(Path(draft.name).replace, folder / name)


@contextmanager
def _draft(folder: Path) -> Iterator[Any]:
    with NamedTemporaryFile(dir=folder, prefix=".", suffix=".part", delete=False) as draft:
        try:
            yield draft
        finally:
            Path(draft.name).unlink(missing_ok=True)


async def _ingest(path: Path, settings: Settings) -> AsyncIterator[bytes]:
    """Yield how an ingest of one document goes; it goes on when nobody listens any more."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[Progress | None] = asyncio.Queue()

    def tell(progress: Progress | None) -> None:
        # The server may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(heard.put_nowait, progress)

    def work() -> IngestReport:
        try:
            return ingest(path, settings, prune=False, on_progress=tell)
        finally:
            tell(None)

    working = loop.run_in_executor(None, work)
    while (progress := await heard.get()) is not None:
        yield event({"chunks": progress.chunks, "tokens": progress.tokens}, "progress")
    try:
        report = await working
    except RagChainError as error:
        logger.warning("an upload was not ingested: %s", error)
        yield event(error_body(type(error).__name__, message_of(error)), "error")
        return
    yield event(_tell(report, path.name), "done")


def _tell(report: IngestReport, name: str) -> dict[str, Any]:
    refused = next((entry.reason for entry in [*report.refused, *report.skipped]), "")
    state = next((state for state in ("added", "changed", "unchanged") if getattr(report, state)), "refused")
    sources = [*report.added, *report.changed, *report.unchanged]
    return {
        "source": sources[0] if sources else name,
        "documents": len(sources),
        "state": state,
        "reason": refused,
        "chunks": report.chunks_embedded + report.chunks_reused,
    }
