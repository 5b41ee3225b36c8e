"""The examples in docs/reference/configuration.md can be typed: they compose, and a network is built with them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from dqrun.composition.compose import load_configs
from dqrun.composition.fields import list_fields, owners
from dqrun.composition.groups import config_folder, list_groups
from dqrun.nn.build import build_model

ASSIGNMENT = re.compile(r"((?:\w+\.)*\w+)=(\[[^\]]*\]|[^\s,;:()]+)")
ALTERNATIVES = re.compile(r"e\.g\. (\[[^\]]*\])(?: or (\[[^\]]*\]))?")
NEEDS = {"dataset.source=folder": ["dataset.path=graphs"]}
FIELDS, GROUPS = list_fields(), list_groups([config_folder()])


def examples() -> Iterator[tuple[str, str]]:
    """As one types them: `name=ray` of `launcher.address` is about `launcher.name`. With each the method that alone has
    the field that gives it, or ""."""
    for field in FIELDS.values():
        having = owners(field.name)
        owner = "" if not having or "method=dq" in having or not having[0].startswith("method=") else having[0]
        for name, value in ASSIGNMENT.findall(field.meaning):
            parts = field.name.split(".")[:-1]
            within = [".".join([*parts[:depth], name]) for depth in range(len(parts), 0, -1)]
            known = next((full for full in [*within, name] if full in FIELDS), name)
            yield f"{known}={value}", owner
        for found in ALTERNATIVES.findall(field.meaning):
            yield from ((f"{field.name}={value}", owner) for value in found if value)


EXAMPLES = dict(sorted(set(examples()), reverse=True))  # an example of several fields: without a method, if any is


def test_examples_are_found() -> None:
    expected = {
        "plan.fp32=['head.*']",
        "model.head=[2, 4]",
        "launcher.name=ray",
        "train.schedule.name=step",
        "threads=0",
    }
    assert expected <= set(EXAMPLES)
    assert all(example.split("=")[0] in FIELDS.keys() | GROUPS.keys() for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_composes_and_applies(example: str) -> None:
    needs = [*NEEDS.get(example, []), *filter(None, [EXAMPLES[example]])]
    of_nodes = example.startswith("loader.")  # parts of one large graph
    data = ["dataset=cora", "model=gcn", "model.layers=3"] if of_nodes else ["dataset=threads", "model=gin"]
    words = [*data, "model.hidden=8", "quant=int8", *needs, example]
    (config,) = load_configs(words)
    build_model(config, in_channels=1, num_categories=0, out_channels=2)
