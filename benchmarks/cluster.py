#!/usr/bin/env python3
"""Measure the ingest on Ray: against the local engine on one machine, and on two simulated nodes against one.

Every contender runs in a fresh process with a fresh Milvus Lite path, against a loopback stand-in for the Fireworks
API in another process, whose latency is assumed. The engines take turns; the quickest run of each counts, for each
size.

wall       from the start of the process to its end, with the pages so many times over
once       the same with the pages once: half of it or more is imports, the store, for Ray its own start and that of its
           processes
texts/s    the further texts / (wall - once): the engine's speed once everything runs
peak       most memory of the process and all its children together, pages that they share counted once
nodes      two nodes of Ray on this machine, of two cores each, which they do not have: what doubles is the number of
           processes that embed, and so of requests in flight; each has four, and the API's latency is long, so that
           they wait for it and not for the cores; run once
Ray Data   the same stages (the project's reading, embedding and writing) as `ray.data` batches, without what an
           ingest does beside: no reuse of vectors, no copies found, no report, no audit
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpora import copy_corpus
from processes import HERE, ROOT, Api, clean_environment, run_process
from tables import describe_machine, write_machine, write_number, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DOCS = ROOT.parent / "shared" / "data" / "milvus_docs" / "en"
HEADER = ["", "wall s", "once s", "texts", "texts/s", "requests", "peak MB"]
CORES = 2
FEW_IN_FLIGHT = {"RAG_EMBEDDING_CONCURRENCY": "4"}


@dataclass(frozen=True)
class Row:
    """What a contender took for the pages so many times over, and once."""

    name: str
    wall: float
    texts: int
    requests: int
    peak_mb: float
    once: float = 0.0
    once_texts: int = 0

    @property
    def texts_per_second(self) -> float:
        """The speed once everything runs."""
        return (self.texts - self.once_texts) / (self.wall - self.once)


class Bench:
    """The pages once and so many times over, and runs of contenders on them."""

    def __init__(self, folder: Path, docs: Path, times: int) -> None:
        self._folder = folder
        self._runs = 0
        self.pages = copy_corpus(docs, folder / "all", times)
        copy_corpus(docs, folder / "once", 1)

    def measure(self, names: Sequence[str], api: Api, repeat: int) -> dict[str, Row]:
        """Run the contenders in turns, and return the quickest run of each."""
        once: dict[str, list[Row]] = {name: [] for name in names}
        whole: dict[str, list[Row]] = {name: [] for name in names}
        for _ in range(repeat):
            for name in names:
                once[name].append(self._run(name, "once", api))
                whole[name].append(self._run(name, "all", api))
        return {name: _join(once[name], whole[name]) for name in names}

    def _run(self, name: str, corpus: str, api: Api) -> Row:
        print(f"{time.strftime('%H:%M:%S')} {name}, {corpus} ...", file=sys.stderr, flush=True)
        self._runs += 1
        job = {"name": name, "docs": str(self._folder / corpus), "store": str(self._folder / f"{self._runs}.db")}
        with api.serve() as served:
            command = [str(HERE / "cluster.py"), "--contender", json.dumps(job)]
            environment = clean_environment(served.base) | (FEW_IN_FLIGHT if name.endswith(("node", "nodes")) else {})
            run = run_process(command, environment, self._folder)
        counts = served.counts
        return Row(name, run.wall, counts["texts"], counts["requests"], run.peak_mb)


def _join(once: Sequence[Row], whole: Sequence[Row]) -> Row:
    """Return the quickest of the runs on everything, with the quickest of those on the pages once."""
    first, rest = (min(rows, key=lambda row: row.wall) for rows in (once, whole))
    return replace(rest, once=first.wall, once_texts=first.texts)


def run_contender(job: dict[str, str]) -> None:
    """Run one contender in this process, and print what it has to say."""
    from rag_chain import Settings, ingest

    settings = Settings(milvus_uri=job["store"])
    if job["name"] == "local":
        report = ingest(job["docs"], settings)
    elif job["name"] == "Ray":
        report = ingest(job["docs"], settings, engine="ray")
    elif job["name"] == "Ray Data":
        print(json.dumps({"chunks": ingest_by_ray_data(job["docs"], settings)}))
        return
    else:
        with simulated_nodes(int(job["name"].split()[0])):
            report = ingest(job["docs"], settings, engine="ray")
    print(json.dumps({"chunks": report.chunks_total}))


@contextmanager
def simulated_nodes(count: int) -> Iterator[None]:
    """Start so many nodes of Ray on this machine, and join them."""
    from rag_chain.settings import prepare_ray

    prepare_ray(None)
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": CORES, "object_store_memory": 300_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(count - 1):
            cluster.add_node(**node)
        ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def ingest_by_ray_data(docs: str, settings: Any) -> int:
    """Read, embed and write by Ray Data; return the number of chunks."""
    from rag_chain.cluster.connection import open_cluster
    from rag_chain.documents import find_documents
    from rag_chain.ingestion.plan import make_plan
    from rag_chain.models.building import build_embedding_client
    from rag_chain.pipeline import make_fingerprint
    from rag_chain.store.collection import open_store

    plan = make_plan(find_documents(docs, settings), {}, prune=False, rebuild=False)
    with open_store(settings, hosted=True) as store, open_cluster(None):
        store.create(make_fingerprint(settings, build_embedding_client(settings)), 768)
        import ray

        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.from_items(
            [{"work": work} for work in plan.added], override_num_blocks=max(len(plan.added) // 16, 1)
        )
        read = rows.map_batches(DataReader, fn_constructor_args=(settings,), batch_size=16, concurrency=1, num_cpus=1)
        vectors = read.map_batches(
            DataEmbedder, fn_constructor_args=(settings,), batch_size=64, concurrency=1, num_cpus=0.5
        )
        done = vectors.map_batches(
            DataWriter, fn_constructor_args=(settings,), batch_size=64, concurrency=1, num_cpus=0.5
        )
        written = int(done.sum("chunks"))
        store.flush()
        assert store.count() == written
        return written


class DataReader:
    """Documents to chunks."""

    def __init__(self, settings: Any) -> None:
        from rag_chain.engines import build_readers

        self._readers = build_readers(settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the chunks of each document."""
        return {"chunks": [reading.chunks for reading in self._readers.map(batch["work"])]}


