"""Keeping the registry true: new entries, pinned hashes, recomputed facts, published addresses."""
