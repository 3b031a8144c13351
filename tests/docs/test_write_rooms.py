"""The table of lines per room is counted from the package itself."""

from docs.write_rooms import PACKAGE, TOP, count, table


def test_rooms_are_counted(tmp_path):
    """A folder is a room with all that is below it; files beside the folders are one more."""
    (tmp_path / "small").mkdir()
    (tmp_path / "large/inner").mkdir(parents=True)
    (tmp_path / "small/__init__.py").write_text("one\n")
    (tmp_path / "large/a.py").write_text("1\n2\n3\n4\n")
    (tmp_path / "large/inner/b.py").write_text("5\n")
    (tmp_path / "large/data.json").write_text("{}\n" * 99)
    (tmp_path / "top.py").write_text("1\n2\n3\n4\n")
    rooms = count(tmp_path)
    assert rooms == [("`large/`", 2, 5), (TOP, 1, 4), ("`small/`", 1, 1)]
    assert table(rooms).splitlines()[2:] == [
        "| `large/` | 2 | 5 | 50.0% |",
        "| the top level | 1 | 4 | 40.0% |",
        "| `small/` | 1 | 1 | 10.0% |",
        "| all | 4 | 10 | 100% |",
    ]


def test_every_room_of_the_package_is_there():
    """No room is left out, and every file is in exactly one."""
    rooms = count(PACKAGE)
    assert {name for name, _, _ in rooms} - {TOP} == {
        f"`{init.parent.name}/`" for init in PACKAGE.glob("*/__init__.py")
    }
    assert sum(files for _, files, _ in rooms) == len(list(PACKAGE.rglob("*.py")))
