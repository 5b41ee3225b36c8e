"""The HTML page: whole, offline, with its commands and warnings."""

import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dqrun.cli import main
from dqrun.composition.compose import load_configs
from dqrun.config import DataConfig

pytest.importorskip("matplotlib")


class Checker(HTMLParser):
    """Collects addresses and checks that tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    assert checker.open == [] and all(address.startswith("data:image/svg+xml;base64,") for address in checker.addresses)
    assert "http" not in re.sub(r'src="[^"]*"', "", text)
    return checker


def test_tables_and_pictures_from_real_runs(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    words = [str(trained), "--baseline", "quant=fp32", "--published", "-o", str(out)]
    assert main(["report", *words]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    text = out.read_text()
    assert len(check(text).addresses) == 6
    assert f"dqrun compare {trained} --baseline quant=fp32 --published --spread both" in text
    assert f"dqrun plot pareto --x bitops {trained} -o pareto.svg" in text
    assert "Differences to the baseline" in text and "Holm" in text


def test_what_cannot_be_drawn_says_why(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run(seed=0)
    write_run(seed=1, method="<b>")
    write_run(seed=2, method="<b>", test_metric=0.9)
    out = tmp_path / "a.html"
    assert main(["report", str(tmp_path / "results"), "seed>=0", "-o", str(out)]) == 0
    text = out.read_text()
    assert len(check(text).addresses) == 1 and text.count("Not drawn: ") == 5
    reasons = re.findall(r'<p class="missing">(.*)</p>', text)
    assert len(reasons) == 5 and all(reason.startswith("Not drawn: ") for reason in reasons)  # a line each
    assert "trials differ: int4 &lt;b&gt; 2, int4 dq 1" in text and "&#39;seed&gt;=0&#39;" in text


def test_the_file_must_be_html(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(trained), "-o", "report.pdf"]) == 2
    assert "-o must end in .html, got 'report.pdf'" in capsys.readouterr().err


def test_pages_say_what_is_damaged_and_left_out(
    write_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        write_run(seed=seed, method=f"m{seed}", threads=seed)
    (write_run(seed=9) / "row.json").write_text("{")
    monkeypatch.setattr("dqrun.analysis.plots.series.LABELS", 2)
    out = tmp_path / "a.html"
    assert main(["report", str(tmp_path / "results"), "-o", str(out)]) == 0
    text = out.read_text()
    assert "row.json is damaged and was skipped" in text and "seeds or folds differ" in text
    assert "2 of 3 configurations are in the picture" in text
    assert "Mean ± standard deviation" in text and "<b>70.00 % (1)</b>" in text


def test_strangers_results_run_no_code(
    write_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pickles lie wherever a configuration of a stranger may point to; none is loaded, and the page is made."""
    marker, own = tmp_path / "ran", tmp_path / "own"
    own.mkdir()
    for name in ("DQRUN_DATA", "DQRUN_DATA_MIRROR"):  # the reader's folders have no Cora, and nothing is downloaded
        monkeypatch.setenv(name, str(own))

    class Planted:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (marker,)

    folder = write_run(seed=0)
    for place in ("cache/Cora/processed", "cache/Cora/raw", "cache/threads/processed", "cache/processed"):
        (tmp_path / place).mkdir(parents=True)
        for name in ("data.pt", "ind.cora.x", "pre_filter.pt", "pre_transform.pt"):
            (tmp_path / place / name).write_bytes(pickle.dumps(Planted()))
    (folder / "model.safetensors").write_bytes(pickle.dumps(Planted()))
    (config,) = load_configs(["dataset=cora", "model=gcn", "quant=int4", f"data.root={tmp_path / 'cache'}"])
    config = replace(config, data=DataConfig(root=str(tmp_path / "cache"), mirror=str(tmp_path / "cache" / "Cora")))
    OmegaConf.save(OmegaConf.structured(config), folder / "config.yaml")
    out = tmp_path / "a.html"
    assert main(["report", str(tmp_path / "results"), "-o", str(out)]) == 0
    assert not marker.exists() and "is not a readable model file" in out.read_text()
