"""Ray against a real Milvus server, which keeps both of two rows with one key: `pytest -n 0 -m "ray and server"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_chain import Settings, ingest
from rag_chain.store.auditing import withdraw_unsound
from rag_chain.store.collection import open_store
from rag_chain.store.repair import take_inventory
from tests.cluster.conftest import killing
from tests.test_crashes import read_store
from tests.test_milvus_server import address, remote  # noqa: F401  fixtures

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fireworks_server import FireworksServer

pytestmark = [pytest.mark.ray, pytest.mark.server, pytest.mark.usefixtures("ray", "many")]


@pytest.mark.parametrize("kind", ["ParcelWriter", "Embedder"])
def test_kill_9_gives_exact_counts(
    kind: str,
    remote: Settings,  # noqa: F811
    corpus: Path,
    fireworks: FireworksServer,
) -> None:
    """No chunk is lost or there twice, and each row is that of an undisturbed run of the local engine."""
    ingest(corpus, remote)
    expected = read_store(remote)
    settings = remote.with_changes(embedding_batch=4)
    fireworks.requests.clear()
    fireworks.latency = 0.5
    with killing(kind, fireworks, 12, 25, 40) as killed:
        report = ingest(corpus, settings, engine="ray", rebuild=True)
    assert len(killed) == 3
    assert (len(report.added), report.chunks_total) == (40, 240)
    assert read_store(remote) == expected
    with open_store(remote) as store:
        assert not any(take_inventory(store, thorough=True).left_over)


def test_a_doubled_chunk_is_found_and_withdrawn(remote: Settings, folder: Path) -> None:  # noqa: F811
    """With its document, which is to be ingested anew; the others stay."""
    report = ingest(folder, remote, engine="ray")
    with open_store(remote) as store:
        documents = store.catalogue()
        versions = {source: documents[source].version for source in report.added}
        assert withdraw_unsound(store, versions) == []
        (row, *_) = store.client.query(remote.collection, 'source == "bears.txt"', ["*"], consistency_level="Strong")
        store.client.insert(remote.collection, [row])
        assert store.count() == 5
        assert withdraw_unsound(store, versions) == ["bears.txt"]
        assert store.count() == store.count(["guide/storage.md", "tides.html"]) == 3
    assert ingest(folder, remote, engine="ray").added == ["bears.txt"]
