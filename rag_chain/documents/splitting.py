"""Split documents into chunks: at headings first, then by size at the best place to cut."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_text_splitters import TextSplitter

from rag_chain.documents.loading.headings import has_headings
from rag_chain.documents.sections import Section, find_sections
from rag_chain.models.tokens import TokenMap, map_tokens
from rag_chain.sentences import sentence_starts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# Part of every collection's fingerprint: raise it when the same text would be cut in another way.
SPLITTER_VERSION = "sections-2"

DEFAULT_TOKENS = 200
# Milvus holds 65,535 bytes in a VARCHAR, and a character takes at most four of them.
MAX_CHARACTERS = 16_000

# What loaders tell splitters, and no chunk has.
_INNER = frozenset({"pages", "parts", "markup"})
_LINE_START = re.compile(r"\n+(?=[^\n])")
_WORD_START = re.compile(r"\s+(?=\S)")
_NOT_SPACE = re.compile(r"\S")


class Parts:
    """The parts of a document, such as its pages, and what is known of each: nothing where it is in one piece."""

    def __init__(self, document: Document) -> None:
        pages = document.metadata.get("pages")
        # Of another's document it may be anything, such as their number.
        self._starts: Sequence[int] = pages if isinstance(pages, list) else ()
        parts = document.metadata.get("parts")
        self._known: Sequence[dict[str, Any]] = parts if isinstance(parts, list) else ()

    def at(self, place: int) -> dict[str, Any]:
        """Return the metadata of the part in which a place of the text is: its page, from 1, and what it has alone."""
        if not self._starts:
            return {}
        number = bisect_right(self._starts, place)
        return {"page": number, **(self._known[number - 1] if self._known else {})}


def shared_metadata(document: Document) -> dict[str, Any]:
    """Return what all chunks of a document have of its metadata."""
    return {key: value for key, value in document.metadata.items() if key not in _INNER}


def markup_of(document: Document) -> str:
    """Return what a document says that it is; another's is Markdown if it has headings, as with our own loaders."""
    given: str | None = document.metadata.get("markup")
    return given or ("markdown" if has_headings(document.page_content) else "plain")


def describe_splitting(tokens: int, overlap: int) -> str:
    """Return what identifies our own way of splitting, with these sizes."""
    return f"{SPLITTER_VERSION}/{tokens}/{overlap}"


