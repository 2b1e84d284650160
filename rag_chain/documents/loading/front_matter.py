"""Split the front matter off a Markdown text: YAML between ``---``, TOML between ``+++``."""

import re

import yaml  # type: ignore[import-untyped,unused-ignore]  # its stubs are a package of their own

_YAML = re.compile(r"---[ \t]*\n(?P<fields>.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"\+\+\+[ \t]*\n(?P<fields>.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML_FIELD = re.compile(r"""^(\w+)\s*=\s*(["'])(.*)\2\s*$""", re.MULTILINE)
_LOOKS_LIKE_A_FIELD = re.compile(r"[\w-]+[ \t]*:(?:\s|$)")
# The one in C is ten times as fast, where it is built.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
# What is longer is text between two rules; the YAML parser would take seconds for it.
_MAX_CHARACTERS = 50_000


def split_front_matter(text: str) -> tuple[dict[str, str | list[str]], str]:
    """Return the fields of the front matter that are a text or a list of texts, and the text after it."""
    if found := _TOML.match(text):
        fields: dict[str, str | list[str]] = {name: value for name, _, value in _TOML_FIELD.findall(found["fields"])}
        return fields, text[found.end() :]
    found = _YAML.match(text)
    if found is None or len(found["fields"]) > _MAX_CHARACTERS:
        return {}, text
    fields_or_none = _parse_yaml(found["fields"])
    return ({}, text) if fields_or_none is None else (fields_or_none, text[found.end() :])


def _parse_yaml(source: str) -> dict[str, str | list[str]] | None:
    """Return the fields; None when this is no front matter but text after a horizontal rule."""
    try:
        # This loader makes texts of everything, so that no title becomes a date or a boolean.
        fields = _Loader(source).get_single_data()
    except (yaml.YAMLError, RecursionError):  # RecursionError: brackets nested by the thousand
        return {} if _LOOKS_LIKE_A_FIELD.match(source.lstrip()) else None
    if isinstance(fields, dict):
        return {name: value for name, value in fields.items() if isinstance(name, str) and _is_text(value)}
    return None if source.strip() else {}


def _is_text(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
