"""Groups and options are read from folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from dqrun import register
from dqrun.composition.groups import PUBLIC_GROUPS, config_folder, config_folders, list_groups
from dqrun.errors import ConfigError


def test_the_presets_hold_the_public_groups_and_hide_the_internal() -> None:
    assert tuple(list_groups([config_folder()])) == PUBLIC_GROUPS


def test_folders_are_joined_and_own_groups_come_last(tmp_path: Path) -> None:
    for name in ("model/mlp.yaml", "dataset/mine/small.yaml", "zoo/lion.yaml", "hydra/x.yaml", "run.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    groups = list_groups(config_folders(str(tmp_path)))
    assert groups["model"] == sorted([*register.layer.names(), "mlp"])
    assert "mine/small" in groups["dataset"]
    assert list(groups) == [*PUBLIC_GROUPS, "zoo"]


def test_a_users_folder_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--config-dir must be an existing folder, got"):
        config_folders(str(tmp_path / "absent"))
