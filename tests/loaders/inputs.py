"""Five things that people load from, each written from the same mapping of names to texts."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import zipfile
from abc import ABC, abstractmethod
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from langchain_core.document_loaders import BaseLoader

COMMUNITY = "langchain_community.document_loaders"


@dataclass(frozen=True)
class Input(ABC):
    """Something to load from, at a path."""

    path: Path
    source_key: ClassVar[str | None] = None

    @abstractmethod
    def write(self, texts: Mapping[str, str]) -> None:
        """Let it hold these texts and nothing else; those that were there before stay as they are."""

    @abstractmethod
    def loader(self) -> BaseLoader:
        """Return the loader of it, as a program makes it."""

    @property
    @abstractmethod
    def options(self) -> list[str]:
        """What the command line says to make the same."""


class Vault(Input):
    """An Obsidian vault: notes with front matter, tags and links, two of one name in different folders."""

    def write(self, texts: Mapping[str, str]) -> None:
        wanted = {self._place(number, name): text for number, (name, text) in enumerate(texts.items())}
        (self.path / ".obsidian").mkdir(parents=True, exist_ok=True)
        for note in set(self.path.rglob("*.md")) - wanted.keys():
            note.unlink()
        for note, text in wanted.items():
            note.parent.mkdir(exist_ok=True)
            _write(note, f"---\ntags: [animals, nature]\nreviewed: 2026-01-02\n---\n{text}\n\nSee [[index]] #notes\n")

    def loader(self) -> BaseLoader:
        from langchain_community.document_loaders import ObsidianLoader

        return ObsidianLoader(self.path)

    @property
    def options(self) -> list[str]:
        return [f"--loader={COMMUNITY}:ObsidianLoader", f"--loader-option=path={self.path}"]

    def _place(self, number: int, name: str) -> Path:
        return self.path / f"folder {number}" / "index.md" if number < 2 else self.path / f"{name}.md"


class NotionExport(Input):
    """A Notion export: Markdown files whose names end with the page's id."""

    def write(self, texts: Mapping[str, str]) -> None:
        wanted = {self.path / f"{name} 0a1b2c3d4e5f.md": text for name, text in texts.items()}
        self.path.mkdir(exist_ok=True)
        for page in set(self.path.rglob("*.md")) - wanted.keys():
            page.unlink()
        for page, text in wanted.items():
            _write(page, f"# {page.stem.rpartition(' ')[0].title()}\n\nStatus: Done\n\n{text}\n")

    def loader(self) -> BaseLoader:
        from langchain_community.document_loaders import NotionDirectoryLoader

        return NotionDirectoryLoader(self.path)

    @property
    def options(self) -> list[str]:
        return [f"--loader={COMMUNITY}:NotionDirectoryLoader", f"--loader-option=path={self.path}"]


class SlackExport(Input):
    """A Slack export: a zip with a folder of days for each channel."""

    def write(self, texts: Mapping[str, str]) -> None:
        messages = [
            {"type": "message", "user": "U1", "text": text, "ts": f"{crc32(name.encode())}.000100"}
            for name, text in texts.items()
        ]
        with zipfile.ZipFile(self.path, "w") as export:
            export.writestr("channels.json", json.dumps([{"id": "C1", "name": "general"}]))
            export.writestr("users.json", json.dumps([{"id": "U1", "name": "ada"}]))
            export.writestr("general/2026-01-01.json", json.dumps(messages[::2]))
            export.writestr("general/2026-01-02.json", json.dumps(messages[1::2]))

    def loader(self) -> BaseLoader:
        from langchain_community.document_loaders import SlackDirectoryLoader

        return SlackDirectoryLoader(self.path)

    @property
    def options(self) -> list[str]:
        return [f"--loader={COMMUNITY}:SlackDirectoryLoader", f"--loader-option=zip_path={self.path}"]


class Database(Input):
    """A SQL database: a row for each text, by a number that is its key."""

    source_key = "id"

    def write(self, texts: Mapping[str, str]) -> None:
        rows = [(crc32(name.encode()), name, text) for name, text in texts.items()]
        with closing(sqlite3.connect(self.path)) as database, database:
            database.execute("DROP TABLE IF EXISTS articles")
            database.execute("CREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT, body TEXT, price NUMERIC)")
            database.executemany("INSERT INTO articles VALUES (?, ?, ?, 1.5)", rows)

    def loader(self) -> BaseLoader:
        from langchain_community.document_loaders import SQLDatabaseLoader
        from langchain_community.utilities import SQLDatabase

        database = SQLDatabase.from_uri(f"sqlite:///{self.path}")
        return SQLDatabaseLoader(self.query, database, metadata_mapper=dict)

    @property
    def options(self) -> list[str]:
        return [
            f"--loader={COMMUNITY}:SQLDatabaseLoader",
            f"--loader-option=query={self.query}",
            f"--loader-option=db=sqlite:///{self.path}",
            "--loader-option=metadata_mapper=import:builtins:dict",
            "--source-key=id",
        ]

    query = "SELECT id, title, body, price FROM articles"


class Repository(Input):
    """A git repository of text files."""

    def write(self, texts: Mapping[str, str]) -> None:
        wanted = {self.path / f"{name}.md": text for name, text in texts.items()}
        if not self.path.exists():
            self.path.mkdir()
            self._git("init", "--initial-branch=main")
        for file in set(self.path.glob("*.md")) - wanted.keys():
            file.unlink()
        for file, text in wanted.items():
            _write(file, text)
        self._git("add", "--all")
        self._git("commit", "--allow-empty", "--message=Edit")

    def loader(self) -> BaseLoader:
        from langchain_community.document_loaders import GitLoader

        return GitLoader(str(self.path))

    @property
    def options(self) -> list[str]:
        return [f"--loader={COMMUNITY}:GitLoader", f"--loader-option=repo_path={self.path}"]

    def _git(self, *arguments: str) -> None:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *arguments], cwd=self.path, check=True, capture_output=True)  # noqa: S607


def _write(path: Path, text: str) -> None:
    """Write a file unless it holds that already: some loaders give the time of the last change."""
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


INPUTS: dict[str, Any] = {
    "obsidian": Vault,
    "notion": NotionExport,
    "slack": SlackExport,
    "sql": Database,
    "git": Repository,
}


def make_input(kind: str, folder: Path) -> Input:
    """Return an input of a kind, with nothing in it yet."""
    if kind == "git" and shutil.which("git") is None:
        import pytest

        pytest.skip("there is no git")
    made: Input = INPUTS[kind](folder / f"input.{kind}")
    return made
