"""The query and management service of eventhouses: KQL databases on an embedded engine."""
