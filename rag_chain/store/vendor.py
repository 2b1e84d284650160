"""Import pymilvus without its eyes on our environment; whoever needs it imports this module first."""

from rag_chain.settings import hidden_from_vendors

with hidden_from_vendors("MILVUS_URI"):
    import pymilvus
    from pymilvus.client.connection_manager import ConnectionConfig

__all__ = ["pymilvus"]


def _key(config: ConnectionConfig) -> str:
    """Return what connections of one process share: all that they are made with.

    pymilvus goes by address and token alone, so that who connects without a certificate, or trusts
    another authority, would be given the connection of somebody who was let in.
    """
    return repr((config.address, config.token, sorted(config.handler_kwargs)))


ConnectionConfig.key = property(_key)
