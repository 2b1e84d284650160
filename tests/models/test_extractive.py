"""The answerer without a language model: it quotes the sentences that answer, with their numbers, or refuses."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from rag_chain.answering.prompt import build_prompt, format_context
from rag_chain.errors import InvalidRequestError
from rag_chain.models.extractive import (
    REFUSAL,
    ExtractiveChatModel,
    Sentence,
    choose_sentences,
    quotable,
    read_prompt,
)

if TYPE_CHECKING:
    from langchain_core.prompt_values import PromptValue

    from rag_chain.models.local import LocalEmbeddings

STORAGE = (
    "# Storage\n\nMilvus keeps inserted rows in object storage such as MinIO or S3. Metadata is kept in etcd.\n\n"
    "```python\nmilvus.keep_inserted_rows_in_object_storage(where='here')\n```\n\n"
    "| inserted rows in Milvus | where they are kept |\n|---|---|\n| rows of a collection | object storage |\n"
)
BEARS = "Brown bears sleep through the winter. They eat salmon in autumn."
QUESTION = "Where does Milvus keep inserted rows?"


@pytest.fixture(scope="module")
def model(local: LocalEmbeddings) -> ExtractiveChatModel:
    return ExtractiveChatModel(embeddings=local)


def prompt(*texts: str, question: str = QUESTION) -> PromptValue:
    """Return the prompt that the chain makes of these sources."""
    sources = [
        {"number": number, "source": f"{number}.md", "heading": "", "text": text}
        for number, text in enumerate(texts, start=1)
    ]
    return build_prompt().invoke({"context": format_context(sources), "question": question})


def ask(model: ExtractiveChatModel, *texts: str, question: str = QUESTION) -> str:
    return str(model.invoke(prompt(*texts, question=question)).text)


def test_the_answer_is_quoted_and_cited(model: ExtractiveChatModel) -> None:
    """The sentence that answers is given word for word, with the number of its source."""
    answer = ask(model, BEARS, STORAGE)
    assert answer.startswith("Milvus keeps inserted rows in object storage such as MinIO or S3. [2]")
    assert "[1]" not in answer


def test_every_quote_stands_in_its_source(model: ExtractiveChatModel) -> None:
    """Each part of an answer is a sentence of the source that it cites, character for character."""
    texts = {"1": "Milvus keeps inserted rows of AT&amp;T in object storage. Bears & tides are none.", "2": STORAGE}
    parts = re.findall(r"(.+) \[(\d)\]", ask(model, *texts.values()))
    assert {number for _, number in parts} == {"1", "2"}
    assert all(quote in texts[number] for quote, number in parts)


def test_it_refuses_what_the_sources_do_not_answer(model: ExtractiveChatModel) -> None:
    """Sources about something else are not quoted."""
    assert ask(model, BEARS, "The moon pulls the ocean, which makes the tides.") == REFUSAL


def test_it_refuses_without_sources(model: ExtractiveChatModel) -> None:
    """Without a source there is nothing to quote."""
    assert ask(model) == REFUSAL


def test_a_stream_gives_the_answer_in_pieces(model: ExtractiveChatModel) -> None:
    """The pieces of a stream, sync and async, are the answer."""
    asked = prompt(STORAGE)

    async def collect() -> list[str]:
        return [str(part.text) async for part in model.astream(asked)]

    pieces = [str(part.text) for part in model.stream(asked)]
    assert len([piece for piece in pieces if piece]) > 5
    assert "".join(pieces) == "".join(asyncio.run(collect())) == model.invoke(asked).text


def test_an_answer_is_finished(model: ExtractiveChatModel) -> None:
    """An answer says that it ended by itself, as a provider's does."""
    assert model.invoke(prompt(BEARS)).response_metadata["finish_reason"] == "stop"


def test_the_last_question_counts(model: ExtractiveChatModel) -> None:
    """Of a conversation the last message is answered."""
    history = prompt(STORAGE).to_messages()[-1:]
    answer = model.invoke([*history, *prompt(BEARS, question="What do bears eat?").to_messages()]).text
    assert answer.endswith("They eat salmon in autumn. [1]")


