"""A table in each form."""

from dqrun.report.sheets import Sheet, as_html, as_latex, as_markdown, as_text

SHEET = Sheet(["a|b", "n_1"], [["x", "1 % +- 2"], ["<y>", "3"]], frozenset({(0, 1)}), "Title", ["A note."])


def test_text_lines_up_with_and_without_bold() -> None:
    assert as_text(SHEET).splitlines() == ["Title", "a|b  n_1", "x    1 % +- 2", "<y>  3", "A note."]
    assert as_text(SHEET, color=True).splitlines()[2] == "x    \x1b[1m1 % +- 2\x1b[0m"


def test_markdown() -> None:
    assert as_markdown(SHEET).splitlines() == [
        "**Title**",
        "",
        r"| a\|b | n_1 |",
        "| --- | --- |",
        "| x | **1 % ± 2** |",
        "| &lt;y&gt; | 3 |",
        "",
        "A note.",
    ]


def test_latex() -> None:
    assert as_latex(SHEET).splitlines() == [
        "% Title",
        "% A note.",
        r"\begin{tabular}{ll}",
        r"\toprule",
        r"a\textbar{}b & n\_1 \\",
        r"\midrule",
        r"x & \textbf{1 \% $\pm$ 2} \\",
        r"\textless{}y\textgreater{} & 3 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_html() -> None:
    text = as_html(SHEET)
    assert "<caption>Title</caption>" in text and "<td><b>1 % &plusmn; 2</b></td>" in text
    assert "<td>&lt;y&gt;</td>" in text and "<p>A note.</p>" in text


def test_names_are_only_shown() -> None:
    hostile = "\x1b[2J<img src=x onerror=alert(1)>|_a_ $x$ [b](c)\n=1"
    sheet = Sheet(["n", hostile], [["x", hostile]], title=hostile, notes=[hostile])
    for write in (as_text, as_markdown, as_latex, as_html):
        text = write(sheet)
        assert "\x1b" not in text and "\n=1" not in text
    assert "<img" not in as_markdown(sheet) + as_html(sheet)
    assert "[b](c)" not in as_markdown(sheet) and "$x$" not in as_markdown(sheet)
    assert len(as_text(sheet).splitlines()) == 4 and len(as_markdown(sheet).splitlines()) == 7
    assert all(line.startswith(("% ", "\\", "n &", "x &")) for line in as_latex(sheet).splitlines())
