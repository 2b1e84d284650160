"""Say which model a foreign ``Embeddings`` is: its class, and the fields that its vectors depend on."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Names, or parts of names between underscores, of fields that say which vectors come out; what concerns the way to the
# model (addresses, keys, batches, timeouts) is left out, so that it can change.
_TELLING = re.compile(
    r"(^|_)(model|deployment|engine|endpoint_name|repo|revision|version|checkpoint|variant|dim|dims|dimension|dimensions"
    r"|dimensionality|size|instruction|prompt|prefix|task|type|truncate|precision|quantization|pooling|max_length"
    r"|max_seq_length|language|seed)(_|$)|^(name|id)$"
)
_OTHER = re.compile(
    r"(^|_)(key|token|secret|password|auth|credential|credentials|header|headers|chunk|batch|cache|pool|api|openai|ssl"
    r"|retry|file)(_|$)"
)
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@|\?.*")
MOST_CHARACTERS = 200
# Of models within models, and of what wraps them.
DEEPEST = 4


def name_class(thing: object) -> str:
    """Return the path of a thing's class, such as ``langchain_openai.embeddings.base.OpenAIEmbeddings``."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def describe(embeddings: object, depth: int = 0) -> str:
    """Return the path of the model's class with the fields that tell it from others of the class, in a fixed order."""
    fields = sorted(_telling_fields(_fields(embeddings), depth)) if depth < DEEPEST else []
    return f"{name_class(embeddings)}({', '.join(f'{name}={value}' for name, value in fields)})"


def _fields(thing: object) -> dict[str, object]:
    return {name.lstrip("_"): value for name, value in getattr(thing, "__dict__", {}).items()}


def _telling_fields(fields: Mapping[str, object], depth: int) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, Embeddings):
            yield name, describe(value, depth + 1)
        elif isinstance(value, dict) and name.endswith("kwargs") and depth < DEEPEST:
            inner = {str(key): item for key, item in value.items()}
            yield from ((f"{name}.{key}", text) for key, text in _telling_fields(inner, depth + 1))
        elif isinstance(value, (str, int, float)) and _TELLING.search(name) and not _OTHER.search(name):
            yield name, _show(value)


def _show(value: object) -> str:
    """Return a value without the user and the query of an address; of a long text the beginning and a digest."""
    if not isinstance(value, str):
        return repr(value)
    text = _CREDENTIALS.sub("", value) if "://" in value else value
    if len(text) <= MOST_CHARACTERS:
        return repr(text)
    return repr(f"{text[:MOST_CHARACTERS]}... {hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}")
