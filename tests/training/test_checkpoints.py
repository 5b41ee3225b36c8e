"""Training checkpoints: the same bits as without an interruption, and no trust in damaged files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dqrun.composition.compose import load_configs
from dqrun.config import RunConfig
from dqrun.data.dataset import load_dataset
from dqrun.errors import ConfigError
from dqrun.runs.outcome import Outcome, record
from dqrun.runs.protocol import Trial, trial_hash, trials
from dqrun.runs.store import Results
from dqrun.training.checkpoints import STATE, Checkpoints, Identity, continuation, forget_checkpoint
from dqrun.training.state import Epoch
from dqrun.training.trial import run_trial

SMALL = [
    "dataset.graphs=20",
    "model.hidden=8",
    "train.epochs=6",
    "train.batch_size=8",
    "threads=1",
    "model.dropout=0.2",
]
SELF = Identity("aa", "0", "0", "0")
EACH_EPOCH = 1e-9
CASES = {
    "degree-quant": ["quant=int4", "method=dq"],
    "noise, mae schedule": ["quant=int8", "method=noisy", "train.schedule={name: plateau, patience: 0, factor: 0.5}"],
    "gat, step schedule": ["model=gat", "quant=w4a8", "train.schedule={name: step, every: 2}"],
    "fp32, by metric": ["model=gcn", "quant=fp32", "train.select=val_metric"],
    "batch-norm re-estimation": ["quant=int4", "method=dq", "model.mlp_norm=true", "train.bn_reestimation=9"],
    "re-estimation after training": ["quant=int8", "method=ptq", "model.norm=batch", "train.bn_reestimation=100"],
    "post-training": ["quant=int8", "method=ptq"],
    "delay until after the first kill": ["quant=int4", "method=dq", "method.delay_epochs=3"],
    "delay, plateau": ["quant=int8", "method.delay_epochs=2", "train.schedule={name: plateau, patience: 0}"],
    "learned steps, observed at first": [
        "quant=int4",
        "method=dq",
        "method.learned_scale=true",
        "method.observe_epochs=3",
    ],
    "learned steps": ["model=gcn", "quant=int4", "method=dq", "method.learned_scale=true"],
    "learned steps, noise, delay": ["quant=int4", "method=noisy", "method.learned_scale=true", "method.delay_epochs=4"],
}


class Killed(Exception):
    """Stands for SIGKILL: nothing of the trial runs after it."""


def config_of(*overrides: str) -> RunConfig:
    (config,) = load_configs([*SMALL, *overrides])
    return config


def kept(
    path: Path,
    config: RunConfig,
    minutes: float = 0,
    identity: Identity = SELF,
    warn: Callable[[str], None] = lambda text: None,
    confirm: Callable[[], None] = lambda: None,
) -> Checkpoints:
    """Checkpoints of a trial whose identity is `identity` at each number of epochs."""
    config = replace(config, train=replace(config.train, checkpoint_minutes=minutes))
    return Checkpoints(path, config, lambda other: identity, warn, confirm)


def run(
    config: RunConfig,
    checkpoints: Checkpoints,
    report: Callable[[Epoch], None] = lambda epoch: None,
    start: Path | None = None,
) -> Outcome:
    torch.set_num_threads(1)
    dataset = load_dataset(config.dataset, config.data)
    return run_trial(config, Trial(1), dataset, report, checkpoints, start=start)


def killed_after(
    config: RunConfig, path: Path, number: int, minutes: float = EACH_EPOCH, start: Path | None = None
) -> None:
    def die(epoch: Epoch) -> None:
        if epoch.epoch == number:
            raise Killed

    with pytest.raises(Killed):
        run(config, kept(path, config, minutes), die, start)


def same_bits(a: Outcome, b: Outcome, epochs: int = 6) -> None:
    assert a.model is not None and b.model is not None
    for (name, first), second in zip(a.model.state_dict().items(), b.model.state_dict().values(), strict=True):
        assert torch.equal(first, second), name
    timing = {"seconds", "setup_seconds", "seconds_per_epoch", "peak_bytes", "finished_utc"}
    assert {k: v for k, v in vars(a.row).items() if k not in timing} == {
        k: v for k, v in vars(b.row).items() if k not in timing
    }
    histories = [[(*list(vars(epoch).values())[:-1],) for epoch in outcome.result.history] for outcome in (a, b)]
    assert histories[0] == histories[1] and len(histories[0]) == epochs


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_trial_has_the_bits_of_an_uninterrupted_one(tmp_path: Path, case: str) -> None:
    config = config_of(*CASES[case])
    whole = run(config, kept(tmp_path / "whole.pt", config))
    path = tmp_path / "t.pt"
    killed_after(config, path, 3)  # the checkpoint of epoch 2 is there
    killed_after(config, path, 5)
    seen: list[int] = []
    resumed = run(config, kept(path, config, EACH_EPOCH), lambda epoch: seen.append(epoch.epoch))
    assert seen == [5, 6]
    same_bits(whole, resumed)
    assert resumed.row.seconds >= sum(epoch.seconds for epoch in resumed.result.history[:4])


def test_a_resumed_trial_goes_on_from_its_checkpoint_not_from_its_warm_start(tmp_path: Path) -> None:
    config, path = config_of("quant=int4", "train.warm_start=fp32"), tmp_path / "t.pt"
    first = run(config_of("quant=fp32"), kept(tmp_path / "fp32.pt", config_of("quant=fp32")))
    record(first, config_of("quant=fp32"), Results(tmp_path))
    start = tmp_path / "runs" / first.row.run_id
    whole = run(config, kept(tmp_path / "whole.pt", config), start=start)
    killed_after(config, path, 3, start=start)
    same_bits(whole, run(config, kept(path, config), start=start))
    assert whole.row.started_from == first.row.run_id


def test_zero_minutes_keep_nothing(tmp_path: Path) -> None:
    killed_after(config_of(), tmp_path / "t.pt", 3, minutes=0)
    assert list(tmp_path.iterdir()) == []


def test_many_minutes_are_waited_for(tmp_path: Path) -> None:
    killed_after(config_of(), tmp_path / "t.pt", 3, minutes=60)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    killed_after(config_of(), path, 3)
    (tmp_path / ".t.0123456789ab.part.pt").touch()
    forget_checkpoint(path)
    assert list(tmp_path.iterdir()) == []


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    """A bit of the weights turned over: of the largest tensor, for there is padding between tensors."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        place = content.index(archive.read(largest)) + largest.file_size // 2
    return content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda content: b"", lambda content: b"not a checkpoint"])
