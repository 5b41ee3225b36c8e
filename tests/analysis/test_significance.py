"""Paired differences against pandas and scipy, and Holm's correction against closed testing."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dqrun.analysis.cells import Cell, make_cells
from dqrun.analysis.rows import Run
from dqrun.analysis.significance import differences, holm, paired_tests, parse_baseline
from dqrun.errors import ConfigError

MakeRun = Callable[..., Run]
NAIVE = parse_baseline("method=naive")


def test_differences_equal_those_of_pandas_and_scipy(make_run: MakeRun) -> None:
    generator = np.random.default_rng(1)
    runs = [
        make_run(model=model, quant=quant, method=method, seed=seed, test_metric=round(float(generator.random()), 3))
        for model in ("gcn", "gin")
        for quant in ("int8", "int4")
        for method in ("naive", "dq", "noisy")
        for seed in range(12)
        if generator.random() < 0.8
    ]
    found, warnings = differences(make_cells(runs, []), NAIVE)
    assert all(each.is_equal_budget for each in found)
    assert len(found) == 8 and warnings == []
    frame = (
        pd.DataFrame([run.row for run in runs])
        .set_index(["model", "quant", "method", "seed"])
        .sort_index()["test_metric"]
    )
    ps = []
    for each in found:
        key = (each.cell.text("model"), each.cell.text("quant"))
        both = pd.concat([frame[(*key, each.cell.text("method"))], frame[(*key, "naive")]], axis=1, join="inner")
        delta = both.iloc[:, 0] - both.iloc[:, 1]
        assert each.pairs == len(both) and each.mean == pytest.approx(delta.mean(), rel=1e-12)
        half = stats.t.ppf(0.975, len(delta) - 1) * delta.sem()
        assert each.ci95 == pytest.approx(half, rel=1e-12)
        assert each.p_t == pytest.approx(stats.ttest_1samp(delta, 0).pvalue, rel=1e-9)
        assert each.p_wilcoxon == pytest.approx(stats.wilcoxon(delta.round(9)).pvalue, rel=1e-9)
        ps.append(each.p_t)
    assert [each.p_t_holm for each in found] == pytest.approx(closed_testing(ps))
    wilcoxon = closed_testing([each.p_wilcoxon for each in found])
    assert [each.p_wilcoxon_holm for each in found] == pytest.approx(wilcoxon) and wilcoxon != closed_testing(ps)


def closed_testing(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values by their meaning, without an order.

    A hypothesis is rejected where each set of hypotheses that holds it is, by Bonferroni's test of the set; so its
    adjusted p is the largest of these tests' p-values (Marcus, Peritz and Gabriel, 1976; Holm, 1979).
    """
    sets = [each for size in range(1, len(ps) + 1) for each in combinations(range(len(ps)), size)]
    tests = {each: min(1.0, len(each) * min(ps[i] for i in each)) for each in sets}
    return [max(p for each, p in tests.items() if i in each) for i in range(len(ps))]


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02, 0.5]), min_size=1, max_size=6))
def test_holm_is_closed_testing_with_bonferroni(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(closed_testing(ps))


def test_holm_does_not_depend_on_the_order_and_leaves_out_missing_tests() -> None:
    ps = [0.01, 0.04, 0.03, 0.005]
    known = dict(zip(ps, [0.03, 0.06, 0.06, 0.02], strict=True))  # R: p.adjust(ps, "holm")
    for order in permutations(ps):
        assert holm(order) == pytest.approx([known[p] for p in order])
    assert holm([math.nan, 0.03, math.nan]) == pytest.approx([math.nan, 0.03, math.nan], nan_ok=True)


def test_tests_without_a_spread_are_not_made() -> None:
    assert all(map(math.isnan, paired_tests([0.5], [0.4])))
    assert all(map(math.isnan, paired_tests([0.5, 0.6], [0.5, 0.6])))
    p_t, p_wilcoxon = paired_tests([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])
    assert math.isnan(p_t) and p_wilcoxon == 0.25


def test_fp32_is_a_baseline_for_every_method_and_plan(make_cell: Callable[..., Cell]) -> None:
    cells = [
        make_cell(0.9, 0.8, quant="fp32", method="none", plan="none"),
        make_cell(0.7, 0.7, quant="int4", method="dq", plan="paper"),
        make_cell(0.6, 0.6, quant="int8", method="naive", plan="integer"),
    ]
    found, warnings = differences(cells, parse_baseline("quant=fp32"))
    assert [each.mean for each in found] == pytest.approx([-0.15, -0.25]) and warnings == []


def test_pairs_are_folds_too(make_run: MakeRun) -> None:
    runs = [
        make_run(protocol="kfold", method=method, fold=fold, test_metric=0.5 + fold / 100 + (method == "dq") / 10)
        for method, folds in (("naive", (0, 1, 2)), ("dq", (1, 2, 5)))
        for fold in folds
    ]
    ((each,), _) = differences(make_cells(runs, []), NAIVE)
    assert each.pairs == 2 and each.mean == pytest.approx(0.1)


def test_what_has_no_baseline_is_said(make_run: MakeRun, make_cell: Callable[..., Cell]) -> None:
    dq, naive = make_cell(0.7, 0.8, method="dq"), make_cell(0.6, 0.7, method="naive")
    other = make_cell(0.6, method="naive", estimator="clipped", cell_hash="x")
    found, warnings = differences([dq, naive, other], NAIVE)
    assert found == [] and warnings == ["threads gin int4 dq: 2 configurations fit --baseline; name one more field"]
    found, _ = differences([dq, naive, other], parse_baseline("method=naive,cell_hash=x"))
    assert [each.pairs for each in found if each.cell is dq] == [1]
    _, warnings = differences([make_cell(0.5, quant="int8", method="dq"), naive], NAIVE)
    assert warnings == ["threads gin int8 dq: no trials of its baseline"]
    late = Cell((make_run(method="dq", seed=50),))
    _, warnings = differences([late, naive], NAIVE)
    assert warnings == ["threads gin int4 dq: no equal seeds or folds with its baseline"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("method!=naive", r"be FIELD=VALUE"),
        ("dataset=Cora", r"not name dataset: trials are paired within"),
        ("seed=0", r"not name seed"),
        ("naive", r"a filter must be FIELD=VALUE"),
    ],
)
def test_bad_baselines(text: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        parse_baseline(text)


def test_a_baseline_that_nothing_fits(make_cell: Callable[..., Cell]) -> None:
    with pytest.raises(ConfigError, match=r"--baseline must fit a configuration .*got 'method=naive'"):
        differences([make_cell(0.5, method="dq")], NAIVE)
