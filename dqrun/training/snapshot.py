"""Saves the state of a training as tensors, numbers and texts, and restores a training from it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import astuple
from typing import Any

import torch

from dqrun.training.state import Epoch, Training

PARTS = {"history", "best", "best_state", "model", "optimizer", "scheduler", "random", "torch_random", "cuda_random"}


def snapshot(training: Training) -> dict[str, Any]:
    """Everything that the next epoch depends on, by the names of PARTS; torch's global generators too."""
    result = training.result
    on_gpu = any(parameter.is_cuda for parameter in training.model.parameters())
    return {
        "history": [list(astuple(epoch)) for epoch in result.history],
        "best": None if result.best is None else result.best.epoch,
        "best_state": result.state,
        "model": training.model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "scheduler": None if training.scheduler is None else training.scheduler.state_dict(),
        "random": {name: generator.get_state() for name, generator in vars(training.streams).items()},
        "torch_random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state() if on_gpu else None,
    }


def put(training: Training, kept: dict[str, Any]) -> None:
    """Restores a training from a snapshot. Raises for a damaged one, and then leaves the training as it was."""
    before = deepcopy(snapshot(training))
    try:
        _put(training, kept)
    except Exception:
        _put(training, before)
        raise


def _put(training: Training, kept: dict[str, Any]) -> None:
    history = [Epoch(*values) for values in kept["history"]]
    best = next((epoch for epoch in history if epoch.epoch == kept["best"]), None)
    device = next((parameter.device for parameter in training.model.parameters()), torch.device("cpu"))
    best_state = {name: value.to(device) for name, value in kept["best_state"].items()}
    training.model.load_state_dict(kept["model"])
    training.optimizer.load_state_dict(kept["optimizer"])
    if training.scheduler is not None:
        training.scheduler.load_state_dict(kept["scheduler"])
    for name, generator in vars(training.streams).items():
        generator.set_state(kept["random"][name])
    torch.set_rng_state(kept["torch_random"])
    if kept["cuda_random"] is not None:
        torch.cuda.set_rng_state(kept["cuda_random"])
    training.result.history, training.result.best, training.result.state = history, best, best_state
