"""What is said of the machine."""

import json

import torch

from dqrun.bench.machine import describe


def test_says_what_a_reader_needs_to_judge_a_figure() -> None:
    machine = describe()
    wanted = {"processor", "cores", "threads", "vector_instructions", "torch_version", "pyg_version", "numba_version"}
    assert wanted <= machine.keys() and all(machine[key] for key in wanted)
    assert machine["threads"] == torch.get_num_threads()
    assert json.loads(json.dumps(machine)) == machine
