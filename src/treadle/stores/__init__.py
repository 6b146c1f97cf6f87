"""Documents: one interface, in PostgreSQL or in Azure Cosmos DB."""
