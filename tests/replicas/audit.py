"""What a trial's database notes of each change, and what is found in it: who executed the runs, and to what end."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import psycopg
from attrs import frozen

from tests.replicas.model import CALL_TOKENS, PROMPT_TOKENS, answer_of, calls_tool, output_of, pieces_of

#: Each group of commits says first whose it is, in the row of its server. So the trigger that notes the changes knows
#: the session's epoch, and can compare it with the server that has the run, as of that change.
INSTALL: Final = """
CREATE TABLE trial_audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    epoch bigint,
    kind text NOT NULL, id text NOT NULL, run text, operation text NOT NULL, status text, was text,
    server bigint, is_waiting boolean, is_over boolean, transaction xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE FUNCTION trial_note_epoch() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    PERFORM set_config('trial.epoch', NEW.epoch::text, true);
    RETURN NEW;
END
$function$;
CREATE TRIGGER trial_note_epoch BEFORE UPDATE OF written ON openai_runs_servers
    FOR EACH ROW EXECUTE FUNCTION trial_note_epoch();
CREATE FUNCTION trial_note() RETURNS trigger LANGUAGE plpgsql AS $function$
DECLARE
    now_body json;
    old_body json;
    of_run text;
    by_epoch bigint := nullif(current_setting('trial.epoch', true), '')::bigint;
BEGIN
    IF coalesce(NEW.kind, OLD.kind) NOT IN ('run', 'run_step', 'message', 'run_state') THEN
        RETURN NULL;
    END IF;
    now_body := NEW.body::json;
    old_body := OLD.body::json;
    of_run := CASE WHEN coalesce(NEW.kind, OLD.kind) IN ('run', 'run_state') THEN coalesce(NEW.id, OLD.id)
        ELSE coalesce(now_body ->> 'run_id', old_body ->> 'run_id') END;
    INSERT INTO trial_audit (epoch, kind, id, run, operation, status, was, server, is_waiting, is_over)
        SELECT by_epoch, coalesce(NEW.kind, OLD.kind), coalesce(NEW.id, OLD.id), of_run, TG_OP,
            now_body ->> 'status', old_body ->> 'status', a.server, a.is_waiting, s.is_over
        FROM (SELECT) one LEFT JOIN openai_runs_active a ON a.run = of_run
        LEFT JOIN openai_runs_servers s ON s.epoch = by_epoch;
    RETURN NULL;
END
$function$;
CREATE TRIGGER trial_note AFTER INSERT OR UPDATE OR DELETE ON openai_runs_objects
    FOR EACH ROW EXECUTE FUNCTION trial_note();
"""

_ENDS: Final = ("completed", "failed", "cancelled", "expired", "incomplete")


class Change(NamedTuple):
    number: int
    epoch: int | None
    kind: str
    id: str
    run: str | None
    operation: str
    status: str | None
    was: str | None
    server: int | None
    is_waiting: bool | None
    is_over: bool | None
    transaction: int


@frozen
class Expected:
    """What a client has asked for."""

    name: str
    thread_id: str
    run_id: str
    may_be_cancelled: bool = False
    metadata: Mapping[str, str] | None = None


def install(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(INSTALL)


def latest(url: str) -> int:
    """Up to which place there is something already."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE trial_audit")
        row = connection.execute("SELECT coalesce(max(place), 0) FROM openai_runs_objects").fetchone()
        return int(row[0]) if row else 0


def audit(url: str, after: int, expected: Sequence[Expected], started: set[str]) -> list[str]:
    """All that is wrong with what was stored after a place, where all runs should have ended."""
    with psycopg.connect(url, autocommit=True) as connection:
        columns = ", ".join(Change._fields).replace("transaction", "transaction::text::bigint")
        changes = [Change(*row) for row in connection.execute(f"SELECT {columns} FROM trial_audit ORDER BY number")]
        rows = connection.execute(
            "SELECT kind, id, body FROM openai_runs_objects WHERE place > %s ORDER BY place", (after,)
        ).fetchall()
        active = connection.execute("SELECT run, server, is_waiting FROM openai_runs_active").fetchall()
    objects: dict[str, dict[str, Any]] = defaultdict(dict)
    for kind, id, body in rows:
        objects[kind][id] = json.loads(body)
    return [
        *(f"{run} is still there: server {server}, waiting {is_waiting}" for run, server, is_waiting in active),
        *(f"{id} has a state after its end" for id in objects["run_state"]),
        *_of_changes(changes),
        *_of_objects(objects, expected, started),
        *_of_keys(objects),
    ]


def _of_changes(changes: Sequence[Change]) -> Iterator[str]:
    """Nobody but the server that has a run executes it, and no run ends twice."""
    statuses: dict[str, list[str]] = defaultdict(list)
    ended: dict[tuple[int, str | None], int | None] = {}  # by transaction and run: the server that had it until then
    for change in changes:
        kind, epoch = change.kind, change.epoch
        server = ended.get((change.transaction, change.run), change.server)
        if epoch is None:
            yield f"nobody knows who has made {change}"
        if change.is_over:
            yield f"a server that was over has made {change}"
        if kind == "run" and change.status != change.was and change.status is not None:
            past = statuses[change.id]
            if past and past[-1] in _ENDS:
                yield f"run {change.id} went on after its end: {past}, {change}"
            if change.status == change.was:
                yield f"run {change.id} has its status a second time: {change}"
            past.append(change.status)
            if change.status not in ("queued", "cancelling") and server != epoch:
                yield f"server {epoch} has moved a run that server {server} has: {change}"
        elif kind in ("run_step", "message") and change.run is not None and server != epoch:
            # What the outputs of a waiting run complete, or what ends with it, nobody executes.
            if server is not None or kind == "message":
                yield f"server {epoch} has written for a run that server {server} has: {change}"
        elif kind == "run_state" and change.operation == "DELETE":
            ended[change.transaction, change.run] = server
            if server != epoch:
                yield f"server {epoch} has ended a run that server {server} has: {change}"


