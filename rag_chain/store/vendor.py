"""Import pymilvus without its eyes on our environment; whoever needs it imports this module first."""

from rag_chain.settings import hidden_from_vendors

with hidden_from_vendors("MILVUS_URI"):
    import pymilvus

__all__ = ["pymilvus"]
