"""Choosing trials: `quant=int4`, `model=gcn,gin`, `seed<5`, `train.lr>=0.01`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from pathlib import Path

from dqrun.analysis.cells import TEST
from dqrun.analysis.rows import Run
from dqrun.analysis.text import text_of
from dqrun.errors import ConfigError, ResultsError, suggestion

_ORDER: dict[str, Callable[[float, float], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_WORD = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?P<sign><=|>=|!=|=|<|>)(?P<value>.*)", re.DOTALL)
_COMMA = re.compile(r",(?![^\[\]]*\])")  # not within a list: plan.fp32=[a,b] is one value


@dataclass(frozen=True)
class Filter:
    """One condition on a field: `sign` is =, != (of a list of values), <, <=, > or >= (of one number)."""

    name: str
    sign: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, word: str) -> Filter:
        """Raises ConfigError for a word that is no condition."""
        match = _WORD.fullmatch(word)
        if match is None:
            raise ConfigError.rule("a filter", "be FIELD=VALUE[,VALUE...], FIELD!=VALUE or FIELD<NUMBER", word)
        return cls(match["name"], match["sign"], tuple(_COMMA.split(match["value"])))

    def require_number(self) -> None:
        """Raises ConfigError if the sign needs a number and the value is none."""
        if self.sign in _ORDER and (len(self.values) > 1 or _number(self.values[0]) is None):
            raise ConfigError.rule(self.name, f"be compared by {self.sign} with one number", ",".join(self.values))

    def accepts(self, run: Run) -> bool:
        """Whether the trial fulfils the condition.

        Numbers are compared as numbers; an empty value is equal to ''. A list, and `tags`, equals each of its entries.
        """
        value = run.value(self.name)
        if self.sign in _ORDER:
            return _is_number(value) and _ORDER[self.sign](float(value), float(self.values[0]))
        same = any(_equal(value, text) or _contains(self.name, value, text) for text in self.values)
        return same if self.sign == "=" else not same


def split_words(words: Sequence[str]) -> tuple[list[str], list[Filter]]:
    """Folders and filters from the words of a command line; a word that names a folder is a folder."""
    is_filter = [_WORD.fullmatch(word) is not None and not Path(word).is_dir() for word in words]
    dirs = [word for word, filters in zip(words, is_filter, strict=True) if not filters]
    return dirs, [Filter.parse(word) for word, filters in zip(words, is_filter, strict=True) if filters]


def choose(runs: list[Run], filters: Sequence[Filter]) -> list[Run]:
    """The trials that all filters accept; raises ConfigError for an unknown field, ResultsError for none left."""
    for condition in filters:
        require_fields("a filter", [condition.name], runs)
        condition.require_number()
        left = [run for run in runs if condition.accepts(run)]
        if not left:
            found = sorted({text_of(run.value(condition.name)) or "(empty)" for run in runs})
            wanted = f"{condition.name}{condition.sign}{','.join(condition.values)}"
            shown = ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")
            raise ResultsError(f"no trial has {wanted}: {condition.name} is {shown}")
        runs = left
    return runs


def split_fields(option: str, text: str, runs: list[Run]) -> list[str]:
    """Field names from a comma list; raises ConfigError for one that no trial has."""
    names = text.split(",")
    require_fields(option, names, runs)
    return names


def require_fields(option: str, names: Sequence[str], runs: list[Run]) -> None:
    """Raises ConfigError unless some trial has each field: a column of its row or a dotted field of its config."""
    for name in names:
        if not any(run.has(name) for run in runs):
            known = list(runs[0].row)
            hint = suggestion(name, known)
            rule = f"name fields among {', '.join(known)}, or of the configuration like train.lr{hint}"
            raise ConfigError.rule(option, rule, name)


def numeric_fields(option: str, text: str, runs: list[Run]) -> list[str]:
    """Columns of the rows from a comma list, each once; raises ConfigError for one that holds no numbers."""
    columns = dict.fromkeys(name for run in runs for name in run.row)
    numeric = [name for name in columns if _holds_numbers(name, runs)]
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in numeric and name != TEST:  # failed trials have no test metric
            rule = f"name columns that hold numbers in these trials: {', '.join(numeric)}{suggestion(name, numeric)}"
            raise ConfigError.rule(option, rule, name)
    return names


def _holds_numbers(name: str, runs: list[Run]) -> bool:
    values = [value for run in runs if (value := run.row.get(name)) is not None]
    return bool(values) and all(_is_number(value) for value in values)


def _equal(value: object, text: str) -> bool:
    if _is_number(value):
        number = _number(text)
        return number is not None and float(value) == number  # type: ignore[arg-type]
    return text_of(value).casefold() == text.casefold()


def _contains(name: str, value: object, text: str) -> bool:
    """Whether a list holds the text; tags are words in one text."""
    entries = str(value).split() if name == "tags" and value else value
    return isinstance(entries, list) and any(_equal(entry, text) for entry in entries)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
