"""Reading a stream: any cut of its bytes gives the same events, and joining them loses no text."""

from __future__ import annotations

import json
from typing import Any

import anyio
from hypothesis import given
from hypothesis import strategies as st

from rag_chain.models.fireworks.events import EventReader, ReadingPace, join_texts

TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=6), max_size=12)


def chunk(text: str, **more: Any) -> bytes:
    delta = {"id": "1", "choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": None}]}
    return json.dumps(delta, separators=(",", ":"), ensure_ascii=len(text) % 2 == 0).encode()


@given(
    TEXTS,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(1, 9), max_size=300) | st.lists(st.integers(50, 400), max_size=9),
    st.lists(st.sampled_from([[], ["event: x"], [": a comment", ""]]), max_size=12),
)
def test_any_cut_gives_the_same_events(texts: list[str], end: str, cuts: list[int], more: list[list[str]]) -> None:
    """Wherever the network cuts the bytes, whatever ends the lines, and with lines of other kinds or without."""
    others = [*more, *([[]] * len(texts))]
    lines = [line for text, before in zip(texts, others, strict=False) for line in event_lines(text, before)]
    lines += ["data:[DONE]", "", ""]
    stream = end.join(lines).encode()
    reader, read, place = EventReader(), list[bytes](), 0
    for cut in [*cuts, len(stream)]:
        read += reader.feed(stream[place : place + cut])
        place += cut
    # What came together is joined, so there may be fewer; but the same texts come, in events that are otherwise alike.
    found = [json.loads(event) for event in read]
    assert "".join(event["choices"][0]["delta"].pop("content") for event in found) == "".join(texts)
    bare = json.loads(chunk(""))
    assert bare["choices"][0]["delta"].pop("content") == ""
    assert all(event == bare for event in found)
    # A lone carriage return at the end may have been half of a line's end.
    assert reader.done or end == "\r"


def event_lines(text: str, before: list[str]) -> list[str]:
    return [*before, f"data: {chunk(text).decode()}", ""]


@given(st.lists(st.tuples(st.text(max_size=5), st.sampled_from([{}, {"role": "assistant"}, {"tool_calls": []}]))))
def test_joining_loses_no_text(parts: list[tuple[str, dict[str, Any]]]) -> None:
    """The texts together are the same, in the same order, and nothing but a text is joined."""
    events = [chunk(text, **more) for text, more in parts if text.isprintable()]
    joined = [json.loads(event)["choices"][0]["delta"] for event in join_texts(events)]
    alone = [json.loads(event)["choices"][0]["delta"] for event in events]
    assert "".join(delta["content"] for delta in joined) == "".join(delta["content"] for delta in alone)
    others = [[delta for delta in deltas if set(delta) != {"content"}] for deltas in (joined, alone)]
    assert len(joined) <= len(alone)
    assert {json.dumps(sorted(delta)) for delta in others[0]} == {json.dumps(sorted(delta)) for delta in others[1]}


def test_tokens_become_one() -> None:
    """Events that differ in their text alone are one; the first with its role and the last with its reason stay."""
    last = b'{"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    joined = join_texts([chunk("", role="assistant"), chunk("a "), chunk("b "), chunk("c"), last])
    assert [json.loads(event)["choices"][0]["delta"].get("content") for event in joined] == ["", "a b c", None]


def test_what_came_together_is_one_event() -> None:
    """Tokens that the network brings together are one event, quotes and line ends in them or not; [DONE] ends it."""
    texts = ["a ", 'say "b"\n', "c\\"]
    events = b"".join(b"data: " + chunk(text) + b"\n\n" for text in texts)
    reader = EventReader()
    [one] = reader.feed(events + b"data: [DO")
    assert json.loads(one)["choices"][0]["delta"] == {"content": "".join(texts)}
    assert (reader.feed(b"NE]\n\n"), reader.done) == ([], True)


def test_an_event_that_brings_more_stays_alone() -> None:
    """A second field beside the text is not taken for a part of it; nor is an event's number."""
    tool = chunk("b", tool_calls=[])
    events = [chunk("a"), tool, chunk("c")]
    read = EventReader().feed(b"".join(b"data: " + event + b"\n\n" for event in events))
    assert [json.loads(event)["choices"][0]["delta"] for event in read] == [
        {"content": "a"},
        {"content": "b", "tool_calls": []},
        {"content": "c"},
    ]
    numbered = b"".join(b"data: %b\nid: 1\n\n" % chunk(text) for text in ("a", "b"))
    assert [json.loads(event)["choices"][0]["delta"] for event in EventReader().feed(numbered)] == [{"content": "ab"}]


def test_the_more_streams_the_longer_each_rests() -> None:
    """One stream is looked at as it comes; a hundred share the looks, one after the other."""

    async def rest(streams: int) -> list[float]:
        pace, ended = ReadingPace(), list[float]()

        async def read() -> None:
            for _ in range(3):
                await pace.rest()
                ended.append(anyio.current_time())

        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for _ in range(streams):
                group.start_soon(read)
        return [end - began for end in ended]

    alone, many = anyio.run(rest, 1), anyio.run(rest, 100)
    assert max(many) > 10 * max(alone)
    # In order, and not all at once after one rest.
    assert many == sorted(many)
    assert many[199] - many[100] > 0.2
