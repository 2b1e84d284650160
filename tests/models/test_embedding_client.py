"""Embeddings over the wire: in batches, several at once, each vector with its own text, or an error."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rag_chain.errors import AuthenticationError, BadReplyError, InvalidRequestError, SettingsError
from rag_chain.models.embedding import Embedded, as_lists
from rag_chain.models.fireworks.cards import task_prefixes
from rag_chain.models.fireworks.embedding_client import AHEAD_TEXTS, READ_ATTEMPTS, FireworksEmbeddingClient
from tests.fireworks_client import EMBEDDING
from tests.fireworks_faults import (
    Delay,
    Fault,
    Garbage,
    NotFinite,
    Refuse,
    Reordered,
    Short,
    Status,
    TooMany,
    Unembeddable,
    Unshortened,
    WrongDimension,
)
from tests.fireworks_replies import embed, embedding_reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fireworks_server import FireworksServer
    from tests.models.conftest import Connect

TEXTS = ["apples and pears", "the moon and the tides", "object storage", "sealed segments", "a quorum of nodes"]


@pytest.fixture
def embeddings(connect: Connect) -> FireworksEmbeddingClient:
    """Two texts in a request, four requests at once."""
    return FireworksEmbeddingClient(connect(), EMBEDDING, batch_size=2, concurrency=4)


def expected(texts: list[str], dimensions: int = 768) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the unit-length vectors that the server has for these texts."""
    return np.array([vector / np.linalg.norm(vector) for vector in (embed(text, dimensions) for text in texts)])


def sent(fireworks: FireworksServer) -> list[list[str]]:
    return [request.body["input"] for request in fireworks.embedding_requests]


def reply(texts: list[str], *, as_base64: bool = False) -> Any:
    """Return the reply of an embedding server, to be changed and given as a fault."""
    rows = list(enumerate(embed(text, 768) for text in texts))
    return json.loads(embedding_reply(rows, EMBEDDING, 0, as_base64=as_base64).body)


def test_documents_and_questions_have_their_prefixes(
    fireworks: FireworksServer, embeddings: FireworksEmbeddingClient
) -> None:
    """Every document is sent behind its task prefix, and a question behind its own."""
    embeddings.embed_documents(TEXTS)
    embeddings.embed_query("where?")
    *documents, question = [text for batch in sent(fireworks) for text in batch]
    assert sorted(documents) == sorted(f"search_document: {text}" for text in TEXTS)
    assert question == "search_query: where?"


@pytest.mark.parametrize(
    ("model", "prefixes"),
    [
        ("intfloat/multilingual-e5-large", ("passage: ", "query: ")),
        ("BAAI/bge-base-en-v1.5", ("", "Represent this sentence for searching relevant passages: ")),
        ("thenlper/gte-large", ("", "")),
    ],
)
def test_the_model_decides_the_prefixes(
    fireworks: FireworksServer, connect: Connect, model: str, prefixes: tuple[str, str]
) -> None:
    """Each family of models gets the prefixes that its card asks for."""
    fireworks.models.add(model)
    embeddings = FireworksEmbeddingClient(connect(), model)
    embeddings.embed_documents(["text"])
    embeddings.embed_query("text")
    document, query = ([f"{prefix}text"] for prefix in prefixes)
    # The length of a model that is not known is believed when two replies agree.
    assert sent(fireworks) in ([document, query], [document, document, query])
    assert task_prefixes(model) == prefixes


def test_texts_go_in_batches(fireworks: FireworksServer, embeddings: FireworksEmbeddingClient) -> None:
    """No request holds more texts than a batch, and only the last holds fewer."""
    embeddings.embed_documents(TEXTS)
    assert sorted(map(len, sent(fireworks))) == [1, 2, 2]


def test_each_text_gets_its_vector(embeddings: FireworksEmbeddingClient) -> None:
    """Vectors come in the order of the texts."""
    assert np.allclose(embeddings.embed_documents(TEXTS), expected(TEXTS), atol=1e-6)


def test_a_reordered_reply_is_put_right(fireworks: FireworksServer, embeddings: FireworksEmbeddingClient) -> None:
    """The ``index`` of a vector decides whose it is, not its place in the reply."""
    fireworks.faults.always("embeddings", Reordered())
    assert np.allclose(embeddings.embed_documents(TEXTS), expected(TEXTS), atol=1e-6)


@pytest.mark.parametrize("as_base64", [False, True])
def test_both_encodings_are_read(
    fireworks: FireworksServer, embeddings: FireworksEmbeddingClient, *, as_base64: bool
) -> None:
    """Lists of numbers and base64 give the same vectors."""
    fireworks.faults.add("embeddings", Status(200, reply(TEXTS[:2], as_base64=as_base64)))
    assert np.allclose(embeddings.embed_documents(TEXTS[:2]), expected(TEXTS[:2]), atol=1e-6)


