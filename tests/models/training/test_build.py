"""From finished runs to a release that can be asked."""

from pathlib import Path

import pytest

from models.training.build import NewRelease, RunMismatchError, build_release
from models.training.cohort import Cohort
from models.training.run_folder import RunFolder
from models.training.train import train
from tests.models.training.cohorts import LIGHTNING_WARNINGS, QUICK, write_cohort, write_recipe

pytestmark = [pytest.mark.filterwarnings(one) for one in LIGHTNING_WARNINGS]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("cohort") / "data")


@pytest.fixture(scope="module")
def run(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("runs")
    return train(write_recipe(folder), QUICK, cohort=cohort, runs=folder, progress=False)


def test_runs_with_another_split_make_no_release(
    run: RunFolder, cohort: Cohort, tmp_path: Path
) -> None:
    other = tmp_path / "split.csv"
    other.write_text(cohort.split.read_text(encoding="utf-8") + "f00,test\n", encoding="utf-8")

    with pytest.raises(RunMismatchError, match="split"):
        build_release(
            NewRelease(name="tiny", releases=tmp_path),
            [run.path],
            cohort=Cohort(data=cohort.data, split=other),
        )


def test_a_folder_without_a_run_makes_no_release(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(RunMismatchError, match="no weights"):
        build_release(NewRelease(name="tiny", releases=tmp_path), [tmp_path], cohort=cohort)


def test_a_run_that_predicts_the_sex_alone_makes_no_release(cohort: Cohort, tmp_path: Path) -> None:
    overrides = (*QUICK, "head.sex=only", "loss.sex_weight=1", "name=sexes")
    run = train(write_recipe(tmp_path), overrides, cohort=cohort, runs=tmp_path, progress=False)

    with pytest.raises(RunMismatchError, match="predicts the sex, and no age"):
        build_release(NewRelease(name="tiny", releases=tmp_path), [run.path], cohort=cohort)
