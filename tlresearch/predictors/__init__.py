"""Answers without training: one class, one file."""
