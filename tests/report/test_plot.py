"""`dqrun plot` from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dqrun.cli import main

pytest.importorskip("matplotlib")

Capture = pytest.CaptureFixture[str]
STARTS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.mark.parametrize("kind", ["curves", "bars", "degree"])
def test_every_kind_from_real_runs(trained: Path, tmp_path: Path, capsys: Capture, kind: str) -> None:
    out = tmp_path / "a.svg"
    assert main(["plot", kind, str(trained), "-o", str(out)]) == 0
    assert out.read_bytes().startswith(b"<?xml") and capsys.readouterr().out == f"{out}\n"


@pytest.mark.parametrize("x", ["bits", "bytes", "bitops", "bitops_product", "seconds_per_epoch"])
@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_costs_and_formats(trained: Path, tmp_path: Path, x: str, suffix: str) -> None:
    out = tmp_path / f"a{suffix}"
    assert main(["plot", "pareto", str(trained), "--x", x, "-o", str(out)]) == 0
    assert out.read_bytes().startswith(STARTS[suffix])


def test_latency(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    bench = tmp_path / "bench.json"
    entry = {"variant": "int4", "model": "gcn", "dataset": "network", "run_seconds": 0.01}
    bench.write_text(json.dumps({"results": [entry]}))
    words = ["plot", "pareto", str(trained), "--x", "latency", "-o", str(tmp_path / "a.png")]
    assert main([*words, "--latency", str(bench)]) == 0
    assert "3 of 4 configurations have no latency and are not in the picture" in capsys.readouterr().err
    assert main(words) == 2
    assert "--x latency and --latency FILE go together" in capsys.readouterr().err


def test_the_default_name_is_the_kind(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plot", "bars", str(trained)]) == 0
    assert (tmp_path / "bars.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pie"], "dqrun plot must be given one of curves, bars, pareto, degree, got 'pie'"),
        (["bars", "-o", "a.jpg"], "-o must end in .png, .svg, .pdf, got 'a.jpg'"),
        (["pareto", "--x", "model"], "--x must be one of bits, bytes, bitops, bitops_product, latency or a field"),
        (["pareto", "--x", "colour"], "--x must name fields among"),
        (["curves"], "no curves to draw"),
        (["degree"], "no network of the chosen trials can be looked into"),
        (["pareto"], "--x bits is known for none of the chosen trials"),
    ],
)
def test_mistakes_and_what_is_missing(
    write_run: Callable[..., Path], tmp_path: Path, capsys: Capture, words: list[str], message: str
) -> None:
    write_run()
    assert main(["plot", *words, str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_nothing_finished(write_run: Callable[..., Path], tmp_path: Path, capsys: Capture) -> None:
    write_run(status="failed", test_metric=None)
    assert main(["plot", "bars", str(tmp_path / "results")]) == 2
    assert "nothing to draw" in capsys.readouterr().err


def test_without_matplotlib(trained: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dqrun.report.plots.style.find_spec", lambda name: None)
    for verb in (["plot", "bars"], ["report"]):
        assert main([*verb, str(trained)]) == 2
        assert capsys.readouterr().err == (
            "dqrun: pictures need matplotlib, the extra 'plots': pip install 'dqrun[plots]'\n"
        )
