"""What the server says of itself: a valid description, of which no request makes it fail, readable offline."""

from __future__ import annotations

import re
import subprocess
import sys

import httpx
import pytest

# langserve 0.3.3 reads model_fields from instances, which pydantic 2.11 deprecates; stream_log is its playground's.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:astream_log is deprecated"),
]


@pytest.mark.slow
def test_nothing_that_the_description_allows_is_a_server_error(address: str) -> None:
    """Hundreds of requests that follow the OpenAPI description, or just miss it: none is answered by a 5xx."""
    options = ["--checks", "not_a_server_error", "--max-examples", "15", "--no-color"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json", *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert int(re.findall(r"([\d,]+) generated", done.stdout)[-1].replace(",", "")) > 300


def test_the_description_is_read_offline(address: str) -> None:
    """The page at /docs takes everything from this server."""
    page = httpx.get(f"{address}/docs").text
    places = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(places) >= 3
    for place in places:
        assert place.startswith("/"), place
        assert httpx.get(address + place).status_code == 200
    assert "http" not in re.sub(r"http-equiv", "", page)
