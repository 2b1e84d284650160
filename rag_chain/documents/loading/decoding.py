"""Bytes to text: byte order marks, UTF-8, and the best guess for everything else."""

import codecs
import re

from rag_chain.errors import DocumentError

# UTF-32 stands before UTF-16, whose mark is the start of its own.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# ISO 2022 is pure ASCII on the wire, so that UTF-8 would accept it; its escape sequences tell.
_ISO_2022 = ((b"\x1b$)C", "iso2022_kr"), (b"\x1b$B", "iso2022_jp_2"), (b"\x1b$@", "iso2022_jp_2"))
# Python names these encodings as well, but they are not charsets of files.
_NOT_CHARSETS = frozenset(
    {"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape", "utf_7", "mbcs", "oem"}
)
_SURROGATES = re.compile(r"[\ud800-\udfff]")
# Control characters that no text has. It may have escape sequences, and Ctrl-Z at the end of a DOS file.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x19\x1c-\x1f\x7f\ufffd]")
_SAMPLE_BYTES = 1 << 17


def decode(data: bytes) -> str:
    """Return the text of a file of unknown charset; :class:`DocumentError` when it is not text."""
    for mark, charset in _MARKS:
        if data.startswith(mark):
            return clean_text(data.decode(charset, "replace"))
    text = _decode_iso_2022(data) or _decode_utf_16(data) or _decode_utf_8(data) or _decode_by_guess(data)
    if len(_CONTROLS.findall(text)) > max(len(text) // 20, 2):
        raise DocumentError("not a text file: its bytes are binary data")
    return clean_text(text)


def decode_as(data: bytes, charset: str) -> str | None:
    """Return the text in a declared charset; None when there is no such charset or it does not fit."""
    try:
        name = codecs.lookup(charset).name.replace("-", "_")
        text = data.decode(name, "replace") if name not in _NOT_CHARSETS else None
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        return None
    if text is None or text.count("\ufffd") > len(text) // 200:
        return None
    return clean_text(text)


def clean_text(text: str) -> str:
    r"""Return text with ``\n`` line ends, without NULs, lone surrogates and a byte order mark."""
    text = text.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")
    if _SURROGATES.search(text):
        # Over UTF-16 the two halves of a pair become the character that they mean.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.lstrip("\ufeff")


def _decode_iso_2022(data: bytes) -> str | None:
    for escape, charset in _ISO_2022:
        if escape in data:
            return decode_as(data, charset)
    return None


def _decode_utf_16(data: bytes) -> str | None:
    """Return UTF-16 without a mark, which shows in every second byte of Western text being zero."""
    for first_zero, charset in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = data[first_zero:_SAMPLE_BYTES:2].count(0)
        others = data[1 - first_zero : _SAMPLE_BYTES : 2].count(0)
        if zeros > len(data[:_SAMPLE_BYTES]) * 0.4 and not others:
            return data.decode(charset, "replace")
    return None


def _decode_utf_8(data: bytes) -> str | None:
    """Return UTF-8, with replacements where only a few bytes of much UTF-8 are damaged."""
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    foreign = len(text) - len(text.encode("ascii", "ignore"))
    return text if foreign >= 10 * damaged else None


def _decode_by_guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    # Cut at a line end, so that no character is cut in half.
    sample = data if len(data) <= _SAMPLE_BYTES else data[: data.rfind(b"\n", 0, _SAMPLE_BYTES) + 1 or _SAMPLE_BYTES]
    best, *others = [*from_bytes(sample)] or [None]
    if best is None:
        return data.decode("cp1252", "replace")
    # On short Western texts rare code pages score by a hair over the common one.
    is_western = any(
        "cp1252" in guess.could_be_from_charset
        and guess.chaos <= best.chaos + 0.01
        and guess.coherence >= best.coherence - 0.1
        for guess in (best, *others)
        if guess
    )
    return data.decode("cp1252" if is_western else best.encoding, "replace")
