"""What the commands share: settings from their options, filters, questions and the look of a passage."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rag_chain.cli.terminal import notice
from rag_chain.settings import Settings

if TYPE_CHECKING:
    import argparse


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the command line names."""
    given = {name: getattr(options, name) for name in ("milvus_uri", "collection", "tenant", "provider")}
    given["retriever"] = getattr(options, "retriever", None)
    given["top_k"] = getattr(options, "k", None)
    given["allow_anonymous"] = getattr(options, "allow_anonymous", False) or None
    given["allow_private"] = getattr(options, "allow_private", False) or None
    # An empty tenant is no tenant, and not the default one: the settings refuse it.
    return {name: value for name, value in given.items() if value is not None and (value != "" or name == "tenant")}


def read_settings(options: argparse.Namespace) -> Settings:
    """Return the settings with the command line's options over the environment; say once who answers."""
    settings = Settings(**given_settings(options))
    if settings.provider == "auto" and settings.resolved_provider == "local":
        notice("no FIREWORKS_API_KEY: working with the local models, which quote passages and write nothing new")
    return settings


def read_quietly(options: argparse.Namespace, **given: Any) -> Settings:
    """Return the settings for a command that asks no model, with some more of them given."""
    return Settings(**given_settings(options), **{name: value for name, value in given.items() if value is not None})


def read_filter(options: argparse.Namespace) -> dict[str, Any]:
    """Return the filter that the options ask for."""
    return {"source": options.source} if options.source else {}


def read_text(given: str) -> str:
    """Return a question, from stdin when it is ``-``."""
    return sys.stdin.read().strip() if given == "-" else given


def shorten(text: str, most: int = 300) -> str:
    """Return a passage in one line of at most ``most`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
