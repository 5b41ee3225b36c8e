"""Quotes the values of text fields, so that Hydra does not change them.

Hydra guesses the type of a value: `2024_11_20` is the number 20241120, `0.10` is 0.1, and `#`, `é` or `(` are errors.
Therefore the values of the schema's text fields are quoted before Hydra parses them.
"""

from __future__ import annotations

import re

from hydra.core.override_parser.types import Quote, QuotedString

from dqrun.composition.fields import list_fields, schema_name

WHOLE = ("notes",)
"""Text fields whose commas are part of the text: they cannot be swept."""

_WORD = re.compile(r"(?P<key>[+]{0,2}(?P<name>[\w.]+))=(?P<value>.*)", re.DOTALL)
_CALL = re.compile(r"(?P<name>choice|shuffle|sort)\((?P<inside>.*)\)", re.DOTALL)
_OTHER_CALL = re.compile(r"(range|interval|glob|tag|extend_list|str|int|float|bool|json_str)\(.*\)", re.DOTALL)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def quoted(word: str) -> str:
    """An override with its value in quotes if the field is text or a list of texts; any other word unchanged.

    A new key of a field with free keys gets the prefix `++`.
    """
    match = _WORD.fullmatch(word)
    if match and any(f"{match['name']}.".startswith(f"{name}.") for name in _free_fields()):
        # Hydra accepts new keys of a mapping only with plus signs
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
    """The parts of a value, separated by the commas outside quotes and brackets."""
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
    """Index of the closing quote of the text quoted from `at` on; None unless an element ends with this quote."""
    quote = re.escape(value[at])
    match = re.compile(rf"{quote}(?:\\.|[^\\{quote}])*{quote}(?=\s*(?:[,\])]|$))", re.DOTALL).match(value, at)
    return match.end() - 1 if match else None


def _element(text: str, kind: str) -> str:
    """One value of a field, quoted; functions of Hydra's grammar and interpolations stay unquoted."""
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
    """The text in quotes; unchanged if it is quoted already."""
    if text[:1] in ("'", '"') and _end_of_quotes(text, 0) == len(text) - 1:
        return text
    return QuotedString(text, Quote.single).with_quotes()


def _text_fields() -> dict[str, str]:
    """`Field.quoting` of each field that is text or a list of texts, by name."""
    return {field.name: field.quoting for field in list_fields().values() if field.quoting}


def _free_fields() -> list[str]:
    """Names of the fields with free keys (chosen by the user)."""
    return [field.name for field in list_fields().values() if field.free]
