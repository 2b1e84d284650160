"""Loaders of langchain-community, each with an input that is made here."""
