"""Runs a command beside one Milvus server, which all its processes use: `python -m tests.shared_server pytest -n 2`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.engines import has_network
from tests.milvus_server import ROOT_TOKEN, MilvusServer, running_milvus, unpack


def main(command: list[str]) -> int:
    """Run the command; return its status."""
    if has_network():
        sys.exit("the server would listen on all addresses of this machine: run this in a network namespace")
    with tempfile.TemporaryDirectory() as folder:
        binaries = unpack(Path(folder) / "server")
        with running_milvus(MilvusServer(Path(folder) / "shared", binaries, authentication=True)) as server:
            given = {"MILVUS_TEST_URI": server.uri, "MILVUS_TEST_TOKEN": ROOT_TOKEN}
            return subprocess.call(command, env=os.environ | given | {"MILVUS_TEST_BINARIES": str(binaries)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
