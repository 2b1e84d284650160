"""The chain as a LangChain Runnable: what LangChain's users do with one works here, too."""

from __future__ import annotations

import asyncio
import time
from functools import reduce
from operator import add, itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.documents import Document
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumpd
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    ConfigurableField,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from rag_chain import Answer, Settings, build_chain, build_retriever
from rag_chain.answering.input_schema import QuestionInput
from rag_chain.errors import ModelError, QuestionError, SettingsError
from rag_chain.models.building import build_chat_model, build_embeddings
from tests.fireworks_faults import Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from uuid import UUID

    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.runnables import Runnable
    from langchain_core.tracers.schemas import Run

    from tests.fireworks_server import FireworksServer

DESIGN = Path(__file__).parents[2] / "docs" / "design.md"
QUESTION = "Where do rows live?"
HISTORY = [("human", "What is Milvus?"), ("ai", "A vector database.")]
FOLLOW_UP = {"question": QUESTION, "chat_history": HISTORY}

pytestmark = pytest.mark.usefixtures("shared_fireworks")


@pytest.fixture
def chain(shared: Settings, fireworks: FireworksServer) -> Runnable[Any, dict[str, Any]]:
    """The chain over three documents, by the loopback provider."""
    return build_chain(shared)


class Shelf(BaseRetriever):
    """A retriever with one book."""

    text: str = "The sky is blue."

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [Document(self.text, metadata={"source": "sky.txt"})]


def answering(*texts: str) -> FakeListChatModel:
    """Return a model that gives these answers."""
    return FakeListChatModel(responses=list(texts))


