"""`openai-runs batch run`: in this process, and as one that is interrupted and killed."""

import errno
import io
import json
import os
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from openai_runs.backends.scripted import Say
from openai_runs.batch import progress_bar, run_batch
from openai_runs.batch.progress import BatchProgress
from openai_runs.batch.result_files import ResultFile
from openai_runs.cli import batch_output
from openai_runs.cli import batch_run as command
from openai_runs.following.polling import Polling
from openai_runs.pacing import RateLimits
from openai_runs.session import Session
from tests.cli.batches import Endpoint, Files, read_until
from tests.cli.commands import run


def words(output: str) -> str:
    """What is printed in a frame, in one line."""
    return " ".join(output.replace("│", " ").split())


def test_all_jobs_have_a_result(endpoint: Endpoint, files: Files) -> None:
    """A table with a template, and an assistant from the environment; the exit code is 0, and nothing is left over."""
    files.jobs = files.jobs.with_suffix(".csv")
    files.jobs.write_text("key,text\na,one\nb,two\n")
    output = files.run("--message", "Say {text}!")
    assert files.results() == {"a": "Re: Say one!", "b": "Re: Say two!"}
    assert "0/2, 0.0/s" in output
    assert "completed: 2, tokens: " in output
    assert sorted(files.out.parent.iterdir()) == sorted([files.jobs, files.out])


def test_failures_and_bad_lines(endpoint: Endpoint, files: Files) -> None:
    """They are named and stop nothing; the exit code is 1, and the next start leaves the failures alone."""
    files.write("one", "fail", "two")
    with files.jobs.open("a") as file:
        file.write('\n[red]\n{"message": "three"}\n')
    output = files.run(exit_code=1)
    assert "line 4: not JSON: " in output
    assert "completed: 3, failed: 1, lines that are no jobs: 1, tokens: " in output
    assert "1 RunFailedError" in output
    assert files.results() == {"job 0": "Re: one", "job 1": None, "job 2": "Re: two", "5": "Re: three"}
    asked = Counter(endpoint.asked)
    files.write("one", "fail", "two")
    output = files.run(exit_code=1)
    assert output == (
        "completed: 0, completed before: 3, failed before: 1\n--retry-failed runs again what failed before\n"
    )
    assert endpoint.asked == asked


def test_failed_jobs_once_more(endpoint: Endpoint, files: Files) -> None:
    """With --retry-failed they get new runs, and the others none."""
    files.write("one", "fail")
    files.run(exit_code=1)
    endpoint.failure = Say("Better.")
    assert "completed before: 1" in files.run("--retry-failed")
    assert files.results() == {"job 0": "Re: one", "job 1": "Better."}
    assert endpoint.asked == {"one": 1, "fail": 2}


@pytest.mark.parametrize("durable", [False, True])
def test_another_message_or_assistant(endpoint: Endpoint, files: Files, durable: bool) -> None:
    """Old answers are not passed off as answers to it: nothing is run or written, and the error says what to do."""
    options = ["--durable", files.out.with_suffix(".db")] if durable else []
    files.write("one", "two")
    files.run("--message", "Say {message}!", *options)
    before, asked = files.out.read_bytes(), Counter(endpoint.asked)
    other = endpoint.portal.call(endpoint.add_assistant)
    for changed in (["--message", "Sing {message}!"], ["--message", "Say {message}!", "--assistant", other]):
        output = files.run(*changed, *options, *(["--name", "another"] if durable else []), exit_code=2)
        assert "has the answer of job 'job 0' to another message, assistant or parameter" in output
        assert "write to another file, or remove the job's line there" in output
    assert files.out.read_bytes() == before
    assert endpoint.asked == asked
    assert "completed before: 2" in files.run("--message", "Say {message}!", *options)


def test_another_message_from_a_pipe(endpoint: Endpoint, files: Files) -> None:
    """It can be read only once, so that is noticed when the job comes."""
    files.write("one")
    files.run()
    files.write("other")
    text = files.jobs.read_text()
    files.jobs.unlink()
    os.mkfifo(files.jobs)
    writer = threading.Thread(target=files.jobs.write_text, args=[text])
    writer.start()
    assert "to another message, assistant or parameter" in files.run(exit_code=3)
    writer.join()
    assert files.results() == {"job 0": "Re: one"}


