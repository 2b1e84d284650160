"""Connect to a Ray cluster, or start Ray on this machine for as long as it is needed."""

from __future__ import annotations

import logging
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag_chain.errors import ClusterError, SettingsError, in_brief
from rag_chain.settings import prepare_ray

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_chain.cluster.stages import Actor

logger = logging.getLogger(__name__)

# A start can fail, after half a minute, where the program had spoken to Milvus before it came here: see prepare_ray().
STARTS = 3
# Batches on their way between processes are all that is ever there; Ray's default is a third of the memory.
OBJECT_STORE_BYTES = 500_000_000
# A process that embeds, and one that writes, for each node, and for so many of its cores.
CORES_PER_PAIR = 4
# More deaths in one call than a person or a short memory would cause.
CALL_RETRIES = 5


@dataclass(frozen=True)
class Cluster:
    """The nodes that have cores, each as often as it gets a process that embeds and one that writes."""

    places: list[str]
    hosts: set[str]
    cores: int

    @property
    def is_this_machine(self) -> bool:
        """Whether all nodes are on this machine."""
        return self.hosts == {socket.gethostname()}

    def check_reach(self, *, on_lite: bool) -> None:
        """Refuse to write into a Milvus Lite from nodes that can't reach it."""
        if on_lite and not self.is_this_machine:
            others = ", ".join(sorted(self.hosts - {socket.gethostname()})[:3])
            raise SettingsError(
                f"Milvus Lite serves one machine, and Ray has nodes on others ({others}): "
                "set MILVUS_URI to a Milvus server"
            )


@contextmanager
def open_cluster(address: str | None) -> Iterator[Cluster]:
    """Join the cluster at ``HOST:PORT``, ``auto`` or RAY_ADDRESS; without any start Ray here, and stop it after.

    A program that has connected to Ray itself keeps its connection.
    """
    address = prepare_ray(address)
    if address and address.startswith("ray://"):
        raise SettingsError(
            "ray:// addresses are not supported: run it on a node, with --ray-address auto or HOST:6379"
        )
    try:
        import ray
    except ImportError:
        raise SettingsError("Ray is not installed: pip install 'rag-chain[ray]', or use --engine local") from None
    own = not ray.is_initialized()
    if own:
        _connect(address)
    try:
        yield _survey()
    finally:
        if own:
            ray.shutdown()


def _connect(address: str | None) -> None:
    import ray

    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        try:
            ray.init(address, **options)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"no Ray cluster at {address} ({in_brief(error, 300)}): mend --ray-address, or leave it out"
            ) from error
        return
    for start in range(1, STARTS + 1):
        try:
            ray.init("local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **options)
        except Exception as error:  # Ray raises no narrower one
            ray.shutdown()
            if start < STARTS:
                logger.warning("Ray did not start, trying again: %s", in_brief(error))
                continue
            raise
        return


def _survey() -> Cluster:
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not nodes:
        raise ClusterError("no node of the Ray cluster has a core: start one with --num-cpus")
    places = [node["NodeID"] for node in nodes for _ in range(max(int(node["Resources"]["CPU"]) // CORES_PER_PAIR, 1))]
    cores = sum(int(node["Resources"]["CPU"]) for node in nodes)
    return Cluster(places, {node["NodeManagerHostname"] for node in nodes}, cores)


def start_actor(name: str, kind: type, *arguments: Any, place: str = "", lanes: int = 1, retried: bool = True) -> Actor:
    """Start a process that holds an object of a class, on a node where that is up; it is started anew whenever it dies.

    ``lanes`` of its calls run at once; with ``retried`` a call that its death broke off is made again. Arguments must
    hold no handles, which a process that is started anew may not find any more; :func:`find_actor` gets them by name.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Without a core of its own, so that it never waits for those that read.
    options: dict[str, Any] = {"name": name, "num_cpus": 0, "max_restarts": -1, "max_concurrency": lanes}
    options["max_task_retries"] = CALL_RETRIES if retried else 0
    if place:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(place, soft=True)
    return ray.remote(**options)(kind).remote(*arguments)


def find_actor(name: str) -> Actor:
    """Return the handle of a process of this job."""
    import ray

    return ray.get_actor(name)
