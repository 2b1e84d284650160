"""A conversation that a LangGraph checkpointer keeps: the chain as the node of a graph."""

from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from rag_chain import Settings, build_chain, ingest

settings = Settings(milvus_uri="./graph.db")
ingest(Path(__file__).with_name("corpus"), settings)
chain = build_chain(settings)


def answer(state: MessagesState) -> dict[str, Any]:
    """Answer the last message; the messages before it are its history."""
    *before, question = state["messages"]
    found = chain.invoke({"question": question, "chat_history": before})
    return {"messages": [AIMessage(found["answer"])]}


graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile(checkpointer=InMemorySaver())
for text in ("How is data stored in Milvus?", "And where does its metadata go?"):
    state = graph.invoke({"messages": [("user", text)]}, {"configurable": {"thread_id": "me"}})
    print(state["messages"][-1].content)
