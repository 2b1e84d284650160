"""The ingest on Ray ends as the local one does, whoever is killed on the way: `pytest -n 0 -m ray`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest

from rag_chain import Settings, ingest
from rag_chain.errors import AuthenticationError, ClusterError, SettingsError
from rag_chain.models.fireworks.budget import LIMIT_HEADERS
from rag_chain.store.collection import open_store
from rag_chain.store.repair import take_inventory
from tests.cluster.conftest import PADDING, killing
from tests.fireworks_faults import Limit, Refuse, Status
from tests.test_crashes import read_store, write_corpus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_chain.ingestion.report import IngestReport
    from tests.fireworks_server import FireworksServer

DOCS = Path(__file__).parents[3] / "shared" / "data" / "milvus_docs" / "en"

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray", "many")]


def at(settings: Settings, name: str) -> Settings:
    """Return the settings with a store of another name, relative to the working folder, which Ray's processes lack."""
    return settings.with_changes(milvus_uri=f"./{name}.db")


def outcome(report: IngestReport) -> dict[str, Any]:
    """Return all of a report that does not depend on requests, on what was done first, or on the clock."""
    whole = report.to_json()
    del whole["seconds"], whole["embedding"]["requests"]
    whole["sources"].sort(key=itemgetter("source"))
    return whole


@contextmanager
def failing_after(fireworks: FireworksServer, requests: int) -> Iterator[None]:
    """Let the provider want money after so many requests."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            if len(fireworks.embedding_requests) >= requests:
                fireworks.faults.always("embeddings", Status(402))
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        fireworks.faults.clear()


@pytest.fixture
def expected(online: Settings, corpus: Path) -> list[dict[str, Any]]:
    """The rows that the local engine makes of the corpus."""
    ingest(corpus, at(online, "local"))
    return read_store(at(online, "local"))


@pytest.mark.skipif(not DOCS.is_dir(), reason="the Milvus documentation is not beside this checkout")
def test_the_documentation_comes_out_as_with_the_local_engine(online: Settings) -> None:
    """The same ids, texts, vectors and records, and the same report."""
    reports = [ingest(DOCS, at(online, engine), engine=engine) for engine in ("local", "ray")]
    assert outcome(reports[0]) == outcome(reports[1])
    assert read_store(at(online, "local")) == read_store(at(online, "ray"))


def test_changes_go_in_as_with_the_local_engine(online: Settings, corpus: Path, fireworks: FireworksServer) -> None:
    """What is unchanged is not embedded again, what is gone is removed; then nothing is left to do."""
    for name in ("local", "ray"):
        ingest(corpus, at(online, name), engine=name)
    write_corpus(corpus, edition=2, padding=PADDING)
    (corpus / "copy of 7.md").write_bytes((corpus / "7.md").read_bytes())
    (corpus / "moved.md").write_bytes((corpus / "8.md").read_bytes())
    (corpus / "8.md").unlink()
    (corpus / "empty.md").write_text("", "utf-8")
    reports = [ingest(corpus, at(online, engine), engine=engine) for engine in ("local", "ray")]
    assert outcome(reports[0]) == outcome(reports[1])
    assert read_store(at(online, "local")) == read_store(at(online, "ray"))
    asked = len(fireworks.embedding_requests)
    assert len(ingest(corpus, at(online, "ray"), engine="ray").unchanged) == 96
    assert len(fireworks.embedding_requests) == asked


def test_a_rebuild_takes_the_old_collections_place(
    online: Settings, corpus: Path, expected: list[dict[str, Any]]
) -> None:
    """With nothing taken over, and nothing left of the old one."""
    ingest(corpus, at(online, "ray"), engine="ray")
    report = ingest(corpus, at(online, "ray"), engine="ray", rebuild=True)
    assert (len(report.added), report.chunks_embedded, report.chunks_total) == (40, 240, 240)
    assert read_store(at(online, "ray")) == expected
    with open_store(at(online, "ray")) as store:
        assert [one.state for one in store.generations.survey()] == ["current"]


def test_refused_texts_and_archives(online: Settings, corpus: Path, fireworks: FireworksServer) -> None:
    """A document is in as a whole or not at all, and those of an archive are sent with their bytes."""
    archive = corpus.with_suffix(".zip")
    with ZipFile(archive, "w") as packed:
        for page in sorted(corpus.iterdir()):
            packed.write(page, page.name)
    fireworks.faults.always("embeddings", Refuse("Page 7 says that 3"))
    reports = [ingest(archive, at(online, engine), engine=engine) for engine in ("local", "ray")]
    assert [refused.source for refused in reports[1].refused] == ["7.md"]
    assert reports[1].refused[0].reason == reports[0].refused[0].reason
    assert (len(reports[1].added), reports[1].chunks_total) == (39, 234)
    assert read_store(at(online, "local")) == read_store(at(online, "ray"))


@pytest.mark.parametrize("kind", ["ParcelWriter", "Embedder", "BudgetKeeper", "ParcelWriter of a rebuild"])
def test_kill_9_of_a_process_loses_and_doubles_nothing(
    kind: str, online: Settings, corpus: Path, expected: list[dict[str, Any]], fireworks: FireworksServer
) -> None:
    """Each is killed twice, and the ingest ends as if nothing had happened."""
    settings = at(online, "ray").with_changes(embedding_batch=4)
    process, _, rebuild = kind.partition(" of a ")
    if rebuild:
        ingest(corpus, settings)
    fireworks.requests.clear()
    fireworks.latency = 0.5
    with killing(process, fireworks, 12, 35) as killed:
        report = ingest(corpus, settings, engine="ray", rebuild=bool(rebuild))
    assert len(killed) == 2
    assert (len(report.added), report.refused, report.chunks_total) == (40, [], 240)
    assert read_store(settings) == expected
    with open_store(settings) as store:
        assert not any(take_inventory(store, thorough=True).left_over)


def test_a_written_chunk_is_not_embedded_again_after_its_writer_died(
    online: Settings, corpus: Path, fireworks: FireworksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed writer had written is taken over: texts beyond those in flight or unwritten are asked for once."""
    # One large parcel, so that it is killed in the middle of it.
    monkeypatch.setattr("rag_chain.cluster.parcels.PARCEL_BYTES", 1_000_000)
    settings = at(online, "ray").with_changes(embedding_batch=4, embedding_concurrency=2)
    # So slow that something is written before it is killed, on a busy machine too.
    fireworks.latency = 0.5
    with killing("ParcelWriter", fireworks, 45) as killed:
        report = ingest(corpus, settings, engine="ray")
    assert len(killed) == 1
    assert report.chunks_reused > 0
    asked = [text for request in fireworks.embedding_requests for text in request.body["input"]]
    assert len(set(asked)) == 240
    # What was on its way, 16 batches of 4, and what two processes answer in two seconds.
    assert len(asked) <= 240 + 64 + 128


