"""Built-in backbones: one plugin, one file."""
