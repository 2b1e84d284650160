"""The Fireworks API, and every server that speaks it: embeddings and chat over one HTTP client."""
