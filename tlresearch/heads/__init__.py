"""Built-in heads: one plugin, one file."""
