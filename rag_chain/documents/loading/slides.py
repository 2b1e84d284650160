"""Load presentations (.pptx): a section for each slide, with its tables and notes."""

import io
from collections.abc import Iterator
from typing import Any

from pptx import Presentation
from pptx.exc import PythonPptxError

from rag_chain.documents.loading.containers import check_container
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.documents.loading.markdown_table import write_table
from rag_chain.documents.zip_errors import BROKEN_ZIP
from rag_chain.errors import DocumentError

# The package checks little: damage shows in lxml, which raises SyntaxError, and in look-ups of what is not there.
_BROKEN_SLIDES = (*BROKEN_ZIP, PythonPptxError, AttributeError, LookupError, SyntaxError, TypeError)
_MOST_NESTED_GROUPS = 20


class PptxLoader(FileLoader):
    """Loader of presentations; each slide starts with its title as a heading."""

    def extract(self, data: bytes) -> Extract:
        """Turn the slides into Markdown sections."""
        check_container(data, "presentation")
        try:
            slides: Any = Presentation(io.BytesIO(data))
            parts = [_write_slide(slide, number) for number, slide in enumerate(slides.slides, start=1)]
            title = one_line(slides.core_properties.title or "")
        except _BROKEN_SLIDES as error:
            raise DocumentError(f"not a readable presentation: {one_line(error) or type(error).__name__}") from error
        return Extract("\n\n".join(filter(None, parts)), title=title or None, markup="markdown")


def _write_slide(slide: Any, number: int) -> str:
    heading = slide.shapes.title
    title = one_line(heading.text_frame.text) if heading is not None else ""
    shapes = (shape for shape in slide.shapes if heading is None or shape.shape_id != heading.shape_id)
    body = [text for shape in shapes for text in _write_shape(shape, _MOST_NESTED_GROUPS)]
    notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    if notes is not None and notes.text.strip():
        body.append(f"Notes: {notes.text.strip()}")
    return "\n\n".join([f"## {title or f'Slide {number}'}", *body]) if title or body else ""


def _write_shape(shape: Any, deepest: int) -> Iterator[str]:
    if getattr(shape, "shapes", None) is not None and deepest:
        for inner in shape.shapes:
            yield from _write_shape(inner, deepest - 1)
    elif getattr(shape, "has_table", False) and shape.has_table:
        yield write_table([[cell.text for cell in row.cells] for row in shape.table.rows])
    elif shape.has_text_frame:
        paragraphs = [(paragraph.level, one_line(paragraph.text, 10_000)) for paragraph in shape.text_frame.paragraphs]
        lines = [f"{'  ' * level}- {text}" if level else text for level, text in paragraphs if text]
        if lines:
            yield "\n".join(lines)
