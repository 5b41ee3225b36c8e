"""The wheel holds everything and works from any folder; the pins and the project file agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the declared backend in this process: an isolated build would need the network."""
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(repository)).build(directory=str(folder), versions=["standard"])
    return Path(built)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel alone is installed."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True)
    return target


def test_the_wheel_holds_package_presets_and_licence(wheel: Path, repository: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    presets = {f"dqrun/{file.relative_to(repository).as_posix()}" for file in (repository / "configs").rglob("*.yaml")}
    modules = {file.relative_to(repository).as_posix() for file in (repository / "dqrun").rglob("*.py")}
    assert presets | modules | {"dqrun/py.typed", "dqrun/analysis/published.csv"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "configs/", "results/")) for name in names)


@pytest.mark.parametrize(
    ("arguments", "shown"), [(["--help"], "reddit_binary"), (["--cfg", "job", "model=gat"], "name: gat")]
)
def test_it_runs_from_another_folder(installed: Path, tmp_path: Path, arguments: list[str], shown: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import dqrun, sys; print(dqrun.__file__); from dqrun.cli import main; sys.exit(main())"
    for command in ([sys.executable, "-m", "dqrun"], [sys.executable, "-c", code]):
        process = subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert shown in process.stdout
    assert process.stdout.startswith(str(installed))


def test_the_console_script_is_there(installed: Path) -> None:
    (entry_points,) = installed.glob("dqrun-*.dist-info/entry_points.txt")
    assert "dqrun = dqrun.cli:main" in entry_points.read_text(encoding="utf-8")


def test_every_dependency_is_pinned_and_every_pin_fits(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {canonicalize_name(pin.name): re.sub("^==", "", str(pin.specifier)) for pin in pins}
    assert all(re.fullmatch(r"[0-9a-z.]+", version) for version in versions.values())
    extras = [text for extra in project["optional-dependencies"].values() for text in extra]
    for text in [*project["dependencies"], *extras]:
        needed = Requirement(text)
        if needed.name == project["name"]:  # the extra `test` contains the extra `docs`
            continue
        assert needed.specifier.contains(versions[canonicalize_name(needed.name)]), text
