"""Run a contender in a process of its own, beside the loopback API in another, and measure it from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Reading the memory of a dozen large processes takes long and holds them up: a fiftieth of the time, at most.
SAMPLE_SECONDS, SAMPLE_SHARE = 0.1, 0.02


@dataclass(frozen=True)
class Api:
    """How the loopback API behaves."""

    latency_ms: float
    ms_per_1000_tokens: float
    at_once: int
    chat: Mapping[str, int] = field(default_factory=dict)

    @contextmanager
    def serve(self, record: Path | None = None) -> Iterator[Served]:
        """Serve for the length of the block; the counts are there after it."""
        command = [sys.executable, str(HERE / "loopback.py")]
        command += ["--latency-ms", str(self.latency_ms), "--ms-per-1000-tokens", str(self.ms_per_1000_tokens)]
        command += ["--at-once", str(self.at_once)] + (["--record", str(record)] if record else [])
        command += [part for name, value in self.chat.items() for part in (f"--{name}", str(value))]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours, too
        try:
            assert process.stdout is not None
            served = Served(process.stdout.readline().strip())
            yield served
        finally:
            counts, _ = process.communicate()
        served.counts.update(json.loads(counts))


@dataclass(frozen=True)
class Served:
    """The address of a loopback API, and what it was asked."""

    base: str
    counts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A process that ended well: when it started, what it took, and the JSON that it printed."""

    started: float
    wall: float
    cpu: float
    peak_mb: float
    resident_mb: float
    printed: dict[str, Any]


def run_process(command: Sequence[str], environment: dict[str, str], folder: Path) -> Run:
    """Run a command to its end; CPU time and memory are those of its children, too."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as errors:
        started = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, *command], env=environment, cwd=folder, stdout=printed, stderr=errors
        )
        memory = _MemorySampler(process.pid)
        # Not process.wait(): only this tells what the process used.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        memory.stop()
        alone = _peak_kilobytes(usage.ru_maxrss) / 1000
        peaks = memory.proportional_mb or alone, memory.resident_mb or alone
        if process.returncode:
            raise SystemExit(f"{' '.join(command)[:200]} failed:\n{_read(errors)}")
        return Run(started, wall, usage.ru_utime + usage.ru_stime, *peaks, json.loads(_read(printed)))


def clean_environment(base: str) -> dict[str, str]:
    """Return this environment with rag_chain's settings replaced by those of the benchmark."""
    ours = ("RAG_", "FIREWORKS_", "MILVUS_", "LANGSMITH_", "LANGCHAIN_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return environment | {
        "PYTHONPATH": str(ROOT),
        "RAG_PROVIDER": "fireworks",
        "FIREWORKS_API_KEY": "benchmark",
        "FIREWORKS_API_BASE": base,
    }


class _MemorySampler:
    """Watches the memory of a process and its descendants; without /proc it sees nothing.

    Their resident sizes count a page once for each that uses it, the proportional ones once in all.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self.resident_mb = self.proportional_mb = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = SAMPLE_SECONDS
        while Path("/proc/self/statm").exists() and not self._ended.wait(pause):
            started = time.monotonic()
            sizes = [_sizes(process) for process in _family(self._root)]
            self.resident_mb = max(self.resident_mb, sum(size.get("Rss", 0) for size in sizes) / 1e6)
            self.proportional_mb = max(self.proportional_mb, sum(size.get("Pss", 0) for size in sizes) / 1e6)
            pause = max(SAMPLE_SECONDS, (time.monotonic() - started) / SAMPLE_SHARE)


def _family(root: int) -> set[int]:
    """Return the process and its descendants; a parent has a lower number than its child, all but always."""
    family = {root}
    for number in sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            parent = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent in family:
            family.add(number)
    return family


def _sizes(process: int) -> dict[str, int]:
    """Return a process's memory in bytes by what Linux calls it."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: int(size.split()[0]) * 1024 for name, _, size in (line.partition(":") for line in lines)}


def _peak_kilobytes(maximum: int) -> float:
    # macOS counts bytes.
    return maximum / 1024 if sys.platform == "darwin" else maximum


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
