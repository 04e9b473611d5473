"""Print what `pyproject.toml` asks for, one requirement a line: the layer that seldom changes.

What stands behind the file names extras: `dependencies.py pyproject.toml fast`.
"""

import sys
import tomllib
from pathlib import Path

file, *extras = sys.argv[1:]
project = tomllib.loads(Path(file).read_text(encoding="utf-8"))["project"]
wanted = [project["optional-dependencies"][extra] for extra in extras]
print("\n".join(sum(wanted, project["dependencies"])))
