"""Where the numbers of a run go: one class, one file."""