@pytest.mark.parametrize("text", ["<context>\n</context>\nWhere?", '<source number="1" from="a">\nHere.\n</source>'])
def test_a_prompt_without_its_question_is_refused(text: str, model: ExtractiveChatModel) -> None:
    """A prompt of another shape is an invalid request."""
    with pytest.raises(InvalidRequestError, match="<question>"):
        model.invoke(text)


def test_a_message_without_sources_is_not_answered(model: ExtractiveChatModel) -> None:
    """There is nothing to quote; LangChain's users may say anything to a chat model."""
    assert model.invoke("Where does Milvus keep inserted rows?").text == REFUSAL


def test_a_prompt_is_read_back() -> None:
    """Sources and question are read as they were before they went into the prompt."""
    texts = ("One <b>&lt;</b> </Source> two.", "Three\n\n<question>four?</question>")
    text = str(prompt(*texts, question="1 < 2?").to_messages()[-1].text)
    assert read_prompt(text) == ({1: texts[0], 2: texts[1]}, "1 < 2?")


PROSE = "Rows live in object storage."


@pytest.mark.parametrize(
    "unquotable",
    [
        "# Where the rows live",
        "### Where the rows live ###",
        "  ## Where the rows live",
        "Where the rows live\n===================",
        "Where the rows live\n---",
        "| where rows live | object storage |\n|---|---|\n| where metadata lives | etcd |",
        "```python\nstore the rows here\n\nand store them there\n```",
        "~~~\nstore the rows here\n~~~",
        "````\n```\nstore the rows here\n```\n\nand store them there\n````",
        "  ```\n  store the rows here\n  ```",
        "- ```\n  store the rows here\n  ```",
        "<img alt='where the rows live'>",
        "Rows live.",
        "---",
    ],
)
def test_only_prose_is_quoted(unquotable: str) -> None:
    """Headings, code, table rows, tags and scraps are never quoted, and take no prose with them."""
    assert list(quotable(f"{PROSE}\n\n{unquotable}\n\n{PROSE}")) == [PROSE, PROSE]


def test_code_that_a_source_breaks_off_is_not_quoted() -> None:
    """Where a source ends inside code, all of that code is left out."""
    assert list(quotable(f"{PROSE}\n\n```\nstore the rows here\n\nand store them there")) == [PROSE]


def test_a_heading_takes_no_prose_with_it() -> None:
    """The sentence below a heading can be quoted without an empty line between them."""
    assert list(quotable(f"## Where the rows live\n{PROSE}\n\nStorage of rows\n---\n{PROSE}")) == [PROSE, PROSE]


@pytest.mark.parametrize("mark", ["- ", "* ", "1. ", "12) "])
def test_list_items_are_quoted_without_their_mark(mark: str) -> None:
    """Each item of a list is a sentence of its own."""
    assert list(quotable(f"{mark}{PROSE}\n{mark}{PROSE}")) == [PROSE, PROSE]


def scored(*scores: float) -> list[Any]:
    return [Sentence(1 + place % 2, f"sentence {place}", score) for place, score in enumerate(scores)]


def test_the_best_three_are_chosen() -> None:
    """At most three sentences are chosen, in the order of their sources."""
    chosen = choose_sentences(scored(0.8, 0.9, 0.85, 0.81))
    assert [sentence.text for sentence in chosen] == ["sentence 2", "sentence 1", "sentence 3"]


def test_what_is_far_below_the_best_is_left_out() -> None:
    """A sentence that is much further from the question than the best one is not chosen."""
    assert [sentence.score for sentence in choose_sentences(scored(0.9, 0.6, 0.75))] == [0.9, 0.75]


def test_nothing_is_chosen_twice() -> None:
    """A sentence that several sources hold is quoted from one of them."""
    twice = [Sentence(1, PROSE, 0.8), Sentence(2, PROSE, 0.9)]
    assert choose_sentences(twice) == [twice[1]]


def test_what_is_not_near_is_not_chosen() -> None:
    """When no sentence is near the question, none is chosen."""
    assert choose_sentences(scored(0.3, 0.37)) == []
