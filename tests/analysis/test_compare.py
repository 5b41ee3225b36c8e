"""The comparison from the command line, against numbers computed by hand and by pandas."""

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dqrun.analysis.formats import IDENTITY
from dqrun.cli import main
from dqrun.runs.store import Results
from dqrun.runs.tables import CELL_COLUMNS

Capture = pytest.CaptureFixture[str]
WriteRun = Callable[..., Path]


@pytest.fixture
def results(tmp_path: Path, write_run: WriteRun) -> Path:
    write_run(seed=0, test_metric=0.70)
    write_run(seed=1, test_metric=0.80)
    write_run(seed=0, method="naive", test_metric=0.60)
    write_run(seed=1, method="naive", test_metric=0.65)
    exact = {"quant": "fp32", "weight_bits": None, "activation_bits": None, "method": "none", "plan": "none"}
    write_run(test_metric=0.9, **exact)
    int8 = {"quant": "int8", "weight_bits": 8, "activation_bits": 8}
    write_run(metric="mae", higher_is_better=False, dataset="ZINC", test_metric=0.4312, **int8)
    return tmp_path / "results"


def test_means_with_intervals_by_field(results: Path, capsys: Capture) -> None:
    assert main(["compare", str(results)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split()[:3] == ["dataset", "model", "metric"]
    assert lines[0].split()[3:] == ["fp32", "int8", "dq", "int4", "dq", "int4", "naive"]  # by width, then method
    assert "75.00 % +- 63.53 (2)" in lines[1] and "90.00 % (1)" in lines[1]
    assert "0.4312 (1)" in lines[2]
    assert "dqrun: threads gin: trials differ: fp32 1, int4 dq 2, int4 naive 2" in captured.err
    assert "95 % confidence interval" in captured.err


def test_spreads(results: Path, capsys: Capture) -> None:
    assert main(["compare", str(results), "quant=int4", "dataset=threads", "--spread", "std"]) == 0
    assert "75.00 % +- 7.07 (2)" in capsys.readouterr().out
    assert main(["compare", str(results), "quant=int4", "dataset=threads", "--spread", "both"]) == 0
    assert "75.00 % +- 7.07, CI 63.53 (2)" in capsys.readouterr().out


def test_rows_and_columns_are_chosen_by_field(results: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.csv"
    assert main(["compare", str(results), "--rows", "quant,train.lr", "--cols", "model", "-o", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["quant", "train.lr", "metric", "gin"]
    assert out.read_text().startswith("dataset,task,model")


def test_the_csv_equals_summary_csv(results: Path, tmp_path: Path) -> None:
    Results(results).rebuild_tables()
    assert list(IDENTITY) == CELL_COLUMNS
    assert main(["compare", str(results), "-o", str(tmp_path / "out.csv")]) == 0
    made, expected = (pd.read_csv(path) for path in (tmp_path / "out.csv", results / "summary.csv"))
    shared = [name for name in expected.columns if name in made.columns]
    statistics = {"test_mean", "test_std", "test_ci95", "val_ci95", "epochs_min", "epochs_max", "seconds_mean"}
    assert {*CELL_COLUMNS, "trials", "failed", *statistics} <= {*shared}
    pd.testing.assert_frame_equal(made[shared], expected[shared], rtol=1e-12, check_dtype=False)


def test_filters_and_several_folders(results: Path, write_run: WriteRun, tmp_path: Path, capsys: Capture) -> None:
    write_run("other", seed=2, test_metric=0.9)
    words = [str(results), str(tmp_path / "other"), "method=dq", "dataset!=ZINC", "seed>=1"]
    assert main(["compare", *words]) == 0
    assert "85.00 % +- 63.53 (2)" in capsys.readouterr().out


def test_the_best_of_a_line_is_bold(results: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["compare", str(results)]) == 0
    out = capsys.readouterr().out
    assert "\x1b[1m75.00 % +- 63.53 (2)" in out and "\x1b[1m90.00 %" not in out  # FP32 is the reference
    assert main(["compare", str(results), "quant=fp32"]) == 0
    assert "\x1b[1m90.00 %" in capsys.readouterr().out


def test_baseline(results: Path, capsys: Capture) -> None:
    assert main(["compare", str(results), "--baseline", "method=naive"]) == 0
    captured = capsys.readouterr()
    (line,) = [line for line in captured.out.splitlines() if line.startswith("threads  gin    int4   dq")]
    assert "int4 naive  2      +12.50 +- 31.77" in line
    assert "paired t-test and Wilcoxon" in captured.out and "Holm" in captured.out
    assert "ZINC gin int8 dq: no trials of its baseline" in captured.err


def test_json(results: Path, capsys: Capture) -> None:
    assert main(["compare", str(results), "--format", "json", "--baseline", "method=naive", "--published"]) == 0
    tree = json.loads(capsys.readouterr().out)
    cells = tree["cells"]
    assert sorted(cell["trials"] for cell in cells) == [1, 1, 2, 2]
    (difference,) = tree["differences"]
    assert cells[difference["cell"]]["method"] == "dq" and cells[difference["baseline"]]["method"] == "naive"
    assert difference["mean"] == pytest.approx(0.125) and difference["pairs"] == 2
    (published,) = [each for each in tree["published"] if each["method"] == "dq"]
    assert published["mark"] == "recalled" and published["difference"] == pytest.approx(0.4312 - published["mean"])
    assert [cell["best"] for cell in cells if cell["quant"] == "fp32"] == [False]
    assert any(cell["test_std"] is None for cell in cells) and tree["warnings"]


def test_csv_with_differences_and_published_numbers(results: Path, capsys: Capture) -> None:
    assert main(["compare", str(results), "--format", "csv", "--baseline", "method=naive", "--published"]) == 0
    lines = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    (dq,) = [line for line in lines if line["method"] == "dq" and line["dataset"] == "threads"]
    assert float(dq["difference_mean"]) == pytest.approx(0.125) and dq["published_mean"] == ""
    (zinc,) = [line for line in lines if line["dataset"] == "ZINC"]
    assert zinc["published_mark"] == "recalled" and math.isclose(float(zinc["test_mean"]), 0.4312)


@pytest.mark.parametrize(
    ("name", "start"), [("a.md", "| dataset |"), ("a.tex", "% Mean"), ("a.json", "{"), ("a.txt", "dataset  model")]
)
def test_the_suffix_says_the_format(results: Path, tmp_path: Path, capsys: Capture, name: str, start: str) -> None:
    assert main(["compare", str(results), "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / name).read_text().startswith(start)
    assert capsys.readouterr().out.startswith("dataset  model")  # the table is shown all the same


def test_configurations_that_share_a_place_have_a_line_each(
    write_run: WriteRun, tmp_path: Path, capsys: Capture
) -> None:
    write_run(run_id="a", cell_hash="a", lr=0.1, test_metric=0.5)
    write_run(run_id="b", cell_hash="b", config_hash="b", lr=0.2, test_metric=0.6)
    assert main(["compare", str(tmp_path / "results")]) == 0
    captured = capsys.readouterr()
    assert ["50.00" in line for line in captured.out.splitlines()[1:]] == [True, False]
    warning = "dqrun: threads gin int4 dq: 2 configurations, a line each: they differ in train.lr (0.1, 0.2)"
    assert warning in captured.err.splitlines()


def test_a_metric_that_decides_is_in_the_label_of_other_columns(
    write_run: WriteRun, tmp_path: Path, capsys: Capture
) -> None:
    write_run(run_id="a", cell_hash="a", metric="accuracy", seconds=1.0)
    write_run(run_id="b", cell_hash="b", config_hash="b", metric="f1_macro", seconds=2.0)
    assert main(["compare", str(tmp_path / "results"), "--metric", "seconds,test_metric"]) == 0
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()[1:] if line.startswith("threads")]
    found = {" ".join(line[2:-3]) for line in lines}
    assert len(lines) == 4
    assert {"seconds (dataset.metric=accuracy)", "seconds (dataset.metric=f1_macro)"} <= found, found
    assert "configurations, a line each" not in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "dataet"], "--rows must name fields among"),
        (["quant=int5"], "no trial has quant=int5: quant is fp32, int4"),
        (["-o", "table.xlsx"], "-o must end in .txt, .csv, .md, .tex, .json"),
        (["--format", "xml"], "invalid choice"),
        (["--baseline", "method=none,quant=int4"], "--baseline must fit a configuration"),
        (["--baseline", "methd=naive"], "--baseline must name fields among"),
        (["--metric", "second"], "--metric must name columns that hold numbers in these trials: weight_bits"),
        (["--metric", "test_metric,status"], "got 'status'"),
        (["--metric", "integer_agreement"], "got 'integer_agreement'"),
        (["--metric", "seconds", "--baseline", "method=naive"], "--metric must be test_metric where --baseline"),
        (["--metric", "val_metric", "--published"], "--metric must be among test_metric, seconds where --published"),
        (["--publish"], "dqrun compare --help lists the options"),
    ],
)
def test_mistakes_are_told_in_one_line(results: Path, capsys: Capture, words: list[str], message: str) -> None:
    assert main(["compare", str(results), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dqrun: ") and message in error and error.count("\n") == 1


def test_no_results(tmp_path: Path, capsys: Capture) -> None:
    assert main(["compare", str(tmp_path)]) == 2
    assert "it has no folder runs/" in capsys.readouterr().err


def test_failed_trials_are_counted_and_enter_no_mean(write_run: WriteRun, tmp_path: Path, capsys: Capture) -> None:
    write_run(seed=0, test_metric=0.5)
    write_run(seed=1, status="failed", test_metric=None)
    write_run(seed=0, method="naive", status="failed", test_metric=None)
    assert main(["compare", str(tmp_path / "results")]) == 0
    out = capsys.readouterr().out
    assert "50.00 % (1, 1 failed)" in out and "- (0, 1 failed)" in out


def test_neither_pandas_nor_torch_is_loaded(results: Path) -> None:
    code = "import sys; from dqrun.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", code, "compare", str(results), "--published"]
    loaded = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert not loaded & {"pandas", "torch", "matplotlib", "scipy.stats"}


def test_differences_between_unequal_budgets_are_marked(write_run: WriteRun, tmp_path: Path, capsys: Capture) -> None:
    for seed in range(2):
        write_run(seed=seed, method="dq", budget=20, test_metric=0.5 + seed / 10)
        write_run(seed=seed, method="noisy", budget=100, test_metric=0.6)
        write_run(seed=seed, method="naive", budget=100, test_metric=0.8)
    words = ["compare", str(tmp_path / "results"), "--baseline", "method=naive"]
    assert main(words) == 0
    captured = capsys.readouterr()
    (dq,) = [line for line in captured.out.splitlines() if line.startswith("threads  gin    int4   dq")]
    (noisy,) = [line for line in captured.out.splitlines() if line.startswith("threads  gin    int4   noisy")]
    assert "-25.00 +- 63.53 *" in dq and "*" not in noisy
    assert "* Cell and baseline had different numbers of epochs (train.epochs)" in captured.out
    assert "int4 dq: 20 epochs against 100 of its baseline: the difference (marked *) is no fair one" in captured.err
    assert main([*words, "--format", "json"]) == 0
    found = {each["max_epochs"]: each for each in json.loads(capsys.readouterr().out)["differences"]}
    assert not found["20"]["is_equal_budget"] and found["100"]["is_equal_budget"]
    assert main([*words, "--format", "csv"]) == 0
    lines = {line["method"]: line for line in csv.DictReader(capsys.readouterr().out.splitlines())}
    assert (lines["dq"]["max_epochs"], lines["dq"]["baseline_max_epochs"]) == ("20", "100")
    assert (lines["dq"]["is_equal_budget"], lines["noisy"]["is_equal_budget"]) == ("False", "True")


@pytest.mark.parametrize("name", ["a.md", "a.tex", "a.txt", "a.csv", "a.json"])
def test_saved_tables_say_what_their_numbers_mean_and_what_is_unequal(
    results: Path, tmp_path: Path, capsys: Capture, name: str
) -> None:
    (results / "runs" / "damaged").mkdir()
    assert main(["compare", str(results), "-o", str(tmp_path / name)]) == 0
    file = tmp_path / ("a.csv.notes.txt" if name == "a.csv" else name)
    text = " ".join(file.read_text(encoding="utf-8").split())
    assert "trials differ: fp32 1, int4 dq 2, int4 naive 2" in text
    assert "row.json is damaged and was skipped" in text
    assert "95 % " in text.replace("\\%", "%")
    assert capsys.readouterr().err.count("trials differ") == 1


def test_replicates_of_a_trial_count_once(write_run: WriteRun, tmp_path: Path, capsys: Capture) -> None:
    write_run(seed=0, threads=1, test_metric=0.5, seconds=10.0, run_id="a")
    write_run("other", seed=0, threads=8, test_metric=0.7, seconds=2.0, run_id="b", config_hash="same")
    write_run("other", seed=0, threads=2, status="failed", test_metric=None, run_id="c", config_hash="failed")
    write_run(seed=1, threads=1, test_metric=0.8, seconds=10.0, run_id="d")
    words = ["compare", str(tmp_path / "results"), str(tmp_path / "other")]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "70.00 % +- 127.06 (2)" in out and "failed" not in out
    assert "1 trial was run in several environments" in out and "the average of its rows (2 in all)" in " ".join(
        out.split()
    )
    assert main([*words, "--format", "json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    (cell,) = tree["cells"]
    assert (cell["trials"], cell["failed"], cell["mean"], cell["seconds_mean"]) == (2, 0, pytest.approx(0.7), 8.0)
    assert [run["run_id"] for run in cell["runs"]] == ["a", "b", "d"]
    assert any("several environments" in note for note in tree["notes"])


@pytest.mark.parametrize("values", [(1e24, 1e27), (1e308, 1.7e308), (-1e300, 1e300), (1e-30, 2e-30)])
def test_any_finite_row_is_shown(
    write_run: WriteRun, tmp_path: Path, capsys: Capture, values: tuple[float, float]
) -> None:
    for seed, value in enumerate(values):
        write_run(seed=seed, metric="mae", higher_is_better=False, test_metric=value)
        write_run(seed=seed, method="naive", test_metric=value)  # an accuracy, in percent: 1.7e308 has none
    for form in ("table", "markdown", "latex", "csv", "json"):
        words = ["compare", str(tmp_path / "results"), "--spread", "both", "--format", form]
        assert (main(words) == 0 and "(2)" in capsys.readouterr().out) or form in ("csv", "json")
    assert main(["compare", str(tmp_path / "results"), "--baseline", "method=naive,metric=mae"]) in (0, 2)


def test_cells_without_a_measurement_are_empty_and_do_not_win(
    write_run: WriteRun, tmp_path: Path, capsys: Capture
) -> None:
    write_run(method="dq", peak_bytes=None, seconds=5.0)
    write_run(method="naive", peak_bytes=3 * 2**20, seconds=4.0)
    write_run(method="noisy", peak_bytes=2 * 2**20, seconds=6.0)
    words = ["compare", str(tmp_path / "results"), "--metric", "peak_bytes,seconds", "--format", "markdown"]
    assert main(words) == 0
    memory, seconds = capsys.readouterr().out.splitlines()[2:4]
    assert memory == "| threads | gin | peak_bytes |  | 3.0 MiB (1) | **2.0 MiB (1)** |"
    assert seconds == "| threads | gin | seconds | 5.0 s (1) | **4.0 s (1)** | 6.0 s (1) |"
