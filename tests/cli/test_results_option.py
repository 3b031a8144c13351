"""The check of `--out`."""

from pathlib import Path

import pytest
import typer

from openai_runs.cli.results_option import check_out


def test_a_file_of_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be new, and of any other name, here or in another folder."""
    monkeypatch.chdir(tmp_path)
    for out in Path("results.jsonl"), Path("results"), tmp_path / "results.json":
        check_out(out)


@pytest.mark.parametrize("name", ["answers.csv", "answers.XLSX"])
def test_a_table(tmp_path: Path, name: str) -> None:
    """A spreadsheet would show JSON in one column: the error has the name to write, and what makes a table."""
    with pytest.raises(typer.BadParameter, match=r"JSON lines.* --out .*answers\.jsonl.*to_csv"):
        check_out(tmp_path / name)


def test_no_folder(tmp_path: Path) -> None:
    """The error names the folder and the file that were asked for, and not a file beside the results."""
    with pytest.raises(typer.BadParameter, match=r"there is no folder .*nodir for o\.jsonl$"):
        check_out(tmp_path / "nodir" / "o.jsonl")
