"""Answers each question in a folder: ``python batch_folder.py questions/``.

The question in ``a.txt`` is answered in ``a.answer``. Started again, it asks only those that have no answer yet.
``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` name the endpoint. With ``--assistant`` an assistant of yours answers;
without, one is made of ``--model``, and deleted at the end.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from openai_runs import OpenAIRunsError, RunJob, Session, run_batch
from openai_runs.batch.progress_bar import progress_bar


def answer_of(question: Path) -> Path:
    return question.with_suffix(".answer")


def write(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all, also if the program is killed meanwhile."""
    draft = path.with_suffix(".draft")
    draft.write_text(text, "utf-8")
    draft.replace(path)


def jobs(questions: list[Path], assistant_id: str) -> Iterator[RunJob]:
    """A job for each file, which is read when its turn comes."""
    for path in questions:
        text = path.read_text("utf-8", errors="replace")  # one odd byte is no reason to stop the batch
        yield RunJob(key=path.name, assistant_id=assistant_id, thread={"messages": [{"role": "user", "content": text}]})


async def answer(questions: list[Path], *, model: str, assistant_id: str | None, workers: int) -> int:
    """Answer the questions; returns how many have failed."""
    failed = 0
    async with Session() as session:
        if assistant_id:
            assistant = await session.assistants.retrieve(assistant_id)  # a wrong one would fail each job
        else:
            assistant = await session.assistants.create(model=model)
        source = jobs(questions, assistant.id)
        try:
            async with run_batch(session, source, workers=workers, deadline=300, total=len(questions)) as results:
                with progress_bar(results, "questions", console=Console(stderr=True)):
                    async for result in results:
                        if result.ok:
                            write(answer_of(questions[result.index]), result.text or "")
                        else:
                            failed += 1
                            print(f"{result.key}: {result.error}", file=sys.stderr)
        finally:  # after Ctrl-C, too
            if not assistant_id:
                try:
                    await session.assistants.delete(assistant.id)
                except OpenAIRunsError as error:
                    print(f"the assistant {assistant.id} was not deleted: {error}", file=sys.stderr)
    print(f"{len(questions) - failed} answered, {failed} failed")
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer each question in a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="gpt-4o-mini")
    parser.add_argument("--assistant", help="the ID of an assistant that you have, in place of --model")
    parser.add_argument("--workers", type=int, default=8)
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"there is no folder {options.folder}")
    questions = [path for path in sorted(options.folder.glob("*.txt")) if not answer_of(path).exists()]
    try:
        failed = asyncio.run(
            answer(questions, model=options.model, assistant_id=options.assistant, workers=options.workers)
        )
    except OpenAIRunsError as error:  # of the assistant; that of a question is its result
        sys.exit(f"no question was asked: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; start it again, and the questions without an answer are asked")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
