"""`make man`: the man pages of the commands, from what `--help` says."""

from pathlib import Path

from click_man.core import write_man_pages

from pisync.cli.main import main

FOLDER = Path(__file__).parents[1] / "docs/man"


def write(folder: Path) -> None:
    """Write a page for each command into a folder.

    They have no date and no version, so that they change with the commands alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_man_pages("pisync", main, version="PiSync", date=" ", target_dir=str(folder))


if __name__ == "__main__":
    for page in FOLDER.glob("*.1"):
        page.unlink()
    write(FOLDER)
