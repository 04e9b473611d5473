"""What was found once need not be found again: answers by name, in files that only grow."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_MODELS = Path(__file__).parents[1]
#: code that decides what is found: an answer by other code is asked for again
_DECIDING_CODE = (
    "*.py",
    "gate/*.py",
    "networks/*.py",
    "evaluation/variants.py",
    "evaluation/gate.py",
    "evaluation/heatmaps.py",
    "training/gate/made_up.py",
    "training/gate/covers.py",
)


@cache
def digest_of_code() -> str:
    """Return the digest of the code between an image and what is found in it."""
    paths = sorted(path for pattern in _DECIDING_CODE for path in _MODELS.glob(pattern))
    return hashlib.sha256(b"\n".join(path.read_bytes() for path in paths)).hexdigest()


class KeptAnswers:
    """Named answers of one kind; whoever is cut off loses no more than the last batch."""

    def __init__(self, folder: Path | None, kind: str, *deciding: str) -> None:
        """Read what is known.

        Args:
            folder: where answers are kept; None: in memory alone.
            kind: ends the name of the file.
            deciding: all that decides the answers, beside their names and our code.
        """
        digest = hashlib.sha256("\n".join([digest_of_code(), *deciding]).encode()).hexdigest()
        self._path = None if folder is None else folder / f"answers-{digest[:20]}-{kind}.jsonl"
        self._known: dict[str, Any] = {}
        if self._path is not None and self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                self._known |= _parsed(line)

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - plain values, as JSON has them
        return self._known[name]

    def keep(self, found: Mapping[str, Any]) -> None:
        """Add answers, plain values as JSON has them."""
        self._known |= found
        if self._path is None or not found:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps([name, value]) for name, value in found.items()]
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n".join(["", *lines, ""]))  # a line that was cut off ends here


def _parsed(line: str) -> dict[str, Any]:
    """Return the answer in a line; nothing where it was cut off."""
    try:
        name, value = json.loads(line)
    except ValueError:
        return {}
    return {name: value}
