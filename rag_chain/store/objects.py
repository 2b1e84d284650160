"""The object store that a Milvus server imports files from: put files there, and take them away again."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rag_chain.errors import SettingsError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from minio import Minio

    from rag_chain.settings import Settings

INSTALL = "pip install 'rag-chain[bulk]'"
AMAZON = "https://s3.amazonaws.com"
ENDPOINT, ACCESS_KEY, SECRET_KEY = "RAG_BULK_ENDPOINT", "RAG_BULK_ACCESS_KEY", "RAG_BULK_SECRET_KEY"
CONNECT_SECONDS, READ_SECONDS, RETRIES = 5.0, 60.0, 2
# A large file goes in parts, three at once.
CONNECTIONS = 4
PROBE = "rag_chain-probe"

# What S3 calls it, and what mends it.
_MENDS = {
    "InvalidAccessKeyId": f"does not know the access key: mend {ACCESS_KEY}",
    "SignatureDoesNotMatch": f"refuses the secret key: mend {SECRET_KEY}",
    "AccessDenied": f"lets this key not list and write there: give it the right, or mend {ACCESS_KEY}",
    "InvalidBucketName": "takes no bucket of that name: name the one in which Milvus keeps its own files",
    "NoSuchBucket": "has no such bucket: name the one in which Milvus keeps its own files",
}


@dataclass(frozen=True)
class Bucket:
    """A place in an object store that speaks S3; ``prefix`` is the folder for our objects, or empty."""

    endpoint: str
    name: str
    prefix: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/") + f" at {self.endpoint}"

    def check(self) -> None:
        """Write a small object, list and remove it: raises ``StoreError`` where that can't be done."""
        name = self.join(PROBE)
        with self._errors("writing to"), self._connect(0) as client:
            client.put_object(bucket_name=self.name, object_name=name, data=BytesIO(b"ok"), length=2)
            list(client.list_objects(bucket_name=self.name, prefix=name))
            client.remove_object(bucket_name=self.name, object_name=name)

    def join(self, *parts: str) -> str:
        """Return the name of an object below the prefix."""
        return "/".join(filter(None, (self.prefix, *parts)))

    def upload(self, file: Path, name: str) -> None:
        """Put a file there under this name."""
        with self._errors("writing to"), self._connect() as client:
            client.fput_object(bucket_name=self.name, object_name=name, file_path=str(file))

    def clear(self, below: str) -> None:
        """Remove all objects below this name; those that are gone already are no error."""
        with self._errors("removing objects from"), self._connect() as client:
            for one in list(client.list_objects(bucket_name=self.name, prefix=f"{below}/", recursive=True)):
                client.remove_object(bucket_name=self.name, object_name=str(one.object_name))

    @contextmanager
    def _connect(self, retries: int = RETRIES) -> Iterator[Minio]:
        """Give a client; each retry of it is a warning in the log."""
        from minio import Minio
        from urllib3 import PoolManager, Retry, Timeout

        parts = urlsplit(self.endpoint)
        again = Retry(retries, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504])
        # Left to itself it waits five minutes for an answer.
        timeout = Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        with PoolManager(timeout=timeout, retries=again, maxsize=CONNECTIONS) as pool:
            yield Minio(
                endpoint=parts.netloc,
                access_key=self.access_key,
                secret_key=self.secret_key,
                secure=parts.scheme == "https",
                http_client=pool,
            )

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        """Turn what the vendor raises into one line with what mends it."""
        from minio.error import MinioException, S3Error
        from urllib3.exceptions import HTTPError

        try:
            yield
        except S3Error as error:
            told = f"answers {error.code} while {action} it: look into its log"
            raise StoreError(f"the object store of {self} {_MENDS.get(error.code or '', told)}") from error
        except ValueError as error:
            raise SettingsError(
                f"{self} can't be ({error}): write s3://BUCKET/PREFIX, and an http(s):// address in {ENDPOINT}"
            ) from error
        except (MinioException, HTTPError) as error:
            raise StoreError(
                f"no answer, or none but errors, while {action} {self}: start that object store, look into its log, "
                f"or mend {ENDPOINT} (http:// or https://)"
            ) from error


def read_bucket(settings: Settings, url: str) -> Bucket:
    """Return the place that ``s3://BUCKET/PREFIX`` names, with the settings' endpoint and keys."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc:
        raise SettingsError("--bulk: that is no place in an object store: write s3://BUCKET or s3://BUCKET/PREFIX")
    endpoint = (settings.bulk_endpoint or AMAZON).rstrip("/")
    where = urlsplit(endpoint)
    if where.scheme not in {"http", "https"} or not where.netloc or where.path or "@" in where.netloc:
        raise SettingsError(f"{ENDPOINT}: must be an http(s):// address without a path")
    if settings.bulk_access_key is None or settings.bulk_secret_key is None:
        raise SettingsError(f"no key for the object store at {endpoint}: set {ACCESS_KEY} and {SECRET_KEY}")
    keys: dict[str, Any] = {
        "access_key": settings.bulk_access_key.get_secret_value(),
        "secret_key": settings.bulk_secret_key.get_secret_value(),
    }
    return Bucket(endpoint, parts.netloc, parts.path.strip("/"), **keys)
