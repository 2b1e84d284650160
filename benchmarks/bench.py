"""One corpus in one working folder, and what running a contender on it took."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from processes import HERE, Api, Run, clean_environment, run_process

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Row:
    """What one contender took, in seconds; None where it does not apply."""

    name: str
    net: float | None = None
    wall: float | None = None
    startup: float | None = None
    cpu: float | None = None
    cpu_net: float | None = None
    peak_mb: float | None = None
    resident_mb: float | None = None
    requests: int | None = None
    texts: int | None = None
    api_cpu: float | None = None
    api_work: float | None = None

    @property
    def seconds(self) -> float:
        """Net seconds of a contender that was measured from inside."""
        assert self.net is not None, f"{self.name} was measured from outside only"
        return self.net

    @property
    def texts_per_second(self) -> float | None:
        """Texts embedded in a second of the work itself."""
        return self.texts / self.net if self.texts and self.net else None

    def only_net(self) -> Row:
        """Return the row without what belongs to preparing the measurement."""
        return replace(self, wall=None, startup=None, cpu=None, peak_mb=None, resident_mb=None)


@dataclass
class Bench:
    """Runs contenders on the corpus; each run has a new process, a new API and a new store."""

    api: Api
    folder: Path
    repeat: int
    stores: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.corpus = self.folder / "corpus"
        self.bodies = self.folder / "bodies"
        self.tiny = self.folder / "tiny"
        self.tiny.mkdir(parents=True)
        (self.tiny / "page.md").write_text("# A page\n\nIts text.\n", "utf-8")

    def new_store(self) -> Path:
        """Return a path that no store has been at."""
        self.stores += 1
        return self.folder / f"store{self.stores}.db"

    def run(self, name: str, contender: str, *, store: Path | None = None, **job: Any) -> Row:
        """Run a contender of ``contenders.py``, as often as asked; return the quickest run."""
        rows = [self._run_once(name, contender, self.new_store(), job) for _ in range(self.repeat - 1)]
        return min(
            [*rows, self._run_once(name, contender, store or self.new_store(), job)], key=lambda row: row.seconds
        )

    def run_command(self, name: str, store: Path) -> Row:
        """Run ``rag-chain ingest`` as a user does; it is measured from outside only."""
        _tell(name)
        with self.api.serve() as served:
            command = ["-m", "rag_chain", "ingest", str(self.corpus), "--json"]
            environment = clean_environment(served.base) | {"MILVUS_URI": str(store)}
            run = run_process(command, environment, self.folder)
        return _read_row(name, run, served.counts)

    def _run_once(self, name: str, contender: str, store: Path, job: dict[str, Any]) -> Row:
        _tell(name)
        paths = {"docs": self.corpus, "tiny": self.tiny, "bodies": self.bodies, "store": store}
        # The others are given what the ingest sent.
        record = self.bodies if contender == "rag_chain_ingest" else None
        with self.api.serve(record) as served:
            whole = {key: str(path) for key, path in paths.items()} | job | {"base": served.base}
            command = [str(HERE / "contenders.py"), contender, json.dumps(whole)]
            run = run_process(command, clean_environment(served.base), self.folder)
        return _read_row(name, run, served.counts)


def _read_row(name: str, run: Run, counts: dict[str, Any]) -> Row:
    inside: dict[str, Any] = {}
    if "ready" in run.printed:
        ready, done = run.printed["ready"], run.printed["done"]
        inside = {"net": done - ready, "startup": ready - run.started, "cpu_net": run.printed["cpu"]}
    asked = {"requests": counts["requests"], "texts": counts["texts"]}
    api = {"api_cpu": counts["cpu_seconds"], "api_work": counts["work_seconds"]}
    return Row(
        name, wall=run.wall, cpu=run.cpu, peak_mb=run.peak_mb, resident_mb=run.resident_mb, **asked, **api, **inside
    )


def _tell(name: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {name} ...", file=sys.stderr, flush=True)
