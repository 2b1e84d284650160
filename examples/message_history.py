"""A conversation that LangChain keeps for you: RunnableWithMessageHistory around the chain.

LangChain 1.6 deprecates it in favour of LangGraph's checkpointers: see langgraph_memory.py.
"""

from pathlib import Path

from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.runnables.history import RunnableWithMessageHistory

from rag_chain import Settings, build_chain, ingest

settings = Settings(milvus_uri="./history.db")
ingest(Path(__file__).with_name("corpus"), settings)
histories: dict[str, InMemoryChatMessageHistory] = {}


def open_history(session_id: str) -> InMemoryChatMessageHistory:
    """Return the conversation of this name; any message history of LangChain will do."""
    return histories.setdefault(session_id, InMemoryChatMessageHistory())


chat = RunnableWithMessageHistory(
    build_chain(settings),
    open_history,
    input_messages_key="question",
    history_messages_key="chat_history",
    output_messages_key="answer",
)
for question in ("How is data stored in Milvus?", "And where does its metadata go?"):
    answer = chat.invoke({"question": question}, {"configurable": {"session_id": "me"}})
    print(answer["answer"])
