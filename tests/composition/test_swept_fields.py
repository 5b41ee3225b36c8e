"""A sweep gives a field to the jobs for which it has a meaning, and says to which it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dqrun import register
from dqrun.composition.compose import Job, load_jobs
from dqrun.errors import ConfigError

ROWS = "quant.activation_granularity=row"
NETWORK = """
from dataclasses import dataclass
import dqrun.register

@dataclass
class Config:
    width: int = 4

@dqrun.register.model("narrow", config=Config)
def narrow(config, in_channels, out_channels): ...
"""


def sweep(*words: str) -> list[Job]:
    return load_jobs(words, multirun=True)


def test_a_field_of_some_methods_is_given_to_them() -> None:
    jobs = sweep("method=a2q,degree_bits,dq", "method.pairs=7,9", ROWS)
    found = [(job.config.method.name, getattr(job.config.method, "pairs", None)) for job in jobs]
    assert found == [("a2q", 7), ("a2q", 9), ("degree_bits", None), ("dq", None)]
    assert jobs[0].left_out == (
        "method.pairs is not given to method=degree_bits, which has no such field",
        "method.pairs is not given to method=dq, which has no such field",
    )


def test_a_field_of_all_methods_or_of_none_is_treated_as_ever() -> None:
    jobs = sweep("method=dq,naive", "method.estimator=clipped")
    assert [job.config.method.estimator for job in jobs] == ["clipped"] * 2 and not jobs[0].left_out
    with pytest.raises(ConfigError, match=r"there is no field 'method\.pairs' of this method.*a2q has it"):
        sweep("method=dq,naive", "method.pairs=2")
    with pytest.raises(ConfigError, match=r"there is no field 'method\.pairs' of this method"):
        sweep("method=dq", "quant=int8,int4", "method.pairs=2")


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "mine.py"
    path.write_text(NETWORK)
    yield path
    register.model.remove("narrow")


def test_fields_of_networks_of_plug_ins(narrow: Path) -> None:
    jobs = sweep(f"plugins=[{narrow}]", "model=narrow,gin", "model.width=8", "model.hidden=16")
    own, gin = (job.config.model for job in jobs)
    assert own.width == 8 and gin.hidden == 16  # type: ignore[attr-defined]
    assert jobs[0].left_out == (
        "model.width is not given to model=gin, which has no such field",
        "model.hidden is not given to model=narrow, which has no such field",
    )


def test_the_integer_engine_is_for_what_has_a_program() -> None:
    jobs = sweep("quant=fp32,int8", "plan=integer", "evaluate.engine=integer")
    assert [(job.config.quant.label, job.config.evaluate.engine) for job in jobs] == [
        ("fp32", "float"),
        ("int8", "integer"),
    ]
    told = "evaluate.engine=integer is not given to quant=fp32, which has no integer program"
    assert jobs[0].left_out == (told,)
    plans = sweep("quant=int8", "plan=paper,integer", "evaluate.engine=integer")
    assert [job.config.evaluate.engine for job in plans] == ["float", "integer"]
    assert "not given to plan=paper" in plans[0].left_out[0]


@pytest.mark.parametrize("quant", ["fp32", "fp32,w1a32"])
def test_the_integer_engine_is_refused_where_nothing_has_a_program(quant: str) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.engine must be float for quant=fp32"):
        sweep(f"quant={quant}", "plan=integer", "evaluate.engine=integer")
    with pytest.raises(ConfigError, match=r"evaluate\.engine must be float for quant=fp32"):
        load_jobs(["quant=fp32", "plan=integer", "evaluate.engine=integer"])
