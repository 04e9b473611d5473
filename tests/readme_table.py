"""Keeps the README's table of the release in step with the release's card.

python -m tests.readme_table
"""

from pathlib import Path

from models.release.manifest import CARD_FILE, RELEASES, newest_release

README = Path(__file__).parents[1] / "README.md"
_BEGIN = "<!-- table of the release: `make readme` writes it from the card -->\n"
_END = "<!-- end of the table -->\n"


def expected_table() -> str:
    """Return the table of the newest release's card, under its name."""
    name = newest_release()
    lines = (RELEASES / name / CARD_FILE).read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| children |"))
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    card = f"[models/releases/{name}/{CARD_FILE}](models/releases/{name}/{CARD_FILE})"
    return "\n".join([f"`{name}`, {card}:", "", *lines[start:end], ""])


def table_in(readme: str) -> str:
    """Return what stands between the two marks."""
    return readme.partition(_BEGIN)[2].partition(_END)[0]


def main() -> None:
    """Write the table into the README."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    README.write_text(before + _BEGIN + expected_table() + _END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