def test_a_damaged_checkpoint_is_reported_and_the_trial_starts_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    config, path = config_of(), tmp_path / "t.pt"
    killed_after(config, path, 4)
    path.write_bytes(damage(path.read_bytes()))
    said: list[str] = []
    outcome = run(config, kept(path, config, warn=said.append))
    same_bits(run(config, kept(tmp_path / "whole.pt", config)), outcome)
    (text,) = said
    assert "its checkpoint is damaged: it starts anew" in text and "\n" not in text


@pytest.mark.parametrize("part", ["model", "optimizer", "random"])
def test_a_state_that_can_be_restored_in_part_only_changes_nothing(tmp_path: Path, part: str) -> None:
    config, path = config_of(), tmp_path / "t.pt"
    killed_after(config, path, 4)
    torch.save({**torch.load(path, weights_only=True), part: {}}, path)
    said: list[str] = []
    outcome = run(config, kept(path, config, warn=said.append))
    assert len(said) == 1 and "its checkpoint is damaged: it starts anew" in said[0]
    same_bits(run(config, kept(tmp_path / "whole.pt", config)), outcome)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    config, path = config_of(), tmp_path / "t.pt"
    killed_after(config, path, 4)
    said: list[str] = []
    run(config, kept(path, config, identity=Identity("aa", "1", "0", "0"), warn=said.append))
    torch.save({"format": "other"}, path)
    run(config, kept(path, config, warn=said.append))
    assert said == [
        "its checkpoint is of another configuration or version: it starts anew",
        "its checkpoint is not of this program's format: it starts anew",
    ]


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('code was run')",)

    path = tmp_path / "t.pt"
    torch.save({"format": Bomb()}, path)
    said: list[str] = []
    run(config_of(), kept(path, config_of(), warn=said.append))
    assert "damaged" in said[0]


def test_another_number_of_threads_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    killed_after(config_of(), path, 3)
    torch.save({**torch.load(path, weights_only=True), "threads": 7}, path)
    said: list[str] = []
    run(config_of(), kept(path, config_of(), warn=said.append))
    assert said == ["it goes on with 1 threads where it had 7: sums are rounded in another order"]


def test_a_full_disk_costs_the_checkpoint_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    said: list[str] = []
    outcome = run(config_of(), kept(tmp_path / "t.pt", config_of(), EACH_EPOCH, warn=said.append))
    assert outcome.row.status == "done"
    assert said == [f"no checkpoint could be written to {tmp_path / 't.pt'} ([Errno 28] No space left on device)"]
    assert list(tmp_path.iterdir()) == []


