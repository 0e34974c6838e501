"""Recipes are read with their fragments, and move to another run folder by options derived from them."""

import json

import pytest

from amalia_mm.errors import InputError
from amalia_mm.recipe_paths import read_recipe, recipe_options, recipes_folder, run_folder_of

RUN = "runs/quickstart"


def test_fragments_are_read_by_their_path_from_the_file_that_names_them(tmp_path):
    (tmp_path / "recipes" / "x").mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    (tmp_path / "recipes" / "x" / "recipe.yaml").write_text("data: ../../configs/data.yaml\nsteps: 3\n")
    (tmp_path / "configs" / "data.yaml").write_text("a: 1\nb: [deeper.yaml]\n")
    (tmp_path / "configs" / "deeper.yaml").write_text("c: 2\n")
    recipe = read_recipe(tmp_path / "recipes" / "x" / "recipe.yaml")
    assert recipe == {"data": {"a": 1, "b": [{"c": 2}]}, "steps": 3}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a: [1", "expected"),
        (b"- 1\n", "list"),
        (b"a: \xff\n", "utf-8"),
        (b"a: gone.yaml\n", "gone.yaml: found no such"),
    ],
)
def test_a_broken_recipe_is_one_line_that_names_the_file(tmp_path, content, found):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_recipe(path)
    assert str(tmp_path) in str(error.value)
    assert found in str(error.value)
    assert "\n" not in str(error.value)


def test_every_place_that_names_the_run_folder_moves_and_nothing_else_does():
    recipe = {
        "model": {"init_args": {"lr": 1.0, "init_from": {f"{RUN}/04_sft/model": ["decoder"]}}},
        "data": {"init_args": {"shards": {f"{RUN}/shards/a": 0.3}, "val_shards": [f"{RUN}/b"], "seed": 0}},
        "run_folder": f"{RUN}/14_joint",
        "note": f"not a path: {RUN}-other",
    }
    options = recipe_options(recipe, RUN, "/x", as_json=True)
    pairs = dict(zip(options[::2], options[1::2], strict=True))
    assert pairs == {
        "--model.init_args.init_from": json.dumps({"/x/04_sft/model": ["decoder"]}),
        "--data.init_args.shards": json.dumps({"/x/shards/a": 0.3}),
        "--data.init_args.val_shards": json.dumps(["/x/b"]),
        "--run_folder": "/x/14_joint",
    }


def test_lists_follow_an_argparse_option_word_by_word():
    recipe = {"shards": [f"{RUN}/a", f"{RUN}/b"], "output": f"{RUN}/tokenizer", "vocab_size": 9}
    options = recipe_options(recipe, RUN, "{run}", as_json=False)
    assert options == ["--shards", "{run}/a", "{run}/b", "--output", "{run}/tokenizer"]


def test_the_run_folder_of_a_command_line(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("run_folder: runs/a\n")
    assert str(run_folder_of(["fit", "-c", str(recipe)])) == "runs/a"
    assert str(run_folder_of(["fit", "-c", str(recipe), "--run_folder", "runs/b"])) == "runs/b"
    assert str(run_folder_of(["fit", "--config", str(recipe), "--run_folder=runs/c"])) == "runs/c"
    assert run_folder_of(["fit"]) is None


def test_the_recipes_are_found():
    assert (recipes_folder() / "10_hearing" / "recipe.yaml").is_file()