def test_vectors_have_unit_length(embeddings: FireworksEmbeddingClient) -> None:
    """Vectors of documents and questions have length 1, although the provider's have not."""
    vectors = [*embeddings.embed_documents(TEXTS), embeddings.embed_query("where?")]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


BAD = [Short(), WrongDimension(), NotFinite(), Garbage()]


@pytest.mark.parametrize("fault", BAD, ids=lambda fault: type(fault).__name__)
def test_a_bad_reply_is_asked_again(
    fireworks: FireworksServer, embeddings: FireworksEmbeddingClient, fault: Fault
) -> None:
    """A reply that does not hold the vectors asked for is asked for again."""
    embeddings.embed_query("how long are vectors?")
    fireworks.faults.add("embeddings", fault, times=2)
    assert np.allclose(embeddings.embed_documents(TEXTS[:2]), expected(TEXTS[:2]), atol=1e-6)
    assert len(fireworks.requests) == 1 + 3


@pytest.mark.parametrize("fault", BAD, ids=lambda fault: type(fault).__name__)
def test_bad_replies_end_in_an_error(
    fireworks: FireworksServer, embeddings: FireworksEmbeddingClient, fault: Fault
) -> None:
    """A provider that goes on giving bad replies is an error after six of them, and six for each text alone."""
    embeddings.embed_query("how long are vectors?")
    fireworks.faults.always("embeddings", fault)
    with pytest.raises(BadReplyError):
        embeddings.embed_documents(TEXTS[:2])
    assert len(fireworks.requests) == 1 + READ_ATTEMPTS + 2 * READ_ATTEMPTS


def test_a_length_that_was_asked_for_is_checked(fireworks: FireworksServer, connect: Connect) -> None:
    """Where dimensions were asked for, already the first reply must have them."""
    fireworks.faults.always("embeddings", WrongDimension())
    with pytest.raises(BadReplyError, match="3 dimensions, expected 4"):
        FireworksEmbeddingClient(connect(), EMBEDDING, dimensions=4).embed_query("a")


def _without_an_index(body: Any) -> Any:
    del body["data"][0]["index"]
    return body


def _with_one_index(body: Any) -> Any:
    return {"data": [{**item, "index": 0} for item in body["data"]]}


def _with(vector: object) -> Any:
    return lambda body: {"data": [{"index": 0, "embedding": vector}, *body["data"][1:]]}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_without_an_index, id="no index"),
        pytest.param(_with_one_index, id="one index for two"),
        pytest.param(_with([0.0] * 768), id="zeros"),
        pytest.param(_with([1.0] * 767), id="another length"),
        pytest.param(_with([]), id="empty"),
        pytest.param(_with("no base64"), id="no base64"),
        pytest.param(_with(None), id="null"),
        pytest.param(_with("AADAfw==" * 768), id="broken base64"),
        pytest.param(lambda body: body["data"], id="a list"),
        pytest.param(lambda _: {"data": []}, id="nothing"),
        pytest.param(lambda _: {}, id="an empty object"),
    ],
)
def test_a_malformed_reply_is_an_error(
    fireworks: FireworksServer, embeddings: FireworksEmbeddingClient, spoil: Any
) -> None:
    """A reply without one sound vector for each text is never used."""
    fireworks.faults.always("embeddings", Status(200, spoil(reply(TEXTS[:2]))))
    with pytest.raises(BadReplyError):
        embeddings.embed_documents(TEXTS[:2])


def test_too_large_batches_are_halved(fireworks: FireworksServer, connect: Connect) -> None:
    """A batch that the provider refuses is sent in halves, and each text still gets its vector."""
    fireworks.faults.always("embeddings", TooMany(2))
    embeddings = FireworksEmbeddingClient(connect(), EMBEDDING, batch_size=8)
    assert np.allclose(embeddings.embed_documents(TEXTS), expected(TEXTS), atol=1e-6)
    assert sorted(map(len, sent(fireworks))) == [1, 2, 2, 3, 5]


def test_a_too_large_payload_is_halved(fireworks: FireworksServer, connect: Connect) -> None:
    """A payload that is too large (413) is sent in halves."""
    fireworks.faults.add("embeddings", Status(413))
    embeddings = FireworksEmbeddingClient(connect(), EMBEDDING, batch_size=8)
    assert np.allclose(embeddings.embed_documents(TEXTS), expected(TEXTS), atol=1e-6)
    assert sorted(map(len, sent(fireworks))) == [2, 3, 5]


