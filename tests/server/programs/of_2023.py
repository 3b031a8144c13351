"""A program of 2023, as openai 1.3.5 wanted it; `tests/server/old_programs.py` starts it, and nothing in it is ours.

``ask`` uploads two files, one for the assistant and one for a message, and prints the answer with footnotes, and the
IDs of what it has made. ``change`` changes the files of an assistant. ``read`` prints what version 1 shows of an
assistant and a thread that somebody else has made.
"""

import json
import sys

from openai import OpenAI

client = OpenAI()


def upload(text):
    return client.files.create(file=("notes.txt", text.encode()), purpose="assistants")


def ask():
    kettle, canteen = upload("The kettle holds 1.7 litres of water."), upload("The canteen opens at half past eleven.")
    assistant = client.beta.assistants.create(
        name="Librarian",
        instructions="Answer from the files.",
        model="gpt-4-1106-preview",
        tools=[{"type": "retrieval"}],
        file_ids=[kettle.id],
    )
    thread = client.beta.threads.create()
    question = "When does the canteen open?"
    client.beta.threads.messages.create(thread_id=thread.id, role="user", content=question, file_ids=[canteen.id])
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    while run.status in ("queued", "in_progress"):
        run = client.beta.threads.runs.retrieve(thread_id=thread.id, run_id=run.id)
    message = client.beta.threads.messages.list(thread_id=thread.id).data[0]
    text = message.content[0].text
    footnotes = []
    for index, annotation in enumerate(text.annotations):
        text.value = text.value.replace(annotation.text, f"[{index}]")
        cited = client.files.retrieve(annotation.file_citation.file_id)
        footnotes.append(f"[{index}] {annotation.file_citation.quote} from {cited.filename}")
    steps = client.beta.threads.runs.steps.list(thread_id=thread.id, run_id=run.id, order="asc")
    return {
        "answer": [text.value, *footnotes],
        "tools": [type(tool).__name__ for tool in run.tools],
        "calls": [type(call).__name__ for call in steps.data[0].step_details.tool_calls],
        "assistant": assistant.id,
        "thread": thread.id,
        "files": [kettle.id, canteen.id],
    }


def change(assistant_id, file_id):
    """What version 2 has no operations for: the files of an assistant, one by one."""
    files = client.beta.assistants.files
    before = [file.id for file in files.list(assistant_id)]
    files.create(assistant_id=assistant_id, file_id=file_id)
    files.delete(before[0], assistant_id=assistant_id)
    client.beta.assistants.update(assistant_id, tools=[{"type": "retrieval"}, {"type": "code_interpreter"}])
    return [file.id for file in files.list(assistant_id)]


def read(assistant_id, thread_id):
    assistant = client.beta.assistants.retrieve(assistant_id)
    messages = list(client.beta.threads.messages.list(thread_id, order="asc"))
    [run] = client.beta.threads.runs.list(thread_id)
    attached = client.beta.threads.messages.files.list(messages[0].id, thread_id=thread_id)
    return {
        "tools": [tool.type for tool in assistant.tools],
        "files": [assistant.file_ids, run.file_ids, [file.id for file in attached]],
        "quotes": [note.file_citation.quote for note in messages[1].content[0].text.annotations],
    }


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    sys.stdout.write(json.dumps({"ask": ask, "change": change, "read": read}[command](*arguments)))
