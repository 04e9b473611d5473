"""Print what `pyproject.toml` asks for, one requirement a line: the layer that seldom changes."""

import sys
import tomllib
from pathlib import Path

with Path(sys.argv[1]).open("rb") as file:
    print("\n".join(tomllib.load(file)["project"]["dependencies"]))