def test_a_refused_text_is_an_error(fireworks: FireworksServer, connect: Connect) -> None:
    """A text that the provider refuses on its own is an invalid request, and is not told in its message."""
    fireworks.faults.always("embeddings", Refuse("quorum"))
    with pytest.raises(InvalidRequestError) as caught:
        FireworksEmbeddingClient(connect(), EMBEDDING, batch_size=8).embed_documents(TEXTS)
    assert "quorum" not in str(caught.value)


def test_refusals_do_not_multiply(fireworks: FireworksServer, connect: Connect) -> None:
    """A provider that refuses everything is asked for 17 texts alone, and not at all after the error."""
    fireworks.faults.always("embeddings", Status(400))
    with pytest.raises(InvalidRequestError):
        FireworksEmbeddingClient(connect(), EMBEDDING).embed_documents([f"text {n}" for n in range(64)])
    fireworks.settle()
    assert Counter(map(len, sent(fireworks))) == {64: 1, 32: 1, 16: 2, 8: 3, 4: 5, 2: 9, 1: 17}


def test_a_text_at_fault_is_narrowed_down(fireworks: FireworksServer, connect: Connect) -> None:
    """Of a batch in which one text is refused, or gets a bad reply each time, all others have their vectors."""
    for fault in (Refuse("quorum"), Refuse("quorum", status=413), Unembeddable("quorum"), Refuse("quorum", status=500)):
        fireworks.faults.clear()
        fireworks.faults.always("embeddings", fault)
        client = connect(attempts=2)
        (embedded,) = FireworksEmbeddingClient(client, EMBEDDING, batch_size=8).embed_batches([TEXTS])
        assert list(embedded.refused) == [4]
        assert np.allclose(as_lists(Embedded(embedded.vectors[:4])), expected(TEXTS[:4]), atol=1e-6)
        assert embedded.vectors[4] is None
        assert "quorum" not in str(embedded.refused[4])


def test_many_texts_at_fault_are_refused_each(fireworks: FireworksServer, connect: Connect) -> None:
    """Where others went through, any number of refused texts is the texts' fault."""
    fireworks.faults.always("embeddings", Refuse("garbage"))
    embeddings = FireworksEmbeddingClient(connect(), EMBEDDING, batch_size=64, concurrency=1)
    batches = [TEXTS, [f"garbage {number}" for number in range(40)]]
    good, bad = embeddings.embed_batches(batches)
    assert (len(good.refused), len(bad.refused)) == (0, 40)


def test_a_first_reply_of_a_wrong_length_is_not_believed(fireworks: FireworksServer, connect: Connect) -> None:
    """A known model's length is known; of any other, two replies must agree."""
    fireworks.models.add("own-model")
    for model, requests in ((EMBEDDING, 2), ("own-model", 3)):
        fireworks.requests.clear()
        fireworks.faults.add("embeddings", WrongDimension())
        vectors = FireworksEmbeddingClient(connect(), model, batch_size=8).embed_documents(TEXTS)
        assert np.array(vectors).shape == (5, 768)
        assert len(fireworks.requests) == requests


def test_a_known_model_may_have_another_length(fireworks: FireworksServer, connect: Connect) -> None:
    """A server that shortens its vectors is believed when it does so twice."""
    fireworks.dimensions = 64
    vectors = FireworksEmbeddingClient(connect(), EMBEDDING, batch_size=8).embed_documents(TEXTS)
    assert np.array(vectors).shape == (5, 64)


def test_an_empty_batch_is_refused(fireworks: FireworksServer, embeddings: FireworksEmbeddingClient) -> None:
    """A batch without texts is an invalid request, and is not halved."""
    with pytest.raises(InvalidRequestError):
        list(embeddings.embed_batches([[]]))
    assert len(fireworks.requests) == 1


def test_nothing_asks_for_nothing(fireworks: FireworksServer, embeddings: FireworksEmbeddingClient) -> None:
    """No texts give no vectors, without a request."""
    assert embeddings.embed_documents([]) == []
    assert asyncio.run(embeddings.aembed_documents([])) == []
    assert fireworks.requests == []


def test_dimensions_are_sent(fireworks: FireworksServer, connect: Connect) -> None:
    """Dimensions that were asked for are in the request, and the vectors have them."""
    embeddings = FireworksEmbeddingClient(connect(), EMBEDDING, dimensions=256)
    assert np.allclose(embeddings.embed_documents(TEXTS), expected(TEXTS, 256), atol=1e-6)
    assert fireworks.requests[0].body["dimensions"] == 256


