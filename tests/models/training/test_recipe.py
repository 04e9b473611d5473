from pathlib import Path

import pytest

from models.training.recipe_file import RECIPES, RecipeError, read_recipe
from models.transforms import DEFAULT_RULE


def written_recipe(folder: Path, text: str = "") -> Path:
    path = folder / "mine.toml"
    path.write_text(
        f'architecture = "resnet10t"\nstages = [{{ passes = 2, size = 64 }}]\n{text}',
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_read(path: Path) -> None:
    recipe = read_recipe(path.stem)

    assert recipe.name == path.stem
    assert recipe.passes > 0


def test_images_grow_from_stage_to_stage() -> None:
    recipe = read_recipe("lite0")

    sizes = [recipe.size_at(epoch) for epoch in range(recipe.passes)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == recipe.input_size


def test_an_unknown_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="learnig_rate"):
        read_recipe(written_recipe(tmp_path, "learnig_rate = 1.0\n"))


def test_an_unknown_key_inside_a_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="flop"):
        read_recipe(written_recipe(tmp_path, "[augmentation]\nflop = 0.5\n"))


def test_a_rule_keeps_its_usual_values_where_a_recipe_says_one_of_them(tmp_path: Path) -> None:
    recipe = read_recipe(written_recipe(tmp_path, "[rule]\nupright = true\n"))

    assert recipe.rule == DEFAULT_RULE.model_copy(update={"upright": True})


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    recipe = read_recipe(
        written_recipe(tmp_path, "seed = 3\n"), ["seed=5", "augmentation.gamma=0.1", "name=other"]
    )

    assert (recipe.seed, recipe.augmentation.gamma, recipe.name) == (5, 0.1, "other")


def test_an_override_without_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="key=value"):
        read_recipe(written_recipe(tmp_path), ["seed"])


def test_a_recipe_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(RecipeError, match="lite0"):
        read_recipe("nonesuch")


def test_a_recipe_without_stages_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bare.toml"
    path.write_text('architecture = "resnet10t"\n', encoding="utf-8")

    with pytest.raises(RecipeError, match="stages"):
        read_recipe(path)
