"""Ingest the example documents, ask a question, and show where the answer comes from."""

from pathlib import Path

from rag_chain import Settings, build_chain, ingest

settings = Settings(milvus_uri="./quickstart.db")
ingest(Path(__file__).with_name("corpus"), settings)
answer = build_chain(settings).invoke("How is data stored in Milvus?")

print(answer["answer"])
for citation in answer["citations"]:
    source = answer["sources"][citation["number"] - 1]
    print(f"[{citation['number']}] {source['source']} > {source['heading']}: {citation['verdict']}")