def _of_objects(
    objects: Mapping[str, Mapping[str, Any]], expected: Sequence[Expected], started: set[str]
) -> Iterator[str]:
    """Each run has ended as it should, and its thread has all of that once."""
    of_thread: dict[str, list[Any]] = defaultdict(list)
    runs_of: dict[str, list[str]] = defaultdict(list)
    steps_of: dict[str, list[Any]] = defaultdict(list)
    for message in objects["message"].values():
        of_thread[message["thread_id"]].append(message)
    for run in objects["run"].values():
        runs_of[run["thread_id"]].append(run["id"])
    for step in objects["run_step"].values():
        steps_of[step["run_id"]].append(step)
    known = {each.thread_id for each in expected}
    by_thread: dict[str, list[Expected]] = defaultdict(list)
    for each in expected:
        by_thread[each.thread_id].append(each)
    for thread_id in runs_of.keys() - known:
        texts = [_text_of(message) for message in of_thread[thread_id]]
        if not started & set(texts):  # whoever has started it does not know its end: that was told already
            yield f"thread {thread_id} has runs that nobody started: {texts}"
    for thread_id, wanted in by_thread.items():
        if runs_of[thread_id] != [each.run_id for each in wanted]:
            yield f"thread {thread_id} has the runs {runs_of[thread_id]}, should have {wanted}"
            continue
        said = [(m["role"], m.get("run_id"), _text_of(m), m["status"]) for m in of_thread[thread_id]]
        yield from _of_messages(thread_id, said, wanted, objects["run"])
        for each in wanted:
            yield from _of_run(each, objects["run"][each.run_id], steps_of[each.run_id])


def _of_messages(
    thread_id: str, said: Sequence[Any], wanted: Sequence[Expected], runs: Mapping[str, Any]
) -> Iterator[str]:
    left = list(said)
    for each in wanted:
        if not left or left[0][2] != each.name or left.pop(0)[0] != "user":
            yield f"thread {thread_id} lacks the message {each.name}: {said}"
            return
        answers = []
        while left and left[0][1] == each.run_id:
            answers.append(left.pop(0))
        if runs[each.run_id]["status"] == "completed":
            if [answer[2:] for answer in answers] != [(answer_of(each.name), "completed")]:
                yield f"{each} was answered by {answers}"
        elif len(answers) > 1 or any(not answer_of(each.name).startswith(answer[2]) for answer in answers):
            yield f"{each}, which was cancelled, was answered by {answers}"
    if left:
        yield f"thread {thread_id} has too many messages: {said}"


def _of_run(wanted: Expected, run: Any, steps: Sequence[Any]) -> Iterator[str]:
    if run["status"] != "completed":
        if not (wanted.may_be_cancelled and run["status"] == "cancelled"):
            yield f"{wanted} has ended as {run['status']}: {run.get('last_error')}"
        if open_steps := [step for step in steps if step["status"] == "in_progress"]:
            yield f"{wanted} has ended, and not its steps {open_steps}"
        return
    tokens = [len(pieces_of(wanted.name))]
    shown = [("message_creation", "completed", tokens[0])]
    if calls_tool(wanted.name):
        tokens.append(CALL_TOKENS)
        shown.insert(0, ("tool_calls", "completed", CALL_TOKENS))
    if [(step["type"], step["status"], (step["usage"] or {}).get("completion_tokens")) for step in steps] != shown:
        yield f"{wanted} has the steps {steps}"
    for step in steps:
        for call in step["step_details"].get("tool_calls", ()):
            if call["function"]["output"] != output_of(wanted.name):
                yield f"{wanted} has the output {call}"
    usage = run["usage"] or {}
    if (usage.get("prompt_tokens"), usage.get("completion_tokens")) != (PROMPT_TOKENS * len(tokens), sum(tokens)):
        yield f"{wanted} has the usage {usage}, and not {tokens}"
    if wanted.metadata is not None and {**run["metadata"], **wanted.metadata} != run["metadata"]:
        yield f"{wanted} has lost metadata: {run['metadata']}"


def _of_keys(objects: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Each idempotency key stands for one object, which is there. (One of submitted outputs stands for their run.)"""
    made: dict[str, int] = defaultdict(int)
    for key in objects["used_key"].values():
        if key["object_id"] not in objects[key["kind"]]:
            yield f"the key {key} stands for nothing"
        made[key["object_id"]] += key["kind"] != "run"
    yield from (f"{id} was made {number} times" for id, number in made.items() if number > 1)


def _text_of(message: Any) -> str:
    return "".join(part["text"]["value"] for part in message["content"] if part["type"] == "text")
