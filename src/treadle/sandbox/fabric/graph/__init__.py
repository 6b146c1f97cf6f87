"""Graph models: their definition, the refresh that fills an embedded graph from Delta tables, and GQL queries on it."""
