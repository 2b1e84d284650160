"""Which process runs which tests, and in which order, so that two are busy from the first test to the last.

A file is run by one process, since its tests may share what is made once for them. In the files here they
share nothing, and one of them alone can take minutes. (xdist's own groups do nothing with pytest 9.2.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling

ONE_BY_ONE = (
    "tests/loaders/test_kills.py",
    "tests/store/test_moving.py",
    "tests/test_crashes.py",
    "tests/test_many_callers.py",
    "tests/test_many_ingests.py",
    "tests/test_milvus_server.py",
    "tests/test_sharing.py",
)
# The longest ahead. A process that has nothing left to do at the end waits for the other's last test.
LONGEST = (
    "tests/test_crashes.py::test_the_store_ends_as_after_an_undisturbed_run",
    "tests/test_memory.py",
    "tests/cluster/test_ray.py",
    "tests/test_milvus_server.py::test_twenty_thousand_chunks_move_without_a_model",
    "tests/store/test_bulk_server.py",
    "tests/test_crashes.py",
    "tests/loaders/test_kills.py",
    "tests/test_many_ingests.py",
    "tests/test_many_callers.py",
    "tests/cluster/test_ray_on_server.py",
    "tests/test_page.py",
    "tests/store/test_server.py",
    "tests/store/test_moving.py",
    "tests/test_milvus_server.py",
    "tests/test_sharing.py",
)


def rank(test: str) -> int:
    """Return how early a test is to begin: the lower, the sooner."""
    return next((place for place, start in enumerate(LONGEST) if test.startswith(start)), len(LONGEST))


def make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Return what gives the processes their tests, in the order in which they were collected."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # it has no types
        """A file at a time, or a test."""

        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return nodeid if file in ONE_BY_ONE else file

    config.option.loadscopereorder = False
    return Scheduling(config, log)
