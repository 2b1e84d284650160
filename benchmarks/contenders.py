"""What the ingest benchmark measures; one contender in one process: ``contenders.py NAME JOB``.

Each prints one JSON object: ``ready`` and ``done`` on the system's monotonic clock, ``cpu`` seconds
between them, and what it did. What comes before ``ready`` is start-up: imports, opening the store.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from langchain_core.documents import Document
    from pymilvus import MilvusClient

    from rag_chain.ingestion.run import Progress

Job = dict[str, Any]
Result = dict[str, Any]

# FireworksEmbeddings sends all texts in one request, and the API takes 2,048 at most.
PIECES_PER_CALL = 1000


@contextmanager
def measured() -> Iterator[Result]:
    """Time the block; further results may be put into the mapping."""
    result: Result = {"ready": time.monotonic()}
    cpu = _cpu_seconds()
    yield result
    result |= {"done": time.monotonic(), "cpu": _cpu_seconds() - cpu}


def rag_chain_ingest(job: Job) -> Result:
    """Ingest a folder; it is ready when the store is open, the documents are compared and reading begins."""
    from rag_chain import Settings, ingest

    begun: list[float] = []

    def note(_: Progress) -> None:
        if not begun:
            begun.append(time.monotonic())

    with measured() as result:
        report = ingest(job["docs"], Settings(milvus_uri=job["store"]), on_progress=note)
        result["documents"], result["chunks"] = len(report.added), report.chunks_total
    return result | {"ready": begun[0]}


def embedding_stage(job: Job) -> Result:
    """Embed all texts with the ingest's embedding model, and do nothing else."""
    from rag_chain import Settings
    from rag_chain.models.building import build_embedding_client

    texts, embeddings = _read_texts(job), build_embedding_client(Settings())
    with measured() as result:
        assert len(embeddings.embed_documents(texts)) == len(texts)
    return result


def tutorial_loop(job: Job) -> Result:
    """Embed the first texts with one request for each, over one connection."""
    import httpx

    texts = _read_texts(job)[: job["pieces"]]
    with httpx.Client(timeout=60) as client, measured() as result:
        for text in texts:
            reply = client.post(_embeddings(job), json={"model": "", "input": text})
            assert reply.json()["data"][0]["embedding"]
    return result


def bare_client(job: Job) -> Result:
    """Send the bodies that an ingest sent, as many at once as the API works on; replies are not decoded."""
    import httpx

    async def post(client: httpx.AsyncClient, left: Iterator[bytes]) -> None:
        for body in left:
            (await client.post(_embeddings(job), content=body)).raise_for_status()

    async def post_all(left: Iterator[bytes]) -> Result:
        async with httpx.AsyncClient(timeout=60) as client:
            with measured() as result:
                await asyncio.gather(*(post(client, left) for _ in range(job["at_once"])))
        return result

    return asyncio.run(post_all(iter(Path(job["bodies"]).read_bytes().split(b"\n"))))


def bare_upsert(job: Job) -> Result:
    """Write the rows of an ingested store to a new one, in batches of one size, and flush.

    By a client as it comes, to Milvus Lite as it comes: nothing of what we do to either.
    """
    from rag_chain import Settings
    from rag_chain.store.schema import LITE_INDEX, build_indexes, build_schema
    from rag_chain.store.vendor import pymilvus

    name = Settings().collection
    filled = pymilvus.MilvusClient(job["filled"])
    filled.load_collection(name)
    rows = _read_rows(filled, name)
    filled.close()
    client = pymilvus.MilvusClient(job["store"])
    schema, indexes = (
        build_schema(len(rows[0]["dense"]), with_bm25=True),
        build_indexes(client, LITE_INDEX, with_bm25=True),
    )
    client.create_collection(name, schema=schema)
    client.create_index(name, indexes, sync=False)
    client.load_collection(name)
    with measured() as result:
        for start in range(0, len(rows), job["batch"]):
            client.upsert(name, rows[start : start + job["batch"]])
        client.flush(name)
    assert client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"] == len(rows)
    client.close()
    return result | {"chunks": len(rows)}


def from_documents(job: Job) -> Result:
    """Ingest with the parts of LangChain as they come: read, split, embed and insert a thousand at a time; flush."""
    from langchain_fireworks import FireworksEmbeddings
    from langchain_milvus import Milvus
    from langchain_text_splitters import RecursiveCharacterTextSplitter
    from openai import OpenAI
    from pydantic import SecretStr
    from pymilvus import MilvusClient

    embeddings = FireworksEmbeddings(api_key=SecretStr("benchmark"))
    # It has no setting for the address.
    embeddings.client = OpenAI(api_key="benchmark", base_url=f"{job['base']}/v1")
    client = MilvusClient(job["store"])
    splitter = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=100)
    index = {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 16, "efConstruction": 200}}
    with measured() as result:
        pieces = splitter.split_documents(_read_pages(job))
        arguments: dict[str, Any] = {"connection_args": {"uri": job["store"]}, "index_params": index}
        store = Milvus.from_documents(pieces[:PIECES_PER_CALL], embeddings, **arguments)
        for start in range(PIECES_PER_CALL, len(pieces), PIECES_PER_CALL):
            store.add_documents(pieces[start : start + PIECES_PER_CALL])
        client.flush(store.collection_name)
    client.close()
    return result | {"chunks": len(pieces)}


def compile_all(job: Job) -> Result:
    """Import what every contender imports, so that none of them pays for writing bytecode."""
    import langchain_fireworks
    import langchain_milvus
    import langchain_text_splitters

    import rag_chain

    imported = (langchain_fireworks, langchain_milvus, langchain_text_splitters)
    rag_chain.plan_ingest(job["tiny"])
    with measured() as result:
        result["imported"] = len(imported)
    return result


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _embeddings(job: Job) -> str:
    return f"{job['base']}/v1/embeddings"


def _read_texts(job: Job) -> list[str]:
    """Return what an ingest had embedded, without the prefix that the model adds."""
    bodies = Path(job["bodies"]).read_bytes().split(b"\n")
    return [text.removeprefix("search_document: ") for body in bodies for text in json.loads(body)["input"]]


def _read_pages(job: Job) -> list[Document]:
    from langchain_core.documents import Document

    pages = sorted(Path(job["docs"]).rglob("*.md"))
    return [Document(page.read_text("utf-8"), metadata={"source": str(page)}) for page in pages]


def _read_rows(client: MilvusClient, name: str) -> list[dict[str, Any]]:
    """Return all rows as they were written: the vectors as arrays, without what Milvus computes itself."""
    import numpy as np

    from rag_chain.store.schema import DENSE, SPARSE

    pages = client.query_iterator(name, batch_size=1000, filter="", output_fields=["*"])
    rows: list[dict[str, Any]] = []
    while page := pages.next():
        for row in page:
            row.pop(SPARSE, None)
            rows.append(row | {DENSE: np.asarray(row[DENSE], np.float32)})
    pages.close()
    return rows


CONTENDERS = {
    contender.__name__: contender
    for contender in (
        rag_chain_ingest,
        embedding_stage,
        tutorial_loop,
        bare_client,
        bare_upsert,
        from_documents,
        compile_all,
    )
}

if __name__ == "__main__":
    print(json.dumps(CONTENDERS[sys.argv[1]](json.loads(sys.argv[2]))), flush=True)