def test_a_failed_job_is_mended(endpoint: Endpoint, files: Files) -> None:
    """With --retry-failed, another message gets a run of its own."""
    files.write("one", "fail")
    files.run(exit_code=1)
    files.write("one", "two")
    assert "--retry-failed runs it again" in files.run(exit_code=2)
    files.run("--retry-failed")
    assert files.results() == {"job 0": "Re: one", "job 1": "Re: two"}


def test_a_run_that_has_completed_since(endpoint: Endpoint, files: Files) -> None:
    """With --retry-failed its result is the job's, and no second run is paid; nothing is left over."""
    files.write("one", "fail", "two")
    files.run(exit_code=1)
    lost = [line.replace(b'"completed"', b'"failed"') for line in files.out.read_bytes().splitlines(keepends=True)]
    files.out.write_bytes(b"".join(lost))
    endpoint.failure = Say("Better.")
    files.run("--retry-failed")
    assert files.results() == {"job 0": "Re: one", "job 1": "Better.", "job 2": "Re: two"}
    assert endpoint.asked == {"one": 1, "fail": 2, "two": 1}
    assert sorted(files.out.parent.iterdir()) == sorted([files.jobs, files.out])


@pytest.mark.parametrize("command", ["run", "submit"])
def test_without_an_assistant(endpoint: Endpoint, files: Files, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """If no job has one, that is said once, with the option that is missing; the exit code is 2."""
    monkeypatch.delenv("OPENAI_RUNS_ASSISTANT")
    files.write("one", "two", "three")
    where = ["--out", files.out] if command == "run" else [files.out.with_suffix(".db")]
    output = run("batch", command, files.jobs, *where, exit_code=2)
    assert output.count("names an assistant") == 1
    assert "--assistant" in output
    assert list(files.out.parent.iterdir()) == [files.jobs]


def test_some_jobs_without_an_assistant(endpoint: Endpoint, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named, and the others are run."""
    own = os.environ["OPENAI_RUNS_ASSISTANT"]
    monkeypatch.delenv("OPENAI_RUNS_ASSISTANT")
    files.write("one")
    with files.jobs.open("a") as file:
        file.write("\n" + json.dumps({"key": "b", "message": "two", "assistant_id": own}))
    assert "line 1: it names no assistant" in files.run(exit_code=1)
    assert files.results() == {"b": "Re: two"}


def test_a_budget(endpoint: Endpoint, files: Files) -> None:
    """When it is used up, the exit code is 3; started again, it goes on."""
    files.write("one", "two", "three")
    output = files.run("--workers", 1, "--budget-tokens", 1, exit_code=3)
    assert "not all jobs have results, because the token budget is used up; started again, it goes on" in output
    assert files.results() == {"job 0": "Re: one"}
    files.run()
    assert files.results() == {"job 0": "Re: one", "job 1": "Re: two", "job 2": "Re: three"}
    assert endpoint.asked == {"one": 1, "two": 1, "three": 1}


def test_a_completion_window(endpoint: Endpoint, files: Files) -> None:
    """All jobs get it that have none of their own; the summary says how many tokens went at which window."""
    files.write("one", "two")
    with files.jobs.open("a") as file:
        file.write('\n{"message": "three", "completion_window": "2h"}\n{"message": "4", "completion_window": null}\n')
    output = files.run("--completion-window", "8h")
    assert endpoint.windows() == {"8h": 2, "2h": 1, None: 1}
    lines = {line["key"]: line["usage"]["total_tokens"] for line in map(json.loads, files.out.read_text().splitlines())}
    eight, two, all = lines["job 0"] + lines["job 1"], lines["3"], sum(lines.values())
    assert f"completed: 4, tokens: {all}, of these at 2h: {two}, of these at 8h: {eight}" in output
    assert "of these" not in files.run()


def test_a_deadline_within_the_window(files: Files) -> None:
    """It would end runs that have hours, and is refused before anything is sent."""
    files.write("one")
    output = files.run("--completion-window", "2h", "--deadline", 7199, exit_code=2)
    assert "--deadline must not be shorter than --completion-window" in output


def test_limits(endpoint: Endpoint, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the session's."""
    sessions: list[dict[str, Any]] = []

    def session(*arguments: Any, **options: Any) -> Session:
        sessions.append(options)
        return Session(*arguments, **options)

    monkeypatch.setattr(command, "Session", session)
    files.write("one")
    files.run("--rpm", 60_000, "--tpm", 1e6)
    assert sessions == [{"rate_limits": RateLimits(requests_per_minute=60_000, tokens_per_minute=1e6)}]


def test_patience_with_outages(endpoint: Endpoint, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of the batch: ten minutes, or what --outage says."""
    given: list[float] = []

    def batch(*arguments: Any, polling: Polling, **options: Any) -> Any:
        given.append(polling.outage)
        return run_batch(*arguments, polling=polling, **options)

    monkeypatch.setattr(command, "run_batch", batch)
    files.write("one")
    files.run()
    files.run("--outage", 7)
    assert given == [600, 7]


def test_tools(endpoint: Endpoint, files: Files) -> None:
    """Tool calls are answered by the toolbox that --tools names."""
    files.write("look up")
    files.run("--tools", "openai_runs.cli.walkthrough:toolbox")
    assert files.results() == {"job 0": "Re: look up"}
    assert "--tools: there is no json:toolbox" in files.run("--tools", "json:toolbox", exit_code=2)


@pytest.mark.parametrize("durable", [False, True])
def test_functions_that_nobody_answers(endpoint: Endpoint, files: Files, batches: Path, durable: bool) -> None:
    """They are named before the first job, with what to write; jobs that cannot call them are run."""
    options: list[object] = ["--durable", batches] if durable else []
    files.write("one", "two")
    assistant = endpoint.portal.call(endpoint.add_assistant, "get_weather", "get_news")
    output = words(files.run("--assistant", assistant, *options, exit_code=2))
    assert f"{assistant} has functions as tools, get_weather, get_news: give the Toolbox" in output
    assert "--tools MODULE:NAME" in output
    toolbox = ["--tools", "openai_runs.cli.walkthrough:toolbox"]
    output = words(files.run("--assistant", assistant, *toolbox, *options, exit_code=2))
    assert "functions as tools, get_news: the Toolbox of --tools has none" in output
    assert not endpoint.asked
    assert not files.out.exists()
    files.jobs.write_text(json.dumps({"key": "a", "message": "one", "tools": []}))
    files.run("--assistant", assistant, *options)
    assert files.results() == {"a": "Re: one"}


@pytest.mark.parametrize("command", ["run", "submit"])
def test_without_a_message(endpoint: Endpoint, files: Files, command: str) -> None:
    """If the fields of all lines are data, that is said once, with the option that is missing; the exit code is 2."""
    files.jobs.write_text('{"key": "a", "text": "one"}\n' + 29 * '{"text": "two"}\n')
    where = ["--out", files.out] if command == "run" else [files.out.with_suffix(".db")]
    output = words(run("batch", command, files.jobs, *where, exit_code=2))
    assert output.count("unknown parameter 'text'") == 1
    assert "no line of" in output
    assert '--message, such as "Summarise: {text}"' in output
    assert list(files.out.parent.iterdir()) == [files.jobs]


def test_a_table_without_a_message(endpoint: Endpoint, files: Files) -> None:
    """Its columns are named, and the option that is missing."""
    files.jobs = files.jobs.with_suffix(".csv")
    files.jobs.write_text("key,text\na,one\n")
    output = files.run(exit_code=2)
    assert "has no column message, and no --message, such as" in output
    assert "its first line names key, text" in output


@pytest.mark.parametrize("is_pipe", [False, True])
def test_many_lines_with_one_problem(endpoint: Endpoint, files: Files, is_pipe: bool) -> None:
    """It is printed with the first line and once more with the others; what only one other line has, with that."""
    content = '{"message": "one"}\n' + 30 * '{"text": "two"}\n' + 2 * '{"message": ""}\n' + "nonsense\n"
    if is_pipe:
        os.mkfifo(files.jobs)
        writer = threading.Thread(target=files.jobs.write_text, args=[content])
        writer.start()
        output = files.run(exit_code=1)
        writer.join()
    else:
        files.jobs.write_text(content)
        output = files.run(exit_code=1)
    assert output.count("unknown parameter 'text'") == 2
    assert "line 2: unknown parameter 'text'" in output
    assert "lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22 and 9 more: unknown" in output
    assert "\nline 32: the message is empty\n" in output
    assert "\nline 33: the message is empty\n" in output
    assert output.count("not JSON") == 1
    assert "lines that are no jobs: 33" in output


def test_where_results_cannot_be(endpoint: Endpoint, files: Files) -> None:
    """A table, or a folder that is not there, is refused before anything is paid for."""
    files.write("one")
    for out, problem in (files.out.with_suffix(".csv"), "JSON lines"), (files.out / "o.jsonl", "there is no folder"):
        assert problem in words(run("batch", "run", files.jobs, "--out", out, exit_code=2))
    assert not endpoint.asked
    assert list(files.out.parent.iterdir()) == [files.jobs]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_nothing_is_left_to_do(
    endpoint: Endpoint, files: Files, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    """Then there is no progress to show."""
    files.write("one")
    files.run()
    if not is_terminal:
        assert files.run() == "completed: 0, completed before: 1\n"
        return
    terminal = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    monkeypatch.setattr(command, "errors", terminal)
    files.run()
    assert terminal.file.getvalue() == ""  # type: ignore[attr-defined]  # it is a StringIO


def test_in_a_terminal(endpoint: Endpoint, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the progress is a bar."""
    terminal = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    monkeypatch.setattr(command, "errors", terminal)
    files.write("one")
    files.run()
    drawn = terminal.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    assert "jobs ━━" in drawn
    assert " 1/1, " in drawn


def test_lines_about_the_progress(endpoint: Endpoint, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal, a line is printed now and then."""
    monkeypatch.setattr(batch_output, "_REPORT_EVERY", 0.01)
    files.write("wait")

    def facts(progress: BatchProgress) -> str:
        if progress.in_flight:  # the run ends once the line about it is printed
            endpoint.portal.call(endpoint.gate.set)
        return progress_bar.facts(progress)

    monkeypatch.setattr(batch_output, "facts", facts)
    assert "0/1, 1 in flight, " in files.run()


def test_jobs_from_a_pipe(endpoint: Endpoint, files: Files) -> None:
    """They are read once, so their number is not known; lines that are no jobs are named as they come."""
    os.mkfifo(files.jobs)
    content = '{"message": "one"}\nnonsense\n{"message": "two"}\n'
    writer = threading.Thread(target=files.jobs.write_text, args=[content])
    writer.start()
    output = files.run(exit_code=1)
    writer.join()
    assert "line 2: not JSON" in output
    assert "0, 0.0/s" in output
    assert files.results() == {"1": "Re: one", "3": "Re: two"}


def test_a_pipe_that_is_no_table(endpoint: Endpoint, files: Files) -> None:
    """What is found when the batch runs already ends it, and the error says what it was."""
    files.jobs = files.jobs.with_suffix(".csv")
    os.mkfifo(files.jobs)
    writer = threading.Thread(target=files.jobs.write_text, args=["text\n"])
    writer.start()
    assert "has no column message" in files.run(exit_code=3)
    writer.join()
    assert not files.out.exists()


def test_a_full_disk(endpoint: Endpoint, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that cannot be written ends the batch, and runs in progress are cancelled."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write("one", "wait")
    with monkeypatch.context() as patched:
        patched.setattr(ResultFile, "write", fail)
        output = files.run(exit_code=3)
    assert "No space left on device" in output
    assert files.results() == {}
    assert endpoint.statuses() == {"completed": 1, "cancelled": 1}
    endpoint.portal.call(endpoint.gate.set)
    files.run()
    assert files.results() == {"job 0": "Re: one", "job 1": "Re: wait"}


def test_nothing_can_be_started(endpoint: Endpoint, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong template, assistant, file or endpoint is found before the first job; the exit code is 2."""
    files.write("one")
    assert "'{' cannot be read" in " ".join(files.run("--message", "{", exit_code=2).split())
    assert "RateLimits.tokens_per_minute must be a finite number" in files.run("--tpm", "inf", exit_code=2)
    assert "No assistant found" in files.run("--assistant", "asst_none", exit_code=2)
    assert "Is the server running" in files.run("--base-url", "http://127.0.0.1:1/v1", exit_code=2)
    assert "is no result" in run("batch", "run", files.jobs, "--out", files.jobs, exit_code=2)
    broken = files.jobs.with_suffix(".csv")
    broken.write_text("text\n")
    assert "has no column message" in run("batch", "run", broken, "--out", files.out, exit_code=2)
    broken.unlink()
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert "no endpoint" in files.run(exit_code=2)
    assert list(files.jobs.parent.iterdir()) == [files.jobs]


def test_jobs_with_assistants_of_their_own(endpoint: Endpoint, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --assistant, each line names one."""
    assistant = os.environ["OPENAI_RUNS_ASSISTANT"]
    monkeypatch.delenv("OPENAI_RUNS_ASSISTANT")
    files.jobs.write_text(json.dumps({"key": "a", "assistant_id": assistant, "message": "one"}))
    files.run()
    assert files.results() == {"a": "Re: one"}


def test_ctrl_c_once(endpoint: Endpoint, files: Files) -> None:
    """Runs in progress end and have results, and no others are started; the exit code is 3, and it can go on."""
    files.write("wait 0", "wait 1", "wait 2", "wait 3")
    with files.start("--workers", "2") as process:
        endpoint.wait_for_runs(2)
        process.send_signal(signal.SIGINT)
        read_until(process, "no more runs are started")
        endpoint.portal.call(endpoint.gate.set)
        _, output = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "not all jobs have results, because it was stopped; started again, it goes on" in output
    assert files.results() == {"job 0": "Late.", "job 1": "Late."}
    files.run()
    assert files.results() == {"job 0": "Late.", "job 1": "Late.", "job 2": "Re: wait 2", "job 3": "Re: wait 3"}
    assert endpoint.statuses() == {"completed": 4}


def test_ctrl_c_twice(endpoint: Endpoint, files: Files) -> None:
    """Runs in progress are cancelled, and their jobs get new ones the next time."""
    files.write("one", "wait", "two")
    with files.start("--workers", "1") as process:
        endpoint.wait_for_runs(1)
        process.send_signal(signal.SIGINT)
        read_until(process, "no more runs are started")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 3
    assert files.results() == {"job 0": "Re: one"}
    assert endpoint.statuses() == {"completed": 1, "cancelled": 1}
    endpoint.portal.call(endpoint.gate.set)
    files.run()
    assert files.results() == {"job 0": "Re: one", "job 1": "Re: wait", "job 2": "Re: two"}


@pytest.mark.unmeasured
def test_kill_minus_9(endpoint: Endpoint, files: Files) -> None:
    """The next start has a result of each job, none twice; and what was in progress has its run, and no second one."""
    files.write("one", "two", "wait 2", "wait 3", "three")
    with files.start("--workers", "3") as process:
        endpoint.wait_for_runs(2)
        process.kill()
    with files.out.open("ab") as file:
        file.write(b'{"key":"job 4","sta')  # what a kill in the middle of writing leaves
    endpoint.portal.call(endpoint.gate.set)
    files.run()
    assert files.results() == {
        "job 0": "Re: one",
        "job 1": "Re: two",
        "job 2": "Late.",
        "job 3": "Late.",
        "job 4": "Re: three",
    }
    assert endpoint.statuses() == {"completed": 5}
    assert endpoint.asked == dict.fromkeys(["one", "two", "wait 2", "wait 3", "three"], 1)
