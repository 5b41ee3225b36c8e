"""What a row says of the machine."""

import torch

from dqrun.provenance import PeakMemory, git_revision, versions


def test_peak_memory_covers_an_allocation() -> None:
    memory = PeakMemory("cpu")
    before = memory.bytes()
    big = torch.ones(25_000_000)  # 100 MB
    assert memory.bytes() >= before + 50_000_000
    del big


def test_versions_and_revision() -> None:
    assert set(versions()) == {"dqrun_version", "torch_version", "pyg_version"}
    assert versions()["torch_version"] == torch.__version__
    assert "\n" not in git_revision()
