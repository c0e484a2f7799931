"""The README's file tree names every file, and none that is not there."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def tree(text: str) -> set[str]:
    """Paths of files in an indented listing: two spaces a level, folders end in a slash."""
    found, folders = set(), []
    for line in text.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], name]
        if not name.endswith("/"):
            found.add("".join(folders))
    return found


def test_the_file_tree_is_what_is_there():
    section = (ROOT / "README.md").read_text().split("## The file tree")[1]
    listed = tree(section.split("```")[1].strip("\n"))
    files = [path for room in ("vsie", "tools") for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py"]
    assert listed == {str(path.relative_to(ROOT)) for path in files}


def test_every_file_has_a_comment():
    section = (ROOT / "README.md").read_text().split("## The file tree")[1]
    assert all(len(line.split()) > 1 for line in section.split("```")[1].strip("\n").splitlines())
