"""What embedding costs, as far as that is known."""

from __future__ import annotations

import pytest

from rag_chain import Settings
from rag_chain.errors import SettingsError
from rag_chain.models.building import price_embedding

MILLION = 1_000_000


def test_the_price_list_knows_the_default_model(online: Settings) -> None:
    """nomic-embed-text is priced by its size."""
    assert price_embedding(online, MILLION) == 0.008


def test_an_unknown_model_has_no_price(online: Settings) -> None:
    """None is not nothing."""
    assert price_embedding(online.with_changes(embedding_model="somebody/unknown"), MILLION) is None


@pytest.mark.parametrize("model", ["nomic-ai/nomic-embed-text-v1.5", "somebody/unknown"])
def test_a_price_in_the_settings_beats_the_list(model: str, online: Settings) -> None:
    """So does a price of nothing."""
    for price in (0.5, 0.0):
        assert price_embedding(online.with_changes(embedding_model=model, embedding_price=price), MILLION) == price


def test_the_local_model_costs_nothing() -> None:
    """Whatever the price of the other one."""
    assert price_embedding(Settings(provider="local", embedding_price=0.5), MILLION) == 0.0


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_a_price_is_a_finite_number(price: float) -> None:
    """Others are named with the setting."""
    with pytest.raises(SettingsError, match="RAG_EMBEDDING_PRICE"):
        Settings(embedding_price=price)
