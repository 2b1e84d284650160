#!/usr/bin/env python3
"""Write the settings table of the README from the settings themselves."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rag_chain.milvus_settings import MilvusSettings
from rag_chain.settings import Settings, environment_name

_TABLE = re.compile(r"(<!-- settings -->\n).*?(<!-- /settings -->)", re.DOTALL)


def settings_table() -> str:
    """Return one row for each setting: name, default, what it is."""
    # Pydantic puts inherited fields first; a reader needs them last.
    fields = sorted(Settings.model_fields.items(), key=lambda item: item[0] in MilvusSettings.model_fields)
    rows = [
        f"| `{environment_name(name)}` | {_default(field.default)} | {field.description} |" for name, field in fields
    ]
    return "\n".join(["| name | default | |", "|---|---|---|", *rows]) + "\n"


def fill(readme: str) -> str:
    """Return the README with the table in its place."""
    return _TABLE.sub(lambda match: match[1] + settings_table() + match[2], readme)


def _default(value: object) -> str:
    if value is None:
        return "none"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(fill(path.read_text("utf-8")), "utf-8")
