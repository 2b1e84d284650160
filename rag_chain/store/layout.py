"""How a collection is laid out in Milvus: its index, metric, shards, replicas, and how it is searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rag_chain.errors import SettingsError
from rag_chain.store.schema import LITE_INDEX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rag_chain.settings import Settings

# Milvus Lite accepts any other type too, can't build it, and searches exhaustively.
LITE_BUILDS = ("AUTOINDEX", "HNSW", "IVF_FLAT", "IVF_SQ8")
# Older servers keep the property and ignore it.
MMAP_SINCE = (2, 4)


@dataclass(frozen=True)
class StoredIndex:
    """The index that a collection has; ``pending`` of its ``rows`` are not in it yet and searched one by one."""

    index_type: str
    metric: str
    parameters: Mapping[str, int]
    rows: int = 0
    pending: int = 0
    state: str = "Finished"

    @property
    def is_idle(self) -> bool:
        """Whether Milvus says that it has finished though rows are missing.

        So it speaks for seconds after a flush, and for ever of a type that it can't build.
        """
        return self.state in {"Finished", "Failed"} and self.pending > 0

    @property
    def progress(self) -> str:
        """How many rows are in it."""
        return f"{self.rows - self.pending:,} of {self.rows:,} rows are in it"

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "type": self.index_type,
            "metric": self.metric,
            "parameters": dict(self.parameters),
            "rows": self.rows,
            "pending": self.pending,
        }

    def __str__(self) -> str:
        parameters = "".join(f", {name} {value}" for name, value in sorted(self.parameters.items()))
        return f"{self.index_type}, {self.metric}{parameters}"


@dataclass(frozen=True)
class Layout:
    """What the settings say about it; the parameters of other index types than the one in use do not count."""

    index_type: str = "auto"
    metric: str = "COSINE"
    m: int = 16
    ef_construction: int = 200
    ef: int = 64
    nlist: int = 1024
    nprobe: int = 32
    search_list: int = 100
    shards: int = 1
    replicas: int = 1
    mmap: bool = False
    consistency: Literal["Strong", "Session", "Bounded", "Eventually"] = "Bounded"
    search_timeout: float | None = None

    def index(self, *, on_lite: bool) -> StoredIndex:
        """Return the index that a collection is to have."""
        if self.index_type == "auto" and on_lite:
            return StoredIndex(LITE_INDEX["index_type"], self.metric, LITE_INDEX["params"]["params"])
        kind = "HNSW" if self.index_type == "auto" else self.index_type
        return StoredIndex(kind, self.metric, self._parameters(kind))

    def index_arguments(self, *, on_lite: bool) -> dict[str, Any]:
        """Return it as pymilvus takes it; Milvus Lite looks for the parameters one level deeper."""
        index = self.index(on_lite=on_lite)
        parameters = dict(index.parameters)
        return {
            "index_type": index.index_type,
            "metric_type": index.metric,
            "params": {"params": parameters} if on_lite else parameters,
        }

    def search_arguments(self, stored: StoredIndex, k: int) -> dict[str, Any]:
        """Return the parameters for the ``k`` nearest in the index that is there, whatever the settings say.

        A server refuses an ``ef`` or ``search_list`` below ``k``; other types than the stored one's it ignores.
        """
        parameters = {
            "HNSW": {"ef": max(self.ef, k)},
            "IVF_FLAT": {"nprobe": self._probes(stored)},
            "IVF_SQ8": {"nprobe": self._probes(stored)},
            "DISKANN": {"search_list": max(self.search_list, k)},
        }
        return {"metric_type": stored.metric, "params": parameters.get(stored.index_type, {})}

    def refuse_on_lite(self) -> None:
        """Raise ``SettingsError`` for what Milvus Lite takes without a word and then does not do."""
        if self.index_type not in {"auto", *LITE_BUILDS}:
            raise SettingsError(
                f"RAG_INDEX_TYPE: Milvus Lite builds no {self.index_type}: choose auto, {', '.join(LITE_BUILDS)}, "
                "or set MILVUS_URI to a Milvus server"
            )
        for name, given in (("SHARDS", self.shards > 1), ("REPLICAS", self.replicas > 1), ("MMAP", self.mmap)):
            if given:
                raise SettingsError(f"RAG_{name}: Milvus Lite has none: unset it, or set MILVUS_URI to a Milvus server")

    def _parameters(self, kind: str) -> dict[str, int]:
        if kind == "HNSW":
            return {"M": self.m, "efConstruction": self.ef_construction}
        return {"nlist": self.nlist} if kind.startswith("IVF") else {}

    def _probes(self, stored: StoredIndex) -> int:
        return min(self.nprobe, stored.parameters.get("nlist", self.nprobe))


def read_layout(settings: Settings) -> Layout:
    """Return the layout that the settings ask for."""
    layout = Layout(
        index_type=settings.index_type,
        metric=settings.index_metric,
        m=settings.hnsw_m,
        ef_construction=settings.hnsw_ef_construction,
        ef=settings.hnsw_ef,
        nlist=settings.ivf_nlist,
        nprobe=settings.ivf_nprobe,
        search_list=settings.diskann_search_list,
        shards=settings.shards,
        replicas=settings.replicas,
        mmap=settings.mmap,
        consistency=settings.consistency,
        search_timeout=settings.search_timeout,
    )
    if settings.is_milvus_lite:
        layout.refuse_on_lite()
    return layout


def read_index(described: Mapping[str, Any]) -> StoredIndex:
    """Return what ``describe_index`` tells; servers give parameters as numbers or texts, here or one level deeper."""
    given = {**described, **described.get("params", {})}
    known = {"HNSW": ("M", "efConstruction")}.get(described["index_type"], ("nlist",))
    return StoredIndex(
        index_type=str(described["index_type"]),
        metric=str(described["metric_type"]),
        parameters={name: int(given[name]) for name in known if name in given},
        rows=int(described.get("total_rows", 0)),
        pending=int(described.get("pending_index_rows", 0)),
        state=str(described.get("state", "Finished")),
    )
