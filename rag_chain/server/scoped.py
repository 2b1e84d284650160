"""The chain of whoever asks: one Runnable for every door, which finds the caller's own chain at each question."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_core.runnables import AddableDict, Runnable
from langchain_core.tracers.log_stream import RunLogPatch

from rag_chain.answering.input_schema import QuestionInput
from rag_chain.answering.types import Answer
from rag_chain.errors import QuestionError
from rag_chain.server.callers import current_caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig

    from rag_chain.server.metrics import Metrics
    from rag_chain.server.service import Service

# Questions of one batch that are worked on at once.
BATCH_AT_ONCE = 4


class ScopedChain(Runnable[Any, dict[str, Any]]):
    """Answers from the documents of :func:`~rag_chain.server.callers.current_caller`'s tenant.

    A caller configures nothing: what LangChain would take from a request's config is left out.
    """

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self.name = "rag_chain"
        self._service = service
        self._metrics = metrics
        self._most = service.settings.max_batch

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:  # noqa: A002
        """Answer in one piece."""
        with self._metrics.failures():
            started = time.perf_counter()
            answer = self._chain().invoke(input)
            return self._note_whole(answer, started)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:  # noqa: A002
        """Answer in one piece, asynchronously."""
        with self._metrics.failures():
            started = time.perf_counter()
            answer = await self._chain().ainvoke(input)
            return self._note_whole(answer, started)

    async def abatch(
        self,
        inputs: Sequence[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        """Answer several questions, a few at a time."""
        if len(inputs) > self._most:
            raise QuestionError(f"a batch may hold {self._most} questions, not {len(inputs):,}")
        turn = asyncio.Semaphore(BATCH_AT_ONCE)

        async def answer(question: Any) -> dict[str, Any]:
            async with turn:
                return await self.ainvoke(question)

        return await asyncio.gather(*(answer(question) for question in inputs), return_exceptions=return_exceptions)  # type: ignore[return-value]  # exceptions only where they are asked for

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        """Answer as it is written."""
        with self._metrics.failures():
            clock = _Clock(self._metrics)
            async for part in self._chain().astream(input):
                clock.note(part)
                yield part

    async def astream_log(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:  # noqa: A002
        """Stream as LangServe's playground reads it, with no step in between and no prompt: the parts and the end."""
        begin: dict[str, Any] = {
            "id": "",
            "streamed_output": [],
            "final_output": None,
            "logs": {},
            "name": self.name,
            "type": "chain",
        }
        yield RunLogPatch({"op": "replace", "path": "", "value": begin})
        whole: Any = AddableDict()
        async for part in self.astream(input):
            whole += part
            yield RunLogPatch({"op": "add", "path": "/streamed_output/-", "value": dict(part)})
        yield RunLogPatch({"op": "replace", "path": "/final_output", "value": dict(whole)})

    async def astream_events(  # type: ignore[override]  # version 3 of the events is not LangServe's
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **filters: Any,
    ) -> AsyncIterator[Any]:
        """Stream LangChain's events of the chain itself, and none of its steps, whose events would show prompts.

        ``filters`` are LangChain's ``include_names``, ``exclude_types`` and so on.
        """
        config = config or {}
        run = _Run(config.get("run_name") or self.get_name(), str(config.get("run_id") or uuid4()))
        if not run.is_wanted(filters):
            return
        whole: Any = AddableDict()
        yield run.event("start", input=input)
        async for part in self.astream(input):
            whole += part
            yield run.event("stream", chunk=dict(part))
        yield run.event("end", output=dict(whole))

    @property
    def InputType(self) -> type[QuestionInput]:  # noqa: N802  LangChain's name
        """What the doors show as input."""
        return QuestionInput

    @property
    def OutputType(self) -> type[Answer]:  # type: ignore[override]  # noqa: N802  LangChain's name
        """What the doors show as output; LangServe drops from an answer what is not in here."""
        return Answer

    def _chain(self) -> Runnable[Any, dict[str, Any]]:
        return self._service.for_caller(current_caller()).chain

    def _note_whole(self, answer: dict[str, Any], started: float) -> dict[str, Any]:
        self._metrics.stage("whole", time.perf_counter() - started)
        self._metrics.answer(answer)
        return answer


@dataclass(frozen=True)
class _Run:
    """The chain's run as LangChain's events name it."""

    name: str
    id: str

    def is_wanted(self, filters: Mapping[str, Any]) -> bool:
        """Return whether LangChain's filters of events let this run through; it has no tags."""
        own = {"names": self.name, "types": "chain", "tags": None}
        included = [kind for kind in own if filters.get(f"include_{kind}") is not None]
        if included and not any(own[kind] in filters[f"include_{kind}"] for kind in included):
            return False
        return not any(own[kind] in (filters.get(f"exclude_{kind}") or ()) for kind in own)

    def event(self, stage: str, **data: Any) -> dict[str, Any]:
        """Return an event of this run."""
        place = {"name": self.name, "run_id": self.id, "tags": [], "metadata": {}, "parent_ids": []}
        return {"event": f"on_chain_{stage}", "data": data, **place}


class _Clock:
    """Tells the stages of a stream by the parts that end them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._stage = "retrieval"
        self._since = self._started = time.perf_counter()

    def note(self, part: dict[str, Any]) -> None:
        if "sources" in part:
            self._end("retrieval", then="first_token")
        elif "answer" in part and self._stage == "first_token":
            self._end("first_token", then="generation")
        elif "citations" in part:
            self._end("generation", then="")
            self._metrics.stage("whole", self._since - self._started)
            self._metrics.answer(part)

    def _end(self, stage: str, then: str) -> None:
        now = time.perf_counter()
        self._metrics.stage(stage, now - self._since)
        self._since, self._stage = now, then
