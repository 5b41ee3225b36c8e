"""Training checkpoints: the same bits as without an interruption, and no trust in damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dqrun.compose import load_configs
from dqrun.config import RunConfig
from dqrun.data.dataset import load_dataset
from dqrun.outcome import Outcome, record
from dqrun.protocol import Trial
from dqrun.results import Results
from dqrun.resume import Checkpoints, Identity
from dqrun.training import Epoch
from dqrun.trial import run_trial

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
    "learned steps, observed at first": ["quant=int4", "method=dq", "method.step=learned", "method.observe_epochs=3"],
    "learned steps": ["model=gcn", "quant=int4", "method=dq", "method.step=learned"],
    "learned steps, noise, delay": ["quant=int4", "method=noisy", "method.step=learned", "method.delay_epochs=4"],
}


class Killed(Exception):
    """Stands for SIGKILL: nothing of the trial runs after it."""


def config_of(*overrides: str) -> RunConfig:
    (config,) = load_configs([*SMALL, *overrides])
    return config


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
        run(config, Checkpoints(path, minutes, SELF), die, start)


def same_bits(a: Outcome, b: Outcome) -> None:
    assert a.model is not None and b.model is not None
    for (name, first), second in zip(a.model.state_dict().items(), b.model.state_dict().values(), strict=True):
        assert torch.equal(first, second), name
    timing = {"seconds", "setup_seconds", "seconds_per_epoch", "peak_bytes", "finished_utc"}
    assert {k: v for k, v in vars(a.row).items() if k not in timing} == {
        k: v for k, v in vars(b.row).items() if k not in timing
    }
    histories = [[(*list(vars(epoch).values())[:-1],) for epoch in outcome.result.history] for outcome in (a, b)]
    assert histories[0] == histories[1] and len(histories[0]) == 6


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_trial_has_the_bits_of_an_uninterrupted_one(tmp_path: Path, case: str) -> None:
    config = config_of(*CASES[case])
    whole = run(config, Checkpoints(tmp_path / "whole.pt", 0, SELF))
    path = tmp_path / "t.pt"
    killed_after(config, path, 3)  # the checkpoint of epoch 2 is there
    killed_after(config, path, 5)
    seen: list[int] = []
    resumed = run(config, Checkpoints(path, EACH_EPOCH, SELF), lambda epoch: seen.append(epoch.epoch))
    assert seen == [5, 6]
    same_bits(whole, resumed)
    assert resumed.row.seconds >= sum(epoch.seconds for epoch in resumed.result.history[:4])


def test_a_resumed_trial_goes_on_from_its_checkpoint_not_from_its_warm_start(tmp_path: Path) -> None:
    config, path = config_of("quant=int4", "train.warm_start=fp32"), tmp_path / "t.pt"
    first = run(config_of("quant=fp32"), Checkpoints(tmp_path / "fp32.pt", 0, SELF))
    record(first, config_of("quant=fp32"), Results(tmp_path))
    start = tmp_path / "runs" / first.row.run_id
    whole = run(config, Checkpoints(tmp_path / "whole.pt", 0, SELF), start=start)
    killed_after(config, path, 3, start=start)
    same_bits(whole, run(config, Checkpoints(path, 0, SELF), start=start))
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
    (tmp_path / ".t.pt.part").touch()
    Checkpoints(path, 1, SELF).remove()
    assert list(tmp_path.iterdir()) == []


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    """A bit of the weights turned over."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 8]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda content: b"", lambda content: b"not a checkpoint"])
def test_a_damaged_checkpoint_is_reported_and_the_trial_starts_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    config, path = config_of(), tmp_path / "t.pt"
    killed_after(config, path, 4)
    path.write_bytes(damage(path.read_bytes()))
    said: list[str] = []
    outcome = run(config, Checkpoints(path, 0, SELF, warn=said.append))
    same_bits(run(config, Checkpoints(tmp_path / "whole.pt", 0, SELF)), outcome)
    (text,) = said
    assert "its checkpoint is damaged: it starts anew" in text and "\n" not in text


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    config, path = config_of(), tmp_path / "t.pt"
    killed_after(config, path, 4)
    said: list[str] = []
    run(config, Checkpoints(path, 0, Identity("aa", "1", "0", "0"), warn=said.append))
    torch.save({"format": "other"}, path)
    run(config, Checkpoints(path, 0, SELF, warn=said.append))
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
    run(config_of(), Checkpoints(path, 0, SELF, warn=said.append))
    assert "damaged" in said[0]


def test_another_number_of_threads_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    killed_after(config_of(), path, 3)
    kept = torch.load(path, weights_only=True)
    torch.save({**kept, "threads": 7}, path)
    said: list[str] = []
    run(config_of(), Checkpoints(path, 0, SELF, warn=said.append))
    assert said == ["it goes on with 1 threads where it had 7: sums are rounded in another order"]


def test_a_full_disk_costs_the_checkpoint_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    said: list[str] = []
    outcome = run(config_of(), Checkpoints(tmp_path / "t.pt", EACH_EPOCH, SELF, warn=said.append))
    assert outcome.row.status == "done"
    assert said == ["no checkpoint could be written ([Errno 28] No space left on device)"]
    assert list(tmp_path.iterdir()) == []
