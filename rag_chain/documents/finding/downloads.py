"""Fetch a zip archive from the web into a temporary file that vanishes by itself."""

import email.utils
import tempfile
import time
from typing import IO
from zipfile import is_zipfile

import httpx

from rag_chain.documents.finding.archives import Archive
from rag_chain.documents.finding.found import why
from rag_chain.errors import DocumentError

_TIMEOUT = httpx.Timeout(30, connect=10)
_MAX_REDIRECTS = 5


def download_archive(address: str, max_bytes: int) -> Archive:
    """Return the zip archive at an http(s) address; :class:`DocumentError` says what came instead."""
    shown = without_secrets(address)
    # An unnamed file: the system frees its space when it is closed, also after a crash.
    file = tempfile.TemporaryFile()  # noqa: SIM115  the archive closes it
    try:
        modified = _fetch(address, shown, file, max_bytes)
        _require_zip(file, shown)
        return Archive(file, shown, modified)
    except BaseException:
        file.close()
        raise


def without_secrets(address: str) -> str:
    """Return an address without user name, password and fragment."""
    try:
        return str(httpx.URL(address).copy_with(username=None, password=None, fragment=None))
    except httpx.InvalidURL as error:
        raise DocumentError(f"not an address: {why(error)}") from None


def _fetch(address: str, shown: str, file: IO[bytes], max_bytes: int) -> float:
    """Write the body to a file and return when it was last modified."""
    # Without Accept-Encoding the size on the wire is the size on disk.
    headers = {"Accept-Encoding": "identity"}
    with httpx.Client(follow_redirects=True, max_redirects=_MAX_REDIRECTS, timeout=_TIMEOUT, headers=headers) as client:
        try:
            with client.stream("GET", address) as response:
                if response.status_code != httpx.codes.OK:
                    raise DocumentError(f"HTTP status {response.status_code} for {shown}")
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    if file.tell() > max_bytes:
                        raise DocumentError(f"over {max_bytes:,} bytes: {shown}; RAG_MAX_ARCHIVE_BYTES raises it")
                return _last_modified(response)
        except httpx.HTTPError as error:
            raise DocumentError(f"can't fetch {shown}: {why(error)}") from error


def _require_zip(file: IO[bytes], shown: str) -> None:
    if not is_zipfile(file):
        raise DocumentError(f"not a zip archive: {shown}")
    file.seek(0)


def _last_modified(response: httpx.Response) -> float:
    try:
        return email.utils.parsedate_to_datetime(response.headers.get("Last-Modified", "")).timestamp()
    except (ValueError, OverflowError):  # no such header, or no date in it
        return time.time()
