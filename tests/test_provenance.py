"""What a row says of the machine."""

import mmap

import torch

from dqrun.provenance import PeakMemory, git_revision, processor, versions


def test_peak_memory_covers_an_allocation() -> None:
    memory = PeakMemory("cpu")
    before = memory.bytes()
    with mmap.mmap(-1, 100_000_000) as big:  # from the system: torch may have kept that much from earlier tests
        for page in range(0, len(big), mmap.PAGESIZE):
            big[page] = 1
        assert memory.bytes() >= before + 50_000_000


def test_versions_and_revision() -> None:
    assert set(versions()) == {"dqrun_version", "torch_version", "pyg_version"}
    assert versions()["torch_version"] == torch.__version__
    assert "\n" not in git_revision()


def test_the_processor_has_a_name_in_one_line() -> None:
    assert "\n" not in processor() and processor() == processor().strip()
