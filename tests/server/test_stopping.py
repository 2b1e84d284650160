"""`rag-chain serve` as a process: who may reach it, how it stops, and what it logs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rag_chain import Settings, ingest
from rag_chain.cli import DONE, FAILED, INTERRUPTED, main
from rag_chain.hosts import is_local
from rag_chain.keys import KeyFile
from rag_chain.server import refuse_open_door

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fireworks_server import FireworksServer

QUESTION = "Where do rows live?"
DOORS: list[tuple[str, dict[str, Any], str]] = [
    ("/rag/stream", {"input": QUESTION}, "event: end"),
    (
        "/v1/chat/completions",
        {"model": "rag_chain", "stream": True, "messages": [{"role": "user", "content": QUESTION}]},
        "data: [DONE]",
    ),
]


@contextmanager
def served(*options: str) -> Iterator[tuple[str, subprocess.Popen[str], list[str]]]:
    """Run the command, and give its address, its process and, when it has ended, what it said."""
    command = [sys.executable, "-m", "rag_chain", "serve", "--port", "0", *options]
    said: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in iter(process.stderr.readline, ""):
                said.append(line)
                if found := re.search(r"running on (http://[\d.]+:\d+)", line):
                    yield found[1], process, said
                    break
        finally:
            process.terminate()
            said += process.communicate(timeout=60)[1].splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(("path", "body", "end"), DOORS, ids=lambda value: value if isinstance(value, str) else "")
def test_open_streams_end_before_it_does(
    path: str, body: dict[str, Any], end: str, provider: FireworksServer, folder: Path
) -> None:
    """A polite stop lets what is being answered be answered, whole, and logs no word of it."""
    ingest(folder, Settings())
    provider.answer = "word " * 200
    provider.token_delay = 0.01
    with (
        served() as (address, process, said),
        httpx.stream("POST", address + path, json=body, timeout=30) as reply,
    ):
        lines = reply.iter_lines()
        next(line for line in lines if "word" in line)
        process.send_signal(signal.SIGTERM)
        rest = list(lines)
    assert end in rest
    assert process.returncode in {DONE, INTERRUPTED, -signal.SIGTERM}
    log = "\n".join(said)
    assert "status=200" in log
    assert "word" not in log
    assert QUESTION not in log


@pytest.mark.usefixtures("provider")
def test_nobody_opens_the_door_by_mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An address that others can reach needs keys, or somebody who says that it does not."""
    assert main(["serve", "--host", "0.0.0.0"]) == FAILED  # noqa: S104  that is the point
    assert "rag-chain keys add" in capsys.readouterr().err
    settings = Settings(keys_file=tmp_path / "keys.json")
    for host in ("127.0.0.1", "::1", "[::1]", "localhost"):
        refuse_open_door(settings, host)
    refuse_open_door(settings.with_changes(allow_anonymous=True), "0.0.0.0")  # noqa: S104
    KeyFile(settings.keys_file).add("one", "default", ["ask"])
    refuse_open_door(settings, "0.0.0.0")  # noqa: S104


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "127.0.0.1.evil.example", ""])  # noqa: S104
def test_such_addresses_are_of_others_too(host: str) -> None:
    """Whatever is not plainly this machine alone."""
    assert not is_local(host)