async def gather(parts: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is streamed."""
    return [part async for part in parts]


class TestShape:
    """What can be seen of the chain without asking it."""

    def test_the_graph_shows_every_step(self, chain: Runnable[Any, Any]) -> None:
        """From the question over retriever, prompt and chat model to the checked answer, in this order."""
        names = [node.name for node in chain.get_graph().nodes.values()]
        assert names == [
            "read_question_input",
            "read_question",
            "rewrite_variables",
            "ChatPromptTemplate",
            "ChatFireworks",
            "StrOutputParser",
            "strip",
            "RefinedRetriever",
            "pack_context",
            "prompt_variables",
            "ChatPromptTemplate",
            "ChatFireworks",
            "check_citations",
            "check_citations_output",
        ]

    def test_the_graph_is_one_path(self, chain: Runnable[Any, Any]) -> None:
        """Each step leads to one other."""
        graph = chain.get_graph()
        first, last = graph.first_node(), graph.last_node()
        assert first is not None
        assert last is not None
        following = {edge.source: edge.target for edge in graph.edges}
        path = [first.id]
        while path[-1] != last.id:
            path.append(following[path[-1]])
        assert set(path) == set(graph.nodes)
        assert len(graph.edges) == len(path) - 1

    def test_the_drawn_graph_is_in_the_documentation(self, chain: Runnable[Any, Any]) -> None:
        """docs/design.md shows the graph as it is drawn."""
        drawn = chain.get_graph().draw_mermaid(with_styles=False)
        assert f"```mermaid\n{drawn.strip()}\n```" in DESIGN.read_text("utf-8")

    def test_both_prompts_are_found(self, chain: Runnable[Any, Any]) -> None:
        """The one that rewrites a follow-up, and the one that answers."""
        rewriting, answering_ = chain.get_prompts()
        assert set(rewriting.input_variables) == {"conversation", "question"}
        assert set(answering_.input_variables) == {"context", "question"}

    def test_a_prompt_of_ones_own_is_in_the_graph(self, shared: Settings) -> None:
        """What is put in its place is what is shown."""
        prompt = ChatPromptTemplate.from_template("{context}\n{question}")
        assert build_chain(shared, prompt=prompt).get_prompts()[1] is not None
        assert prompt in build_chain(shared, prompt=prompt).get_prompts()

    def test_its_repr_names_the_parts(self, shared: Settings) -> None:
        """As LangChain's sequences do."""
        shown = repr(build_chain(shared, retriever=Shelf(), chat_model=answering("So.")))
        for part in ("read_question", "Assign(chunks=", "Shelf", "ChatPromptTemplate", "FakeListChatModel"):
            assert part in shown

    def test_the_schemas_are_ours(self, chain: Runnable[Any, Any]) -> None:
        """The input is a text or a Question, the output an Answer."""
        text, question = chain.get_input_jsonschema()["oneOf"]
        assert (text["type"], question) == ("string", {"$ref": "#/$defs/Question"})
        assert chain.get_output_schema() is Answer
        assert (chain.get_input_schema(), chain.OutputType) == (QuestionInput, Answer)
        assert chain.get_name() == "rag_chain"

    def test_the_chain_does_not_claim_to_be_serializable(self, chain: Runnable[Any, Any]) -> None:
        """It holds connections; written down it says that it is not implemented."""
        assert dumpd(chain)["type"] == "not_implemented"


class TestConfiguration:
    """Parts that can be configured, put inside, take effect at each question."""

    def test_nothing_is_configurable_by_itself(self, chain: Runnable[Any, Any]) -> None:
        """Our own parts have no configurable fields."""
        assert chain.config_specs == []

    def test_a_field_of_the_model(self, shared: Settings, fireworks: FireworksServer) -> None:
        """The temperature of a question's config reaches the provider."""
        model: Any = build_chat_model(shared, build_embeddings(shared))
        field = ConfigurableField("heat", name="Heat")
        chain = build_chain(shared, chat_model=model.configurable_fields(temperature=field))
        assert [spec.id for spec in chain.config_specs] == ["heat"]
        chain.invoke(QUESTION, {"configurable": {"heat": 0.7}})
        list(chain.with_config(configurable={"heat": 0.3}).stream(QUESTION))
        asyncio.run(chain.ainvoke(QUESTION, {"configurable": {"heat": 0.5}}))
        assert [request.body["temperature"] for request in fireworks.chat_requests] == [0.7, 0.3, 0.5]

    def test_alternatives_of_the_model(self, shared: Settings) -> None:
        """Another model answers where the config names it, whole and streamed, and rewrites, too."""
        models = answering("One [1].").configurable_alternatives(ConfigurableField("model"), two=answering("Two [1]."))
        chain = build_chain(shared, retriever=Shelf(), chat_model=models)
        assert chain.invoke(QUESTION)["answer"] == "One [1]."
        two = chain.with_config(configurable={"model": "two"})
        assert two.invoke(FOLLOW_UP)["answer"] == "Two [1]."
        assert asyncio.run(gather(two.astream(QUESTION)))[1:-1] != []
        assert reduce(add, two.stream(QUESTION))["answer"] == "Two [1]."

    def test_a_field_of_the_retriever(self, shared: Settings) -> None:
        """What is retrieved follows the config of the question."""
        shelf = Shelf().configurable_fields(text=ConfigurableField("text"))
        chain = build_chain(shared, retriever=shelf, chat_model=answering("So [1]."))
        found = chain.invoke(QUESTION, {"configurable": {"text": "Grass is green."}})
        assert found["sources"][0]["text"] == "Grass is green."
        assert chain.invoke(QUESTION)["sources"][0]["text"] == "The sky is blue."

    def test_alternatives_of_the_prompt(self, shared: Settings, fireworks: FireworksServer) -> None:
        """A prompt can be chosen by the config."""
        plain = ChatPromptTemplate.from_template("Plain {context} {question}")
        other = ChatPromptTemplate.from_template("Other {context} {input}")
        prompt: Any = plain.configurable_alternatives(ConfigurableField("prompt"), other=other)
        chain = build_chain(shared, prompt=prompt)
        assert [spec.id for spec in chain.config_specs] == ["prompt"]
        chain.invoke(QUESTION)
        chain.invoke(QUESTION, {"configurable": {"prompt": "other"}})
        prompts = [request.body["messages"][0]["content"] for request in fireworks.chat_requests]
        assert [text.split()[0] for text in prompts] == ["Plain", "Other"]
        assert prompts[1].endswith(QUESTION)

    def test_a_prompt_may_say_input_and_chat_history(self, shared: Settings, fireworks: FireworksServer) -> None:
        """As many of LangChain's prompts do."""
        messages = [("system", "{context}"), ("placeholder", "{chat_history}"), ("human", "{input}")]
        build_chain(shared, prompt=ChatPromptTemplate.from_messages(messages)).invoke(FOLLOW_UP)
        roles = [message["role"] for message in fireworks.chat_requests[-1].body["messages"]]
        assert roles == ["system", "user", "assistant", "user"]

    @pytest.mark.parametrize(
        ("text", "told"), [("{context}", "question"), ("{input}", "context"), ("{context}{input}{x}", "{x}")]
    )
    def test_a_prompt_that_can_not_be_filled_is_refused(self, text: str, told: str, shared: Settings) -> None:
        """When the chain is built, and by the variable's name."""
        with pytest.raises(SettingsError, match=told):
            build_chain(shared, prompt=ChatPromptTemplate.from_template(text))


class TestComposition:
    """The chain as a part of others."""

    def test_parts_add_up_to_the_answer(self, chain: Runnable[Any, Any]) -> None:
        """As chunks of LangChain do; in async, too."""
        whole = chain.invoke(QUESTION)
        assert reduce(add, chain.stream(QUESTION)) == whole
        assert reduce(add, asyncio.run(gather(chain.astream(QUESTION)))) == whole

    def test_pick_and_assign(self, chain: Runnable[Any, Any]) -> None:
        """The text alone, streamed; a key of one's own beside the others."""
        assert "".join(chain.pick("answer").stream(QUESTION)) == chain.invoke(QUESTION)["answer"]
        longer = chain.assign(length=lambda answer: len(answer["answer"]))
        assert longer.invoke(QUESTION)["length"] == len(chain.invoke(QUESTION)["answer"])

    def test_within_other_chains(self, chain: Runnable[Any, Any]) -> None:
        """Behind a mapping, beside another, and before a function."""
        answer = chain.invoke(QUESTION)
        assert ({"question": RunnablePassthrough()} | chain).invoke(QUESTION) == answer
        assert RunnableParallel(first=chain, second=chain.pick("answer")).invoke(QUESTION) == {
            "first": answer,
            "second": answer["answer"],
        }
        assert list((chain | itemgetter("grounded")).stream(QUESTION)) == [True]
        assert RunnableLambda(lambda _: chain).invoke(QUESTION) == answer

    def test_map_and_batch(self, chain: Runnable[Any, Any]) -> None:
        """Several questions at once, each with its own answer; in async, too."""
        expected = chain.invoke(QUESTION)
        assert chain.map().invoke([QUESTION, QUESTION]) == [expected, expected]
        assert chain.batch([QUESTION] * 3, {"max_concurrency": 2}) == [expected] * 3
        assert asyncio.run(chain.abatch([QUESTION] * 3)) == [expected] * 3

    def test_batch_as_completed(self, chain: Runnable[Any, Any]) -> None:
        """Each answer comes with the number of its question; a refused one is an exception in its place."""
        found = dict(chain.batch_as_completed([QUESTION, "", QUESTION], return_exceptions=True))
        assert isinstance(found[1], QuestionError)
        assert found[0] == found[2] == chain.invoke(QUESTION)

        async def ask() -> dict[int, Any]:
            return {number: answer async for number, answer in chain.abatch_as_completed([QUESTION, QUESTION])}

        assert sorted(asyncio.run(ask())) == [0, 1]

    def test_retry(self, shared: Settings) -> None:
        """A model that fails once is asked once more."""
        asked: list[object] = []

        def fail_once(prompt: Any) -> str:
            asked.append(prompt)
            if len(asked) == 1:
                raise ModelError("once")
            return "So [1]."

        chain = build_chain(shared, retriever=Shelf(), chat_model=RunnableLambda(fail_once))
        patient = chain.with_retry(retry_if_exception_type=(ModelError,), wait_exponential_jitter=False)
        assert patient.invoke(QUESTION)["answer"] == "So [1]."
        assert len(asked) == 2

    def test_fallbacks(self, shared: Settings, chain: Runnable[Any, Any], fireworks: FireworksServer) -> None:
        """Another chain answers, whole and streamed, where this one can't be asked."""
        other = build_chain(shared, retriever=Shelf(), chat_model=answering("Blue [1]."))
        fireworks.faults.add("chat", Status(401), times=1)
        assert chain.with_fallbacks([other]).invoke(QUESTION)["answer"] == "Blue [1]."
        fireworks.faults.add("embeddings", Status(401), times=1)
        streamed = reduce(add, chain.with_fallbacks([other]).stream(QUESTION))
        assert streamed["answer"] == "Blue [1]."

    def test_as_a_tool(self, chain: Runnable[Any, Any]) -> None:
        """With the arguments of a Question, in sync and async."""
        tool = chain.as_tool(name="ask_documents")
        assert (tool.name, set(tool.args)) == ("ask_documents", {"question", "chat_history", "filter"})
        assert tool.invoke({"question": QUESTION})["grounded"]
        assert asyncio.run(tool.ainvoke({"question": QUESTION}))["grounded"]

    def test_any_runnable_is_a_retriever(self, shared: Settings) -> None:
        """A function will do."""
        find: Runnable[str, list[Document]] = RunnableLambda(lambda query: [Document(f"About {query}")])
        answer = build_chain(shared, retriever=find, chat_model=answering("So [1].")).invoke("bears")
        assert answer["sources"][0]["text"] == "About bears"

    def test_a_model_that_writes_texts_is_one(self, shared: Settings) -> None:
        """What streams strings is a model, too."""

        def write(_: Iterator[Any]) -> Iterator[str]:
            yield from ("The sky ", "is blue ", "[1].")

        chain = build_chain(shared, retriever=Shelf(), chat_model=RunnableGenerator(write))
        assert [part["answer"] for part in chain.stream(QUESTION) if "answer" in part][:3] == [
            "The sky",
            " is blue",
            " [1].",
        ]
        assert chain.invoke(QUESTION)["grounded"]

    def test_unknown_arguments_are_errors(self, chain: Runnable[Any, Any]) -> None:
        """An argument that does nothing is not taken in silence."""
        with pytest.raises(TypeError, match="k_sources"):
            chain.invoke(QUESTION, k_sources=3)
        with pytest.raises(TypeError, match="k_sources"):
            list(chain.stream(QUESTION, k_sources=3))


class Notes(BaseCallbackHandler):
    """Notes down what it is told."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.parents: dict[str, UUID | None] = {}
        self.ids: dict[str, UUID] = {}
        self.tags: dict[str, list[str]] = {}
        self.metadata: dict[str, dict[str, Any]] = {}

    def _note(self, **known: Any) -> None:
        name = known.get("name") or ""
        self.ids[name], self.parents[name] = known["run_id"], known["parent_run_id"]
        self.tags[name], self.metadata[name] = known["tags"] or [], known["metadata"] or {}

    def on_chain_start(self, serialized: Any, inputs: Any, **known: Any) -> None:
        self._note(**known)

    def on_retriever_start(self, serialized: Any, query: str, **known: Any) -> None:
        self._note(**known)

    def on_chat_model_start(self, serialized: Any, messages: Any, **known: Any) -> None:
        self._note(**known)

    def on_llm_new_token(self, token: Any, **known: Any) -> None:
        self.tokens.append(str(token))


def ask_all_ways(chain: Runnable[Any, Any], config: Any, given: Any = QUESTION) -> dict[str, Callable[[], object]]:
    """Return the four ways to ask."""
    return {
        "invoke": lambda: chain.invoke(given, config),
        "stream": lambda: list(chain.stream(given, config)),
        "ainvoke": lambda: asyncio.run(chain.ainvoke(given, config)),
        "astream": lambda: asyncio.run(gather(chain.astream(given, config))),
    }


WAYS = ["invoke", "stream", "ainvoke", "astream"]


class TestCallbacks:
    """What a caller's callbacks are told."""

    @pytest.mark.parametrize("way", WAYS)
    def test_runs_are_below_the_chain(self, way: str, chain: Runnable[Any, Any]) -> None:
        """Retriever, prompt and model have the chain for a parent, and its tags and metadata."""
        notes = Notes()
        config = {"callbacks": [notes], "tags": ["mine"], "metadata": {"who": "me"}}
        ask_all_ways(chain, config)[way]()
        assert notes.parents["rag_chain"] is None
        for name in ("retrieve", "prompt", "model"):
            assert notes.parents[name] == notes.ids["rag_chain"]
            assert "mine" in notes.tags[name]
            assert notes.metadata[name]["who"] == "me"

    @pytest.mark.parametrize("way", WAYS)
    def test_async_shows_the_same_retrievers_as_sync(self, way: str, chain: Runnable[Any, Any]) -> None:
        """The search within the retriever is there whatever way is taken."""
        notes = Notes()
        ask_all_ways(chain, {"callbacks": [notes]})[way]()
        assert notes.parents["HybridRetriever"] == notes.ids["retrieve"]

    def test_all_ways_have_the_same_runs(self, chain: Runnable[Any, Any]) -> None:
        """For a follow-up the tree of runs is the same in sync, async, whole and streamed, and reads like the code."""
        trees = set()
        for ask in ask_all_ways(
            chain, config := {"callbacks": [collector := RunCollectorCallbackHandler()]}, FOLLOW_UP
        ):
            collector.traced_runs.clear()
            ask_all_ways(chain, config, FOLLOW_UP)[ask]()
            (run,) = collector.traced_runs
            trees.add(show_tree(run))
        (tree,) = trees
        rewrite = "rewrite(ChatPromptTemplate ChatFireworks StrOutputParser)"
        assert tree == f"rag_chain({rewrite} retrieve(HybridRetriever) prompt model)"

    @pytest.mark.parametrize("way", ["stream", "astream"])
    def test_tokens_are_told_while_they_come(self, way: str, chain: Runnable[Any, Any]) -> None:
        """One call for each token of the model."""
        notes = Notes()
        ask_all_ways(chain, {"callbacks": [notes]})[way]()
        assert "".join(notes.tokens) == chain.invoke(QUESTION)["answer"]
        assert len(notes.tokens) > 3

    def test_async_handlers_are_awaited(self, chain: Runnable[Any, Any]) -> None:
        """In async code, also below the retriever, whose search ends in a thread."""
        ended: list[int] = []

        class Counting(AsyncCallbackHandler):
            async def on_retriever_end(self, documents: Sequence[Document], **_: Any) -> None:
                await asyncio.sleep(0)
                ended.append(len(documents))

        asyncio.run(chain.ainvoke(QUESTION, {"callbacks": [Counting()]}))
        assert len(ended) == 2

    def test_a_failing_search_ends_its_runs(self, shared: Settings, fireworks: FireworksServer) -> None:
        """The error is told of each run that it went through, in sync and async."""
        for ask in WAYS:
            fireworks.faults.add("embeddings", Status(401), times=1)
            collector = RunCollectorCallbackHandler()
            with pytest.raises(ModelError):
                ask_all_ways(build_chain(shared), {"callbacks": [collector]})[ask]()
            (run,) = collector.traced_runs
            failed = [found.name for found in walk(run) if found.error]
            assert failed == ["rag_chain", "retrieve", "HybridRetriever"], ask

    def test_listeners(self, chain: Runnable[Any, Any]) -> None:
        """They are told of the start and the end."""
        heard: list[str] = []
        listening = chain.with_listeners(
            on_start=lambda run: heard.append(f"start {run.name}"), on_end=lambda run: heard.append(f"end {run.name}")
        )
        listening.invoke(QUESTION)
        list(listening.stream(QUESTION))
        assert heard == ["start rag_chain", "end rag_chain"] * 2

    def test_usage(self, chain: Runnable[Any, Any]) -> None:
        """LangChain's usage callback counts the tokens, whole and streamed."""
        for ask in WAYS:
            with get_usage_metadata_callback() as usage:
                ask_all_ways(chain, {})[ask]()
            (counted,) = usage.usage_metadata.values()
            assert counted["output_tokens"] > 0, ask

    def test_the_cache(self, chain: Runnable[Any, Any], fireworks: FireworksServer) -> None:
        """The same prompt is not sent twice; other sources make another prompt."""
        set_llm_cache(InMemoryCache())
        try:
            assert chain.invoke(QUESTION) == chain.invoke(QUESTION)
            assert len(fireworks.chat_requests) == 1
            chain.invoke({"question": QUESTION, "filter": {"source": "*.txt"}})
            assert len(fireworks.chat_requests) == 2
        finally:
            set_llm_cache(None)

    def test_events(self, chain: Runnable[Any, Any]) -> None:
        """Version 2 shows retriever, prompt and model below the chain, and its parts as they come."""
        events = asyncio.run(gather(chain.astream_events(FOLLOW_UP, version="v2")))  # type: ignore[arg-type]
        root = events[0]["run_id"]
        below = {event["name"] for event in events if event["parent_ids"][:1] == [root]}
        assert {"rewrite", "retrieve", "HybridRetriever", "prompt", "model"} <= below
        streamed = [
            event["data"]["chunk"]
            for event in events
            if event["event"] == "on_chain_stream" and not event["parent_ids"]
        ]
        assert reduce(add, streamed) == events[-1]["data"]["output"]
        assert "sources" in streamed[0]
        tokens = [event for event in events if (event["event"], event["name"]) == ("on_chat_model_stream", "model")]
        assert "".join(event["data"]["chunk"].text for event in tokens) == events[-1]["data"]["output"]["answer"]


def show_tree(run: Run) -> str:
    """Return the names of a run and those below it."""
    below = " ".join(show_tree(child) for child in run.child_runs)
    return f"{run.name}({below})" if below else str(run.name)


def walk(run: Run) -> Iterator[Run]:
    """Yield a run and all below it."""
    yield run
    for child in run.child_runs:
        yield from walk(child)


def slow(fireworks: FireworksServer) -> None:
    """Have the model write for four seconds."""
    fireworks.answer = "word " * 400
    fireworks.token_delay = 0.01


def wait_for_request(fireworks: FireworksServer) -> None:
    """Return when the model was asked."""
    while not fireworks.chat_requests:
        time.sleep(0.01)


WRAPPED: dict[str, Callable[[Runnable[Any, Any]], Runnable[Any, Any]]] = {
    "alone": lambda chain: chain,
    "configured": lambda chain: chain.with_config(tags=["mine"]),
    "bound": lambda chain: chain.with_listeners(on_end=lambda _: None),
    "retry": lambda chain: chain.with_retry(),
    "fallbacks": lambda chain: chain.with_fallbacks([chain]),
    "pick": lambda chain: chain.pick("answer"),
    "sequence": lambda chain: RunnableLambda(lambda question: question) | chain,
    "followed": lambda chain: chain | RunnableGenerator(passing, apassing),
}


def passing(parts: Iterator[Any]) -> Iterator[Any]:
    """Pass on what comes."""
    yield from parts


async def apassing(parts: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Pass on what comes, asynchronously."""
    async for part in parts:
        yield part


class TestLeaving:
    """Who stops reading stops the model."""

    @pytest.mark.parametrize("wrapped", WRAPPED)
    def test_closing_a_stream(self, wrapped: str, chain: Runnable[Any, Any], fireworks: FireworksServer) -> None:
        """Also where the chain is a part of another."""
        slow(fireworks)
        stream: Any = WRAPPED[wrapped](chain).stream(QUESTION)
        for _ in range(4):
            next(stream)
        stream.close()
        fireworks.settle(timeout=5)
        assert fireworks.chat_requests[0].client_gone

    @pytest.mark.parametrize("wrapped", WRAPPED)
    def test_closing_an_async_stream(self, wrapped: str, chain: Runnable[Any, Any], fireworks: FireworksServer) -> None:
        """Also where the chain is a part of another."""
        slow(fireworks)

        async def leave() -> None:
            stream: Any = WRAPPED[wrapped](chain).astream(QUESTION)
            for _ in range(4):
                await anext(stream)
            await stream.aclose()

        asyncio.run(leave())
        fireworks.settle(timeout=5)
        assert fireworks.chat_requests[0].client_gone

    @pytest.mark.parametrize("way", ["ainvoke", "astream"])
    def test_cancelling_a_task(self, way: str, chain: Runnable[Any, Any], fireworks: FireworksServer) -> None:
        """The request is cancelled with it, and the task ends at once."""
        slow(fireworks)

        async def cancel() -> None:
            work: Any = chain.ainvoke(QUESTION) if way == "ainvoke" else gather(chain.astream(QUESTION))
            task = asyncio.ensure_future(work)
            await asyncio.to_thread(wait_for_request, fireworks)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(asyncio.wait_for(cancel(), 20))
        fireworks.settle(timeout=5)
        assert fireworks.chat_requests[0].client_gone


def test_the_retriever_alone_has_the_same_runs(shared: Settings) -> None:
    """build_retriever() shows its search in sync and async."""
    for ask in ("invoke", "ainvoke"):
        collector = RunCollectorCallbackHandler()
        retriever = build_retriever(shared)
        config: Any = {"callbacks": [collector]}
        found = (
            retriever.invoke(QUESTION, config) if ask == "invoke" else asyncio.run(retriever.ainvoke(QUESTION, config))
        )
        (run,) = collector.traced_runs
        assert show_tree(run) == "RefinedRetriever(HybridRetriever)"
        (search,) = run.child_runs
        assert search.outputs is not None
        assert search.outputs["documents"][0].id == found[0].id
