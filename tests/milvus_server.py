"""A real Milvus 2.3.5, out of the wheel ``milvus``, as a process of a test's own.

The wheel's own launcher moves to other ports when one is taken, leaves the server behind when it is told
to stop, and can't start one again on the same data. The server listens on all addresses, whatever it is
told, so it belongs into a network namespace: ``unshare -rn bash -c 'ip link set lo up; pytest -m server'``.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.certificates import Certificates

START_SECONDS = 180.0
ROOT_TOKEN = "root:Milvus"
# With these loading a collection takes a second and a half, else three, and a read that is to see all 50 ms, else 300.
_SOONER = {
    "PROXY_TIMETICKINTERVAL": "50",
    "QUERYCOORD_CHECKSEGMENTINTERVAL": "50",
    "QUERYCOORD_CHECKCHANNELINTERVAL": "50",
    "QUERYCOORD_DISTPULLINTERVAL": "50",
    "QUERYCOORD_COLLECTIONOBSERVERINTERVAL": "50",
}
# In the configuration's template: {{ name(type): default }}.
_BLANK = re.compile(r"\{\{\s*(\w+)(?:\(\w+\))?\s*(?::\s*(.*?))?\s*\}\}")


def is_installed() -> bool:
    """Whether the wheel is there."""
    return find_spec("milvus") is not None


@dataclass
class MilvusServer:
    """A server in a folder of its own, on ports that stay the same when it is started again.

    With ``authentication`` the only user is root with the password Milvus; with ``certificates`` it speaks TLS
    only, and with ``mutual`` as well to clients with a certificate only. ``environment`` says more of its
    configuration, such as where it keeps its files.
    """

    folder: Path
    binaries: Path
    authentication: bool = False
    certificates: Certificates | None = None
    mutual: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def uri(self) -> str:
        """Where it is."""
        return f"{'https' if self.certificates else 'http'}://localhost:{self._ports['proxy_port']}"

    @property
    def process(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is well."""
        for name in ("configs", "data", "logs", "run"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "configs" / "milvus.yaml").write_text(self._configure(), "utf-8")
        (self.folder / "configs" / "etcd.yaml").write_text(self._configure_etcd(), "utf-8")
        shutil.copy(self._package / "glog.conf", self.folder / "configs")
        own = {"DEPLOY_MODE": "STANDALONE", "METRICS_PORT": str(self._ports["health"])}
        own |= {"ETCD_CONFIG_PATH": str(self.folder / "configs" / "etcd.yaml")}
        own |= {"MILVUS_RUN_DIR": str(self.folder / "run"), "LD_LIBRARY_PATH": str(self.binaries)}
        with (self.folder / "logs" / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self.binaries / "milvus", "run", "standalone"],
                cwd=self.folder,
                env=os.environ | _SOONER | own | dict(self.environment),
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  nothing but a system call
            )
        self._wait()

    def kill(self) -> None:
        """Kill it as kill -9 does; told to stop it may take 40 seconds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop its process without ending it; frozen for 30 seconds it ends by itself."""
        os.kill(self.process, signal.SIGSTOP)
        while Path(f"/proc/{self.process}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)
        try:
            yield
        finally:
            os.kill(self.process, signal.SIGCONT)

    def _wait(self) -> None:
        assert self._process is not None
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if self._is_well():
                return
            time.sleep(0.1)
        self.kill()
        output = (self.folder / "logs" / "output").read_text("utf-8", "replace")
        raise RuntimeError(f"Milvus did not start: {output[-2000:]}")

    def _is_well(self) -> bool:
        try:
            return "OK" in httpx.get(f"http://localhost:{self._ports['health']}/healthz", trust_env=False).text
        except httpx.TransportError:
            return False

    @cached_property
    def _ports(self) -> dict[str, int]:
        names = [name for name, _ in _BLANK.findall(self._template) if name.endswith("_port")]
        with ExitStack() as stack:
            sockets = {name: stack.enter_context(socket.create_server(("", 0))) for name in (*names, "health", "peer")}
            return {name: one.getsockname()[1] for name, one in sockets.items()}

    @cached_property
    def _package(self) -> Path:
        spec = find_spec("milvus")
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin).parent / "data"

    @cached_property
    def _template(self) -> str:
        return (self._package / "config.yaml.template").read_text("utf-8")

    def _configure(self) -> str:
        values: dict[str, Any] = {
            **self._ports,
            "etcd_data_dir": self.folder / "data" / "etcd.data",
            "etcd_log_path": self.folder / "logs" / "etcd.log",
            "local_storage_dir": self.folder / "data",
            "rocksmq_data_dir": self.folder / "data" / "rocksmq",
            "system_log_path": self.folder / "logs",
            "authorization_enabled": str(self.authentication).lower(),
        }
        if self.certificates is not None:
            values |= {"tls_mode": 2 if self.mutual else 1, "ca_pem_path": self.certificates.authority}
            values |= {"server_pem_path": self.certificates.server, "server_key_path": self.certificates.server_key}
        return _BLANK.sub(lambda blank: str(values.get(blank[1], blank[2] or "")), self._template)

    def _configure_etcd(self) -> str:
        # Else it takes its usual ports, and a second server finds them taken.
        clients, peers = (f"http://localhost:{self._ports[name]}" for name in ("etcd_port", "peer"))
        lines = [f"listen-client-urls: {clients}", f"advertise-client-urls: {clients}", f"listen-peer-urls: {peers}"]
        return "\n".join([*lines, f"initial-advertise-peer-urls: {peers}", f"initial-cluster: default={peers}", ""])


def unpack(folder: Path) -> Path:
    """Unpack the server, which takes six seconds; return where it is."""
    import milvus

    milvus._initialize_data_files(str(folder))
    return folder / "bin"


@contextmanager
def running_milvus(server: MilvusServer) -> Iterator[MilvusServer]:
    """Run a server; whatever happens, it is gone at the end, and so is what it kept."""
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)


def die_with_parent() -> None:
    """Have Linux kill this process when the one that started it ends, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
