"""``python -m openai_runs``."""

from openai_runs.cli import main

main()
