"""Which round of tool calls a snapshot belongs to, and whether it is older than the latest submission: all by value."""

from typing import Any

from attrs import evolve

from openai_runs import load
from openai_runs.events import ActionRequired, RunEnded, StatusChanged
from openai_runs.following.rounds import Rounds, Submissions
from openai_runs.models.run import RequiredAction, Run, RunStatus, SubmitToolOutputs
from openai_runs.models.tool import FunctionCall, FunctionToolCall, ToolOutput
from tests.samples import EXAMPLES

RUN = load((EXAMPLES / "objects/RunObject.json").read_bytes(), Run)
OUTPUTS = (ToolOutput(tool_call_id="call_0", output="1"),)


def seen(status: str, *calls: str) -> Run:
    """A snapshot with these pending calls."""
    return with_calls(status, *(call(id) for id in calls))


def waiting(id: str, name: str, arguments: str) -> Run:
    """A snapshot with this pending call."""
    return with_calls("requires_action", call(id, name, arguments))


def call(id: str, name: str = "f", arguments: str = "{}") -> FunctionToolCall:
    return FunctionToolCall(id=id, function=FunctionCall(name=name, arguments=arguments))


def with_calls(status: str, *calls: FunctionToolCall) -> Run:
    action = RequiredAction(submit_tool_outputs=SubmitToolOutputs(tool_calls=calls)) if calls else None
    return evolve(RUN, status=RunStatus(status), required_action=action)


class Following:
    """One run that is followed, at a time that the test sets."""

    def __init__(self, *, with_toolbox: bool) -> None:
        self.submissions, self.now = Submissions(), 100.0
        self.rounds = Rounds(self.submissions, with_toolbox)

    def sees(self, run: Run, *, is_current: bool = True) -> str:
        """What is made of a snapshot."""
        change = self.rounds.observe(run, is_current=is_current, now=self.now)
        return "nothing" if change is None else "doubt" if self.rounds.is_in_doubt else type(change).__name__


def observed(*snapshots: Run) -> list[Any]:
    following = Following(with_toolbox=False)
    events = [following.rounds.observe(run, is_current=True, now=0.0) for run in snapshots]
    return [event for event in events if event is not None]


class TestSnapshots:
    def test_a_second_round_of_calls(self) -> None:
        """Other calls make another ActionRequired, even if no status in between was observed; the same calls do not."""
        first, again, other = (
            seen("requires_action", "c1"),
            seen("requires_action", "c1"),
            seen("requires_action", "c2"),
        )
        events = observed(seen("queued"), first, again, other, seen("completed"))
        assert [type(event) for event in events] == [StatusChanged, ActionRequired, ActionRequired, RunEnded]
        assert [call.id for event in events[1:3] for call in event.tool_calls] == ["c1", "c2"]
        assert events[2].previous is RunStatus.REQUIRES_ACTION

    def test_the_same_ids(self) -> None:
        """Under the same IDs, other names or arguments make another round; another way to write the JSON does not."""
        rounds = [
            waiting("call_0", "f", text) for text in ("{}", '{"a":1,"b":2}', '{ "b": 2, "a": 1 }', "no JSON", "no JSON")
        ]
        events = observed(seen("queued"), *rounds, waiting("call_0", "g", "no JSON"))
        assert [event.tool_calls[0].function.arguments for event in events[1:]] == [
            *("{}", '{"a":1,"b":2}', "no JSON", "no JSON")
        ]

    def test_calls_that_linger(self) -> None:
        """Calls count only while the run requires action; some endpoints send them for longer."""
        events = observed(
            seen("in_progress", "c1"), seen("in_progress"), seen("in_progress", "c2"), seen("completed", "c2")
        )
        assert [event.status for event in events] == ["in_progress", "completed"]


