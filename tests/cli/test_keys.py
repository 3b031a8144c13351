"""`openai-runs keys`: new keys, files of keys without keys, and what is in such a file."""

import json
from pathlib import Path

import pytest
from attrs import fields

from openai_runs.cli.key_options import keys_from, retention_from
from openai_runs.engine.limits import WORDS, Limits
from openai_runs.server.keys import RETENTION, Keys, hashed, limits_in, read_keys, read_lines
from tests.cli.commands import run


def test_a_new_key():
    """It is shown with the line for the file of keys; the line has the label, and not the key."""
    first, second = run("keys", "new", "--label", "shop").splitlines()
    key, line = first.removeprefix("The key, which is shown only now: "), second.split(":", 1)[1].strip()
    assert key not in line
    assert Keys(read_keys(line)).owner(f"Bearer {key}") == "shop"
    assert key not in run("keys", "new", "--label", "shop")


@pytest.mark.parametrize("before", [None, "", "# ours\n", "# ours"])
def test_a_key_for_a_file(tmp_path: Path, before: str | None):
    """The line is added to the file, which may lack the end of its last line; only the key is printed."""
    file = tmp_path / "keys"
    if before is not None:
        file.write_text(before)
    [key] = run("keys", "new", "--label", "shop", "--append", file).splitlines()
    text = file.read_text()
    assert text.startswith((before or "").rstrip("\n"))
    assert len(text.splitlines()) == (2 if before else 1)
    assert text.endswith(" shop\n")
    assert key not in text
    assert Keys(read_keys(text)).owner(f"Bearer {key}") == "shop"


def test_a_file_that_takes_no_key(tmp_path: Path):
    """No key is shown that no server knows."""
    output = run("keys", "new", "--label", "shop", "--append", tmp_path / "none" / "keys", exit_code=2)
    assert "the key cannot be added" in output
    assert "sk-" not in output


@pytest.mark.parametrize("label", ["", " ", "two words", " shop"])
def test_a_label_that_is_no_word(label: str):
    """It would not fit into a line of the file."""
    assert "--label must be one word" in " ".join(run("keys", "new", "--label", label, exit_code=2).split())


def test_a_file_of_keys(tmp_path: Path):
    """It is printed with hashes, ready to take its place."""
    file = tmp_path / "keys"
    file.write_bytes(b"\xef\xbb\xbf# ours\nsk-a alice\nsk-b\n")
    text = run("keys", "hash", file)
    assert text.startswith("# ours\nsha256:")
    assert "sk-" not in text
    before, after = Keys(read_keys(file.read_text("utf-8-sig"))), Keys(read_keys(text))
    assert after.owner("Bearer sk-b") == before.owner("Bearer sk-b")
    assert after.owner("Bearer sk-a") == "alice"


def test_a_file_that_cannot_be_read(tmp_path: Path):
    """The error has the line, and no key."""
    (tmp_path / "keys").write_text("sk-secret anna bert")
    output = run("keys", "hash", tmp_path / "keys", exit_code=2)
    assert "line 1 of the keys" in output
    assert "secret" not in output
    assert "No such file" in run("keys", "hash", tmp_path / "none", exit_code=2)


def test_a_key_with_limits(tmp_path: Path):
    """They are in its line; a limit that there is not makes no key."""
    limits = ("--limit", "active-runs=5", "--limit", "stored-mb=100")
    _, second = run("keys", "new", "--label", "shop", *limits).splitlines()
    assert second.endswith(" shop active-runs=5 stored-mb=100")
    file = tmp_path / "keys"
    run("keys", "new", "--label", "shop", *limits, "--append", file)
    assert limits_in(read_lines(file.read_text())) == {"shop": {"active_runs": 5, "stored_bytes": 100 * 2**20}}
    output = run("keys", "new", "--label", "shop", "--limit", "runs=5", exit_code=2)
    assert "there is no limit 'runs'" in " ".join(output.split())
    assert "sk-" not in output


