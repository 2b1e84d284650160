"""``rag-chain mcp``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options: it has none of its own."""


def run(options: argparse.Namespace) -> int:
    """Serve until stdin ends."""
    from rag_chain.cli import DONE
    from rag_chain.cli.common import read_settings
    from rag_chain.server import serve_mcp
    from rag_chain.store.lite import release_lite

    settings = read_settings(options)
    try:
        serve_mcp(settings)
    finally:
        release_lite()
    return DONE
