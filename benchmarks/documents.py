#!/usr/bin/env python3
"""Measure loading and splitting beside the splitter of LangChain, and a long PDF.

ours      load_documents() and split_documents() over the folder, in this process, once warm
library   reading the same files, and LangChain's RecursiveCharacterTextSplitter for Markdown with chunks of the
          same number of tokens, counted by the same tokenizer: it looks at no heading path and keeps no offsets
bare      the same splitter counting characters, which is the least that any splitting takes
A PDF of 190 pages is made for the occasion, with 40 lines of words on each.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tables import describe_machine, write_machine, write_number, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
ROOT = HERE.parent
DOCS = ROOT.parent / "shared" / "data" / "milvus_docs" / "en"
TOKENS = 400
PAGES, LINES = 190, 40


def ours(docs: Path) -> int:
    """Load and split; return the number of chunks."""
    from rag_chain import Settings
    from rag_chain.documents import load_documents, split_documents

    settings = Settings(provider="local", chunk_tokens=TOKENS, chunk_overlap=40, readers=0)
    return sum(1 for _ in split_documents(load_documents(docs, settings, glob="**/*.md"), settings))


def library(docs: Path, count: Callable[[str], int]) -> int:
    """Read and split with LangChain's own; return the number of chunks."""
    from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

    size = TOKENS if count is not len else 4 * TOKENS
    splitter = RecursiveCharacterTextSplitter.from_language(
        Language.MARKDOWN, chunk_size=size, chunk_overlap=size // 10, length_function=count
    )
    return sum(len(splitter.split_text(path.read_text("utf-8"))) for path in sorted(docs.rglob("*.md")))


def count_one(text: str) -> int:
    """Return the number of tokens of a text."""
    from rag_chain.models.tokens import count_tokens

    return next(iter(count_tokens([text])))


def write_pdf(path: Path) -> None:
    """Write a long PDF."""
    sys.path.insert(0, str(ROOT))
    from tests.documents.samples import number_objects

    dice = random.Random(0)  # noqa: S311  no secret depends on it
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(PAGES))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {PAGES} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number in range(PAGES):
        lines = (" ".join(f"word{dice.randrange(5000)}" for _ in range(12)) for _ in range(LINES))
        content = f"BT /F1 9 Tf 40 760 Td 12 TL {' '.join(f'({line}) Tj T*' for line in lines)} ET".encode()
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode(),
            f"<< /Length {len(content)} >>\nstream\n".encode() + content + b"\nendstream",
        ]
    path.write_bytes(number_objects(objects, "/Root 1 0 R"))


def load_pdf(path: Path) -> int:
    """Load the PDF; return the number of its pages."""
    from rag_chain import Settings
    from rag_chain.documents import load_documents

    (document,) = load_documents(path, Settings(provider="local", readers=0))
    return len(document.metadata["pages"])


def measure(work: Callable[[], int], repeat: int) -> dict[str, Any]:
    """Return the least CPU seconds of several runs, after one that warms up, and what came out."""
    work()
    runs = []
    for _ in range(repeat):
        started = time.process_time()
        found = work()
        runs.append(time.process_time() - started)
    return {"cpu": min(runs), "found": found}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and with --save keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("docs", nargs="?", type=Path, default=DOCS, help="folder of Markdown")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the quickest counts")
    parser.add_argument("--save", action="store_true", help="write results/documents.md and .json")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    size = sum(path.stat().st_size for path in options.docs.rglob("*.md"))
    contenders: dict[str, Callable[[], int]] = {
        "load_documents() and split_documents()": lambda: ours(options.docs),
        "reading, and LangChain's splitter by tokens": lambda: library(options.docs, count_one),
        "reading, and LangChain's splitter by characters": lambda: library(options.docs, len),
    }
    found = {name: measure(work, options.repeat) for name, work in contenders.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.pdf"
        write_pdf(path)
        pdf = measure(lambda: load_pdf(path), options.repeat)
    first, second, _ = (result["cpu"] for result in found.values())
    rows = [
        [name, write_number(result["cpu"]), write_number(size / 1e6 / result["cpu"]), f"{result['found']:,}"]
        for name, result in found.items()
    ]
    report = f"""# Documents

`python benchmarks/documents.py --save`

{write_machine(machine)}

{size / 1e6:.2f} MB of Markdown, chunks of {TOKENS} tokens; CPU seconds of one process, the least of {options.repeat}.

{write_table(["", "CPU s", "MB/s", "chunks"], rows)}

- **Loading and splitting takes {first / second:.2f} x the time of reading and LangChain's splitter by tokens.**
- A PDF of {pdf["found"]} pages is loaded in {pdf["cpu"]:.2f} s.
"""
    print(report)
    if options.save:
        (HERE / "results" / "documents.md").write_text(report, "utf-8")
        kept = {"machine": machine, "bytes": size, "runs": found, "pdf": pdf}
        (HERE / "results" / "documents.json").write_text(json.dumps(kept, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
