"""The file of refused documents that ``--refusals`` asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rag_chain.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rag_chain.ingestion.report import Refused


def write_refusals(path: str | None, refused: Iterable[Refused]) -> None:
    """Write one line of JSON for each refused document, in place of what the file held; nothing without a path."""
    if path is None:
        return
    try:
        Path(path).write_text("".join(f"{_line(outcome)}\n" for outcome in refused), "utf-8")
    except OSError as error:
        raise SettingsError(f"--refusals: {path!r} can't be written ({error.strerror}): name another file") from error


def _line(refused: Refused) -> str:
    time = refused.time.isoformat(timespec="milliseconds")
    return json.dumps({"source": refused.source, "reason": refused.reason, "time": time})
