"""Flow algebra: what can be said of flow fields without a network."""
