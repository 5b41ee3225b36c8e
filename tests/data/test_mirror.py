"""Cache, mirror, network: which files are used, what an error says, and what a failure leaves behind."""

from __future__ import annotations

import os
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from torch_geometric.datasets import TUDataset

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.errors import DataError

MakeConfig = Callable[..., DatasetConfig]
Load = Callable[[], GraphDataset]
Write = Callable[..., None]


@pytest.fixture
def mirror(tmp_path: Path, write_tu: Write) -> Path:
    write_tu(tmp_path / "mirror" / "TOY" / "raw", "TOY")
    return tmp_path / "mirror"


@pytest.fixture
def load(cache: Path, mirror: Path, dataset_config: MakeConfig) -> Load:
    data = DataConfig(root=str(cache), mirror=str(mirror))
    return lambda: load_dataset(dataset_config(name="TOY", source="tu"), data)


def cut(path: Path, characters: int) -> None:
    path.write_text(path.read_text()[:-characters])


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def one_line(error: pytest.ExceptionInfo[DataError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_raw_files_come_from_the_mirror_once(load: Load, cache: Path, mirror: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in mirror.rglob("*")}
    assert load().num_graphs == 6
    assert {path: path.stat().st_mtime_ns for path in mirror.rglob("*")} == before
    assert {"TOY_A.txt", "TOY_node_labels.txt", "data.pt"} <= files_of(cache / "TOY")
    shutil.rmtree(mirror / "TOY")
    assert load().num_graphs == 6


def test_processed_files_are_enough(load: Load, cache: Path, mirror: Path) -> None:
    load()
    shutil.rmtree(cache / "TOY" / "raw")
    shutil.rmtree(mirror / "TOY")
    assert load().num_graphs == 6


def test_raw_files_of_the_user_come_before_the_mirror(load: Load, cache: Path, write_tu: Write) -> None:
    write_tu(cache / "TOY" / "raw", "TOY", graphs=8)
    assert load().num_graphs == 8


def test_damaged_processed_files_are_made_again(load: Load, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    load()
    processed = cache / "TOY" / "processed" / "data.pt"
    processed.write_bytes(processed.read_bytes()[:100])
    assert load().num_graphs == 6
    assert "processed files are damaged" in caplog.text


def test_a_broken_mirror_file_is_named_and_the_repaired_one_works(load: Load, cache: Path, mirror: Path) -> None:
    broken = mirror / "TOY" / "raw" / "TOY_A.txt"
    whole = broken.read_text()
    cut(broken, 20)
    with pytest.raises(DataError) as error:
        load()
    assert str(broken) in one_line(error)
    assert files_of(cache) <= {".TOY.lock"}
    broken.write_text(whole)
    assert load().num_graphs == 6


def test_a_broken_file_of_the_user_is_named_and_kept(load: Load, cache: Path, write_tu: Write) -> None:
    write_tu(cache / "TOY" / "raw", "TOY")
    broken = cache / "TOY" / "raw" / "TOY_graph_labels.txt"
    cut(broken, 3)
    with pytest.raises(DataError) as error:
        load()
    assert str(broken) in one_line(error)
    assert broken.is_file()


def test_missing_files_are_added_to_the_user_s_but_never_replace_them(load: Load, cache: Path, write_tu: Write) -> None:
    write_tu(cache / "TOY" / "raw", "TOY", graphs=7)  # does not fit the mirror's six graphs
    (cache / "TOY" / "raw" / "TOY_A.txt").unlink()
    kept = (cache / "TOY" / "raw" / "TOY_graph_labels.txt").read_text()
    with pytest.raises(DataError):
        load()
    assert (cache / "TOY" / "raw" / "TOY_graph_labels.txt").read_text() == kept
    assert not (cache / "TOY" / "raw" / "TOY_A.txt").exists()


def test_files_found_nowhere_are_one_line_with_all_places(load: Load, cache: Path, mirror: Path) -> None:
    (mirror / "TOY" / "raw" / "TOY_A.txt").unlink()
    with pytest.raises(DataError) as error:
        load()
    message = one_line(error)
    assert f"the cache {cache / 'TOY' / 'raw'} lacks TOY_A.txt" in message
    assert f"the mirror {mirror / 'TOY' / 'raw'} lacks TOY_A.txt" in message
    assert "the download failed: OSError: the tests are offline" in message
    assert files_of(cache) <= {".TOY.lock"}


def test_without_a_mirror_the_message_says_so(
    cache: Path, dataset_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DQRUN_DATA_MIRROR", raising=False)
    with pytest.raises(DataError, match=r"no mirror is set \(data\.mirror\), and the download failed"):
        load_dataset(dataset_config(name="TOY", source="tu"), DataConfig(root=str(cache)))


def test_a_download_goes_through_the_checks(
    load: Load, cache: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = mirror.rename(mirror.parent / "published") / "TOY" / "raw"

    def download(self: TUDataset) -> None:
        shutil.copytree(published, self.raw_dir, dirs_exist_ok=True)

    monkeypatch.setattr(TUDataset, "download", download)
    whole = (published / "TOY_A.txt").read_text()
    cut(published / "TOY_A.txt", 20)
    with pytest.raises(DataError, match=r"TOY_A\.txt: "):
        load()
    assert files_of(cache) <= {".TOY.lock"}
    (published / "TOY_A.txt").write_text(whole)
    assert load().num_graphs == 6
    assert not list(cache.glob("*.part"))


def test_an_interrupted_processing_leaves_nothing(load: Load, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: TUDataset) -> None:
        Path(self.processed_paths[0]).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TUDataset, "process", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load()
    assert files_of(cache) <= {".TOY.lock"}
    assert load().num_graphs == 6


def test_content_that_pyg_refuses_is_a_data_error(load: Load, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: TUDataset) -> None:
        raise RuntimeError("unheard of\nand more lines")

    monkeypatch.setattr(TUDataset, "process", refuse)
    with pytest.raises(DataError) as error:
        load()
    assert "cannot be processed (RuntimeError: unheard of)" in one_line(error)
    assert files_of(cache) <= {".TOY.lock"}


def test_leftovers_of_a_killed_process_do_no_harm(load: Load, cache: Path) -> None:
    (cache / ".TOY.part").mkdir(parents=True)
    (cache / ".TOY.part" / "TOY_A.txt").write_text("half")
    assert load().num_graphs == 6
    assert not (cache / ".TOY.part").exists()


def test_an_unwritable_cache_is_one_line(mirror: Path, tmp_path: Path, dataset_config: MakeConfig) -> None:
    (tmp_path / "file").write_text("no folder")
    data = DataConfig(root=str(tmp_path / "file" / "cache"), mirror=str(mirror))
    with pytest.raises(DataError, match=r"^data\.root: cannot write to .*file/cache: Not a directory$"):
        load_dataset(dataset_config(name="TOY", source="tu"), data)


def test_nothing_is_printed(load: Load, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # PyG is silent under pytest only
    load()
    assert capfd.readouterr() == ("", "")


def test_the_lock_is_held_while_files_are_made(load: Load, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []
    process = TUDataset.process

    def observed(self: TUDataset) -> None:
        other = FileLock(cache / ".TOY.lock", blocking=False, thread_local=False)
        try:
            other.acquire()
            other.release()
        except TimeoutError:
            held.append(True)
        process(self)

    monkeypatch.setattr(TUDataset, "process", observed)
    load()
    assert held == [True]


def test_the_tests_are_offline() -> None:
    with pytest.raises(OSError, match="offline"):
        urllib.request.urlopen("https://example.org")
    assert "DQRUN_DATA" not in os.environ
