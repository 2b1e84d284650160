"""The door to model providers: embeddings, chat and tokens, from Fireworks or on this machine."""
