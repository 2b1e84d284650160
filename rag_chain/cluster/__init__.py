"""The door to Ray: the ingest's reading, embedding and writing in processes of a cluster. Needs ``rag-chain[ray]``."""
