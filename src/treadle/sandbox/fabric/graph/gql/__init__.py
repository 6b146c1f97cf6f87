"""GQL, as far as Fabric's graph takes it: read, checked against the graph's type, and translated for the embedded engine. Pure."""
