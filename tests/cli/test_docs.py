"""docs/reference/configuration.md says what the schema and the presets say."""

from __future__ import annotations

from pathlib import Path

from dqrun.cli.docs import main, render
from dqrun.composition.fields import list_fields
from dqrun.composition.groups import config_folder, list_groups


def test_the_page_is_up_to_date(repository: Path) -> None:
    page = (repository / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    assert page == render(), "run `python -m dqrun.cli.docs`"


def test_the_page_names_every_field_and_option() -> None:
    page = render()
    for field in list_fields().values():
        if not field.nested:
            assert f"| `{field.name}` | " in page
    for options in list_groups([config_folder()]).values():
        for option in options:
            assert f"| `{option}` | " in page


def test_it_is_written_where_asked(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    assert main([str(target)]) == 0
    assert target.read_text(encoding="utf-8") == render()
