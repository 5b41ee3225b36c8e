"""The flat view of the schema."""

from __future__ import annotations

import pytest

from dqrun.composition.fields import REQUIRED, list_fields, nearest_field, schema_name
from dqrun.config.field_types import described
from dqrun.errors import suggestion


def test_fields_are_dotted_typed_and_have_defaults() -> None:
    fields = list_fields()
    assert fields["model.hidden"].kind == "an integer"
    assert fields["model.hidden"].default is REQUIRED
    assert fields["protocol.folds"].kind == "a list of integers or null"
    assert fields["method.weight_observer.tail"].default == 0.0
    assert fields["plan.rules.*.bits"].kind == "an integer or null"
    assert fields["method"].nested
    assert not fields["method.name"].nested


@pytest.mark.parametrize(
    ("hint", "words"), [(int | None, "an integer or null"), (list[str], "a list of texts"), (bool, "true or false")]
)
def test_types_in_words(hint: object, words: str) -> None:
    assert described(hint) == words


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("model.hiden", "model.hidden"),
        ("modle.hidden", "model.hidden"),
        ("hidden", "model.hidden"),
        ("model.zzz", None),
        ("dataste", "dataset"),
    ],
)
def test_nearest_field(name: str, nearest: str | None) -> None:
    assert nearest_field(name) == nearest


def test_entries_of_dictionaries_and_lists_have_schema_names() -> None:
    assert schema_name("plan.rules.layers.0.*.bits") == "plan.rules.*.bits"
    assert schema_name("protocol.folds[3]") == "protocol.folds"
    assert schema_name("model.hidden") == "model.hidden"


def test_suggestion() -> None:
    assert suggestion("coar", ["cora", "tu"]) == "; did you mean 'cora'?"
    assert suggestion("xyz", ["cora", "tu"]) == ""
