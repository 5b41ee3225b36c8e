"""What was typed: parsing, checks before composition, and the splitting of sweeps."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from dqrun.composition.overrides import check, split_sweep, unknown_option
from dqrun.errors import ConfigError

GROUPS = {"model": ["gat", "gcn"], "experiment": ["table"]}


def overrides(*texts: str) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(texts))


def test_one_job_keeps_its_words() -> None:
    texts = ["model=gat", "train={lr: 1e-3}", "dataset.name='a,b'"]
    assert split_sweep(overrides(*texts), multirun=False) == [texts]


def test_the_last_list_varies_fastest() -> None:
    jobs = split_sweep(overrides("model=gat,gcn", "a=1", "b=1,2"), multirun=True)
    assert jobs == [["model=gat", "a=1", f"b={b}"] for b in (1, 2)] + [["model=gcn", "a=1", f"b={b}"] for b in (1, 2)]


def test_lists_need_multirun() -> None:
    with pytest.raises(ConfigError, match=r"^b=range\(1,3\) gives several values: add -m"):
        split_sweep(overrides("a=1", "b=range(1,3)"), multirun=False)


@pytest.mark.parametrize("text", ["model=gat", "model={hidden: 3}", "~experiment", "experiment=null", "other=1"])
def test_what_composition_can_handle_passes(text: str) -> None:
    check(*overrides(text), GROUPS)


@pytest.mark.parametrize("text", ["model=gta", "model=3", "~model", "++model=gat", "hydra.verbose=true"])
def test_what_would_be_ignored_or_explained_badly_does_not(text: str) -> None:
    with pytest.raises(ConfigError):
        check(*overrides(text), GROUPS)


def test_an_unknown_option_lists_the_options_and_the_nearest() -> None:
    message = str(unknown_option("model", "gta", ["gat", "gcn"]))
    assert message == "model must be one of gat, gcn, got 'gta'; did you mean 'gat'?"
