"""``ChatFireworks`` over our own client: with a deadline, loud about broken streams, quiet when abandoned."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from langchain_fireworks import ChatFireworks
from pydantic import SecretStr

from rag_chain.errors import BadReplyError, CutReplyError, ModelNotFoundError, ProviderBusyError
from rag_chain.models.usage import count_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from rag_chain.models.fireworks.client import FireworksClient

PATH = "/chat/completions"

logger = logging.getLogger(__name__)


def build_chat(client: FireworksClient, models: Sequence[str], key: str, *, max_tokens: int) -> ChatFireworks:
    """Return the first chat model; the others answer in its place when it is not served or too busy.

    That is decided below LangChain: its own fallbacks would look at every token.
    """
    # Retries are the client's: langchain-fireworks waits 4 s whatever Retry-After says.
    return ChatFireworks(
        model=models[0],
        api_key=SecretStr(key),
        base_url=client.address,
        client=ChatCompletions(client, models),
        async_client=AsyncChatCompletions(client, models),
        max_retries=0,
        temperature=0.0,
        max_tokens=max_tokens,
    )


class ChatCompletions:
    """What ``ChatFireworks`` expects of its sync client: ``create``."""

    def __init__(self, client: FireworksClient, models: Sequence[str]) -> None:
        self._client = client
        self._models = models

    def create(self, *, stream: bool = False, **parameters: Any) -> dict[str, Any] | Iterator[dict[str, Any]]:
        """Return the completion, or an iterator of its chunks."""
        bodies = request_bodies(self._models, stream=stream, **parameters)
        if stream:
            return self._client.loop.iterate(whole_answer(stream_served(self._client, bodies)))
        return self._client.loop.wait(post_served(self._client, bodies))


class AsyncChatCompletions:
    """What ``ChatFireworks`` expects of its async client: ``create``."""

    def __init__(self, client: FireworksClient, models: Sequence[str]) -> None:
        self._client = client
        self._models = models

    async def create(
        self, *, stream: bool = False, **parameters: Any
    ) -> dict[str, Any] | AsyncIterator[dict[str, Any]]:
        """Return the completion, or an async iterator of its chunks; in any event loop."""
        bodies = request_bodies(self._models, stream=stream, **parameters)
        if stream:
            return self._client.loop.aiterate(whole_answer(stream_served(self._client, bodies)))
        return await self._client.loop.join(post_served(self._client, bodies))


async def post_served(client: FireworksClient, bodies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the completion of the first model that is served and not too busy."""
    for body, following in pairwise(bodies):
        try:
            return check_completion(await client.post(PATH, body))
        except (ModelNotFoundError, ProviderBusyError):
            _announce(body, following)
    return check_completion(await client.post(PATH, bodies[-1]))


async def stream_served(
    client: FireworksClient, bodies: Sequence[dict[str, Any]]
) -> AsyncIterator[list[dict[str, Any]]]:
    """Yield the events of the first model that is served and not too busy; once one has begun there is no other."""
    for body, following in pairwise(bodies):
        begun = False
        try:
            async for events in client.stream(PATH, body):
                begun = True
                yield events
        except (ModelNotFoundError, ProviderBusyError):
            if begun:
                raise
            _announce(body, following)
        else:
            return
    async for events in client.stream(PATH, bodies[-1]):
        yield events


def _announce(body: dict[str, Any], following: dict[str, Any]) -> None:
    """Say in the log when another model steps in, for a wrong one must not go unnoticed."""
    logger.warning("%s is not served or too busy; %s answers instead", body["model"], following["model"])


def request_bodies(models: Sequence[str], *, model: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return the JSON of the request to each model; one that was asked for by name is asked alone."""
    asked = models if model == models[0] else [model]
    # gpt-oss can't switch reasoning off, and reasoning counts as answer tokens.
    given = {name: value for name, value in parameters.items() if value is not None}
    own = [{"reasoning_effort": "low"} if "gpt-oss" in name else {} for name in asked]
    return [request_body(**{"model": name, **extra, **given}) for name, extra in zip(asked, own, strict=True)]


def request_body(
    *, stream: bool, extra_body: dict[str, Any] | None = None, extra_headers: object = None, **parameters: Any
) -> dict[str, Any]:
    """Return the JSON of a request; parameters that are not set are left out, since unknown ones are refused."""
    del extra_headers  # The client's own headers carry the key; LangChain's affinity headers are optional.
    given = {name: value for name, value in parameters.items() if value is not None}
    return given | {"stream": stream} | (extra_body or {})


def check_completion(reply: Any) -> dict[str, Any]:
    """Return a completion that has a finished choice with words in it; anything else raises."""
    try:
        choice = reply["choices"][0]
        reason, message = choice["finish_reason"], choice["message"]
        spoke = bool(message.get("content") or message.get("tool_calls"))
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise BadReplyError("the chat reply holds no answer") from error
    _check_end(reason, spoke)
    _count_usage(reply)
    completion: dict[str, Any] = reply
    return completion


async def whole_answer(batches: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[dict[str, Any]]:
    """Pass on the chunks of a stream and raise where it ends before the model had finished."""
    reason: str | None = None
    spoke = False
    async for batch in batches:
        for event in batch:
            for choice in event.get("choices") or ():
                reason = choice.get("finish_reason") or reason
                delta = choice.get("delta") or {}
                spoke = spoke or bool(delta.get("content") or delta.get("tool_calls"))
            _count_usage(event)
            yield event
    _check_end(reason, spoke)


def _count_usage(reply: dict[str, Any]) -> None:
    usage = reply.get("usage") or {}
    count_tokens("prompt", int(usage.get("prompt_tokens") or 0))
    count_tokens("completion", int(usage.get("completion_tokens") or 0))
    count_tokens("cached", int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0))


def _check_end(reason: str | None, spoke: bool) -> None:
    if reason is None:
        raise CutReplyError("the answer broke off before the model had finished: ask again")
    if reason == "length" and not spoke:
        raise CutReplyError("the model spent all its tokens on reasoning: raise RAG_MAX_ANSWER_TOKENS")
