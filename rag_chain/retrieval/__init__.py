"""Find the chunks that answer a question: LangChain retrievers over the store."""