def test_the_keys_of_a_file(tmp_path: Path):
    """Each has its line, its owner, and all limits of that owner; no key is shown, and no hash."""
    file = tmp_path / "keys"
    file.write_text(f"# ours\nsk-a anna active-runs=5\n{hashed('sk-b')} anna tokens-per-day=none\nsk-c [bold]carl\n")
    assert run("keys", "list", file).splitlines() == [
        "   2  key   anna                  active-runs=5 tokens-per-day=none",
        "   3  hash  anna                  active-runs=5 tokens-per-day=none",
        "   4  key   [bold]carl",
    ]
    lines = [json.loads(line) for line in run("keys", "list", file, "--json").splitlines()]
    assert lines[0] == {"line": 2, "kind": "key", "owner": "anna", "limits": ["active-runs=5", "tokens-per-day=none"]}
    assert lines[2] == {"line": 4, "kind": "key", "owner": "[bold]carl", "limits": []}
    assert "No such file" in run("keys", "list", tmp_path / "none", exit_code=2)


def words_of_a_line() -> list[str]:
    """All that a line of a file of keys may say of its owner."""
    return [*(f"{name}=7" for name in WORDS), f"{RETENTION}=30"]


def test_all_that_a_line_may_say(tmp_path: Path):
    """`keys new` writes it, the server reads it, `keys list` shows it, help and the page have its name."""
    words, file = words_of_a_line(), tmp_path / "keys"
    limits = [part for word in words[:-1] for part in ("--limit", word)]
    run("keys", "new", "--label", "shop", *limits, "--retention-days", 30, "--append", file)
    assert file.read_text().split()[1:] == ["shop", *words]
    assert keys_from(file).limits["shop"] == Limits(**{f.name: 7 for f in fields(Limits)} | {"stored_bytes": 7 * 2**20})
    assert retention_from(file) == {"shop": 30}
    assert json.loads(run("keys", "list", file, "--json"))["limits"] == words
    assert run("keys", "list", file).split()[3:] == words
    page = (Path(__file__).parents[2] / "docs/how-to/limit-tenants.md").read_text("utf-8")
    for name in (*WORDS, RETENTION):
        assert f"| `{name}` |" in page
        for command in (["serve"], ["keys", "new"]):
            assert name in "".join(run(*command, "--help").split()), (name, command)


def test_a_key_with_retention(tmp_path: Path):
    """It may be for ever; what no server would take makes no key."""
    assert run("keys", "new", "--label", "shop", "--retention-days", "never").endswith(" shop retention-days=never\n")
    (tmp_path / "keys").write_text("sk-a anna retention-days=never")
    assert run("keys", "list", tmp_path / "keys").endswith(" anna                  retention-days=never\n")
    for days, problem in (("0.5", "must be at least 1 day"), ("soon", "is followed by days, or by never")):
        output = " ".join(run("keys", "new", "--label", "shop", "--retention-days", days, exit_code=2).split())
        assert problem in output
    output = run("keys", "new", "--label", "shop", "--limit", "retention-days=3", exit_code=2)
    assert "For how long threads are kept says --retention-days" in " ".join(output.split())


@pytest.mark.parametrize(
    ("there", "option", "problem"),
    [
        ("sk-a shop active-runs=5", ("--limit", "active-runs=6"), "repeats a limit that line 1 has"),
        ("sk-a shop retention-days=5", ("--retention-days", 6), "line 2 of the keys: retention-days= says something"),
        ("sk-a shop two", (), "line 1 of the keys has more than two words"),
    ],
)
def test_a_line_that_contradicts_another(tmp_path: Path, there: str, option: tuple, problem: str):
    """It is not added: the server would refuse the file. No key is shown."""
    (tmp_path / "keys").write_text(there)
    output = run("keys", "new", "--label", "shop", *option, "--append", tmp_path / "keys", exit_code=2)
    assert problem in " ".join(output.split())
    assert "sk-" not in output
    assert (tmp_path / "keys").read_text() == there
