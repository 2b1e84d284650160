"""An agent that searches the documents when it needs to; any chat model that calls tools will do in place of ours."""

import sys
from pathlib import Path

from langchain.agents import create_agent
from langchain_fireworks import ChatFireworks

from rag_chain import Settings, build_retriever_tool, ingest

settings = Settings(milvus_uri="./agent.db")
ingest(Path(__file__).with_name("corpus"), settings)
model = ChatFireworks(
    model=settings.chat_model, api_key=settings.fireworks_api_key, base_url=settings.fireworks_api_base
)
agent = create_agent(model, [build_retriever_tool(settings)], system_prompt="Cite the sources of what you say as [n].")

question = " ".join(sys.argv[1:]) or "How is data stored in Milvus?"
print(agent.invoke({"messages": [("user", question)]})["messages"][-1].content)
