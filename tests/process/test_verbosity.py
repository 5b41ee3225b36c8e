"""Warnings always, and what modules tell with -v, as lines on stderr."""

from __future__ import annotations

import logging
import os

import pytest

from dqrun.cli import build_parser, main
from dqrun.cli.verbs import VERBS
from dqrun.process.verbosity import VARIABLE, is_verbose, log_shown

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(("flags", "shown"), [([], "dqrun: hot\n"), (["-v"], "dqrun: hot\ndqrun: read\n")])
def test_lines(flags: list[str], shown: str, capsys: Capture) -> None:
    before = logging.getLogger("dqrun").level
    with log_shown():
        build_parser().parse_args(flags)
        assert is_verbose() == bool(flags)
        logging.getLogger("dqrun.data.cache").warning("hot")
        logging.getLogger("dqrun.data.cache").info("read")
    assert capsys.readouterr().err == shown
    assert VARIABLE not in os.environ and logging.getLogger("dqrun").level == before


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_has_the_flag(name: str) -> None:
    parser = VERBS[name].load().build_parser()
    assert any("-v" in action.option_strings for action in parser._actions)


def test_a_command_tells_where_its_data_come_from(capsys: Capture) -> None:
    assert main(["bench", "training", "-v", "dataset=none"]) == 2
    from dqrun.config import DataConfig, DatasetConfig
    from dqrun.data.dataset import load_dataset

    with log_shown():
        build_parser().parse_args(["-v"])
        load_dataset(DatasetConfig("threads", "threads", "graph_classification", graphs=10), DataConfig())
    assert "data: threads (source threads), 10 graphs, " in capsys.readouterr().err
