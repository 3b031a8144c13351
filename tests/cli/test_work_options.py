"""`Work`: what the options of a command that runs jobs mean."""

from openai_runs.batch.durable import SharedLimits
from openai_runs.cli.work_options import Work
from openai_runs.following.polling import Polling
from openai_runs.toolbox import Toolbox


def test_durable_batches() -> None:
    """Each option arrives, and the limits are those of all processes."""
    toolbox = Toolbox()
    work = Work(toolbox=toolbox, workers=2, at_once=3, rpm=60, tpm=600, deadline=9, outage=7)
    assert work.durable() == {
        "toolbox": toolbox,
        "workers": 2,
        "at_once": 3,
        "limits": SharedLimits(requests_per_minute=60, tokens_per_minute=600),
        "deadline": 9,
        "polling": Polling(outage=7),
    }
