"""Measure retrieval and answers on questions whose right sources or answers are known."""
