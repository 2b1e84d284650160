#!/usr/bin/env python3
"""Ingest documents from a checkout: the same as ``rag-chain ingest``, which see."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rag_chain.cli import main

if __name__ == "__main__":
    sys.exit(main(["ingest", *sys.argv[1:]]))