def test_all_processes_together_keep_to_the_limits(online: Settings, corpus: Path, fireworks: FireworksServer) -> None:
    """The provider refuses nothing where the settings know its limit, and plenty where they don't."""
    settings = at(online, "ray").with_changes(embedding_batch=2)
    fireworks.faults.always("embeddings", Limit(per_second=10, at_once=35))
    ingest(corpus, settings.with_changes(embedding_requests_per_minute=600), engine="ray")
    answers = [request.status for request in fireworks.embedding_requests]
    assert set(answers) == {200}
    assert len(answers) >= 120
    fireworks.requests.clear()
    ingest(corpus, settings, engine="ray", rebuild=True)
    assert 429 in {request.status for request in fireworks.embedding_requests}


def test_the_providers_header_sets_the_limit(online: Settings, corpus: Path, fireworks: FireworksServer) -> None:
    """Of a limit in tokens that only the headers tell, no request goes over, either."""
    write_corpus(corpus, edition=1, padding="word " * 300)
    # Of some 620 tokens each: ten requests a second.
    fireworks.reply_headers[LIMIT_HEADERS[1]] = "6200"
    fireworks.faults.always("embeddings", Limit(per_second=12, at_once=35))
    ingest(corpus, at(online, "ray").with_changes(embedding_batch=2), engine="ray")
    assert {request.status for request in fireworks.embedding_requests} == {200}
    assert len(fireworks.embedding_requests) >= 120


def test_a_wrong_key_is_said_in_one_line(online: Settings, corpus: Path) -> None:
    """As by the local engine, and not as a traceback of another process."""
    with pytest.raises(AuthenticationError, match="check FIREWORKS_API_KEY") as raised:
        ingest(corpus, at(online, "ray").with_changes(fireworks_api_key="wrong"), engine="ray")
    assert "\n" not in str(raised.value)


def test_what_was_embedded_before_a_failure_is_kept(online: Settings, corpus: Path, fireworks: FireworksServer) -> None:
    """The next ingest goes on from there."""
    settings = at(online, "ray").with_changes(embedding_batch=4, embedding_concurrency=1)
    fireworks.latency = 0.1
    with failing_after(fireworks, 40), pytest.raises(AuthenticationError):
        ingest(corpus, settings, engine="ray")
    with open_store(settings) as store:
        written = store.count()
    assert written > 40
    report = ingest(corpus, settings, engine="ray")
    assert (report.chunks_reused, report.chunks_total) == (written, 240)


def test_another_rag_chain_on_a_node_is_refused(
    online: Settings, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its splitter may make other chunks."""
    monkeypatch.setattr("rag_chain.__version__", "0.0.1")
    with pytest.raises(ClusterError, match="install the same everywhere"):
        ingest(corpus, at(online, "ray"), engine="ray")
    ingest(corpus, at(online, "here"))


def test_the_command_starts_a_ray_of_its_own(provider: FireworksServer, folder: Path) -> None:
    """And prints one JSON document on stdout, and ends Ray with itself."""
    command = [sys.executable, "-m", "rag_chain", "ingest", str(folder), "--engine", "ray", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"]["added"] == 3


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_an_ingest_that_is_ended_is_completed(
    kind: signal.Signals, provider: FireworksServer, online: Settings, corpus: Path, expected: list[dict[str, Any]]
) -> None:
    """By Ctrl-C or kill -9 of the command, whose Ray ends with it; what was written is not embedded again."""
    settings = at(online, "ray")
    provider.requests.clear()
    provider.latency = 0.5
    command = [sys.executable, "-m", "rag_chain", "ingest", str(corpus), "--engine", "ray", "--milvus-uri", "./ray.db"]
    environment = os.environ | {"RAG_EMBEDDING_BATCH": "4"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        while len(provider.embedding_requests) < 40 and process.poll() is None:
            time.sleep(0.02)
        # A terminal sends Ctrl-C to all processes of the group.
        os.killpg(process.pid, kind) if kind == signal.SIGINT else process.kill()
    assert process.returncode != 0
    provider.latency = 0
    report = ingest(corpus, settings, engine="ray")
    assert report.chunks_reused > 0
    assert report.chunks_total == 240
    assert read_store(settings) == expected


def test_addresses_that_lead_nowhere(online: Settings, corpus: Path) -> None:
    """Ray's client protocol is not supported."""
    with pytest.raises(SettingsError, match="--ray-address auto"):
        ingest(corpus, at(online, "ray"), engine="ray", ray_address="ray://127.0.0.1:10001")
