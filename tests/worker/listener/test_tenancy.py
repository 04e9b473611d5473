import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker.listener.conftest import Site, StartSite
from worker.listener.errors import RootTakenError
from worker.listener.tenancy import Tenancy

_HOLD = """
import sys
from pathlib import Path
from worker.listener.tenancy import Tenancy
tenancy = Tenancy(Path(sys.argv[1]))
tenancy.begin()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_listener_on_a_storage_root_leaves_alone_what_the_first_receives(
    site: Site, start_site: StartSite
) -> None:
    half = site.root / "incoming" / "of-the-first.part"
    half.write_bytes(b"half")

    with pytest.raises(RootTakenError, match="Another listener"):
        start_site()

    assert half.exists()


def test_a_storage_root_is_free_once_its_listener_has_stopped(
    site: Site, start_site: StartSite
) -> None:
    site.listener.stop()

    assert start_site().listener.is_listening


def test_a_killed_listener_holds_no_storage_root(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RootTakenError):
            Tenancy(tmp_path).begin()
        process.kill()

    free = Tenancy(tmp_path)
    free.begin()
    free.end()
