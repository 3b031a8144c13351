"""`openai-runs demo`, and the walkthrough that it prints."""

from tests.cli.commands import run


def test_demo_shows_the_whole_run():
    """Each event, the steps and the message are printed, without a key and an endpoint."""
    output = run("demo")
    for word in ("assistant created", "ActionRequired", "outputs submitted", "RunEnded", "completed", "answer"):
        assert word in output
    assert output.count("step ") >= 2
