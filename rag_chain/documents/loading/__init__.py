"""Load one document: its bytes to text, title and markup, by the loader of its suffix."""

from rag_chain.documents.loading.table import SUPPORTED_SUFFIXES, load_file

__all__ = ["SUPPORTED_SUFFIXES", "load_file"]
