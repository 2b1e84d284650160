"""Settings: where they come from, and what is said when they make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag_chain import Settings
from rag_chain.errors import SettingsError
from rag_chain.settings import environment_name


def test_a_keyword_beats_the_environment_beats_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keyword, environment, .env, default: the first that is there holds."""
    Path(".env").write_text("RAG_TOP_K=7\nRAG_COLLECTION=from_file\nSOMEBODY_ELSES=1\n", "utf-8")
    monkeypatch.setenv("RAG_COLLECTION", "from_environment")
    assert Settings().top_k == 7
    assert Settings().collection == "from_environment"
    assert Settings(collection="from_keyword").collection == "from_keyword"
    assert Settings().chunk_overlap == 40


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_has_an_environment_name_and_a_help_line(name: str) -> None:
    """Each setting is documented and has the vendor's name or the RAG_ prefix."""
    assert Settings.model_fields[name].description
    assert environment_name(name).startswith(("RAG_", "FIREWORKS_", "MILVUS_"))


def test_a_foreign_variable_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """PROVIDER or TOP_K without the prefix belong to somebody else."""
    monkeypatch.setenv("PROVIDER", "nonsense")
    monkeypatch.setenv("TOP_K", "99")
    assert (Settings().provider, Settings().top_k) == ("auto", 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"topk": 3}, "no setting is named 'topk'"),
        ({"top_k": 0}, "RAG_TOP_K: "),
        ({"milvus_uri": "here"}, r"MILVUS_URI: must be a path that ends in \.db"),
        ({"collection": "a b"}, "RAG_COLLECTION: "),
        ({"provider": "openai"}, "RAG_PROVIDER: "),
    ],
)
def test_nonsense_is_named_in_one_line(values: dict[str, object], message: str) -> None:
    """The message begins with the name that the user has to mend."""
    with pytest.raises(SettingsError, match=message) as caught:
        Settings(**values)
    assert "\n" not in str(caught.value)


def test_secrets_are_not_shown() -> None:
    """Neither the text of the settings nor an error repeats a key."""
    secrets = {"fireworks_api_key": "fw_one", "milvus_token": "root:two", "bulk_access_key": "three"}
    settings = Settings(**secrets, bulk_secret_key="four")
    shown = f"{settings!r}{settings!s}"
    assert not [secret for secret in (*secrets.values(), "four") if secret in shown]


def test_auto_means_fireworks_with_a_key_and_local_without() -> None:
    """An empty key is no key."""
    assert Settings().resolved_provider == "local"
    assert Settings(fireworks_api_key=" ").resolved_provider == "local"
    assert Settings(fireworks_api_key="fw_x").resolved_provider == "fireworks"


def test_fireworks_without_a_key_names_both_mends() -> None:
    """The message names the key's variable and the way to do without."""
    with pytest.raises(SettingsError, match=r"FIREWORKS_API_KEY.*RAG_PROVIDER=local"):
        _ = Settings(provider="fireworks").resolved_provider


@pytest.mark.parametrize(
    "base", ["http://h/inference", "http://h/inference/", "http://h/inference/v1", "http://h/inference/v1/"]
)
def test_the_base_is_one_whatever_its_ending(base: str) -> None:
    """With or without /v1, it is the same address."""
    assert Settings(fireworks_api_base=base).fireworks_api_base == "http://h/inference"


def test_settings_are_frozen_and_can_be_varied() -> None:
    """A change makes new, checked settings."""
    settings = Settings(fireworks_api_key="fw_x")
    assert settings.with_changes(top_k=9).top_k == 9
    assert settings.with_changes(top_k=9).fireworks_api_key == settings.fireworks_api_key
    with pytest.raises(SettingsError):
        settings.with_changes(top_k=-1)
