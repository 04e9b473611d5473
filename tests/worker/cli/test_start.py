import subprocess
import sys
from pathlib import Path

from worker.app import databases
from worker.operations.configuration import load_config

ROOT = Path(__file__).parents[3]
SLOW = ("alembic", "numpy", "pydicom", "pynetdicom", "highdicom", "psycopg", "pygments", "torch")


def test_a_list_of_jobs_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text('[storage]\nroot = "storage"\n')
    databases.prepare_database(load_config(settings, environment={}))
    program = f"""
import sys
from worker.cli import main
try:
    main(["jobs", "list", "--config", {str(settings)!r}])
except SystemExit as ended:
    print(ended.code, [name for name in {SLOW!r} if name in sys.modules])
"""

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert ended.stdout.splitlines()[-1] == "0 []", ended.stdout + ended.stderr


def test_a_library_that_was_kept_from_another_can_be_had_afterwards() -> None:
    program = """
import sys
from worker.lean import load_without
load_without("structlog", hidden=("rich",))
print("rich" in sys.modules)
import rich.console
"""

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert (ended.stdout, ended.stderr) == ("False\n", "")


def test_a_command_that_loads_networks_ends_without_a_word_of_their_libraries() -> None:
    program = """
import models.ensemble
from worker.cli import main
main(["release", "list"])
"""

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert (ended.returncode, ended.stderr) == (0, "")