def test_a_server_that_ignores_dimensions_is_made_up_for(fireworks: FireworksServer, connect: Connect) -> None:
    """The front of each vector, scaled to length 1: what a server gives that heeds them, for as many requests."""
    fireworks.faults.always("embeddings", Unshortened())
    embeddings = FireworksEmbeddingClient(connect(), EMBEDDING, dimensions=256)
    assert np.allclose(embeddings.embed_documents(TEXTS), expected(TEXTS, 256), atol=1e-6)
    assert np.allclose(embeddings.embed_query("a"), expected(["search_query: a"], 256)[0], atol=1e-6)
    assert len(fireworks.requests) == 2


def test_a_model_that_is_not_trained_for_it_is_not_cut(fireworks: FireworksServer, connect: Connect) -> None:
    """Not when the server ignores dimensions either; two replies show that it does, and no text is to blame."""
    fireworks.models.add("unknown-model")
    fireworks.faults.always("embeddings", Unshortened(512))
    embeddings = FireworksEmbeddingClient(connect(), "unknown-model", dimensions=256)
    with pytest.raises(InvalidRequestError, match=r"length 512 where 256 .*RAG_EMBEDDING_DIMENSIONS"):
        embeddings.embed_documents(TEXTS)
    assert len(fireworks.requests) == 2


@pytest.mark.parametrize(
    ("model", "dimensions", "message"),
    [
        ("BAAI/bge-base-en-v1.5", 256, "not trained for vectors shorter than 768"),
        ("nomic-ai/nomic-embed-text-v1", 256, "not trained"),
        ("nomic-ai/nomic-embed-text-v1.5", 1024, "gives 768, not 1024"),
    ],
)
def test_lengths_that_a_model_does_not_have_are_refused(
    connect: Connect, model: str, dimensions: int, message: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(SettingsError, match=f"RAG_EMBEDDING_DIMENSIONS: .*{message}"):
        FireworksEmbeddingClient(connect(), model, dimensions=dimensions)


def test_a_models_own_length_can_be_asked_for(connect: Connect) -> None:
    """Of one that can't be cut, too."""
    assert FireworksEmbeddingClient(connect(), "BAAI/bge-base-en-v1.5", dimensions=768).dimensions == 768


def test_only_documented_fields_are_sent(fireworks: FireworksServer, embeddings: FireworksEmbeddingClient) -> None:
    """Without dimensions a request has two fields: the API refuses fields that it does not know."""
    embeddings.embed_query("a")
    assert set(fireworks.requests[0].body) == {"model", "input"}


def test_requests_overlap(fireworks: FireworksServer, embeddings: FireworksEmbeddingClient) -> None:
    """Several requests are in flight, and never more than the concurrency."""
    fireworks.latency = 0.05
    embeddings.embed_documents(TEXTS * 4)
    asyncio.run(embeddings.aembed_documents(TEXTS * 4))
    assert 1 < fireworks.most_at_once <= 4


def test_busy_replies_slow_the_pace(fireworks: FireworksServer, connect: Connect) -> None:
    """A storm of 429s is outlived with fewer requests in flight, and every vector arrives."""
    fireworks.latency = 0.2
    embeddings = FireworksEmbeddingClient(connect(attempts=20), EMBEDDING, batch_size=1, concurrency=8)
    texts = [f"text {n}" for n in range(8)]
    embeddings.embed_documents(texts)
    before, fireworks.latency = fireworks.most_at_once, 0.03
    fireworks.faults.add("embeddings", Status(429, headers={"Retry-After": "0"}), times=20)
    assert np.allclose(embeddings.embed_documents(texts), expected(texts), atol=1e-6)
    fireworks.most_at_once = 0
    embeddings.embed_documents(texts)
    assert (before, fireworks.faults.left("embeddings")) == (8, 0)
    assert fireworks.most_at_once < 8


def test_retry_after_is_honoured(fireworks: FireworksServer, embeddings: FireworksEmbeddingClient) -> None:
    """After a 429 the text is not sent again before the provider wants it."""
    fireworks.faults.add("embeddings", Status(429, headers={"Retry-After": "0.6"}))
    embeddings.embed_query("a")
    first, second = fireworks.requests
    assert second.started - first.finished >= 0.6


def test_waiting_for_a_turn_is_not_slowness(fireworks: FireworksServer, connect: Connect) -> None:
    """Texts that wait for others of the same call do not run into the deadline of a request."""
    fireworks.latency = 0.1
    embeddings = FireworksEmbeddingClient(connect(timeout=0.5), EMBEDDING, batch_size=1, concurrency=1)
    texts = [f"text {n}" for n in range(8)]
    assert len(asyncio.run(embeddings.aembed_documents(texts))) == 8


def test_async_gives_the_same(embeddings: FireworksEmbeddingClient) -> None:
    """The async methods give the vectors that the sync ones give."""
    assert asyncio.run(embeddings.aembed_documents(TEXTS)) == embeddings.embed_documents(TEXTS)
    assert asyncio.run(embeddings.aembed_query("where?")) == embeddings.embed_query("where?")


def test_threads_and_loops_share_one_object(fireworks: FireworksServer, embeddings: FireworksEmbeddingClient) -> None:
    """One object serves several threads, each with an event loop of its own."""
    wanted = embeddings.embed_query("where?")
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda _: asyncio.run(embeddings.aembed_query("where?")), range(8))
        assert list(found) == [wanted] * 8
    assert fireworks.connections <= 4


