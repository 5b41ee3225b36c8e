"""Advice on recipes."""

from __future__ import annotations

import pytest

from dqrun.composition.compose import load_jobs
from dqrun.composition.groups import config_folder, list_groups
from dqrun.composition.recipes import SIMILAR, recipe_advice

FOLDER = ["dataset=folder", "dataset.path=x"]


def advice(*words: str) -> str:
    (job,) = load_jobs(words)
    return recipe_advice(job, list_groups([config_folder()]))


def test_data_of_the_user_are_trained_with_generic_settings_and_that_is_said() -> None:
    line = advice(*FOLDER, "dataset.name=mine", "model=gcn", "dataset.task=node_classification")
    assert line.startswith("mine, gcn: sizes and training settings are generic") and "recipe=cora_gcn takes" in line
    assert advice(*FOLDER, "model=gcn", "dataset.task=node_classification", "recipe=cora_gcn") == ""


@pytest.mark.parametrize("words", [["dataset=cora"], ["dataset=tu", "dataset.name=MUTAG"], [*FOLDER, "~recipe"]])
def test_where_a_recipe_is_chosen_or_removed_nothing_is_said(words: list[str]) -> None:
    assert advice(*words) == ""


def test_each_task_has_a_recipe_for_each_model() -> None:
    groups = list_groups([config_folder()])
    assert {f"{name}_{model}" for name in SIMILAR.values() for model in groups["model"]} <= set(groups["recipe"])
