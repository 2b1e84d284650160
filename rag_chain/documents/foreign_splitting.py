"""Split with any ``TextSplitter`` of LangChain: where its chunks are, and what identifies it."""

from __future__ import annotations

import hashlib
import json
import logging
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.documents import Document

from rag_chain.documents.failures import Failures
from rag_chain.documents.loading.metadata import Notes, clean, keep_metadata
from rag_chain.documents.sections import find_sections
from rag_chain.documents.splitting import Parts, SectionSplitter, chunk_id, markup_of, shared_metadata, version_of
from rag_chain.errors import DocumentError, SettingsError
from rag_chain.store.schema import TEXT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_text_splitters import TextSplitter

logger = logging.getLogger(__name__)

# Where a chunk is that is not in the document's text as it stands: LangChain's own sign for it.
NOWHERE = -1


class DocumentSplitter(Protocol):
    """Cuts documents into chunks that know where they are."""

    def iterate_chunks(self, document: Document) -> Iterator[Document]:
        """Yield the chunks of one document in order."""


class ForeignSplitter:
    """Cuts with a splitter of LangChain's, and gives its chunks what those of our own have."""

    def __init__(self, splitter: TextSplitter) -> None:
        self._splitter = splitter

    def iterate_chunks(self, document: Document) -> Iterator[Document]:
        """Yield the chunks of one document in order, white space alone left out.

        ``start`` and ``end`` are where a chunk is in the text, or both -1 where the splitter has changed it.
        ``heading`` is the splitter's own, or that of the section in which the chunk starts. What else the splitter
        puts into the metadata is kept. A splitter that fails is a :class:`DocumentError`.
        """
        version, source = version_of(document), document.metadata.get("source", "")
        headings = Headings(document)
        shared, parts = shared_metadata(document), Parts(document)
        for position, (chunk, start) in enumerate(self._locate(document)):
            _check_length(chunk, position)
            place = {"start": start, "end": start + len(chunk.page_content) if start >= 0 else NOWHERE}
            own = _own_metadata(chunk, shared)
            heading = own.pop("heading", "") or headings.at(start)
            known = shared | own | (parts.at(start) if start >= 0 else {}) | {"heading": heading} | place
            name = chunk_id(source, version, position)
            yield Document(chunk.page_content, id=name, metadata=known | {"position": position})

    def _locate(self, document: Document) -> Iterator[tuple[Document, int]]:
        """Yield the chunks with where they start."""
        text = document.page_content
        before: tuple[int, int] = (NOWHERE, 0)
        for chunk in self._split(document):
            piece = clean(chunk.page_content)
            if not piece.strip():
                continue
            start = chunk.metadata.get("start_index")
            if not (isinstance(start, int) and start >= 0 and text.startswith(piece, start)):
                start = find_again(text, piece, before)
            if start >= 0:
                before = (start, start + len(piece))
            yield Document(piece, metadata=chunk.metadata), start

    def _split(self, document: Document) -> list[Document]:
        given = Document(document.page_content, metadata=shared_metadata(document))
        with Failures(f"the splitter {type(self._splitter).__name__}"):
            return self._splitter.split_documents([given])


class Headings:
    """The heading paths of a document's sections."""

    def __init__(self, document: Document) -> None:
        sections = list(find_sections(document.page_content, markup_of(document)))
        self._starts = [section.start for section in sections]
        self._paths = [" > ".join(section.headings) for section in sections]

    def at(self, place: int) -> str:
        """Return the path over a place, nothing where there is none."""
        number = bisect_right(self._starts, place)
        return self._paths[number - 1] if number and place >= 0 else ""


def find_again(text: str, piece: str, before: tuple[int, int]) -> int:
    """Return where a chunk starts, of which the one before it has this start and end; -1 if it is not in the text.

    Where the same words stand in several places, first comes where the two overlap as far as they can, then what
    follows, then whatever there is.
    """
    start, end = before
    if start >= 0 and (overlap := _overlap(text[start:end], piece)) and text.startswith(piece, end - overlap):
        return end - overlap
    for since in (end, start + 1, 0):
        if (found := text.find(piece, since)) >= 0:
            return found
    return NOWHERE


def _overlap(one: str, other: str) -> int:
    """Return how many characters at the end of a text are the start of another, short of all of it."""
    longest = min(len(one) - 1, len(other))
    return next((length for length in range(longest, 0, -1) if one.endswith(other[:length])), 0)


def _own_metadata(chunk: Document, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the splitter says of a chunk beside what its document has, as it can be stored."""
    own = {key: value for key, value in chunk.metadata.items() if key not in shared or shared[key] != value}
    heading = own.pop("heading", "")
    notes = Notes()
    kept = keep_metadata(own, notes)
    for note in notes:
        logger.info("a splitter's %s", note)
    return kept | ({"heading": str(heading)} if heading else {})


def _check_length(chunk: Document, position: int) -> None:
    if len(chunk.page_content.encode()) > TEXT_BYTES:
        raise DocumentError(f"chunk {position + 1} is longer than {TEXT_BYTES} bytes: give the splitter smaller sizes")


def describe_splitter(splitter: TextSplitter) -> str:
    """Return what identifies a splitter and everything that its chunks depend on, as far as it can be told."""
    if type(splitter) is SectionSplitter:
        return splitter.identity
    kind = type(splitter)
    described = json.dumps(_describe(vars(splitter), 0), sort_keys=True)
    return f"{kind.__module__}.{kind.__qualname__}/{hashlib.sha256(described.encode()).hexdigest()[:16]}"


def check_splitter(splitter: object, *, readers: int | None) -> None:
    """Raise ``SettingsError`` for what is no splitter, or can't be sent to the processes that read."""
    from langchain_text_splitters import TextSplitter

    if not isinstance(splitter, TextSplitter):
        name = splitter.__name__ if isinstance(splitter, type) else type(splitter).__name__
        raise SettingsError(f"splitter: {name} is no TextSplitter of LangChain's: give an instance of one")
    if readers == 0:
        return
    from pickle import PicklingError

    from cloudpickle import dumps

    try:
        dumps(splitter)
    except (PicklingError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise SettingsError(
            f"the splitter {type(splitter).__name__} can't be sent to other processes ({error}): set RAG_READERS=0"
        ) from error


def _describe(value: Any, depth: int) -> Any:
    """Return a value as JSON that is the same in each run: no addresses of objects, functions by what they are."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if depth > 4:
        return type(value).__qualname__
    if isinstance(value, dict):
        return {str(key): _describe(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        parts = [_describe(part, depth + 1) for part in value]
        return parts if isinstance(value, list | tuple) else sorted(map(json.dumps, parts))
    if code := getattr(value, "__code__", None):
        return _describe_function(value, code, depth)
    # A pattern, a tokenizer, an encoding: known by its name.
    names = [getattr(value, name, None) for name in ("__qualname__", "name", "name_or_path", "pattern", "flags")]
    return [type(value).__qualname__, *(name for name in names if isinstance(name, str | int))]


def _describe_function(function: Any, code: Any, depth: int) -> Any:
    constants = [constant for constant in code.co_consts if isinstance(constant, str | int | float)]
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    bound = [*cells, *(function.__defaults__ or ())]
    return [function.__qualname__, list(code.co_names), constants, _describe(bound, depth + 1)]
