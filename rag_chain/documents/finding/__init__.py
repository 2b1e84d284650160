"""Find documents: files, folders, glob patterns, archives and web addresses."""

from rag_chain.documents.finding.find import find_files
from rag_chain.documents.finding.found import FoundFile, Limits, Refusal, Skipped

__all__ = ["FoundFile", "Limits", "Refusal", "Skipped", "find_files"]
