"""Find documents: files, folders, glob patterns, zip archives and addresses of zip archives."""

from rag_chain.documents.finding.find import find_files
from rag_chain.documents.finding.found import FoundFile, Refusal, Skipped

__all__ = ["FoundFile", "Refusal", "Skipped", "find_files"]
