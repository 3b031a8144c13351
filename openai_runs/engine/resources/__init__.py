"""The API's operations, a class per resource; mirrors `openai_runs.services`, file by file."""
