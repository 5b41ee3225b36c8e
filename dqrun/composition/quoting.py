"""Values of text fields, quoted so that Hydra leaves them as they were typed.

Hydra reads a value by its looks: `2024_11_20` is the number 20241120, `0.10` is 0.1, and `#`, `é` or `(` are errors.
The schema says which fields are text. Their values are quoted before Hydra parses them.
"""

from __future__ import annotations

import re

from hydra.core.override_parser.types import Quote, QuotedString

from dqrun.composition.fields import list_fields, schema_name

WHOLE = ("notes",)
"""Text fields whose commas are a part of the text: no sweep is over them."""

_WORD = re.compile(r"(?P<key>[+]{0,2}(?P<name>[\w.]+))=(?P<value>.*)", re.DOTALL)
_CALL = re.compile(r"(?P<name>choice|shuffle|sort)\((?P<inside>.*)\)", re.DOTALL)
_OTHER_CALL = re.compile(r"(range|interval|glob|tag|extend_list|str|int|float|bool|json_str)\(.*\)", re.DOTALL)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def quoted(word: str) -> str:
    """An override with its value in quotes where the field is text or a list of texts; any other word as it is."""
    match = _WORD.fullmatch(word)
    if match and any(f"{match['name']}.".startswith(f"{name}.") for name in _free_fields()):
        # Hydra takes new keys of a mapping with plus signs alone
        return f"++{word.lstrip('+')}"
    kind = _text_fields().get(schema_name(match["name"])) if match else None
    if match is None or kind is None:
        return word
    if match["name"] in WHOLE:
        return f"{match['key']}={_quote(match['value'])}"
    parts = split(match["value"])
    texts = [part.strip() for part in parts] if len(parts) > 1 else parts
    return f"{match['key']}={','.join(_element(text, kind) for text in texts)}"


def split(value: str) -> list[str]:
    """The parts between the commas of a value that are not inside quotes or brackets."""
    parts, closing, start, at = [], "", 0, 0
    while at < len(value):
        character = value[at]
        if character in "'\"" and not value[start:at].strip() and (end := _end_of_quotes(value, at)):
            at = end
        elif character in _CLOSING and _CLOSING[character] in value[at:]:
            closing = _CLOSING[character] + closing
        elif closing and character == closing[0]:
            closing = closing[1:]
        elif character == "," and not closing:
            parts.append(value[start:at])
            start = at + 1
        at += 1
    return [*parts, value[start:]]


def _end_of_quotes(value: str, at: int) -> int | None:
    """Index of the quote that ends the quoted text that begins at `at`, where an element ends with it; else None."""
    quote = re.escape(value[at])
    match = re.compile(rf"{quote}(?:\\.|[^\\{quote}])*{quote}(?=\s*(?:[,\])]|$))", re.DOTALL).match(value, at)
    return match.end() - 1 if match else None


def _element(text: str, kind: str) -> str:
    """One value of a field."""
    if (call := _CALL.fullmatch(text)) is not None:
        return f"{call['name']}({','.join(_element(part.strip(), kind) for part in split(call['inside']))})"
    if _OTHER_CALL.fullmatch(text) or "${" in text:
        return text
    if kind.startswith("a list"):
        if not (text.startswith("[") and text.endswith("]")) or text == "[]":
            return text
        return f"[{','.join(_quote(part.strip()) for part in split(text[1:-1]))}]"
    return text if text == "null" and "null" in kind else _quote(text)


def _quote(text: str) -> str:
    """The text in quotes; unchanged where it has them already."""
    if text[:1] in ("'", '"') and _end_of_quotes(text, 0) == len(text) - 1:
        return text
    return QuotedString(text, Quote.single).with_quotes()


def _text_fields() -> dict[str, str]:
    """What is text in each field that is text or a list of texts, by name."""
    return {field.name: field.quoting for field in list_fields().values() if field.quoting}


def _free_fields() -> list[str]:
    """Names of the fields whose keys are the user's."""
    return [field.name for field in list_fields().values() if field.free]
