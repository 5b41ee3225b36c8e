"""Warnings on cells that are not equal."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf

from dqrun.analysis.cells import Cell, make_cells
from dqrun.analysis.checks import MANY, differing, distinguishing, incomplete, sharing, unequal, without_config
from dqrun.analysis.rows import Run, load_runs
from dqrun.composition.compose import load_configs
from dqrun.config import SiteRule

WriteRun = Callable[..., Path]
COLUMNS = ("quant", "method")


def cells_of(tmp_path: Path) -> list[Cell]:
    return make_cells(load_runs([tmp_path / "results"])[0], [])


def test_equal_cells_give_no_warning(write_run: WriteRun, tmp_path: Path) -> None:
    for method in ("dq", "naive"):
        for seed in range(2):
            write_run(method=method, seed=seed, epochs=10 + seed)  # early stopping is no difference in budget
    assert unequal("threads gin", cells_of(tmp_path), COLUMNS) == []


def test_trials_seeds_epochs_and_protocol(write_run: WriteRun, tmp_path: Path) -> None:
    write_run(method="dq", seed=0, run_id="a", budget=50)
    write_run(method="naive", seed=1, run_id="b", split_seed=2)
    seeds, epochs, protocol = unequal("threads gin", cells_of(tmp_path), COLUMNS)
    assert seeds == "threads gin: seeds or folds differ"
    assert epochs == "threads gin: epochs differ (train.epochs): int4 dq 50, int4 naive 100"
    assert protocol.startswith("threads gin: protocols differ (protocol.name, protocol.num_folds, protocol.split_seed)")
    write_run(method="naive", seed=2, run_id="c", split_seed=2)
    assert unequal("g", cells_of(tmp_path), COLUMNS)[0] == "g: trials differ: int4 dq 1, int4 naive 2"


def test_configurations_that_share_a_place(write_run: WriteRun, tmp_path: Path) -> None:
    for i, lr in enumerate((0.1, 0.2)):
        write_run(run_id=f"r{i}", cell_hash=f"c{i}", lr=lr)
    text = sharing("threads gin int4 dq", cells_of(tmp_path))
    assert text == "threads gin int4 dq: 2 configurations, a line each: they differ in train.lr (0.1, 0.2)"


def test_settings_without_effect_are_no_difference(write_run: WriteRun, tmp_path: Path) -> None:
    (config,) = load_configs(["quant=int4"])
    for i, rule in enumerate((SiteRule(fp32=True, bits=8), SiteRule(fp32=True), SiteRule(bits=8))):
        folder = write_run(run_id=f"r{i}", cell_hash=f"c{i}")
        plan = replace(config.plan, rules={"layers.0.mlp.**": rule})
        OmegaConf.save(OmegaConf.structured(replace(config, plan=plan)), folder / "config.yaml")
    eight_and_exact, exact, eight = cells_of(tmp_path)
    assert differing([eight_and_exact, exact]) == {}
    site = "plan.rules.layers.0.mlp.**"
    assert differing([eight_and_exact, eight]) == {f"{site}.fp32": [True, None], f"{site}.bits": [None, 8]}


def test_means_that_leave_finished_trials_out(write_run: WriteRun, tmp_path: Path) -> None:
    for seed in range(3):
        write_run(method="dq", seed=seed, test_metric_integer=None if seed else 0.7)
        write_run(method="naive", seed=seed, test_metric_integer=0.7)
        write_run(method="noisy", seed=seed)
    cells = [replace(cell, field="test_metric_integer") for cell in cells_of(tmp_path)]
    assert incomplete(cells) == ["threads gin int4 dq: 1 of 3 trials have test_metric_integer"]


def test_missing_configurations(write_run: WriteRun, tmp_path: Path) -> None:
    (write_run() / "config.yaml").unlink()
    (warning,) = without_config(cells_of(tmp_path))
    assert "config.yaml can't be read" in warning


def test_other_groups_are_named_and_not_each_field_of_theirs(write_run: WriteRun, tmp_path: Path) -> None:
    for plan in ("paper", "integer"):
        (config,) = load_configs(["quant=int4", f"plan={plan}", f"train.lr={0.1 if plan == 'paper' else 0.2}"])
        folder = write_run(run_id=plan, cell_hash=plan, plan=plan)
        OmegaConf.save(OmegaConf.structured(config), folder / "config.yaml")
    cells = cells_of(tmp_path)
    assert len(differing(cells)) > 5
    assert distinguishing(cells) == {"plan": ["integer", "paper"], "train.lr": [0.2, 0.1]}
    text = sharing("a", cells)
    assert text == "a: 2 configurations, a line each: they differ in plan (integer, paper), train.lr (0.2, 0.1)"


def test_at_most_five_fields_are_named(write_run: WriteRun, tmp_path: Path) -> None:
    for i in range(2):
        folder = write_run(run_id=f"r{i}", cell_hash=f"c{i}")
        (folder / "config.yaml").write_text("other: {" + ", ".join(f"f{k}: {i}" for k in range(7)) + "}")
    text = sharing("a", cells_of(tmp_path))
    assert text.endswith("other.f3 (0, 1), other.f4 (0, 1) and 2 more")


def test_other_data_of_the_same_name_is_named(make_run: Callable[..., Run]) -> None:
    cells = [Cell((make_run(cell_hash=name),)) for name in "ab"]
    assert distinguishing(cells) == {}
    for cell, content in zip(cells, ("0123456789", "abcdefghij"), strict=True):
        cell.runs[0].row["data_fingerprint"] = content
    assert distinguishing(cells) == {"data_fingerprint": ["01234567", "abcdefgh"]}
    cells[0].runs[0].row["data_fingerprint"] = ""  # not recorded: nothing to compare
    assert distinguishing(cells) == {}


def test_warnings_stay_short(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell(*[0.5] * (i + 1), method=f"m{i}") for i in range(9)]
    (warning,) = unequal("g", cells, COLUMNS)
    assert warning == "g: trials differ: int4 m0 1, int4 m1 2, int4 m2 3, int4 m3 4, int4 m4 5 and 4 more"


def test_many_configurations_are_told_apart_by_some_of_them(write_run: WriteRun, tmp_path: Path) -> None:
    (config,) = load_configs(["quant=int4"])
    for i in range(20):
        train = replace(config.train, lr=0.001 * (i + 1), bn_reestimation=i // 15)
        folder = write_run(run_id=f"r{i:02}", cell_hash=f"c{i}")
        method = replace(config.method, observe_epochs=i % 2)  # without effect: its steps are not learned
        OmegaConf.save(OmegaConf.structured(replace(config, train=train, method=method)), folder / "config.yaml")
    cells = cells_of(tmp_path)
    found = differing(cells)
    assert list(found) == ["train.lr", "train.bn_reestimation"]
    assert found["train.bn_reestimation"] == [0] * 15 + [1] * 5
    text = sharing("a", cells)
    assert "train.lr (0.001, 0.002, 0.003, 0.004, 0.005 and 15 more), train.bn_reestimation (0, 1)" in text


def test_twelve_configurations_are_read_in_full(write_run: WriteRun, tmp_path: Path) -> None:
    (config,) = load_configs(["quant=int4"])
    for i in range(MANY):
        learned, epochs = (False, i) if i < 10 else (True, 5 * (i - 10))  # epochs have an effect on the last alone
        folder = write_run(run_id=f"r{i:02}", cell_hash=f"c{i}")
        method = replace(config.method, learned_scale=learned, observe_epochs=epochs)
        OmegaConf.save(OmegaConf.structured(replace(config, method=method)), folder / "config.yaml")
    assert list(differing(cells_of(tmp_path))) == ["method.learned_scale", "method.observe_epochs"]


def test_of_many_configurations_the_first_may_be_the_odd_one(write_run: WriteRun, tmp_path: Path) -> None:
    (config,) = load_configs(["quant=int4"])
    for i in range(MANY + 1):
        folder = write_run(run_id=f"r{i:02}", cell_hash=f"c{i}")
        train = replace(config.train, lr=0.5 if i == 0 else 0.25)
        OmegaConf.save(OmegaConf.structured(replace(config, train=train)), folder / "config.yaml")
    assert differing(cells_of(tmp_path)) == {"train.lr": [0.5] + [0.25] * MANY}
