"""The rule that picks the reported checkpoint: one class, one file."""