class SectionSplitter(TextSplitter):
    """A LangChain ``TextSplitter`` whose chunks are exact slices of the text, with headings and offsets.

    ``chunk_size`` (or ``chunk_tokens``) is the most WordPiece tokens in a chunk, 200 where nothing is said,
    ``chunk_overlap`` the most that a chunk shares with the one before it in the same section, at most half
    of that. With ``add_start_index`` the metadata has ``start_index`` beside ``start``, which is the same.
    """

    def __init__(
        self,
        chunk_size: int | None = None,
        chunk_overlap: int = 40,
        *,
        chunk_tokens: int | None = None,
        add_start_index: bool = False,
    ) -> None:
        if chunk_size is not None and chunk_tokens is not None:
            raise ValueError("chunk_size and chunk_tokens are the same: give one of them")
        size = next((given for given in (chunk_size, chunk_tokens) if given is not None), DEFAULT_TOKENS)
        overlap = min(chunk_overlap, max(size, 0) // 2)
        super().__init__(chunk_size=size, chunk_overlap=overlap, add_start_index=add_start_index)
        self.identity = describe_splitting(size, chunk_overlap)

    def split_text(self, text: str) -> list[str]:
        """Return the chunks of a Markdown text."""
        return [chunk.page_content for chunk in self._split(Document(text, metadata={"markup": "markdown"}))]

    def create_documents(self, texts: list[str], metadatas: list[dict[Any, Any]] | None = None) -> list[Document]:
        """Return the chunks of all texts, see :meth:`iterate_chunks`; each has its text's metadata."""
        known = metadatas or [{}] * len(texts)
        return self.split_documents(Document(text, metadata=own) for text, own in zip(texts, known, strict=True))

    def split_documents(self, documents: Iterable[Document]) -> list[Document]:
        """Return the chunks of all documents, see :meth:`iterate_chunks`."""
        return [chunk for document in documents for chunk in self.iterate_chunks(document)]

    def iterate_chunks(self, document: Document) -> Iterator[Document]:
        """Yield the chunks of one document in order.

        Each has a stable ``id`` and, beside the document's own metadata, ``heading`` (the heading
        path), ``start`` and ``end`` (``document.page_content[start:end]`` is the chunk), ``position``
        (its number in the document, from 0) and, where the document has pages, ``page`` (from 1).
        Where nothing says what ``markup`` a document has, it is Markdown if it has headings.
        """
        version = version_of(document)
        for position, chunk in enumerate(self._split(document)):
            chunk.metadata["position"] = position
            chunk.id = chunk_id(document.metadata.get("source", ""), version, position)
            yield chunk

    def _split(self, document: Document) -> Iterator[Document]:
        text = document.page_content
        shared, parts = shared_metadata(document), Parts(document)
        for section in find_sections(text, markup_of(document)):
            for start, end in self._cut(text, section):
                own: dict[str, Any] = {"heading": " > ".join(section.headings), "start": start, "end": end}
                if self._add_start_index:
                    own["start_index"] = start
                yield Document(text[start:end], metadata=shared | parts.at(start) | own)

    def _cut(self, text: str, section: Section) -> Iterator[tuple[int, int]]:
        """Yield the spans of a section's chunks, white space taken off both ends."""
        piece = text[section.start : section.end]
        if _surely_fits(piece, self._chunk_size):
            yield _stripped(piece, 0, len(piece), section.start)
            return
        tokens = map_tokens(piece)
        places = _cutting_places(piece, section)
        start = end = 0
        while rest := _NOT_SPACE.search(piece, end):
            cut = self._fit(piece, start, self._next_cut(start, rest.start(), tokens, places))
            if cut <= rest.start():
                # The overlap leaves no room for anything new.
                start = rest.start()
                continue
            yield _stripped(piece, start, cut, section.start)
            start, end = self._overlap_start(start, cut, tokens, places), cut

    def _next_cut(self, start: int, new: int, tokens: TokenMap, places: Sequence[Sequence[int]]) -> int:
        """Return the best place to end a chunk that starts at ``start`` and must reach beyond ``new``."""
        limit = max(min(tokens.reach(start, self._chunk_size), start + MAX_CHARACTERS), new + 1)
        if limit >= tokens.length:
            return tokens.length
        # A better kind of place may leave a shorter chunk behind.
        for kind, fill in zip(places, (0.25, 0.3, 0.5, 0.5), strict=True):
            place = bisect_right(kind, limit) - 1
            if place >= 0 and kind[place] > new and tokens.count(start, kind[place]) >= fill * self._chunk_size:
                return kind[place]
        return limit

    def _fit(self, piece: str, start: int, cut: int) -> int:
        """Return the cut, or an earlier one where a word that was cut through has more tokens than the whole."""
        if _is_between_words(piece, start) and _is_between_words(piece, cut):
            return cut
        return start + max(map_tokens(piece[start:cut]).reach(0, self._chunk_size), 1)

    def _overlap_start(self, start: int, cut: int, tokens: TokenMap, places: Sequence[Sequence[int]]) -> int:
        """Return where the next chunk starts: at a sentence or line at most the overlap before the cut."""
        # Between two blocks nothing is cut through, so there is nothing to repeat.
        if self._chunk_overlap == 0 or cut in places[0]:
            return cut
        earliest = max(tokens.back(cut, self._chunk_overlap), start + 1)
        # One character, such as a Korean syllable, can be several tokens.
        earliest += tokens.count(earliest, cut) > self._chunk_overlap
        sentences = places[2]
        place = bisect_right(sentences, earliest - 1)
        return min(sentences[place], cut) if place < len(sentences) else cut


def _stripped(piece: str, start: int, end: int, offset: int) -> tuple[int, int]:
    """Return the span without white space at its ends, moved by ``offset``."""
    kept = piece[start:end].strip()
    first = offset + piece.index(kept, start)
    return first, first + len(kept)


def _is_between_words(piece: str, place: int) -> bool:
    """Return whether the tokenizer, too, sees a word's end there; it takes other white space for control characters."""
    return place in {0, len(piece)} or piece[place - 1] in " \t\n\r" or piece[place] in " \t\n\r"


def _surely_fits(piece: str, tokens: int) -> bool:
    """Return whether a text has no more than so many tokens, as far as its length tells."""
    # Taken apart into what the vocabulary knows, a character beyond ASCII becomes at most four.
    return len(piece) * (1 if piece.isascii() else 4) <= tokens


def _cutting_places(piece: str, section: Section) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return where a section's text may be cut, best kind first: blocks, lines, sentences, words."""
    blocks = [block - section.start for block in section.blocks if block > section.body]
    if not section.blocks:
        blocks = [match.end() for match in re.finditer(r"\n[ \t]*\n+", piece)]
    lines = [match.end() for match in _LINE_START.finditer(piece)]
    sentences = sorted({*lines, *(start for start in sentence_starts(piece) if start)})
    words = [match.end() for match in _WORD_START.finditer(piece)]
    return blocks, lines, sentences, words


def chunk_id(source: str, version: str, position: int) -> str:
    """Return the id of a document's chunk: a digest of its source, its content's version and the position."""
    seed = f"{source}\0{version}\0{position}"
    return hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def version_of(document: Document) -> str:
    """Return what tells its content from any other: what its loader says, else the digest of its text."""
    given: str | None = document.metadata.get("content_hash")
    return given or hashlib.sha256(document.page_content.encode("utf-8", "surrogatepass")).hexdigest()


def text_to_embed(chunk: Document) -> str:
    """Return what is embedded for a chunk: its title and heading path, then its text."""
    title, heading = chunk.metadata.get("title", ""), chunk.metadata.get("heading", "")
    context = heading if not title or heading.startswith(title) else f"{title} > {heading}" if heading else title
    return f"{context}\n{chunk.page_content}" if context else chunk.page_content
