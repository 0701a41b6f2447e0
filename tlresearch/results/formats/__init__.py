"""Formats of a comparison: one module each."""
