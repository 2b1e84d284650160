"""A process of its own that holds a Milvus Lite path for an ingest: ``python -m rag_chain.store.lite_host PATH``.

Milvus Lite is Python. In the process that reads and embeds it would take turns with both, and its
memory would grow by what the allocator does not give back; here it has a core and settings of its own.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rag_chain.settings import environment_with

if TYPE_CHECKING:
    from collections.abc import Sequence

READY, TAKEN = "ready", "taken"

# With these a process that held 27,000 rows of 768 dimensions needed 425 MB where it took 650 without:
# one arena, and large pieces given back at once.
MEMORY = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}


class LiteHost:
    """A running host; it gives the path back when this is closed, or this process ends in whatever way."""

    def __init__(self, path: str) -> None:
        """Start it and go on; :meth:`is_ready` waits for it."""
        command = [sys.executable, "-m", __name__, path]
        environment = environment_with(MEMORY)
        # Where this process has the package from need not be where a new one looks.
        places = str(Path(__file__).parents[2]), environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
        # Ctrl-C is for the ingest, which then ends in order.
        own: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process = subprocess.Popen(  # noqa: S603  ourselves
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            **own,
        )

    def is_ready(self) -> bool:
        """Wait until it holds the path; False when it does not, because another process does or it can't run."""
        return _pipe(self._process.stdout).readline().strip() == READY

    def close(self) -> None:
        """Let it end, and wait for that."""
        _pipe(self._process.stdin).close()
        self._process.wait()
        _pipe(self._process.stdout).close()


def _pipe(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise TypeError("the host was started without its pipes")
    return stream


def _leave_out_the_client() -> None:
    """Import nothing of pymilvus but its messages, and pandas not at all: 100 MB and 0.5 s less.

    Milvus Lite uses nothing else of it, and pyarrow does without pandas.
    """
    spec = find_spec("pymilvus")
    if spec is None:
        raise ModuleNotFoundError("pymilvus is not installed")
    sys.modules["pymilvus"] = module_from_spec(spec)
    sys.meta_path.insert(0, _NoPandas())


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not used here", name=name)


def main(arguments: Sequence[str]) -> int:
    """Hold the path until stdin closes."""
    _leave_out_the_client()
    from milvus_lite.exceptions import DataDirLockedError

    from rag_chain.store.lite import hold, release_lite

    try:
        hold(arguments[0])
    except DataDirLockedError:
        print(TAKEN, flush=True)
        return 0
    # The modules stay, so the garbage collector need not go through them, with every search waiting, ever again.
    gc.freeze()
    print(READY, flush=True)
    sys.stdin.read()
    release_lite()
    # The path is free: whoever waits for this process need not wait for the interpreter to take itself apart.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
