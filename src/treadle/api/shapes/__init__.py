"""The answers' shapes, as the OpenAPI shows them."""
