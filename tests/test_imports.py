"""What importing costs, and that it is silent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import rag_chain
from rag_chain import ingest

ROOT = Path(__file__).parents[1]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


def test_importing_is_silent() -> None:
    """`import rag_chain` prints nothing, also when warnings are errors."""
    done = run("-W", "error", "-c", "import rag_chain")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_loads_no_library() -> None:
    """`import rag_chain` loads the standard library and itself only."""
    code = (
        "import sys; before = set(sys.modules); import rag_chain;"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before};"
        "print(sorted(m for m in new if m not in sys.stdlib_module_names))"
    )
    assert run("-c", code).stdout.strip() == "['rag_chain']"


@pytest.mark.parametrize("command", ["", "ingest", "ask", "search", "serve", "mcp", "doctor", "move", "demo"])
def test_help_loads_no_library(command: str) -> None:
    """--help of every command is answered without LangChain, Milvus or pydantic."""
    code = (
        "import sys; from rag_chain.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'pydantic', 'langchain_core', 'pymilvus', 'numpy', 'tqdm', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = run("-c", code, *([command] if command else []), "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: rag-chain" in done.stdout


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("command", ["ingest docs", "ingest docs --plan", "search bears"])
def test_no_client_of_the_vendor_is_imported(command: str, folder: Path) -> None:
    """Embedding with Fireworks needs neither LangChain's package for it, which takes seconds, nor OpenAI's."""
    ingest(folder)
    code = (
        "import sys; from rag_chain.cli import main; assert main(sys.argv[1:]) == 0;"
        "heavy = {'langchain_fireworks', 'fireworks', 'openai'} & set(sys.modules);"
        "assert 'langchain_core' in sys.modules; assert not heavy, heavy"
    )
    done = run("-c", code, *command.split(), cwd=folder.parent)
    assert done.returncode == 0, done.stderr


def test_an_ingest_of_files_imports_nothing_of_loaders(tmp_path: Path) -> None:
    """Neither langchain-community nor what reads loaders and foreign splitters is imported where there are none."""
    (tmp_path / "a.md").write_text("# A\n\nSome words.", "utf-8")
    code = (
        "import sys; from rag_chain import Settings, ingest\n"
        f"ingest({str(tmp_path)!r}, Settings(provider='local', milvus_uri={str(tmp_path / 'a.db')!r}))\n"
        "new = ('langchain_community', 'sqlalchemy', 'git', 'rag_chain.documents.finding.loaded', "
        "'rag_chain.documents.foreign_splitting', 'rag_chain.documents.loading.metadata')\n"
        "print([name for name in new if name in sys.modules])"
    )
    done = run("-c", code)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_every_public_name_is_there() -> None:
    """All names of the package can be had, and dir() shows them."""
    for name in rag_chain.__all__:
        assert getattr(rag_chain, name) is not None
        assert name in dir(rag_chain)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not there is reported as Python does."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        rag_chain.nonsense  # noqa: B018
