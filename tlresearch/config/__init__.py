"""L0: the registry of plugins, their schemas, and how a configuration is composed. Imports no torch."""
