"""Scripts that run beside a test, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]


@contextmanager
def running(
    code: str, *arguments: str, own_group: bool = False, seconds: float = 60
) -> Iterator[subprocess.Popen[str]]:
    """Run a script until it says that it is ready; a line on its stdin lets it go on, at the end it is killed.

    With ``own_group`` it has a process group of its own, and all that it started is killed with it. After
    so many seconds it is killed in any case, so that those who read from it see its end.
    """
    command = [sys.executable, "-c", f"import sys\n{textwrap.dedent(code)}", *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=own_group,
    ) as process:
        end = threading.Timer(seconds, kill, (process, own_group))
        end.start()
        try:
            assert read_line(process) == "ready"
            yield process
        finally:
            end.cancel()
            kill(process, own_group)


def read_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a script prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    """Let a script go on, to its end."""
    process.communicate("\n", timeout=60)
    assert process.returncode == 0


def kill(process: subprocess.Popen[str], own_group: bool) -> None:
    """Kill a script, with all that it started where that has a group of its own."""
    if not own_group or sys.platform == "win32":
        process.kill()
        return
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        return
