"""``rag-chain serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000; 0: any free one)")
    parser.add_argument(
        "--allow-anonymous",
        action="store_true",
        help="serve everybody who can reach the address, while there are no API keys (RAG_ALLOW_ANONYMOUS)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from rag_chain.cli import DONE
    from rag_chain.cli.common import read_settings
    from rag_chain.server import serve_app

    serve_app(read_settings(options), options.host, options.port)
    return DONE
