"""Wrong arguments of the Python interface are told in one line, with the name of the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

import dqrun

WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: dqrun.run("-m"), "'-m' is a flag of the command line, dqrun.run takes FIELD=VALUE: dqrun.run sweeps"),
    (lambda: dqrun.run("--cfg"), "'--cfg' is a flag of the command line"),
    (lambda: dqrun.run(["quant=int4"]), "an override must be text, one argument each"),  # type: ignore[arg-type]
    (lambda: dqrun.run("int4"), "did you mean 'quant=int4'"),
    (lambda: dqrun.run(results=3), "results must be a path, got 3"),  # type: ignore[arg-type]
    (lambda: dqrun.run(config_dir=3), "config_dir must be a path, got 3"),  # type: ignore[arg-type]
    (lambda: dqrun.results(3), "folders must be a path, got 3"),  # type: ignore[arg-type]
    (lambda: dqrun.results([]), "folders must name at least one results folder"),
    (lambda: dqrun.results("quant=int4"), "folders must be folders, the first argument"),
    (lambda: dqrun.results("x", 3), "a filter must be text"),  # type: ignore[arg-type]
    (lambda: dqrun.results("x", fields=[3]), "fields must be text"),  # type: ignore[list-item]
    (lambda: dqrun.load_model(3), "run must be a path, got 3"),  # type: ignore[arg-type]
    (lambda: dqrun.lower(3), "model must be a network of dqrun.load_model or dqrun.quantize"),  # type: ignore[arg-type]
    (lambda: dqrun.quantize(nn.Linear(2, 2), 3), "quant must be the name of a preset"),  # type: ignore[arg-type]
    (lambda: dqrun.quantize(nn.Linear(2, 2), method=[3]), "method must be text"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_arguments(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(dqrun.DqrunError) as caught:
        call()
    assert message in str(caught.value) and "\n" not in str(caught.value)