class DataEmbedder:
    """Chunks to vectors."""

    def __init__(self, settings: Any) -> None:
        from rag_chain.models.building import build_embedding_client

        self._model = build_embedding_client(settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the chunks of each document with their vectors."""
        import numpy as np

        from rag_chain.documents.splitting import text_to_embed

        texts = [text_to_embed(chunk) for chunks in batch["chunks"] for chunk in chunks]
        size = self._model.batch_size
        batches = (texts[start : start + size] for start in range(0, len(texts), size))
        vectors = iter([v for embedded in self._model.embed_batches(batches) for v in embedded.vectors])
        stacked = [np.stack([next(vectors) for _ in chunks]) for chunks in batch["chunks"]]
        return {"chunks": list(batch["chunks"]), "vectors": stacked}


class DataWriter:
    """Chunks with vectors into the store."""

    def __init__(self, settings: Any) -> None:
        from rag_chain.store.collection import open_store

        self._store = open_store(settings, hosted=True)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return how many were written of each document."""
        import numpy as np

        chunks = [chunk for part in batch["chunks"] for chunk in part]
        counts = {part[0].metadata["source"]: len(part) for part in batch["chunks"]}
        self._store.write(chunks, np.concatenate(list(batch["vectors"])), counts)
        return {"chunks": [len(part) for part in batch["chunks"]]}


def write_report(machine: dict[str, Any], command: str, bench: Bench, found: dict[str, Any]) -> str:
    """Return the whole report as Markdown."""
    import ray

    engines, nodes = found["engines"], found["nodes"]
    local, on_ray = engines["local"], engines["Ray"]
    one, two = nodes["1 node"], nodes["2 nodes"]
    return f"""# Ingest on Ray

`{command}`

{write_machine(machine)} ray {ray.__version__}.

The Milvus documentation, {bench.pages:,} pages, into Milvus Lite. Columns and method: the docstring of \
`benchmarks/cluster.py`.

## One machine, two cores

{found["api"]}

{write_table(HEADER, [_cells(row) for row in engines.values()])}

- **Ray's throughput once everything runs is {on_ray.texts_per_second / local.texts_per_second:.2f} x the local \
engine's.** Its start takes some {on_ray.once - local.once:.0f} s more, so that this whole ingest took \
{on_ray.wall / local.wall:.1f} x as long, and it needs {on_ray.peak_mb / local.peak_mb:.1f} x the memory.
{_warn(machine)}
## Two simulated nodes

{found["slow_api"]}

{write_table(HEADER, [_cells(row) for row in nodes.values()])}

- **Two nodes have {two.texts_per_second / one.texts_per_second:.2f} x the throughput of one.** Both share two cores; \
what they don't share is how long the API takes.
"""


def _cells(row: Row) -> list[str]:
    numbers = (
        row.wall,
        row.once,
        row.texts,
        round(row.texts_per_second),
        row.requests,
        round(row.peak_mb),
    )
    return [row.name, *map(write_number, numbers)]


def _warn(machine: dict[str, Any]) -> str:
    if machine["load_before"] < machine["cores"] / 2:
        return ""
    return (
        "- The machine had been busy shortly before. If others still were: whoever has more processes gets the larger "
        "share of the cores, which flatters Ray's throughput; its start suffers. Repeat it on a quiet machine.\n"
    )


def _describe(api: Api) -> str:
    return (
        f"Stand-in API (assumed latencies): {api.latency_ms:g} ms + {api.ms_per_1000_tokens:g} ms per 1,000 tokens "
        f"for a request, {api.at_once} at once."
    )


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="PATH", help="folder of pages (the Milvus docs)")
    parser.add_argument("--times", type=int, default=4, help="the pages so many times over (4)")
    parser.add_argument("--repeat", type=int, default=2, help="runs of a contender; the quickest counts (2)")
    parser.add_argument("--with-ray-data", action="store_true", help="Ray Data as well; needs ray[data]")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/cluster.md and cluster.json")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, print, and save if asked to."""
    options = read_options()
    if options.contender:
        run_contender(json.loads(options.contender))
        return
    machine, command = describe_machine(), shlex.join(["python", "benchmarks/cluster.py", *sys.argv[1:]])
    api, slow = Api(60, 6, 8), Api(2000, 0, 64)
    with tempfile.TemporaryDirectory(prefix="rag_chain_benchmark_") as folder:
        bench = Bench(Path(folder), options.docs, options.times)
        names = ["local", "Ray", *(["Ray Data"] if options.with_ray_data else [])]
        engines = bench.measure(names, api, options.repeat)
        nodes = bench.measure(["1 node", "2 nodes"], slow, 1)
    found = {"engines": engines, "nodes": nodes, "api": _describe(api), "slow_api": _describe(slow)}
    report = write_report(machine, command, bench, found)
    print(report)
    if options.save:
        whole = {
            name: [asdict(row) for row in rows.values()] for name, rows in (("engines", engines), ("nodes", nodes))
        }
        (HERE / "results" / "cluster.md").write_text(report, "utf-8")
        text = json.dumps({"command": command, "machine": machine, **whole}, indent=2)
        (HERE / "results" / "cluster.json").write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main()
