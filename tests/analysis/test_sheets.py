"""A table in each form."""

import html

from hypothesis import given
from hypothesis import strategies as st

from dqrun.analysis.sheets import Sheet, as_latex, as_markdown, as_text, template
from dqrun.analysis.text import for_terminal

SHEET = Sheet(["a|b", "n_1"], [["x", "1 % +- 2"], ["<y>", "3"]], frozenset({(0, 1)}), "Title", ["A note."])


def test_text_lines_up_with_and_without_bold() -> None:
    assert as_text(SHEET).splitlines() == ["Title", "a|b  n_1", "x    1 % +- 2", "<y>  3", "A note."]
    assert as_text(SHEET, color=True).splitlines()[2] == "x    \x1b[1m1 % +- 2\x1b[0m"


def test_markdown() -> None:
    assert as_markdown([SHEET]).splitlines() == [
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
    assert as_latex([SHEET]).splitlines() == [
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


HOSTILE = "\x1b[2J<img src=x onerror=alert(1)>|_a_ $x$ [b](c)\n=1 {{ 7 * 6 }} << 7 * 6 >> <% raw %>"


def test_names_are_only_shown() -> None:
    sheet = Sheet(["n", HOSTILE], [["x", HOSTILE]], title=HOSTILE, notes=[HOSTILE])
    text, markdown, latex = as_text(sheet), as_markdown([sheet], [HOSTILE]), as_latex([sheet], [HOSTILE])
    for written in (text, markdown, latex):
        assert "\x1b" not in written and "\n=1" not in written and "42" not in written
    assert "<img" not in markdown and "[b](c)" not in markdown and "$x$" not in markdown
    assert len(text.splitlines()) == 4 and len(markdown.splitlines()) == 11
    assert latex.count(r"\textbackslash{}n=1") == 5 and len(latex.splitlines()) == 11


@given(st.text())
def test_html_reads_back_as_the_text_of_the_terminal(text: str) -> None:
    values = {"warnings": [], "command": "", "trials": 1, "made": "now", "version": "0"}
    section = {"title": "", "sheet": None, "svg": "", "missing": text, "command": "", "warnings": []}
    page = template("page.html").render(sections=[section], **values)
    shown = page.split('<p class="missing">Not drawn: ')[1].split("</p>")[0]
    assert not set(shown) & set("<>\"'") and html.unescape(shown) == for_terminal(text).replace("+-", "±")


def test_documents_carry_their_warnings() -> None:
    text = as_markdown([SHEET, Sheet(["a"], [["b"]])], ["trials differ", "# 2"])
    assert text.endswith("| a |\n| --- |\n| b |\n\n**Before you compare**\n\n- trials differ\n- \\# 2")
    assert as_latex([SHEET], ["5 % fewer"]).endswith("\\end{tabular}\n\n% Warning: 5 \\% fewer")


def test_the_page_escapes_what_it_shows() -> None:
    values = {"warnings": [HOSTILE], "command": HOSTILE, "trials": 1, "made": "now", "version": "0"}
    section = {"title": HOSTILE, "sheet": Sheet([HOSTILE], [["1 +- 2"]], frozenset({(0, 0)}), notes=[HOSTILE])}
    section |= {"svg": "", "missing": "", "command": HOSTILE, "warnings": [HOSTILE]}
    page = template("page.html").render(sections=[section], **values)
    assert "<img" not in page and "&lt;img" in page and "\x1b" not in page and "42" not in page
    assert "<td><b>1 ± 2</b></td>" in page
