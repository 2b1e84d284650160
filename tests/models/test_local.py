"""The embedding model on this machine: the same vector for the same text, from whichever folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_chain.errors import InvalidRequestError, SettingsError
from rag_chain.models.building import build_embeddings
from rag_chain.models.local import MINILM, LocalEmbeddings, find_minilm
from rag_chain.models.tokens import read_vocabulary
from rag_chain.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = [
    "Rows live in sealed segments on object storage.",
    "Bears.",
    "Metadata lives in etcd, and message queues keep what has not been sealed yet. " * 4,
    "Où sont les données ?",
    "",
    "tides 潮汐 🌊",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the user's own with the same model, which says that it reads 16 tokens."""
    place = tmp_path_factory.mktemp("model")
    shutil.copy(find_minilm(), place / "model.onnx")
    (place / "tokenizer.json").write_text(read_vocabulary(), "utf-8")
    (place / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16}), "utf-8")
    return place


def test_a_text_has_one_vector(local: LocalEmbeddings) -> None:
    """A text's vector is the same alone, among others, in another order, and as a question."""
    together = np.array(local.embed_documents(TEXTS))
    backwards = np.array(local.embed_documents(TEXTS[::-1]))[::-1]
    alone = np.array([local.embed_documents([text])[0] for text in TEXTS])
    asked = np.array([local.embed_query(text) for text in TEXTS])
    for others in (backwards, alone, asked):
        assert np.abs(together - others).max() < 1e-5


def test_vectors_have_unit_length(local: LocalEmbeddings) -> None:
    """Vectors have 384 dimensions and length 1."""
    vectors = np.array(local.embed_documents(TEXTS))
    assert vectors.shape == (len(TEXTS), 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_built_in_model_is_not_cut() -> None:
    """It was not trained for it; its own length is no cut."""
    with pytest.raises(SettingsError, match=r"RAG_EMBEDDING_DIMENSIONS: .*384"):
        build_embeddings(Settings(provider="local", embedding_dimensions=128))
    assert build_embeddings(Settings(provider="local", embedding_dimensions=384)).identity == {"model": MINILM}


def test_a_model_of_the_users_own_is_cut(folder: Path) -> None:
    """The front of each vector has length 1 again, and such a model is not interchangeable with the whole one."""
    whole, cut = LocalEmbeddings(str(folder)), LocalEmbeddings(str(folder), dimensions=128)
    front = np.array(whole.embed_documents(TEXTS))[:, :128]
    front /= np.linalg.norm(front, axis=1, keepdims=True)
    assert np.abs(np.array(cut.embed_documents(TEXTS)) - front).max() < 1e-5
    assert cut.identity == {**whole.identity, "dimensions": 128}
    with pytest.raises(SettingsError, match="gives 384, not 512"):
        LocalEmbeddings(str(folder), dimensions=512).embed_query("a")


def test_near_in_meaning_is_near(local: LocalEmbeddings) -> None:
    """A question is nearer to the text that answers it than to others, without a word in common."""
    nearness = np.array(local.embed_documents(TEXTS[:2])) @ local.embed_query("What do grizzlies look like?")
    assert nearness[1] > nearness[0] + 0.1


def test_long_texts_are_cut(local: LocalEmbeddings) -> None:
    """Of a text only the first 256 tokens count, and the two that mark its ends are among them."""
    most = "data " * 254
    vectors = np.array(local.embed_documents([most, f"{most} bears and tides", most.replace("data", "bears", 1)]))
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-5
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3


def test_nothing_gives_nothing(local: LocalEmbeddings) -> None:
    """No texts give no vectors."""
    assert local.embed_documents([]) == []


def test_batches_are_taken_one_by_one(local: LocalEmbeddings) -> None:
    """Of endless batches one is embedded at a time, and its array has a row for each text."""
    taken: list[int] = []

    def endless() -> Iterator[list[str]]:
        for number in count():
            taken.append(number)
            yield ["bears", "tides"]

    arrays = local.embed_batches(endless())
    assert [np.array(next(arrays).vectors).shape for _ in range(2)] == [(2, 384), (2, 384)]
    assert taken == [0, 1]


def test_usage_is_counted(local: LocalEmbeddings) -> None:
    """Texts and their tokens, with the two that mark each text's ends, are counted; there are no requests."""
    before = replace(local.usage)
    local.embed_documents(["bears and tides", "data"])
    assert local.usage.requests == 0
    assert (local.usage.texts - before.texts, local.usage.tokens - before.tokens) == (2, 3 + 2 + 1 + 2)


def test_a_text_that_is_no_unicode_is_refused(local: LocalEmbeddings) -> None:
    """A text with a lone surrogate is an invalid request; the others of its batch have their vectors."""
    with pytest.raises(InvalidRequestError, match="surrogates"):
        local.embed_query("a \ud800 b")
    with pytest.raises(InvalidRequestError, match="surrogates"):
        local.embed_documents(["a \ud800 b"])
    (embedded,) = local.embed_batches([["bears", "a \ud800 b"]])
    assert list(embedded.refused) == [1]
    assert embedded.vectors[0] is not None
    assert np.allclose(embedded.vectors[0], local.embed_query("bears"))


def test_a_folder_of_the_users_own_works(local: LocalEmbeddings, folder: Path) -> None:
    """A folder with a model and its tokenizer gives the vectors of that model, cut where it says."""
    own = LocalEmbeddings(str(folder))
    most = "data " * 14
    first, second, third = np.array(own.embed_documents([TEXTS[0], most, most + "bears"]))
    assert np.abs(first - local.embed_query(TEXTS[0])).max() < 1e-5
    assert np.abs(second - third).max() < 1e-5


def test_another_file_is_another_model(local: LocalEmbeddings, folder: Path, tmp_path: Path) -> None:
    """The identity of a folder is that of its model file, wherever the folder is."""
    for name, content in (("same", b"weights"), ("copy", b"weights"), ("other", b"other weights")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(content)
    same, copy, other = (LocalEmbeddings(str(tmp_path / name)).identity for name in ("same", "copy", "other"))
    assert same == copy
    assert same != other
    assert local.identity not in (same, other, LocalEmbeddings(str(folder)).identity)


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, tmp_path: Path, missing: str) -> None:
    """A folder that lacks a file is a setting to mend, and the file is named."""
    for name in {"model.onnx", "tokenizer.json"} - {missing}:
        shutil.copy(folder / name, tmp_path)
    with pytest.raises(SettingsError, match=rf"RAG_EMBEDDING_MODEL.*{missing}"):
        LocalEmbeddings(str(tmp_path)).embed_query("a")


def test_a_missing_folder_has_no_identity(tmp_path: Path) -> None:
    """A folder that is not there is a setting to mend as soon as its identity is wanted."""
    with pytest.raises(SettingsError, match="RAG_EMBEDDING_MODEL"):
        _ = LocalEmbeddings(str(tmp_path / "nowhere")).identity


def test_the_local_model_reports_to_nobody(tmp_path: Path) -> None:
    """What onnxruntime would collect, it writes below HOME first: nothing is there after an embedding."""
    code = "from rag_chain.models.local import LocalEmbeddings; LocalEmbeddings().embed_query('hello')"
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    own = {"HOME": str(home), "TMPDIR": str(scratch), "XDG_CACHE_HOME": str(home / ".cache")}
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **own}, cwd=tmp_path, check=True, timeout=60)
    assert [*home.rglob("*"), *scratch.rglob("*")] == []
