"""API keys: made, shown and taken back by the command; only digests stay."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from rag_chain.cli import DONE, FAILED, WRONG_USAGE, main
from rag_chain.errors import SettingsError
from rag_chain.keys import KeyFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "some" / "keys.json")


def test_a_key_is_shown_once(file: KeyFile, capsys: pytest.CaptureFixture[str]) -> None:
    """Add prints the key; the file and list know its digest, name, tenant and roles, and never the key."""
    options = ["--file", str(file.path)]
    assert main(["keys", "add", "alice", "--tenant", "acme", "--role", "ask", "--role", "admin", *options]) == DONE
    secret = capsys.readouterr().out.strip()
    found = file.find(secret)
    assert found is not None
    assert (found.name, found.tenant, found.roles) == ("alice", "acme", ("ask", "admin"))
    assert main(["keys", "list", "--json", *options]) == DONE
    shown = capsys.readouterr().out
    assert json.loads(shown) == [
        {"id": found.id, "name": "alice", "tenant": "acme", "roles": ["ask", "admin"], "created": found.created}
    ]
    stored = file.path.read_text("utf-8")
    for part in (secret, secret.rpartition("_")[2][:20]):
        assert part not in stored + shown
    if sys.platform != "win32":
        assert file.path.stat().st_mode & 0o077 == 0


def test_a_key_is_taken_back_by_name_or_id(file: KeyFile, capsys: pytest.CaptureFixture[str]) -> None:
    """Revoke says whose it was; one that is not there is an error."""
    kept, gone = (file.add(name, "default", ["ask"]) for name in ("kept", "gone"))
    options = ["--file", str(file.path)]
    assert main(["keys", "revoke", gone[0].id, *options]) == DONE
    assert "gone" in capsys.readouterr().out
    assert file.find(gone[1]) is None
    assert file.find(kept[1]) == kept[0]
    assert main(["keys", "revoke", "gone", *options]) == FAILED
    assert "no key has the name or id 'gone'" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["add"], ["revoke"], ["list", "name"]])
def test_a_missing_name_is_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line says what is missing."""
    assert main(["keys", *arguments]) == WRONG_USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_keys_made_at_once_are_all_there(file: KeyFile) -> None:
    """Several administrators do not write over each other's."""
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: KeyFile(file.path).add(f"key {n}", "default", ["ask"]), range(16)))
    assert {key.id for key, _ in made} == set(file.read())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": [{}]}', '{"keys": 5}', '{"keys": [{"id": "x"}]}'])
def test_a_file_of_something_else_is_an_error(text: str, file: KeyFile) -> None:
    """It is not taken for a file without keys."""
    file.path.parent.mkdir()
    file.path.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match="can't be read"):
        file.read()
