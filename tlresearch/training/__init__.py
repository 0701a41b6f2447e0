"""The Fabric loop and what it stands on."""
