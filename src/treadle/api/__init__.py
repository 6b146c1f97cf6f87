"""The HTTP API: one module per noun, each route a thin way to one of the actions."""
