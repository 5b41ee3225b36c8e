"""Filters and field names from the command line."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.analysis.rows import Run
from dqrun.analysis.select import Filter, choose, split_fields, split_words
from dqrun.errors import ConfigError, ResultsError

MakeRun = Callable[..., Run]


@pytest.mark.parametrize(
    ("word", "accepted"),
    [
        ("quant=int4", True),
        ("quant=INT4,int8", True),
        ("quant=int8", False),
        ("quant!=int8", True),
        ("quant!=int8,int4", False),
        ("seed<5", True),
        ("seed<=2", True),
        ("seed>3", False),
        ("seed>=3", True),
        ("seed=3.0", True),
        ("seed!=3", False),
        ("p_min=0.10", True),
        ("fold=", True),
        ("fold<5", False),
        ("higher_is_better=true", True),
        ("test_metric>0.69", True),
        ("tags=night", True),
        ("tags=day", False),
        ("tags=day,first", True),
        ("tags=first night", True),
        ("tags!=first", False),
        ("tags!=day", True),
        ("tags=nigh", False),
        ("exempt=a.*", True),
        ("exempt=[a.*,b]", True),
        ("exempt=[a.*],[b]", False),
        ("exempt=c", False),
        ("notes=first", False),
    ],
)
def test_conditions(make_run: MakeRun, word: str, accepted: bool) -> None:
    run = make_run(seed=3) if word != "seed<=2" else make_run(seed=2)
    run.row.update(tags="first night", exempt=["a.*", "b"], notes="first one")
    assert Filter.parse(word).accepts(run) is accepted


def test_words_are_folders_or_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("lr=1")
    dirs, filters = split_words(["results", "quant=int4", "lr=1", "seed<5", "../a=b/c"])
    assert dirs == ["results", "lr=1", "../a=b/c"]
    assert filters == [Filter("quant", "=", ("int4",)), Filter("seed", "<", ("5",))]


@pytest.mark.parametrize("word", ["seed<five", "seed<1,2", "seed>="])
def test_order_needs_one_number(word: str, make_run: MakeRun) -> None:
    with pytest.raises(ConfigError, match=r"seed must be compared by .* with one number"):
        choose([make_run()], [Filter.parse(word)])


def test_an_unknown_field_is_named_before_its_value_is_judged(make_run: MakeRun) -> None:
    with pytest.raises(ConfigError, match=r"a filter must name fields among .*got 'foo'"):
        choose([make_run()], [Filter.parse("foo<")])


def test_filters_choose_and_say_what_there_is(make_run: MakeRun) -> None:
    runs = [make_run(seed=seed, quant=quant) for seed in range(3) for quant in ("int4", "int8")]
    chosen = choose(runs, [Filter.parse("quant=int8"), Filter.parse("seed>0")])
    assert [(run.row["seed"], run.row["quant"]) for run in chosen] == [(1, "int8"), (2, "int8")]
    with pytest.raises(ResultsError, match="no trial has quant=int5: quant is int4, int8"):
        choose(runs, [Filter.parse("quant=int5")])
    with pytest.raises(ConfigError, match=r"a filter must name fields among .*did you mean 'quant'"):
        choose(runs, [Filter.parse("qant=int4")])


def test_field_lists(make_run: MakeRun) -> None:
    assert split_fields("--rows", "dataset,seed", [make_run()]) == ["dataset", "seed"]
    with pytest.raises(ConfigError, match=r"--rows must name fields among .*got 'train.lrr'"):
        split_fields("--rows", "train.lrr", [make_run()])
