"""One module per API resource, mirroring `openai_runs.services`; each handler is one operation."""
