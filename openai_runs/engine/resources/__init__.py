"""The operations of the API on each resource; mirrors `openai_runs.services`, file by file."""
