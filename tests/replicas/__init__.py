"""Several servers on one store in PostgreSQL, and what happens to them."""
