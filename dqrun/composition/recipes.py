"""Advice on recipes: which one may suit data that no recipe was made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dqrun.composition.compose import Job

SIMILAR = {"node": "cora", "graph": "tu", "graph_regression": "zinc"}
"""The dataset whose recipes are the first to try, for each level, or task."""


def advice_on(jobs: Sequence[Job], groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Advice before the jobs of a command run: fields that were left out, recipes that may suit."""
    lines = [line for job in jobs for line in (*job.left_out, recipe_advice(job, groups))]
    return [line for line in dict.fromkeys(lines) if line]


def recipe_advice(job: Job, groups: Mapping[str, Sequence[str]]) -> str:
    """A line for a job whose dataset and model have no recipe, so that generic settings are used; else empty.

    `groups`: as `groups.list_groups` gives them. Whoever removed the recipe (`~recipe`) is not told.
    """
    chosen = job.choices.get("recipe")
    if chosen is None or chosen in groups["recipe"]:
        return ""
    config, model = job.config, job.choices["model"]
    task, level = config.dataset.task, config.dataset.task.partition("_")[0]
    similar = f"{SIMILAR.get(task) or SIMILAR[level]}_{model}"
    advice = f": recipe={similar} takes those of similar data" if similar in groups["recipe"] else ""
    return (
        f"{config.dataset.name}, {model}: sizes and training settings are generic, no recipe has this dataset{advice}"
    )
