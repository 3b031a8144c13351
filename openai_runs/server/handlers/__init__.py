"""One module per API resource, mirror images of `openai_runs.services`; a handler is one operation."""
