"""The HTML page: whole, offline, with its commands and warnings."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dqrun.cli import main

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
    assert "trials differ: int4 &lt;b&gt; 2, int4 dq 1" in text and "&#39;seed&gt;=0&#39;" in text


def test_the_file_must_be_html(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(trained), "-o", "report.pdf"]) == 2
    assert "-o must end in .html, got 'report.pdf'" in capsys.readouterr().err
