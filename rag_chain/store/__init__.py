"""The door to Milvus: open, schema, write, catalogue, filters, and the LangChain vector store over it."""
