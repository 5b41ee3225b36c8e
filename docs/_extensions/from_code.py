"""Parts of reference pages that the code writes: `command-help` and `row-columns`."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from dqrun.cli.help import help_text
from dqrun.cli.verbs import VERBS
from dqrun.composition.groups import config_folder
from dqrun.runs.row import Row

COLUMN = re.compile(r"^    (?P<name>\w+): (?P<type>[\w| ]+?)(?: = [^#]+?)?(?:  # (?P<meaning>.*))?$", re.MULTILINE)


class CommandHelp(Directive):
    """The text of `dqrun --help` and, in a section each, of `dqrun VERB --help`."""

    def run(self) -> list[nodes.Node]:
        meanings = {name: verb.meaning for name, verb in VERBS.items()}
        main = _section("dqrun", help_text([config_folder()], meanings))
        return [main, *(_section(parser.prog, parser.format_help()) for parser in parsers())]


class RowColumns(Directive):
    """A table of the columns of trials.csv: the fields of `Row` with their types and comments."""

    def run(self) -> list[nodes.Node]:
        return [_table(("column", "type", "meaning"), list(columns()))]


def parsers() -> Iterator[argparse.ArgumentParser]:
    """The parser of each verb, followed by those of its own verbs."""
    for verb in VERBS.values():
        parser = verb.load().build_parser()
        parser.formatter_class = _help_of_a_page
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for inner in action.choices.values():
                    inner.formatter_class = _help_of_a_page
                    yield inner


def columns() -> Iterator[tuple[str, str, str]]:
    """Name, type and meaning of each column; raises ValueError where the text of `Row` was not understood."""
    found = [
        (match["name"], match["type"], match["meaning"] or "") for match in COLUMN.finditer(inspect.getsource(Row))
    ]
    if [name for name, _, _ in found] != list(Row.__dataclass_fields__):
        raise ValueError("the fields of Row could not be read from its source")
    return iter((name, kind.replace(" | None", " or empty"), meaning) for name, kind, meaning in found)


def _help_of_a_page(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=28, width=100)


def _section(title: str, text: str) -> nodes.section:
    section = nodes.section(ids=[nodes.make_id(title)], names=[title])
    section += nodes.title(text=title)
    section += nodes.literal_block(text, text, language="text")
    return section


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> nodes.table:
    group = nodes.tgroup(cols=len(header))
    group += [nodes.colspec(colwidth=1) for _ in header]
    group += nodes.thead("", _line(header))
    group += nodes.tbody("", *(_line(row, code=True) for row in rows))
    return nodes.table("", group)


def _line(cells: tuple[str, ...], code: bool = False) -> nodes.row:
    """A line of a table; the first cell of a line of `code` is a name."""
    texts = [nodes.literal(text=cell) if code and not place else nodes.Text(cell) for place, cell in enumerate(cells)]
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", text)) for text in texts))


def setup(app: Sphinx) -> dict[str, Any]:
    """Adds the directives."""
    app.add_directive("command-help", CommandHelp)
    app.add_directive("row-columns", RowColumns)
    return {"parallel_read_safe": True}
