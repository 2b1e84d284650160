"""Your own FastAPI app with the chain under /rag; run it with: uvicorn --app-dir examples serve_with_langserve:app."""

from fastapi import FastAPI
from langserve import add_routes

from rag_chain import Settings, build_chain

app = FastAPI()
add_routes(app, build_chain(Settings()), path="/rag")
