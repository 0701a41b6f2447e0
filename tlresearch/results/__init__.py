"""Records of runs: identity, store, report."""
