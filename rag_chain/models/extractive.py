"""The embedded answerer: a LangChain chat model that quotes the best sentences of the sources it is given.

It is no language model. It reads the same prompt as one, picks the sentences that are nearest to
the question, and answers with them word for word, each with the number of its source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict

from rag_chain.errors import InvalidRequestError
from rag_chain.markup import plain_words
from rag_chain.models.answerability import LIKELY, judge, weigh
from rag_chain.models.embedding import EmbeddingModel  # noqa: TC001  pydantic reads it
from rag_chain.models.local import LocalEmbeddings
from rag_chain.sentences import split_sentences
from rag_chain.words import content_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage

# What LangChain's traces call it.
EXTRACTIVE = "rag_chain-extractive"

REFUSAL = "I don't know: the documents do not answer this question."

# A sentence below this is about something else; one far below the best only dilutes it.
FLOOR = 0.4
NEAR_BEST = 0.8
MOST_SENTENCES = 3
# Shares of the sentence's cosine, its source's cosine and the question's words that it holds. On 100
# questions of SQuAD 2.0 the answer is among at most three sentences for 85, with the cosines alone for 83.
SENTENCE_WEIGHT, SOURCE_WEIGHT, WORDS_WEIGHT = 0.5, 0.2, 0.3

_SOURCE = re.compile(r'<source number="(\d+)"[^>]*>\n(.*?)\n</source>', re.DOTALL)
_QUESTION = re.compile(r"<question>\n?(.*?)\n?</question>", re.DOTALL)
_TAG = re.compile(r"<(?:context|source|question)\b")
_CONVERSATION = re.compile(r"<conversation>\n?(.*?)\n?</conversation>", re.DOTALL)
_SAID_BEFORE = re.compile(r"^user: (.+)$", re.MULTILINE)
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|this|that|these|those|he|she|him|her|his|one|ones|there|same|else|other|another)\b"
    r"|^\W*(?:and|or|but|why|how so|what about|how about)\b",
    re.IGNORECASE,
)
_DEFUSED = re.compile(r"&lt;(?=/?\s*(?:context|source|question|conversation)\b)", re.IGNORECASE)
_LIST_MARK = re.compile(r"^(?:[-*+]|\d+[.)])\s+")
_NOT_PROSE = re.compile(
    r"^[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?(`{3,}|~{3,}).*?(?:^[ \t]*\1[^\n]*$|\Z)"  # fenced code, whole or cut off
    r"|^[ \t]*#{1,6}[ \t][^\n]*$"  # a heading
    r"|^[^\n]+\n[ \t]*(?:=+|-{2,})[ \t]*$",  # a heading that is underlined
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Sentence:
    """A sentence of the source with this number, and how near it and its source are to the question."""

    source: int
    text: str
    score: float = 0.0
    of_source: float = 0.0


class ExtractiveChatModel(BaseChatModel):
    """Answers from the ``<source number="n">`` blocks and the ``<question>`` of the last message.

    The answer is at most three sentences, verbatim, each followed by ``[n]``; or ``REFUSAL``
    when none is near enough to the question. A message without any of our tags is a question without sources.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    embeddings: EmbeddingModel
    model: str = EXTRACTIVE

    @property
    def _llm_type(self) -> str:
        return "extractive"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = "".join(self._pieces(messages))
        message = AIMessage(answer, response_metadata={"finish_reason": "stop"})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for piece in self._pieces(messages):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk

    def _pieces(self, messages: list[BaseMessage]) -> Iterator[str]:
        """Yield the answer word by word."""
        text = str(messages[-1].text)
        if conversation := _CONVERSATION.search(text):
            yield complete_question(read_prompt(text)[1], conversation[1])
            return
        sources, question = read_prompt(text)
        chosen = self._choose(sources, question)
        answer = "\n\n".join(f"{sentence.text} [{sentence.source}]" for sentence in chosen) or REFUSAL
        yield from re.findall(r"\S+\s*", answer)

    def _choose(self, sources: dict[int, str], question: str) -> list[Sentence]:
        """Return the sentences to answer with; none when the best of them only looks like an answer.

        The evidence is weighed for the default model; of another the sentence's score is all there is.
        """
        scored = self._score(sources, question)
        if not (scored and isinstance(self.embeddings, LocalEmbeddings) and self.embeddings.folder is None):
            return choose_sentences(scored, FLOOR)
        best = max(scored, key=lambda sentence: sentence.score)
        nearest = max(sentence.of_source for sentence in scored)
        coverage = self.embeddings.cover(question, best.text)
        evidence = weigh(question, best.text, sources[best.source], nearest=nearest, coverage=coverage)
        return choose_sentences(scored, 0.0) if judge(evidence) >= LIKELY else []

    def _score(self, sources: dict[int, str], question: str) -> list[Sentence]:
        """Return every sentence of the sources with its nearness: its own, its source's and that of its words."""
        found = [Sentence(number, text) for number, source in sources.items() for text in quotable(source)]
        if not found:
            return []
        asked = np.array(self.embeddings.embed_query(question))
        vectors = np.array(self.embeddings.embed_documents([*sources.values(), *(s.text for s in found)]))
        nearness = (vectors @ asked).tolist()
        of_source = dict(zip(sources, nearness[: len(sources)], strict=True))
        words = content_words(question)
        return [
            replace(
                sentence,
                score=_score(own, of_source[sentence.source], words, content_words(sentence.text)),
                of_source=of_source[sentence.source],
            )
            for sentence, own in zip(found, nearness[len(sources) :], strict=True)
        ]


def _score(own: float, of_source: float, asked: set[str], held: set[str]) -> float:
    share = len(asked & held) / len(asked) if asked else 0.0
    return SENTENCE_WEIGHT * own + SOURCE_WEIGHT * of_source + WORDS_WEIGHT * share


def read_prompt(text: str) -> tuple[dict[int, str], str]:
    """Return the numbered sources and the question that a prompt holds."""
    questions = _QUESTION.findall(text)
    if not questions and not _TAG.search(text):
        return {}, text
    if not questions:
        raise InvalidRequestError("the local answerer needs a prompt with <context> and <question> blocks")
    return {int(number): _DEFUSED.sub("<", body) for number, body in _SOURCE.findall(text)}, _DEFUSED.sub(
        "<", questions[-1]
    )


def complete_question(question: str, conversation: str) -> str:
    """Return a follow-up with the question before it, if it points back or says too little to stand alone."""
    asked = _SAID_BEFORE.findall(conversation)
    alone = len(content_words(question)) > 1 and not _POINTS_BACK.search(question)
    return question if alone or not asked else f"{asked[-1]} {question}"


def quotable(source: str) -> Iterator[str]:
    """Yield the sentences of a source that can stand in an answer: no headings, code or table rows."""
    prose = _NOT_PROSE.sub("\n\n", source)
    for start, end in split_sentences(prose):
        sentence = plain_words(_LIST_MARK.sub("", prose[start:end].strip()))
        if not sentence.startswith(("#", "|", "<", "```")) and len(sentence.split()) > 2:
            yield sentence


def choose_sentences(scored: list[Sentence], floor: float = FLOOR) -> list[Sentence]:
    """Return the best sentences in reading order, none of them twice; empty when none reaches the floor."""
    best: list[Sentence] = []
    for sentence in sorted(scored, key=lambda s: -s.score):
        near = sentence.score >= max(floor, NEAR_BEST * best[0].score if best else floor)
        if near and len(best) < MOST_SENTENCES and sentence.text not in {other.text for other in best}:
            best.append(sentence)
    return sorted(best, key=lambda s: (s.source, scored.index(s)))
