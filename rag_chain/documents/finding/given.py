"""Sort what was given: paths, LangChain documents and loaders, one or many, mixed and nested."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rag_chain.errors import DocumentError, SettingsError

if TYPE_CHECKING:
    from typing import TypeAlias

    from langchain_core.document_loaders import BaseLoader
    from langchain_core.documents import Document

    from rag_chain.documents.finding.spool import Spool

    Place: TypeAlias = "str | Path"
    Given: TypeAlias = "Place | Document | BaseLoader | Iterable[Given]"


def only_paths(given: Given) -> list[Place] | None:
    """Return the paths where nothing else was given: reading those takes nothing of LangChain's."""
    if isinstance(given, str | Path):
        return [given]
    if isinstance(given, list | tuple) and all(isinstance(one, str | Path) for one in given):
        return [one for one in given if isinstance(one, str | Path)]
    return None


class Sorting:
    """What was given, by its kind. Documents are put on disk as they come; loaders are not asked yet.

    ``loader_name`` is the scope of the one loader that there is, or where there is none of the documents: then
    these are all of that scope, while of documents without a name there may be others than those given now.
    """

    def __init__(self, given: Given, spool: Spool, loader_name: str | None, source_key: str | None) -> None:
        from rag_chain.documents.finding.loaded import Scope
        from rag_chain.documents.finding.scopes import GIVEN

        self.paths: list[Place] = []
        self._loaders: list[BaseLoader] = []
        self._documents = Scope(GIVEN, spool, source_key)
        self._sort(given)
        self.scopes = [Scope(name, spool, source_key, loader) for name, loader in self._name(loader_name)]
        if self._documents.count:
            self._documents.rename(loader_name if loader_name and not self._loaders else GIVEN)
            self._documents.complete = bool(loader_name and not self._loaders)
            self.scopes.append(self._documents)

    def _sort(self, given: Given) -> None:
        from langchain_core.document_loaders import BaseLoader
        from langchain_core.documents import Document

        from rag_chain.documents.failures import Failures

        if isinstance(given, str | Path):
            self.paths.append(given)
        elif isinstance(given, Document):
            self._documents.add(given)
        elif isinstance(given, BaseLoader):
            self._loaders.append(given)
        elif isinstance(given, Iterable) and not isinstance(given, bytes | dict):
            with Failures("the iterable of what to ingest", "nothing was changed; mend that and ingest again"):
                for one in given:
                    self._sort(one)
        else:
            raise DocumentError(f"a {type(given).__name__} can't be ingested: give paths, Documents and loaders")

    def _name(self, given: str | None) -> list[tuple[str, BaseLoader]]:
        from rag_chain.documents.finding.scopes import name_loader

        if given is not None and not given.strip():
            raise SettingsError("loader_name is empty: name the loader, or leave it out")
        if given and len(self._loaders) > 1:
            raise SettingsError(f"loader_name names one loader, and {len(self._loaders)} were given: ingest each alone")
        named = [(given or name_loader(loader), loader) for loader in self._loaders]
        names = [name for name, _ in named]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SettingsError(
                f"two loaders can't be told apart, both are {twice}: ingest each alone, with a loader_name"
            )
        return named
