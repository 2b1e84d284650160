"""Read documents in tasks of the cluster: groups of them, some ahead, in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rag_chain.cluster.stages import raise_own
from rag_chain.errors import in_brief
from rag_chain.ingestion.reading import refuse_reading
from rag_chain.workers import group_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from rag_chain.cluster.stages import Reference
    from rag_chain.ingestion.plan import Work
    from rag_chain.ingestion.reading import Reading
    from rag_chain.workers import Workers

    BuildReaders = Callable[[], Workers[Work, Reading]]

# Of the groups that go to a process of one's own: a task of Ray takes several milliseconds of a core.
GROUP_TIMES = 3
# How often Ray gives a task to another process when one dies of it.
READ_RETRIES = 2

# The readers of the job that this process works for: they may have started a process for foreign formats.
_readers: dict[str, Workers[Work, Reading]] = {}


def read_group(works: Sequence[Work], build: BuildReaders, job: str) -> list[Reading]:
    """Read documents in this process, and foreign formats in a process of its own that may be killed."""
    if job not in _readers:
        for others in _readers.values():
            others.close()
        _readers.clear()
        _readers[job] = build()
    return list(_readers[job].map(works))


class TaskReader:
    """Reads in tasks, so many groups ahead; a document that takes its process along is refused."""

    def __init__(self, build: BuildReaders, job: str, ahead: int) -> None:
        import ray

        self._task = ray.remote(num_cpus=1, max_retries=READ_RETRIES)(read_group)
        self._build = build
        self._job = job
        self._ahead = ahead

    def __call__(self, works: Iterable[Work]) -> Generator[Reading, None, None]:
        """Yield what reading each document gives, in order."""
        waiting: deque[tuple[list[Work], Reference]] = deque()
        for group in group_tasks(works, GROUP_TIMES):
            waiting.append((group, self._send(group)))
            if len(waiting) > self._ahead:
                yield from self._collect(*waiting.popleft())
        while waiting:
            yield from self._collect(*waiting.popleft())

    def _send(self, group: list[Work]) -> Reference:
        return self._task.remote(group, self._build, self._job)

    def _collect(self, group: list[Work], reference: Reference) -> Iterator[Reading]:
        import ray

        try:
            yield from ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise_own(error)
        except ray.exceptions.RayError as error:
            if len(group) == 1:
                yield refuse_reading(f"the process that read it died each time: {in_brief(error)}")
            else:
                for work in group:
                    yield from self._collect([work], self._send([work]))