class Lost(Exception):
    """Stands for LockLost: another process has the trial now."""


def test_a_checkpoint_of_a_trial_that_was_taken_over_is_not_written(tmp_path: Path) -> None:
    def lost() -> None:
        raise Lost

    with pytest.raises(Lost):
        run(config_of(), kept(tmp_path / "t.pt", config_of(), EACH_EPOCH, confirm=lost))
    assert list(tmp_path.iterdir()) == []


CONTINUED = {
    **{name: CASES[name] for name in ("degree-quant", "noise, mae schedule", "gat, step schedule", "post-training")},
    "rate below the least": ["train.schedule={name: plateau, patience: 0, min_lr: 0.0009}"],
    "stops early": ["train.early_stop_window=1", "train.lr=0.3"],
}


@pytest.mark.parametrize("case", CONTINUED)
def test_a_continued_training_has_the_bits_of_a_whole_one(tmp_path: Path, case: str) -> None:
    longer = config_of(*CONTINUED[case])
    short = config_of(*CONTINUED[case], "train.epochs=3", "train.keep_state=true")
    whole = run(longer, kept(tmp_path / "whole.pt", longer))
    first = run(short, kept(tmp_path / "short.pt", short))
    record(first, short, Results(tmp_path))
    folder = tmp_path / "runs" / first.row.run_id
    config = continuation(short, folder, 6, Trial(1))
    seen: list[int] = []
    outcome = run(config, kept(tmp_path / "long.pt", config), lambda epoch: seen.append(epoch.epoch))
    assert len(first.result.history) == (2 if case == "stops early" else 3)
    assert seen == [epoch.epoch for epoch in whole.result.history[len(first.result.history) :]]
    same_bits(whole, outcome, epochs=len(whole.result.history))
    assert outcome.state is not None, "it can be continued again"
    assert (first.model, first.state) != (None, None) and (folder / STATE).read_bytes() == first.state


def test_a_continued_training_that_is_interrupted_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    short = config_of("train.epochs=2", "train.keep_state=true")
    first = run(short, kept(tmp_path / "short.pt", short))
    record(first, short, Results(tmp_path))
    config = continuation(short, tmp_path / "runs" / first.row.run_id, 6, Trial(1))
    killed_after(config, tmp_path / "t.pt", 5)
    seen: list[int] = []
    run(config, kept(tmp_path / "t.pt", config), lambda epoch: seen.append(epoch.epoch))
    assert seen == [5, 6]


def test_without_the_kept_state_nothing_begins_anew_in_silence(tmp_path: Path) -> None:
    short = config_of("train.epochs=2", "train.keep_state=true")
    folder = tmp_path / "runs" / "r0"
    config = continuation(short, folder, 3, Trial(1))

    def refused(rule: str, identity: Identity = SELF, config: RunConfig = config) -> None:
        with pytest.raises(ConfigError, match=rule):
            run(config, kept(tmp_path / "t.pt", config, identity=identity))

    refused(r"train.continue_from must name a run trained with train.keep_state=true, got '.*r0'")
    folder.mkdir(parents=True)
    state = run(short, kept(tmp_path / "t.pt", short)).state
    assert state is not None
    (folder / STATE).write_bytes(state)
    refused("must name a run that differs in its epochs alone", identity=Identity("bb", "0", "0", "0"))
    refused("train.epochs must be > the 2 epochs of .*r0, got 2", config=continuation(short, folder, 2, Trial(1)))
    (folder / STATE).write_bytes(cut(state))
    refused(f"must name a run whose {STATE} is whole")


def test_the_run_of_a_continuation_is_that_of_one_trial() -> None:
    config = config_of("train.epochs=2", "protocol=kfold")
    longer = continuation(config, Path("runs/r0"), 5, Trial(3, 7))
    assert trials(longer.protocol) == [Trial(3, 7)] and longer.train.epochs == 5
    assert trial_hash(longer, Trial(3, 7)) == trial_hash(config_of("train.epochs=5", "protocol=kfold"), Trial(3, 7))
    warm = config_of("quant=int4", "train.warm_start=fp32", "train.fine_tune.epochs=2")
    longer = continuation(warm, Path("runs/r0"), 5, Trial(3))
    assert (longer.own_train.epochs, longer.train.epochs) == (5, warm.train.epochs)
    assert trials(longer.protocol) == [Trial(3)]
