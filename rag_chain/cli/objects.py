"""Make a loader or a splitter from the command line: ``module:Class`` and options by its parameters' names."""

from __future__ import annotations

import inspect
import json
import os
import sys
import types
import typing
import warnings
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rag_chain.errors import RagChainError, SettingsError, in_brief
from rag_chain.settings import read_variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FROM_ENVIRONMENT, IMPORTED = "env:", "import:"
_TEXTS = (str, PurePath, os.PathLike, type(None))


class Making:
    """Whatever a class or function of others raises while an object is made becomes one line with the option's name."""

    def __init__(self, option: str, name: str) -> None:
        self.option = option
        self.name = name

    def __enter__(self) -> None:
        # Said at import by a package about its own future: nothing that whoever runs a command could mend.
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.filterwarnings("ignore", "`langchain-community` is being sunset", DeprecationWarning)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._warnings.__exit__(kind, error, trace)
        if isinstance(error, Exception) and not isinstance(error, RagChainError):
            said = in_brief(error, 300) or type(error).__name__
            if isinstance(error, ImportError) and "install" not in said:
                said += ": install the package that it is in"
            raise SettingsError(f"{self.option} {self.name}: {said}") from error


def make_object(option: str, name: str, given: Sequence[str], wanted: type, refuse: Callable[[str], Any]) -> Any:
    """Return what ``module:Class`` makes of options such as ``path=vault``; it must be a ``wanted``.

    A value is text where the parameter is one, else JSON if it is that; ``env:NAME`` is read from the environment,
    ``import:MODULE:NAME`` is imported. Where a class with ``from_uri`` is asked for, such as a database, it is made of
    the text. ``refuse`` ends the command for a usage that can't be meant.
    """
    # Modules beside the caller's work, and after everything that is installed.
    sys.path.append("")
    with Making(f"--{option}", name):
        maker = _import(f"--{option}", name, refuse)
        parameters, takes_any = _parameters(maker)
        hints = _hints(maker)
        arguments = {}
        for text in given:
            key, equals, value = text.partition("=")
            if not equals or not key:
                refuse(f"--{option}-option {text!r}: write NAME=VALUE")
            if key not in parameters and not takes_any:
                names = ", ".join(parameters) or "none"
                raise SettingsError(f"--{option}-option: {name} takes no {key!r}; its options are: {names}")
            arguments[key] = _read(f"--{option}-option {key}", value, hints.get(key), refuse)
        if missing := [key for key, needed in parameters.items() if needed and key not in arguments]:
            raise SettingsError(f"--{option}: {name} needs {missing[0]}: add --{option}-option {missing[0]}=...")
        made = maker(**arguments)
    if not isinstance(made, wanted):
        raise SettingsError(f"--{option}: {name} makes a {type(made).__name__}, which is no {wanted.__name__}")
    return made


def _import(option: str, name: str, refuse: Callable[[str], Any]) -> Any:
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        refuse(f"{option} {name!r}: write MODULE:NAME, such as langchain_community.document_loaders:ObsidianLoader")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise SettingsError(f"{option} {name}: {in_brief(error)}: install its package, or mend the name") from error
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise SettingsError(f"{option} {name}: there is no {attribute} in {module}; mend the name") from error
    if not callable(found):
        raise SettingsError(f"{option} {name}: it is no class or function; name one")
    return found


def _parameters(maker: Any) -> tuple[dict[str, bool], bool]:
    """Return the names of what can be given, whether each is needed, and whether any other is taken, too."""
    known = inspect.signature(maker).parameters.values()
    variadic = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    named = {one.name: one.default is one.empty for one in known if one.kind not in variadic}
    return named, any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known)


def _hints(maker: Any) -> Mapping[str, Any]:
    """Return the types of the parameters, as far as they can be had; a model of pydantic has fields instead."""
    sources = [maker, inspect.getattr_static(maker, "__init__")] if isinstance(maker, type) else [maker]
    hints: dict[str, Any] = {}
    for source in sources:
        try:
            hints |= typing.get_type_hints(source)
        except (NameError, TypeError, AttributeError):  # names that are imported for type checkers only
            continue
    return hints


def _read(option: str, text: str, hint: Any, refuse: Callable[[str], Any]) -> Any:
    """Return an option's value."""
    if text.startswith(IMPORTED):
        return _import(option, text.removeprefix(IMPORTED), refuse)
    is_secret = text.startswith(FROM_ENVIRONMENT)
    if is_secret:
        text = read_variable(text.removeprefix(FROM_ENVIRONMENT), option)
    kinds = _kinds(hint)
    if from_uri := next((make for kind in kinds if callable(make := getattr(kind, "from_uri", None))), None):
        return from_uri(text)
    # A secret is one text, even where it looks like a number.
    if is_secret or (kinds and all(isinstance(kind, type) and issubclass(kind, _TEXTS) for kind in kinds)):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _kinds(hint: Any) -> list[Any]:
    """Return the types of which one is asked for."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return [kind for part in typing.get_args(hint) for kind in _kinds(part)]
    if typing.get_origin(hint) is not None:
        return [typing.get_origin(hint)]
    return [] if hint is None else [hint]
