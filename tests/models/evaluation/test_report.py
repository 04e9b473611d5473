"""A release and a run are asked about drawn children, and all is written."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.ensemble import load_estimator
from models.evaluation import statistics
from models.evaluation.answers import Interview, ignore_progress
from models.evaluation.changes import measure_changes
from models.evaluation.grouping import UNKNOWN, GroupingError
from models.evaluation.heatmaps import hand_mask, share_inside, shows_a_hand
from models.evaluation.kept import KeptAnswers
from models.evaluation.page import draw_all, format_page
from models.evaluation.report import (
    Correction,
    Images,
    NoImagesError,
    Question,
    Report,
    make_report,
)
from models.evaluation.statistics import UnfitBiasError
from models.evaluation.target import Asking, opened, views_of
from models.evaluation.variants import VARIANTS, turned_in_place
from models.evaluation.writing import as_plain, write_predictions
from models.release.manifest import read_manifest
from models.training.annotations import TrainingDataError
from models.training.cohort import Cohort
from models.training.recipe_file import read_recipe
from models.training.split import Part
from models.transforms import DEFAULT_RULE
from schemas.releases import Averaging
from tests.models.builders import drawn_hand, written_release
from tests.models.training.cohorts import write_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("cohort") / "data")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def interview(cohort: Cohort, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Interview:
    return Interview(
        ensemble=load_estimator(folder), cohort=cohort, cache=tmp_path_factory.mktemp("cache")
    )


QUESTION = Question(images=Images.SQUASHED, limit=12, resamples=200)


def test_a_report_holds_what_the_release_says_to_each_child(
    interview: Interview, tmp_path: Path
) -> None:
    report = make_report("tiny", interview, QUESTION)
    write_predictions(report, tmp_path / "predictions.csv")

    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == report.rows[0].n == 12
    for row in rows:
        members = [float(row["member0"]), float(row["member1"])]
        assert float(row["estimate"]) == pytest.approx(np.mean(members), abs=0.02)
    errors = [abs(float(row["estimate"]) - float(row["bone_age"])) for row in rows]
    assert report.rows[0].mae_months == pytest.approx(np.mean(errors), abs=0.02)


def test_the_page_holds_tables_and_pictures_and_fetches_nothing(interview: Interview) -> None:
    report = make_report("<tiny>", interview, QUESTION)

    page = format_page(report, draw_all(report))

    assert page.count("data:image/png;base64,") == 4
    assert "http://" not in page
    assert "https://" not in page
    assert "Evaluation of &lt;tiny&gt;" in page
    assert f"{report.rows[0].mae_months:.2f}" in page
    assert json.dumps(as_plain(report))


def test_what_was_said_once_is_read_from_the_cache(interview: Interview) -> None:
    first = interview.ask(interview.cohort.select(Part.TEST)[:5])
    asked: list[str] = []
    again = Interview(
        ensemble=interview.ensemble,
        cohort=interview.cohort,
        cache=interview.cache,
        progress=lambda what, _done, _total: asked.append(what),
    )

    assert again.ask(interview.cohort.select(Part.TEST)[:5]) == first
    assert asked == []


def test_a_bias_is_fitted_on_other_children_than_it_is_judged_on(
    interview: Interview, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "SENSIBLE_SLOPES", (-np.inf, np.inf))  # untrained networks
    plain = make_report("tiny", interview, QUESTION)
    question = Question(
        images=Images.SQUASHED, limit=12, resamples=200, correction=Correction.OVERALL
    )

    corrected = make_report("tiny", interview, question)

    (line,) = corrected.bias
    assert corrected.is_corrected
    assert line.n == 24  # twelve of calibrate, twelve of validate
    np.testing.assert_allclose(corrected.outcomes.ages, line.corrected(plain.outcomes.ages))


def test_a_network_that_says_nearly_one_age_is_not_corrected(interview: Interview) -> None:
    question = Question(images=Images.SQUASHED, limit=12, correction=Correction.OVERALL)

    with pytest.raises(UnfitBiasError, match="Evaluate without --correct-bias"):
        make_report("tiny", interview, question)


def test_what_was_asked_among_others_is_not_asked_again(interview: Interview) -> None:
    children = interview.cohort.select(Part.TEST)[:8]
    said = interview.ask(children)
    asked: list[tuple[str, int]] = []
    again = replace(interview, progress=lambda what, _done, total: asked.append((what, total)))

    assert again.ask(children[6:1:-1]) == said.about([6, 5, 4, 3, 2])
    again.ask(interview.cohort.select(Part.TEST)[:9])
    assert asked in ([], [("hands, as it is", 1)])  # the ninth alone, if nobody had asked


def test_a_line_of_the_cache_that_was_cut_off_is_asked_again(tmp_path: Path) -> None:
    KeptAnswers(tmp_path, "months", "a").keep({"first": 1.0, "second": 2.0})
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text(encoding="utf-8").rstrip()[:-4], encoding="utf-8")

    known = KeptAnswers(tmp_path, "months", "a")
    assert "second" not in known
    known.keep({"third": 3.0})

    again = KeptAnswers(tmp_path, "months", "a")
    assert (again["first"], again["third"]) == (1.0, 3.0)
    assert "second" not in again
    assert "first" not in KeptAnswers(tmp_path, "months", "b")


def test_mirror_averaging_can_be_asked_of_any_release(cohort: Cohort, folder: Path) -> None:
    asking = Asking(cohort=cohort, averaging=Averaging.MIRROR, progress=ignore_progress)

    with opened(folder, asking) as asked:
        assert {one.entry.averaging for one in asked.ensemble.members} == {Averaging.MIRROR}


def test_turns_and_their_mirror_images_are_averaged(interview: Interview, tmp_path: Path) -> None:
    question = Question(images=Images.SQUASHED, limit=3, resamples=200, rotations_and_flip=True)

    report = make_report("tiny", interview, question)
    write_predictions(report, tmp_path / "predictions.csv")

    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    views = [name for name in rows[0] if name.startswith(("as it is", "turned in place"))]
    assert len(views) == 10  # -10, -5, 0, 5 and 10 degrees, each as it is and mirrored
    assert len({months.tobytes() for months in report.answers.views.values()}) == 10
    for row in rows:
        said = [float(row[view]) for view in views]
        assert float(row["estimate"]) == pytest.approx(np.mean(said), abs=0.02)


def test_a_turn_in_place_loses_the_corners_and_keeps_the_size() -> None:
    image = drawn_hand(90, 60)

    turned = turned_in_place(image, degrees=10)

    assert turned.shape == image.shape
    assert np.abs(turned - image).mean() > 1
    np.testing.assert_array_equal(turned_in_place(image, degrees=0), image)


def test_each_of_five_crops_shows_the_hand_as_large_as_in_training(folder: Path) -> None:
    member = read_manifest(folder)[0].members[0].model_copy(update={"input_size": 500})
    member = member.model_copy(update={"crop_share": 0.94})

    cropped = member.seen_in(Averaging.FIVE_CROPS)

    assert cropped.input_size == 470
    assert cropped.seen_in(Averaging.FIVE_CROPS) == cropped
    assert cropped.seen_in(Averaging.NONE) == member


def test_a_run_is_read_in_the_views_of_its_recipe(folder: Path, tmp_path: Path) -> None:
    recipe = read_recipe("deeplasia-b0-512").as_dict()
    (tmp_path / "run.json").write_text(json.dumps({"recipe": recipe}), encoding="utf-8")

    assert views_of(tmp_path) == "rotations-and-flip"
    assert views_of(folder) == "as-released"


def test_the_error_of_a_guess_stands_beside_that_of_the_networks(interview: Interview) -> None:
    report = make_report("tiny", interview, QUESTION)

    labels = report.outcomes.labels
    guess = np.abs(labels - np.mean(labels)).mean()
    assert as_plain(report)["guess_mae_months"] == pytest.approx(guess, abs=0.01)
    assert f"err by {guess:.1f} months" in format_page(report, {})


def test_a_part_without_images_is_an_error_that_says_so(interview: Interview) -> None:
    with pytest.raises(NoImagesError, match="native"):
        make_report("tiny", interview, Question(images=Images.NATIVE))


def test_an_unchanged_hand_does_not_move(interview: Interview) -> None:
    first, *rest = measure_changes(interview, interview.cohort.select(Part.TEST), count=3)

    assert (first.change, first.mean_change_months) == ("as it is", 0.0)
    assert [row.change for row in rest] == list(VARIANTS)
    (fifth,) = [row for row in rest if row.change == "a fifth of 12 bits"]
    assert fifth.mean_change_months < 0.1


def test_months_on_the_hand_are_told_from_months_on_the_air() -> None:
    hand = drawn_hand(400, 320)
    mask = hand_mask(hand, rule=DEFAULT_RULE)
    on_palm = np.zeros((32, 32), dtype=np.float32)
    on_palm[22, 16] = -3.0
    on_air = np.zeros((32, 32), dtype=np.float32)
    on_air[1, 1] = 3.0

    assert share_inside(on_palm, mask) == pytest.approx(1.0)
    assert share_inside(on_air, mask) == 0.0
    assert share_inside(on_palm + on_air, mask) == pytest.approx(0.5)


def test_a_frame_round_the_field_is_told_from_a_hand() -> None:
    hand = np.zeros((256, 256), dtype=np.bool_)
    hand[120:256, 80:180] = True  # palm and forearm
    for finger in range(4):
        hand[30:130, 70 + 34 * finger : 84 + 34 * finger] = True
    framed = hand.copy()
    framed[:12], framed[-12:] = True, True
    field = np.zeros((256, 256), dtype=np.bool_)
    field[40:220, 50:200] = True

    assert shows_a_hand(hand)
    assert not shows_a_hand(framed)
    assert not shows_a_hand(field)
    assert not shows_a_hand(np.zeros((256, 256), dtype=np.bool_))


def with_columns(cohort: Cohort, folder: Path, *, says: Callable[[int], tuple[str, str]]) -> Cohort:
    """Return the cohort with a table of its own, where ``says`` gives disorder and age of a row."""
    with (cohort.data / "annotation.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    table = folder / "clinic.csv"
    with table.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow([*rows[0], "disorder", "chronological"])
        writer.writerows([*row.values(), *says(number)] for number, row in enumerate(rows))
    return replace(cohort, table=table, columns=("disorder", "chronological"))


def ask_by_column(interview: Interview, cohort: Cohort) -> Report:
    question = replace(QUESTION, by="disorder", chronological="chronological")
    return make_report("tiny", replace(interview, cohort=cohort), question)


def test_errors_and_pictures_are_parted_by_a_column_of_the_table(
    interview: Interview, cohort: Cohort, tmp_path: Path
) -> None:
    # of the rows with a test child, every second one has a disorder, and the others none
    clinic = with_columns(
        cohort, tmp_path, says=lambda row: ("" if row % 2 else "Turner", "" if row % 4 else "60")
    )

    report = ask_by_column(interview, clinic)

    assert report.by is not None
    assert report.chronological is not None
    errors = np.abs(report.outcomes.ages - report.outcomes.labels)
    assert {row.group: row.n for row in report.by.rows} == {"Turner": 6, UNKNOWN: 6}
    for row in report.by.rows:
        mean = float(errors[report.by.values == row.group].mean())
        assert row.mae_months == pytest.approx(mean, abs=0.01)
    everybody, turner = report.chronological.advances
    assert (everybody.n, turner.group, turner.n) == (3, "Turner", 3)
    known = ~np.isnan(report.chronological.months)
    ahead = float((report.outcomes.ages[known] - 60).mean())
    assert everybody.mean_months == pytest.approx(ahead, abs=0.01)

    drawn = draw_all(report)
    page = format_page(report, drawn)
    assert {"error_by_group", "scatter_by_group", "chronological"} <= set(drawn)
    assert page.count("data:image/png;base64,") == 4 + 3
    assert as_plain(report)["by"]["groups"][0]["n"] == 6
    write_predictions(report, tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as lines:
        assert [row["disorder"] for row in csv.DictReader(lines)].count("Turner") == 6


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        (lambda row: (f"patient {row}", "60"), "12 different values"),
        (lambda _row: ("", "six years"), "'six years' of image"),
        (lambda _row: ("", "1200"), "no age in months"),
        (lambda _row: ("", ""), "is empty"),
    ],
)
def test_a_column_that_cannot_be_used_is_refused_in_words(
    interview: Interview,
    cohort: Cohort,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: Callable[[int], tuple[str, str]],
    wanted: str,
) -> None:
    monkeypatch.setattr("models.evaluation.grouping.MOST_GROUPS", 10)

    with pytest.raises(GroupingError, match=wanted):
        ask_by_column(interview, with_columns(cohort, tmp_path, says=says))


def test_a_column_that_is_not_there_is_named_beside_those_that_are(cohort: Cohort) -> None:
    with pytest.raises(TrainingDataError, match=r"no column disorder; there are image_ID, .*bone"):
        replace(cohort, columns=("disorder",)).select(Part.TEST)
