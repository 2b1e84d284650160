"""Load e-mails (.eml) and web pages saved as one file (.mht)."""

from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart

from rag_chain.documents.loading.decoding import decode, decode_as
from rag_chain.documents.loading.file_loader import Extract, FileLoader, one_line
from rag_chain.documents.loading.html_page import convert_html

_HEADERS = ("From", "To", "Cc", "Date")


class MailLoader(FileLoader):
    """Loader of e-mails: sender, receivers and date, then the text; attachments are named and not read."""

    def extract(self, data: bytes) -> Extract:
        """Prefer the text as the sender wrote it to the same in HTML."""
        message = _parse(data)
        subject = _header(message, "Subject")
        head = "\n".join(f"{name}: {value}" for name in _HEADERS if (value := _header(message, name)))
        body = message.get_body(("plain", "html"))
        names = [one_line(part.get_filename() or "") for part in message.iter_attachments()]
        attached = "\n".join(f"Attachment: {name}" for name in names if name)
        heading = f"# {subject}" if subject else ""
        text = "\n\n".join(filter(None, (heading, head, _text(body), attached)))
        return Extract(text, title=subject or None, markup="markdown")


class ArchivedPageLoader(FileLoader):
    """Loader of web pages that were saved with all their parts; the page itself is read."""

    def extract(self, data: bytes) -> Extract:
        """Read the first page in the archive."""
        archive = _parse(data)
        part = next((part for part in _leaves(archive) if part.get_content_type() == "text/html"), None)
        if part is None:
            return Extract("")
        page = convert_html(_decode(part))
        address = _header(archive, "Snapshot-Content-Location")
        return replace(page, text=f"{page.text}\n\nSource: {address}") if address and page.text else page


def _parse(data: bytes) -> EmailMessage:
    return message_from_bytes(data, policy=policy.default)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return one_line(message.get(name, ""))
    except (AttributeError, IndexError, LookupError, TypeError, ValueError):
        # The standard library's parser of addresses falls over some that nobody should have sent.
        return one_line(dict(message.raw_items()).get(name, ""))


def _text(body: MIMEPart | None) -> str:
    if body is None:
        return ""
    text = _decode(body)
    return convert_html(text).text if body.get_content_subtype() == "html" else text.strip()


def _leaves(message: EmailMessage) -> Iterator[EmailMessage]:
    return (part for part in message.walk() if not part.is_multipart())


def _decode(part: MIMEPart) -> str:
    data = part.get_payload(decode=True)
    data = data if isinstance(data, bytes) else str(part.get_payload()).encode("utf-8", "replace")
    return decode_as(data, part.get_content_charset("utf-8")) or decode(data)
