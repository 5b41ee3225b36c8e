"""Means, deviations and intervals against an independent computation with pandas and scipy."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dqrun.analysis.cells import Cell, make_cells
from dqrun.analysis.rows import Configuration, Run
from dqrun.runs.intervals import ci95, mean, std

MakeRun = Callable[..., Run]


def test_labels_leave_out_what_is_off_and_name_what_a_value_is_of(make_run: MakeRun) -> None:
    texts = (
        "{train: {bn: 512}, method: {learned_scale: true}, plan: {fp32: [head.1.output]}}",
        "{train: {bn: 0}, method: {learned_scale: false}, plan: {fp32: []}}",
    )
    run = make_run(quant="int4")
    on, off = (Cell((replace(run, own=Configuration(run.folder, text)),)) for text in texts)
    names = ["quant", "plan.fp32", "train.bn", "method.learned_scale"]
    assert on.label(names) == "int4 fp32=[head.1.output] bn=512 learned_scale"
    assert off.label(names) == "int4 bn=0"
    assert off.label(["method.learned_scale"]) == "learned_scale=False"


def test_statistics_equal_those_of_pandas(make_run: MakeRun) -> None:
    generator = np.random.default_rng(0)
    runs = [
        make_run(
            dataset=dataset, model=model, quant=quant, method=method, seed=seed, test_metric=float(generator.random()),
            status="failed" if generator.random() < 0.1 else "done",
        )
        for dataset in ("Cora", "ZINC")
        for model in ("gcn", "gin")
        for quant in ("int8", "int4")
        for method in ("naive", "dq")
        for seed in range(int(generator.integers(1, 12)))
    ]  # fmt: skip
    cells = make_cells(runs, ["dataset", "model"])
    frame = pd.DataFrame([run.row for run in runs])
    groups = frame[frame["status"] == "done"].groupby("cell_hash")["test_metric"].agg(["mean", "std", "sem", "count"])
    half_widths = stats.t.interval(0.95, groups["count"] - 1, scale=groups["sem"])[1]
    groups["ci95"] = half_widths
    assert len(cells) == frame["cell_hash"].nunique() > 10
    for cell in cells:
        expected = groups.loc[cell.text("cell_hash")]
        assert len(cell.done) == expected["count"]
        assert cell.failed == ((frame["cell_hash"] == cell.text("cell_hash")) & (frame["status"] == "failed")).sum()
        assert (cell.mean, cell.std, cell.ci95) == pytest.approx(
            (expected["mean"], expected["std"], expected["ci95"]), rel=1e-12, nan_ok=True
        )


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_any_values(values: list[float]) -> None:
    series = pd.Series(values)
    assert mean(values) == pytest.approx(series.mean(), abs=1e-9)
    assert std(values) == pytest.approx(series.std(), abs=1e-7)
    expected = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    assert ci95(values) == pytest.approx(float(expected), abs=1e-7)


def test_few_values() -> None:
    assert math.isnan(mean([])) and math.isnan(std([1.0])) and math.isnan(ci95([1.0]))


def test_cells_are_parted_by_shown_fields(make_run: MakeRun) -> None:
    runs = [make_run(seed=seed) for seed in range(3)]
    assert len(make_cells(runs, ["dataset"])) == 1
    assert len(make_cells(runs, ["dataset", "seed"])) == 3


def test_direction_of_the_metric(make_cell: Callable[..., Cell]) -> None:
    low, high, none = make_cell(0.1), make_cell(0.9), make_cell(0.9, status="failed")
    assert high.beats(low) and not low.beats(high) and not none.beats(low) and not high.beats(none)
    low, high = (make_cell(value, metric="mae", higher_is_better=False) for value in (0.1, 0.9))
    assert low.beats(high)


def test_replicates_are_averaged_before_trials(make_run: MakeRun) -> None:
    runs = [make_run(seed=seed, fold=fold, test_metric=value, threads=i)
            for i, (seed, fold, value) in enumerate([(0, 0, 0.2), (0, 0, 0.4), (0, 1, 0.5), (1, 0, 0.9)])]  # fmt: skip
    lost = [make_run(seed=0, fold=0, status="failed", threads=9), make_run(seed=7, fold=0, status="failed")]
    cell = Cell((*runs, *lost))
    assert cell.by_trial() == {(0, 0): pytest.approx(0.3), (0, 1): 0.5, (1, 0): 0.9}
    assert cell.mean == pytest.approx((0.3 + 0.5 + 0.9) / 3)
    assert cell.failed == 1  # what failed once and was done elsewhere is done
    assert [run.row["test_metric"] for run in cell.firsts] == [0.2, 0.5, 0.9]
    assert [len(replicates) for replicates in cell.done.values()] == [2, 1, 1]


def test_sums_beyond_any_float() -> None:
    assert mean([1.5e308, 1.5e308]) == pytest.approx(1.5e308) and math.isnan(std([math.inf, 1.0]))
