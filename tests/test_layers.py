"""The house: imports point down, vendors have one door each, only settings reads the environment."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rag_chain"

# From the ground up; a module may import from lower layers and from its own stage.
LAYERS = (
    ("errors", "files", "hosts", "sentences", "markup", "words", "tasks", "milvus_settings"),
    ("settings", "workers", "claims"),
    ("keys",),
    ("models", "store"),
    ("documents", "ingestion", "retrieval", "answering", "evaluation"),
    ("cluster",),
    ("engines",),
    ("pipeline",),
    ("diagnosis", "explaining", "measuring", "sizing"),
    ("server",),
    ("cli",),
    ("__main__",),
)
LEVEL = {stage: level for level, layer in enumerate(LAYERS) for stage in layer}

DOORS = {
    "ray": "cluster/",
    "langserve": "server/langserve_routes.py",
    "pymilvus": "store/",
    "pymilvus.bulk_writer": "store/bulk.py",
    "minio": "store/objects.py",
    "milvus_lite": "store/",
    "langchain_milvus": "store/vectorstore.py",
    "langchain_fireworks": "models/fireworks/",
    "fireworks": "models/fireworks/",
    "openai": "models/fireworks/",
    "onnxruntime": "models/local.py",
    "langchain_community": "documents/loading/",
    "pypdfium2": "documents/loading/pdf.py",
    "pptx": "documents/loading/slides.py",
    "python_calamine": "documents/loading/spreadsheet.py",
    "ir_measures": "evaluation/ranking.py",
    "scipy": "evaluation/statistics.py",
    "matplotlib": "evaluation/plots.py",
    "fastapi": "server/",
    "uvicorn": "server/",
    "starlette": "server/",
    "limits": "server/limits.py",
    "prometheus_client": "server/",
    "mcp": "server/mcp_routes.py",
    "opentelemetry": "server/tracing.py",
    "openinference": "server/tracing.py",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def stage(module: str) -> str:
    return module.split(".")[1]


def own_stage(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    """A module imports from lower layers and its own stage only; stages of one layer do not know each other."""
    here = own_stage(path)
    if here == "__init__":
        return
    for module in imports(path):
        if module.startswith("rag_chain.") and (there := stage(module)) in LEVEL and there != here:
            assert LEVEL[there] < LEVEL[here], f"{path.relative_to(PACKAGE)} imports {module}"


def test_every_stage_has_its_layer() -> None:
    """No part of the package stands outside of the layers."""
    assert {own_stage(path) for path in modules()} - {"__init__"} <= LEVEL.keys()


@pytest.mark.parametrize(("vendor", "door"), DOORS.items())
def test_vendors_have_one_door(vendor: str, door: str) -> None:
    """Only the vendor's door imports it."""
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        if any(name == vendor or name.startswith(f"{vendor}.") for name in imports(path))
    }
    assert all(user.startswith(door) for user in users), users


def test_only_settings_reads_the_environment() -> None:
    """No other module looks at os.environ or os.getenv."""
    readers = {p.name for p in modules() if re.search(r"os\.(environ|getenv)|from os import", p.read_text("utf-8"))}
    assert readers - {"find.py"} == {"settings.py"}, readers


def test_nothing_broad_is_swallowed() -> None:
    """There is no bare except and no except Exception, unless it raises the same again."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                caught = set(re.findall(r"\w+", ast.unparse(node.type))) if node.type else {"BaseException"}
                reraises = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
                assert reraises or not caught & {"Exception", "BaseException"}, f"{path}:{node.lineno}"
