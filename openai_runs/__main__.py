"""``python -m openai_runs``, and the script ``openai-runs``."""

import sys

from openai_runs._extras import needs
from openai_runs.errors import MissingExtraError


def main() -> None:
    """Run the command line, or say which extra has to be installed for it."""
    try:
        with needs("server"):
            from openai_runs import cli

            cli.main()
    except MissingExtraError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
