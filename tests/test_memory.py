"""The memory that an ingest takes: for what is on its way, not for the corpus or its largest document."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes import read_line, running

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads memory as Linux tells it"),
]

MB = 1_000_000
MOST_MB = 600
SAMPLE_SECONDS = 0.05
MOST_SECONDS = 3600

SERVER = """
    from tests.fireworks_server import FireworksServer
    with FireworksServer(dimensions=8) as server:
        print("ready")
        print(server.base, flush=True)
        sys.stdin.readline()
"""
HOLDER = """
    from rag_chain.store.collection import Store
    from rag_chain.store.links import Address
    with Store(Address(sys.argv[1]), "documents"):
        print("ready", flush=True)
        sys.stdin.readline()
"""


@dataclass(frozen=True)
class Measured:
    """An ingest's report and the most memory that it and its children had together, in MB."""

    report: dict[str, Any]
    most: float


def write_words(size: int, dice: random.Random) -> Iterator[str]:
    """Yield sentences of so many characters in all."""
    written = 0
    while written < size:
        words = [_WORDS[dice.randrange(len(_WORDS))] for _ in range(dice.randrange(6, 18))]
        sentence = f"{' '.join(words).capitalize()}. "
        written += len(sentence)
        yield sentence


def _make_words() -> list[str]:
    dice = random.Random(0)  # noqa: S311  no secret depends on it
    syllables = [f"{first}{second}" for first in "bdfgklmnprstv" for second in "aeiou"]
    return ["".join(dice.choices(syllables, k=dice.randrange(1, 5))) for _ in range(5000)]


_WORDS = _make_words()


def write_text(path: Path, size: int, seed: int) -> None:
    """Write plain text in paragraphs of eight sentences."""
    sentences = write_words(size, random.Random(seed))  # noqa: S311  as above
    with path.open("w", encoding="utf-8") as file:
        for number, sentence in enumerate(sentences):
            file.write(sentence if number % 8 else f"\n\n{sentence}")


def write_markdown(path: Path, size: int, seed: int) -> None:
    """Write Markdown with a heading every 20 sentences and a list of four items below it."""
    sentences = write_words(size, random.Random(seed))  # noqa: S311  as above
    with path.open("w", encoding="utf-8") as file:
        for number, sentence in enumerate(sentences):
            heading = f"\n\n{'#' * (1 + number // 20 % 3)} {sentence[:30]}\n\n" if number % 20 == 0 else ""
            file.write(f"{heading}- {sentence}\n" if number % 20 < 4 else f"{heading}\n\n{sentence}")


def write_corpus(folder: Path) -> None:
    """Write 60 MB: 30 of files of 100 kB to 1 MB, one text of 20 MB, one Markdown of 10 MB."""
    write_small_files(folder)
    write_text(folder / "large.txt", 20 * MB, 1)
    write_markdown(folder / "large.md", 10 * MB, 2)


def write_small_files(folder: Path) -> None:
    dice = random.Random(3)  # noqa: S311  as above
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(55):
        write, suffix = (write_text, "txt") if number % 2 else (write_markdown, "md")
        write(folder / f"{number}.{suffix}", dice.randrange(MB // 10, MB), number)


def family(process: int) -> list[int]:
    """Return a process and all that descend from it."""
    try:
        listed = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:  # it has ended
        return [process]
    return [process, *(member for child in " ".join(listed).split() for member in family(int(child)))]


def resident(process: int) -> float:
    """Return the memory that a process has now, in MB; none when it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text("utf-8").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


def ingest(corpus: Path, database: Path) -> Measured:
    """Ingest in a process whose memory is watched; the provider and Milvus Lite are in others."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with running(SERVER, seconds=MOST_SECONDS) as server, running(HOLDER, str(database), seconds=MOST_SECONDS):
        environment = os.environ | {"FIREWORKS_API_KEY": "test-key", "FIREWORKS_API_BASE": read_line(server)}
        command = [sys.executable, "-m", "rag_chain", "ingest", str(corpus), "--milvus-uri", str(database), "--json"]
        most = 0.0
        with (
            tempfile.TemporaryFile() as printed,
            subprocess.Popen(command, stdout=printed, stderr=subprocess.DEVNULL, env=environment) as process,
        ):
            while process.poll() is None:
                most = max(most, sum(map(resident, family(process.pid))))
                time.sleep(SAMPLE_SECONDS)
            printed.seek(0)
            return Measured(json.load(printed), most)


def test_a_large_corpus_takes_little_memory(tmp_path: Path) -> None:
    """60 MB of text, a third of it in one document and a sixth in one of Markdown, are ingested in 600 MB.

    Counted is the resident memory of the ingesting process and its children together.
    """
    write_corpus(tmp_path / "corpus")
    measured = ingest(tmp_path / "corpus", tmp_path / "test.db")
    assert measured.report["documents"]["added"] == 57
    assert measured.report["refused"] == []
    assert measured.most < MOST_MB
