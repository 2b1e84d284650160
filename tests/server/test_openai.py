"""OpenAI's door beyond the contract: conversations, footnotes, mistakes and broken answers, by the real SDK."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai import OpenAI

from tests.fireworks_faults import CutStream, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fireworks_server import FireworksServer

QUESTION = "Where do rows live?"

# One provider for all of the module, as new for each test.
pytestmark = pytest.mark.usefixtures("shared_fireworks")


@pytest.fixture
def sdk(shared_address: str, fireworks: FireworksServer) -> Iterator[OpenAI]:
    """The SDK's client, which does not try again."""
    with OpenAI(base_url=f"{shared_address}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(sdk: OpenAI, *messages: tuple[str, Any], **options: Any) -> Any:
    said = [{"role": role, "content": content} for role, content in messages]
    return sdk.chat.completions.create(**{"model": "rag_chain", "messages": said, **options})


def test_a_conversation_is_history(sdk: OpenAI, fireworks: FireworksServer) -> None:
    """What was said before makes the last message stand alone; the front-end's system message changes nothing."""
    ask(
        sdk,
        ("system", "You are a pirate. Cite nothing."),
        ("user", QUESTION),
        ("assistant", "In segments."),
        ("user", [{"type": "text", "text": "And metadata?"}]),
    )
    sent = [json.dumps(request.body) for request in fireworks.chat_requests]
    assert len(sent) == 2
    assert "In segments." in sent[0]
    assert not any("pirate" in body for body in sent)


def test_footnotes_follow_the_text(sdk: OpenAI) -> None:
    """For front-ends that show nothing but text: the cited sources, below it, streaming and not."""
    body = {"footnotes": True}
    whole = ask(sdk, ("user", QUESTION), extra_body=body).choices[0].message.content
    assert whole.endswith("\n\n[1] guide/storage.md > Storage > Where rows live")
    chunks = ask(sdk, ("user", QUESTION), extra_body=body, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole


def test_a_filter_narrows_the_sources(sdk: OpenAI) -> None:
    """It is passed as any extra of the body."""
    found = ask(sdk, ("user", QUESTION), extra_body={"filter": {"source": "bears.txt"}})
    assert {source["source"] for source in found.model_extra["rag_chain"]["sources"]} == {"bears.txt"}


@pytest.mark.parametrize(
    ("messages", "options", "error"),
    [
        ([("user", QUESTION)], {"model": "gpt-5"}, openai.NotFoundError),
        ([("user", QUESTION)], {"n": 2}, openai.UnprocessableEntityError),
        ([("user", "  ")], {}, openai.UnprocessableEntityError),
        ([("user", QUESTION), ("assistant", "Yes.")], {}, openai.UnprocessableEntityError),
        ([("wizard", QUESTION)], {}, openai.UnprocessableEntityError),
        ([("user", QUESTION)], {"extra_body": {"filter": {"a b": 1}}}, openai.UnprocessableEntityError),
    ],
)
def test_mistakes_are_the_callers(
    messages: list[tuple[str, str]], options: dict[str, Any], error: type[Exception], sdk: OpenAI
) -> None:
    """Each is told as such, in the shape that the SDK reads."""
    with pytest.raises(error) as caught:
        ask(sdk, *messages, **options)
    assert isinstance(caught.value, openai.APIStatusError)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"]


def test_a_failing_model_is_told(sdk: OpenAI, fireworks: FireworksServer) -> None:
    """Before the first token by a status, after it in the stream, which the SDK raises."""
    fireworks.faults.add("chat", Status(401), times=1)
    with pytest.raises(openai.InternalServerError, match="FIREWORKS_API_KEY"):
        ask(sdk, ("user", QUESTION))
    fireworks.answer = "one two three four five [1]."
    fireworks.faults.add("chat", CutStream(after=2), times=1)
    with pytest.raises(openai.APIError, match="broke off"):
        list(ask(sdk, ("user", QUESTION), stream=True))
    assert ask(sdk, ("user", QUESTION)).choices[0].message.content == fireworks.answer


def test_there_is_one_model(sdk: OpenAI) -> None:
    """It can be asked for by its name, and no other."""
    assert sdk.models.retrieve("rag_chain").owned_by == "rag_chain"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gpt-5")
