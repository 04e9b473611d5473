import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from worker.app import databases
from worker.cli.application import PLACES, application
from worker.operations.configuration import load_config

ROOT = Path(__file__).parents[3]
SLOW = (
    *("alembic", "numpy", "pydicom", "pynetdicom", "highdicom", "psycopg", "pygments", "torch"),
    "sqlalchemy.dialects.postgresql",
    # of ours: other commands, and what moves jobs
    *("worker.cli.audit", "worker.cli.train", "worker.queue.jobs", "worker.queue.ledger"),
)


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


def test_the_list_of_commands_is_shown_without_settings_and_database() -> None:
    program = """
import sys
from worker.cli import main
try:
    main(["--help"])
except SystemExit as ended:
    print(ended.code, [name for name in ("schemas.config", "sqlalchemy") if name in sys.modules])
"""

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert ended.stdout.splitlines()[-1] == "0 []", ended.stdout + ended.stderr


@pytest.mark.parametrize("name", PLACES)
def test_a_command_that_is_loaded_alone_is_called_by_its_name(name: str) -> None:
    told = CliRunner().invoke(application(name), [name, "--help"])

    assert told.exit_code == 0
    assert f"boneage {name}" in told.output
    assert list(typer.main.get_command(application(name)).commands) == [name]  # type: ignore[attr-defined] # a group


def test_what_was_loaded_is_not_searched_for_garbage_again_but_all_later_is() -> None:
    program = """
import gc, weakref
from worker.lean import loading

class Node:
    pass

with loading():
    print(gc.isenabled())
    import decimal
held = gc.get_freeze_count()
node = Node()
node.itself = node
gone = weakref.ref(node)
del node
gc.collect()
print(gc.isenabled(), held > 1000, gone() is None)
"""

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert (ended.stdout.split(), ended.stderr) == (["False", "True", "True", "True"], "")
