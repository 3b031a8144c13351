"""`JobFile`: the jobs of a file, and the lines that are none."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from openai_runs.batch.job_files import BadLine, JobFile
from openai_runs.batch.jobs import RunJob
from openai_runs.batch.message_template import MessageTemplate


def read(
    path: Path, content: str | bytes, template: str | None = None, **options: Any
) -> tuple[list[RunJob], list[str]]:
    """The jobs of a file with this content, and its bad lines."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    bad: list[BadLine] = []
    file = JobFile(path=path, template=None if template is None else MessageTemplate.parse(template), **options)
    jobs = list(file.read(bad.append))
    return jobs, [str(line) for line in bad]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    return tmp_path / "jobs.jsonl"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "jobs.CSV"


def test_a_line_is_a_job(jsonl: Path) -> None:
    """Without a template, a line is a `RunJob` with its parameters; its assistant wins, and a message comes last."""
    lines = [
        {"key": "a", "message": "one"},
        {"key": 2, "assistant_id": "asst_own", "thread": {"messages": [user("zero")], "metadata": {"k": "v"}}},
        {"key": "c", "thread": {"messages": [user("zero")]}, "message": "one", "temperature": 0.5},
        {"key": "d", "thread_id": "thread_1", "idempotency_key": "mine"},
        {"key": "e", "thread_id": "thread_1", "additional_messages": [user("zero")], "message": "one"},
    ]
    jobs, bad = read(jsonl, "\n".join(map(json.dumps, lines)), assistant_id="asst_all")
    assert bad == []
    assert jobs == [
        {"key": "a", "assistant_id": "asst_all", "thread": {"messages": [user("one")]}},
        {"key": "2", "assistant_id": "asst_own", "thread": {"messages": [user("zero")], "metadata": {"k": "v"}}},
        {
            "key": "c",
            "assistant_id": "asst_all",
            "thread": {"messages": [user("zero"), user("one")]},
            "temperature": 0.5,
        },
        {"key": "d", "assistant_id": "asst_all", "thread_id": "thread_1", "idempotency_key": "mine"},
        {
            "key": "e",
            "assistant_id": "asst_all",
            "thread_id": "thread_1",
            "additional_messages": [user("zero"), user("one")],
        },
    ]


def test_a_window_for_all(jsonl: Path, csv: Path) -> None:
    """It holds for jobs that have none of their own, not even ``null``; a wrong one makes its line a bad one."""
    lines = [
        {"message": "a"},
        {"message": "b", "completion_window": "2h"},
        {"message": "c", "completion_window": None},
        {"message": "d", "completion_window": "1h"},
    ]
    options = {"assistant_id": "asst_all", "completion_window": "8h"}
    jobs, bad = read(jsonl, "\n".join(map(json.dumps, lines)), **options)
    assert [job["completion_window"] for job in jobs] == ["8h", "2h", None]
    assert bad == ["line 4: completion_window must be '2h' or '8h': got '1h'; nothing was sent"]
    jobs, bad = read(csv, "message,completion_window\na,2h\n", **options)
    assert ([job["completion_window"] for job in jobs], bad) == (["8h"], [])


def test_with_a_template_a_line_is_data(jsonl: Path) -> None:
    """A field that has the name of a parameter is no parameter: a document may have a model or a temperature."""
    lines = [
        {"key": "a", "model": "Beetle", "temperature": "hot", "text": {"n": 1}},
        {"key": "b", "model": "R4", "text": "x", "thread_id": "thread_1", "assistant_id": "asst_own"},
    ]
    jobs, bad = read(jsonl, "\n".join(map(json.dumps, lines)), "{model}: {text}", assistant_id="asst_all")
    assert bad == []
    assert jobs == [
        {"key": "a", "assistant_id": "asst_all", "thread": {"messages": [user('Beetle: {"n":1}')]}},
        {
            "key": "b",
            "assistant_id": "asst_own",
            "thread_id": "thread_1",
            "additional_messages": [user("R4: x")],
        },
    ]


def test_rows_of_a_table(csv: Path) -> None:
    """A row is a job; the key of one without a key column is the number of its first line."""
    jobs, bad = read(csv, '\ufefftext,lang\none,en\n\n"two\nlines",cy\n', "{lang}: {text}", assistant_id="asst_1")
    assert bad == []
    assert [(job["key"], job["thread"]["messages"][0]["content"]) for job in jobs] == [
        ("2", "en: one"),
        ("4", "cy: two\nlines"),
    ]
    jobs, bad = read(csv, "message,key,thread_id\none,a,\ntwo,b,thread_1\n", assistant_id="asst_1")
    assert bad == []
    assert [(job["key"], job.get("thread_id")) for job in jobs] == [("a", None), ("b", "thread_1")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nonsense", "not JSON"),
        ("[1]", "not a JSON object: [1]"),
        ('{"key": "a", "message": "again"}', "line 1 has the key 'a', too"),
        ('{"key": ""}', "the key must be a text or a whole number: got ''"),
        ('{"key": true}', "the key must be a text or a whole number: got True"),
        ('{"key": null}', "the key must be a text or a whole number: got None"),
        ('{"temperatur": 1}', "did you mean 'temperature'?"),
        ('{"temperature": "hot"}', "temperature must be"),
        ('{"assistant_id": 7}', "assistant_id"),
        ('{"thread": "x", "message": "y"}', "thread must be a dict"),
        ('{"thread": {}, "thread_id": "thread_1"}', "'thread'"),
        ('{"thread_id": null}', "thread_id must be a text: got None"),
        ('{"idempotency_key": ""}', "idempotency_key must be a text: got ''"),
        ('{"message": null}', "content must be"),
        ('{"message": "  "}', "the message is empty"),
    ],
)
def test_a_bad_line_is_named(jsonl: Path, line: str, problem: str) -> None:
    """It is named with its number and why, and the lines around it are jobs."""
    good = '{"key": "a", "message": "x"}', '{"key": "z", "message": "x"}'
    jobs, [bad] = read(jsonl, f"{good[0]}\n\n{line}\n{good[1]}\n", assistant_id="asst_1")
    assert [job["key"] for job in jobs] == ["a", "z"]
    assert bad.startswith("line 3: ")
    assert problem in bad


