import stat
from pathlib import Path

import pytest

from worker.operations.release_choice import VARIABLE, ReleaseChoiceError, choose_release

TEXT = '# ours\n[inference]\n# which one\ndevices = ["cpu"]  # here\n[log]\nlevel = "info"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(TEXT)
    path.chmod(0o640)
    return path


def test_the_choice_is_one_line_more_and_nothing_else(file: Path) -> None:
    choose_release("new", file=file, environment={})

    lines = file.read_text().splitlines()
    assert [line for line in lines if line not in TEXT.splitlines()] == ['release = "new"']
    assert len(lines) == len(TEXT.splitlines()) + 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_second_choice_takes_the_place_of_the_first(file: Path) -> None:
    choose_release("first", file=file, environment={})
    choose_release("second", file=file, environment={})

    assert file.read_text().count("release =") == 1
    assert 'release = "second"' in file.read_text()


def test_a_file_without_the_section_gets_it(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[log]\n")

    choose_release("new", file=file, environment={})

    assert '[inference]\nrelease = "new"' in file.read_text()


def test_where_the_environment_wins_nothing_is_written(file: Path) -> None:
    with pytest.raises(ReleaseChoiceError, match=VARIABLE):
        choose_release("new", file=file, environment={VARIABLE: "old"})

    assert file.read_text() == TEXT


def test_without_a_file_the_mend_is_said() -> None:
    with pytest.raises(ReleaseChoiceError, match='release = "new" under'):
        choose_release("new", file=None, environment={})
