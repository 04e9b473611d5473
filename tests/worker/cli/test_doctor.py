import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def doctor(settings: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker", "doctor", "--config", str(settings), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=200,
    )


def test_settings_that_are_wrong_are_named_and_all_else_waits(tmp_path: Path) -> None:
    settings = tmp_path / "config.toml"
    settings.write_text('[listener]\nprot = 104\n[report]\nprofile = "gone.toml"\n')

    ended = doctor(settings, "--json")

    found = [(one["what"], one["state"]) for one in json.loads(ended.stdout)]
    assert ended.returncode == 1
    assert found == [
        ("settings, line 2, listener.prot", "fail"),
        ("settings, line 4, report.profile", "fail"),
        ("all else", "skipped"),
    ]
