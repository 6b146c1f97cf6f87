"""Other people's systems: Entra, Fabric and OneLake. Knows nothing of flows or runs."""