def test_one_failure_ends_the_call(fireworks: FireworksServer, connect: Connect) -> None:
    """When a batch fails, those that wait behind it are not sent any more."""
    fireworks.faults.always("embeddings", Delay(0.02))
    fireworks.faults.always("embeddings", Status(401))
    embeddings = FireworksEmbeddingClient(connect(), EMBEDDING, batch_size=1, concurrency=1)

    async def fail_and_stay() -> None:
        with pytest.raises(AuthenticationError):
            await embeddings.aembed_documents(TEXTS * 4)
        await asyncio.sleep(0.2)

    asyncio.run(fail_and_stay())
    assert len(fireworks.requests) <= 2
    with pytest.raises(AuthenticationError):
        embeddings.embed_documents(TEXTS * 4)
    fireworks.settle()
    assert len(fireworks.requests) <= 4


def test_a_cancelled_call_stops_asking(fireworks: FireworksServer, connect: Connect) -> None:
    """When the caller's task is cancelled, the rest is not sent."""
    fireworks.latency = 0.05
    embeddings = FireworksEmbeddingClient(connect(), EMBEDDING, batch_size=1, concurrency=1)

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(embeddings.aembed_documents(TEXTS * 8), 0.1)

    asyncio.run(give_up())
    fireworks.settle()
    embeddings.embed_query("a")
    assert len(fireworks.requests) < 20


def test_batches_are_taken_as_needed(embeddings: FireworksEmbeddingClient) -> None:
    """Of endless batches no more is taken than may be ahead before the first vectors are given."""
    taken = 0

    def endless() -> Iterator[list[str]]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield [f"text {number}"]

    vectors = embeddings.embed_batches(endless())
    first = next(vectors)
    assert np.allclose(as_lists(first), expected(["text 0"]), atol=1e-6)
    assert taken <= AHEAD_TEXTS // embeddings.batch_size
    assert np.allclose(as_lists(next(vectors)), expected(["text 1"]), atol=1e-6)


def test_closed_batches_stop_asking(fireworks: FireworksServer, connect: Connect) -> None:
    """When the iterator is closed, the batches taken ahead are not sent any more."""
    # A machine that is busy closes late.
    fireworks.latency = 0.3
    embeddings = FireworksEmbeddingClient(connect(), EMBEDDING, concurrency=1)
    closed = threading.Event()

    def batches() -> Iterator[list[str]]:
        try:
            yield from ([text] for text in TEXTS)
        finally:
            closed.set()

    vectors: Any = embeddings.embed_batches(batches())
    next(vectors)
    vectors.close()
    fireworks.settle()
    assert len(fireworks.requests) <= 2
    assert closed.is_set()


def test_usage_is_counted(fireworks: FireworksServer, embeddings: FireworksEmbeddingClient) -> None:
    """Requests, texts and the tokens that the provider bills are counted; prefixes are billed too."""
    embeddings.embed_documents(TEXTS)
    embeddings.embed_query("where?")
    words = sum(len(text.split()) + 1 for text in [*TEXTS, "where?"])
    assert (embeddings.usage.requests, embeddings.usage.texts, embeddings.usage.tokens) == (4, 6, words)
    assert len(fireworks.requests) == 4


def test_identity_holds_what_vectors_depend_on(connect: Connect) -> None:
    """Models that give other vectors have other identities; batches and concurrency do not matter."""
    client = connect()
    same = [FireworksEmbeddingClient(client, EMBEDDING, batch_size=size).identity for size in (1, 8)]
    shorter = FireworksEmbeddingClient(client, EMBEDDING, dimensions=256).identity
    other = FireworksEmbeddingClient(client, "thenlper/gte-large").identity
    assert same[0] == same[1]
    assert same[0] not in (shorter, other)
    assert shorter != other
