"""Load plain text in any charset."""

from rag_chain.documents.loading.decoding import decode
from rag_chain.documents.loading.file_loader import Extract, FileLoader


class TextLoader(FileLoader):
    """Loader of plain text; logs and reStructuredText are taken as they stand."""

    def extract(self, data: bytes) -> Extract:
        """Decode the bytes."""
        return Extract(decode(data))