def test_no_assistant(jsonl: Path) -> None:
    """A line that names none, with none for all, is a bad one."""
    jobs, bad = read(jsonl, '{"message": "x"}\n{"message": "x", "assistant_id": "asst_1"}\n')
    assert [job["key"] for job in jobs] == ["2"]
    assert bad == ["line 1: it names no assistant, and there is none for all jobs"]


def test_a_byte_order_mark_and_line_separators(jsonl: Path) -> None:
    """The mark of other systems is left out, and a line ends at a line feed only."""
    jobs, bad = read(jsonl, '\ufeff{"message": "a\u2028b"}\r\n{"message": "c"}', assistant_id="asst_1")
    assert bad == []
    assert [job["thread"]["messages"][0]["content"] for job in jobs] == ["a\u2028b", "c"]


def test_bad_rows_of_a_table(csv: Path) -> None:
    """A row with other cells than columns, one that is not UTF-8 and one that is not CSV do not stop the rest."""
    content = b'key,message\na,one\nb\nc,\xff\nd,"two"x\ne,\xc3\xa4\nf,\n'
    jobs, bad = read(csv, content, assistant_id="asst_1")
    assert [job["key"] for job in jobs] == ["a", "e"]
    assert bad == [
        "line 3: it has 1 cells, and there are 2 columns",
        "line 4: it is not UTF-8",
        "line 5: not CSV: ',' expected after '\"'",
        "line 7: the message is empty",
    ]


def test_a_long_cell(csv: Path) -> None:
    """A message may have 256,000 characters; Python's csv module by itself would refuse such a cell."""
    jobs, bad = read(csv, f"message\n{256_000 * 'x'}\n", assistant_id="asst_1")
    assert (len(jobs), bad) == (1, [])


@pytest.mark.parametrize(
    ("content", "template", "problem"),
    [
        ("", "{text}", "has no column text; its first line names none"),
        ("key;text\n", "{text}", "has no column text; its first line names key;text"),
        ("key,text\n", None, "has no column message, and no --message, .* its first line names key, text"),
        ("key,text,text\n", "{text}", "two columns of one name"),
        ('"key"x,text\n', "{text}", "the first line of .* is not CSV"),
    ],
)
def test_a_table_without_its_columns(csv: Path, content: str, template: str | None, problem: str) -> None:
    """No row could be a job, so the file is refused."""
    with pytest.raises(ValueError, match=problem):
        read(csv, content, template, assistant_id="asst_1")


def test_lines_with_data(jsonl: Path) -> None:
    """A field that is no parameter is told apart from other mistakes: with a template, it would be data."""
    bad: list[BadLine] = []
    lines = [{"text": "a"}, {"temperature": "hot"}, {"thread": {"text": "a"}}, {"thread_id": "thread_1", "text": "a"}]
    jsonl.write_text("\n".join(map(json.dumps, lines)))
    assert list(JobFile(path=jsonl, assistant_id="asst_1").read(bad.append)) == []
    assert [line.has_unknown_field for line in bad] == [True, False, False, True]


@pytest.mark.parametrize(
    ("lines", "template", "may_call"),
    [
        ([{"message": "a", "tools": []}, {"message": "b"}], None, True),
        ([{"message": "a", "tools": []}, {"message": "b", "assistant_id": "asst_2"}], None, False),
        ([{"message": "a", "tool_choice": "none"}, {"no": "job"}], None, False),
        ([{"message": "a", "tools": []}], "{message}", True),
    ],
)
def test_who_uses_an_assistants_tools(
    jsonl: Path, lines: list[dict[str, object]], template: str | None, may_call: bool
) -> None:
    """A job with tools of its own does not, nor one of another assistant, nor one that may call none."""
    jsonl.write_text("\n".join(map(json.dumps, lines)))
    parsed = None if template is None else MessageTemplate.parse(template)
    assert JobFile(path=jsonl, assistant_id="asst_1", template=parsed).uses_tools_of("asst_1") is may_call


@pytest.mark.parametrize(
    ("name", "template", "may_call"), [("j.csv", None, True), ("j", "{a}", True), ("j", None, False)]
)
def test_tools_of_jobs_from_a_pipe(tmp_path: Path, name: str, template: str | None, may_call: bool) -> None:
    """It is not read for that: what is known is that data has no tools of its own."""
    os.mkfifo(pipe := tmp_path / name)
    parsed = None if template is None else MessageTemplate.parse(template)
    assert JobFile(path=pipe, assistant_id="asst_1", template=parsed).uses_tools_of("asst_1") is may_call


def test_the_name_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made of the file's whole path and the assistant."""
    monkeypatch.chdir(tmp_path)
    path = Path("jobs.jsonl")
    assert JobFile(path=path).batch_name == f"{tmp_path}/jobs.jsonl"
    assert JobFile(path=path, assistant_id="asst_1").batch_name == f"{tmp_path}/jobs.jsonl asst_1"
