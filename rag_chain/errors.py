"""The exceptions that rag_chain raises on purpose; each message ends with what mends it.

::

    RagChainError
    ├── SettingsError               a setting is missing or makes no sense
    ├── QuestionError               the question is empty or has the wrong shape
    ├── DocumentError               a document, or a place to look for them, can't be read
    │   └── NoDocumentsError        nothing to ingest at the given places
    ├── ModelError                  the model provider could not do what was asked
    │   ├── AuthenticationError     the key is wrong, or the account may not (401, 402, 403, 412)
    │   ├── ModelNotFoundError      no such model at this address (404)
    │   ├── InvalidRequestError     the provider refuses this input (400, 413, 422)
    │   ├── ProviderBusyError       overloaded or over the rate limit after all retries (408, 429, 5xx)
    │   ├── ProviderUnreachableError  no connection, or no reply in time
    │   └── BadReplyError           the reply is not what the API promises
    │       └── CutReplyError       the answer's stream ended before the model had finished
    ├── ClusterError                Ray could not do what was asked
    ├── DatasetError                questions to evaluate with can't be read
    └── StoreError                  Milvus could not do what was asked
        ├── StoreUnreachableError   no Milvus at this address
        ├── StoreLockedError        another process holds this Milvus Lite path and does not share it
        ├── EmptyStoreError         nothing has been ingested yet
        └── FingerprintError        the collection was made with other settings
"""


class RagChainError(Exception):
    """The root of all of them: ``except RagChainError`` catches what rag_chain raises on purpose."""


class SettingsError(RagChainError):
    """A setting is missing or makes no sense."""


class QuestionError(RagChainError):
    """The question is empty or has the wrong shape."""


class DocumentError(RagChainError):
    """A document, or a place to look for documents, can't be read."""


class NoDocumentsError(DocumentError):
    """There is nothing to ingest at the given places."""


class DatasetError(RagChainError):
    """Questions to evaluate with, or the results of an evaluation, can't be read."""


class ClusterError(RagChainError):
    """Ray could not be started or joined, or its processes kept dying."""


class ModelError(RagChainError):
    """The model provider could not do what was asked."""


class AuthenticationError(ModelError):
    """The key is wrong, or the account may not do this."""


class ModelNotFoundError(ModelError):
    """There is no such model at this address."""


class InvalidRequestError(ModelError):
    """The provider refuses this input; ``status`` is the HTTP status."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class ProviderBusyError(ModelError):
    """The provider is overloaded or the rate limit is reached, also after all retries."""


class ProviderUnreachableError(ModelError):
    """There is no connection to the provider, or no reply in time."""


class BadReplyError(ModelError):
    """The provider's reply is not what its API promises."""


class CutReplyError(BadReplyError):
    """The answer's stream ended before the model had finished."""


class StoreError(RagChainError):
    """Milvus could not do what was asked."""


class StoreUnreachableError(StoreError):
    """There is no Milvus at this address."""


class ConnectionLostError(StoreUnreachableError):
    """The connection to Milvus broke; a call that does no harm when it is repeated can be made again."""


class StoreLockedError(StoreError):
    """Another process holds this Milvus Lite path and does not share it."""


class EmptyStoreError(StoreError):
    """Nothing has been ingested into this collection yet."""


class FingerprintError(StoreError):
    """The collection was made with another embedding model, splitter or schema."""


def in_brief(said: object, most: int = 200) -> str:
    """Return what an exception or a provider says in one line of at most so many characters, to quote in a message."""
    return " ".join(str(said).split())[:most]
