"""What a row says of the machine."""

import mmap
from pathlib import Path

import pytest
import torch

from dqrun.process.memory import keep_freed_memory
from dqrun.runs.provenance import PeakMemory, git_revision, processor, versions


def test_peak_memory_covers_an_allocation() -> None:
    memory = PeakMemory("cpu")
    with mmap.mmap(-1, 100_000_000) as big:  # from the system: torch may have kept that much from earlier tests
        for page in range(0, len(big), mmap.PAGESIZE):
            big[page] = 1
        peak = memory.bytes()
        assert peak is not None and peak >= 50_000_000


def filled(megabytes: int) -> torch.Tensor:
    return torch.ones(megabytes * 1_000_000, dtype=torch.uint8)


def test_peak_memory_is_that_of_a_trial_whatever_ran_before() -> None:
    keep_freed_memory()  # as in a sweep
    figures = []
    for before in (0, 300):
        del_me = filled(before)
        del del_me
        memory = PeakMemory("cpu")
        work = filled(60)
        figures.append(memory.bytes())
        del work
    assert all(figure is not None and 50_000_000 <= figure <= 100_000_000 for figure in figures), figures


def test_pages_of_files_that_the_system_drops_do_not_hide_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(80_000_000))
    with (tmp_path / "file").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
        assert sum(pages[:: mmap.PAGESIZE]) == 0  # now they are resident
        memory = PeakMemory("cpu")
        pages.madvise(mmap.MADV_DONTNEED)
        work = filled(60)
        figure = memory.bytes()
        del work
    assert figure is not None and 50_000_000 <= figure <= 100_000_000, figure


def test_peak_memory_is_empty_where_it_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    assert PeakMemory("cpu").bytes() is None


def test_versions_and_revision() -> None:
    assert set(versions()) == {"dqrun_version", "torch_version", "pyg_version"}
    assert versions()["torch_version"] == torch.__version__
    assert "\n" not in git_revision()


def test_the_processor_has_a_name_in_one_line() -> None:
    assert "\n" not in processor() and processor() == processor().strip()