class TestSubmissions:
    CALLS = seen("requires_action", "call_0")

    def test_the_same_calls_before(self) -> None:
        """While nothing was submitted, the same calls are the same round, however often they are seen."""
        following = Following(with_toolbox=True)
        assert [following.sees(self.CALLS) for _ in range(3)] == ["ActionRequired", "nothing", "nothing"]

    def test_the_run_went_on(self) -> None:
        """Once another status or other calls were seen, the very same calls are a new round, without a doubt."""
        for between in (seen("in_progress"), seen("requires_action", "call_1")):
            following = Following(with_toolbox=True)
            following.sees(self.CALLS)
            following.submissions.accept(OUTPUTS)
            assert following.sees(between) != "nothing"
            assert following.sees(self.CALLS) == "ActionRequired"

    def test_the_response_says_nothing(self) -> None:
        """The response to a submission is older than any poll: it neither leaves the round nor begins another."""
        following = Following(with_toolbox=True)
        following.sees(self.CALLS)
        following.submissions.accept(OUTPUTS)
        assert following.sees(self.CALLS, is_current=False) == "nothing"
        assert following.sees(seen("queued"), is_current=False) == "StatusChanged"
        assert following.sees(self.CALLS) == "doubt"

    def test_a_doubt_that_was_a_new_round(self) -> None:
        """With a toolbox, the same outputs are submitted again; if they are accepted, the round was a new one."""
        following = Following(with_toolbox=True)
        following.sees(self.CALLS)
        following.rounds.begin_submission(self.CALLS, OUTPUTS)
        following.submissions.accept(OUTPUTS)
        assert following.sees(self.CALLS) == "doubt"
        assert following.rounds.outputs_to_repeat(self.CALLS) is OUTPUTS
        following.rounds.begin_submission(self.CALLS, OUTPUTS)
        following.submissions.accept(OUTPUTS)
        assert following.sees(seen("completed")) == "RunEnded"
        assert following.rounds.has_ended

    def test_a_doubt_that_was_stale(self) -> None:
        """If they are refused, the snapshot was stale: it was never there, and what looks like it waits for a while."""
        following = Following(with_toolbox=True)
        following.sees(self.CALLS)
        following.submissions.accept(OUTPUTS)
        assert following.sees(self.CALLS) == "doubt"
        repeated = following.rounds.begin_submission(self.CALLS, OUTPUTS)
        assert following.rounds.end_refused(repeated, self.CALLS, following.now)
        assert following.sees(self.CALLS) == "nothing"
        following.now += 2
        assert following.sees(self.CALLS) == "doubt"

    def test_other_outputs_are_not_repeated(self) -> None:
        """Outputs that this follower did not make itself, or for other calls, are not there to be repeated."""
        following = Following(with_toolbox=True)
        following.sees(self.CALLS)
        assert following.rounds.outputs_to_repeat(self.CALLS) is None
        following.submissions.accept(OUTPUTS)
        assert following.sees(self.CALLS) == "doubt"
        assert following.rounds.outputs_to_repeat(self.CALLS) is None

    def test_without_a_toolbox(self) -> None:
        """Without a toolbox, only time tells: for two seconds the same calls are taken for a lagging replica's."""
        following = Following(with_toolbox=False)
        following.sees(self.CALLS)
        following.submissions.accept(OUTPUTS)
        assert following.sees(self.CALLS) == "nothing"
        following.now += 1.9
        assert following.sees(self.CALLS) == "nothing"
        following.now += 0.1
        assert [following.sees(self.CALLS), following.sees(self.CALLS)] == ["ActionRequired", "nothing"]

    def test_a_stream_is_trusted(self) -> None:
        """A stream began after the latest submission, so what it says is no older."""
        following = Following(with_toolbox=True)
        following.sees(self.CALLS)
        following.submissions.accept(OUTPUTS)
        following.rounds.trust(following.now)
        assert following.sees(self.CALLS) == "ActionRequired"

    def test_outputs_at_fault(self) -> None:
        """If the run still waits for the calls whose outputs were refused, the outputs themselves are at fault."""
        following = Following(with_toolbox=True)
        following.sees(self.CALLS)
        submission = following.rounds.begin_submission(self.CALLS, OUTPUTS)
        assert following.rounds.pending_action is None
        assert not following.rounds.end_refused(submission, self.CALLS, following.now)
        assert following.rounds.end_refused(submission, seen("completed"), following.now)

    def test_submitted_by_another(self) -> None:
        """Outputs that another follower has submitted in the same session begin a new round here as well."""
        following = Following(with_toolbox=True)
        following.submissions.accept(OUTPUTS)
        assert following.sees(self.CALLS) == "ActionRequired"
        following.submissions.accept(OUTPUTS)
        following.submissions.accept(OUTPUTS)
        assert following.sees(self.CALLS) == "doubt"
