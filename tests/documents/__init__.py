"""Tests of finding, loading and splitting documents."""
