"""Cache, mirror, network: which files are used, what an error says, and what a failure leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch_geometric.datasets import TUDataset

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data import raw_files
from dqrun.data.arrays import GraphArrays
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.fingerprint import data_fingerprint
from dqrun.data.sources import tu
from dqrun.data.sources.tu import parse
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


def test_files_of_the_mirror_are_read_where_they_are(load: Load, cache: Path, mirror: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in mirror.rglob("*")}
    assert load().num_graphs == 6
    assert {path: path.stat().st_mtime_ns for path in mirror.rglob("*")} == before
    assert files_of(cache) == {"dqrun-data.safetensors", ".TOY.lock"}


def test_the_cache_is_enough_when_the_raw_files_are_gone(load: Load, mirror: Path) -> None:
    before = data_fingerprint(load())
    shutil.rmtree(mirror / "TOY")
    assert data_fingerprint(load()) == before


def test_a_broken_mirror_file_is_named_and_the_repaired_one_works(load: Load, cache: Path, mirror: Path) -> None:
    broken = mirror / "TOY" / "raw" / "TOY_graph_indicator.txt"
    whole = broken.read_text()
    cut(broken, 20)
    with pytest.raises(DataError) as error:
        load()
    assert str(broken.parent) in one_line(error)
    assert files_of(cache) <= {".TOY.lock"}
    broken.write_text(whole)
    assert load().num_graphs == 6


@pytest.mark.parametrize("change", ["bit", "cut", "empty", "words", "other schema"])
def test_a_damaged_cache_is_made_again_from_the_raw_files(
    change: str, load: Load, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = data_fingerprint(load())
    file = cache / "TOY" / "dqrun-data.safetensors"
    good = file.read_bytes()
    bit = bytearray(good)
    bit[-3] ^= 1
    file.write_bytes({"bit": bytes(bit), "cut": good[:-100], "empty": b"", "words": b"no cache"}.get(change, good))
    if change == "other schema":
        rewrite(file, lambda known: known | {"schema": 0})
    assert data_fingerprint(load()) == before
    lines = [record.message for record in caplog.records]
    assert file.read_bytes() == good and len(lines) == (0 if change == "other schema" else 1)
    assert all(f"{file} is damaged" in line and "\n" not in line for line in lines)


def rewrite(file: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    """Changes what a cache file says of itself, with a checksum that fits."""
    body = file.read_bytes()[64:]
    (length,) = struct.unpack("<Q", body[:8])
    header = json.loads(body[8 : 8 + length])
    header["__metadata__"]["dqrun"] = json.dumps(change(json.loads(header["__metadata__"]["dqrun"])))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    body = struct.pack("<Q", len(text)) + text + body[8 + length :]
    file.write_bytes(hashlib.sha256(body).hexdigest().encode() + body)


@pytest.mark.parametrize(
    "known", [{"num_classes": 1}, {"num_classes": "x"}, {"raw": []}, {"schema": None, "warnings": 3}]
)
def test_a_cache_with_a_fitting_checksum_and_wrong_content_is_made_again(
    known: dict[str, object], load: Load, cache: Path
) -> None:
    before = data_fingerprint(load())
    rewrite(cache / "TOY" / "dqrun-data.safetensors", lambda old: old | known)
    assert data_fingerprint(load()) == before


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("TOY_node_labels.txt", None, "TOY_node_labels.txt is missing"),
        ("TOY_graph_labels.txt", lambda text: text.replace("-1", "2", 1).replace("1", "-1", 1), "has changed"),
        ("TOY_node_attributes.txt", lambda text: "0.5\n" * 33, "TOY_node_attributes.txt is new"),
    ],
)
def test_other_raw_files_under_a_known_name_are_an_error(
    file: str, change: Callable[[str], str] | None, told: str, load: Load, cache: Path, mirror: Path
) -> None:
    before = load()
    path = mirror / "TOY" / "raw" / file
    text = path.read_text() if path.is_file() else ""
    if change is None:
        path.unlink()
    else:
        path.write_text(change(text))
    with pytest.raises(DataError) as error:
        load()
    assert told in one_line(error) and str(cache / "TOY" / "dqrun-data.safetensors") in one_line(error)
    (cache / "TOY" / "dqrun-data.safetensors").unlink()  # what the message says
    assert data_fingerprint(load()) != data_fingerprint(before)


@pytest.mark.parametrize(
    "variant",
    [
        lambda text: text.rstrip(b"\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text + b"\n\r\n  \n",
    ],
    ids=["no last newline", "byte order mark", "CRLF", "blank last lines"],
)
def test_text_that_says_the_same_is_the_same_data(
    variant: Callable[[bytes], bytes], load: Load, cache: Path, mirror: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = data_fingerprint(load())
    for path in (mirror / "TOY" / "raw").iterdir():
        path.write_bytes(variant(path.read_bytes()))
    assert data_fingerprint(load()) == before  # by its digests
    (cache / "TOY" / "dqrun-data.safetensors").unlink()
    assert data_fingerprint(load()) == before  # read anew
    assert not caplog.records


class Planted:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_files_that_pyg_would_unpickle_are_not_looked_at(load: Load, cache: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for name in ("data.pt", "pre_transform.pt", "pre_filter.pt", "train.pt"):
        (cache / "TOY" / "processed").mkdir(parents=True, exist_ok=True)
        torch.save(Planted(mark), cache / "TOY" / "processed" / name)
    assert load().num_graphs == 6 and not mark.exists()
    (cache / "TOY" / "dqrun-data.safetensors").write_bytes(pickle.dumps(Planted(mark)))
    assert load().num_graphs == 6 and not mark.exists()


def test_a_download_is_checked_before_it_is_kept(
    load: Load, cache: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = mirror.rename(mirror.parent / "published") / "TOY" / "raw"
    mirror.mkdir()

    def download(self: TUDataset) -> None:
        shutil.copytree(published, self.raw_dir, dirs_exist_ok=True)

    monkeypatch.setattr(TUDataset, "download", download)
    whole = (published / "TOY_A.txt").read_text()
    (published / "TOY_A.txt").write_text(whole + "1, x\n")
    with pytest.raises(DataError, match=r"TOY_A\.txt: line "):
        load()
    assert files_of(cache) <= {".TOY.lock"}
    (published / "TOY_A.txt").write_text(whole)
    (cache / ".TOY.part" / "raw").mkdir(parents=True)  # a killed process leaves such a folder
    (cache / ".TOY.part" / "raw" / "TOY_A.txt").write_text("half")
    assert load().num_graphs == 6
    assert {"TOY_A.txt", "TOY_node_labels.txt"} <= files_of(cache) and not list(cache.glob(".*.part"))


def test_a_download_never_replaces_files_of_the_user(
    load: Load, cache: Path, mirror: Path, write_tu: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = mirror.rename(mirror.parent / "published") / "TOY" / "raw"
    mirror.mkdir()
    monkeypatch.setattr(
        TUDataset, "download", lambda self: shutil.copytree(published, self.raw_dir, dirs_exist_ok=True)
    )
    write_tu(cache / "TOY" / "raw", "TOY", graphs=5)  # does not fit the six graphs of the download
    (cache / "TOY" / "raw" / "TOY_A.txt").unlink()
    kept = (cache / "TOY" / "raw" / "TOY_graph_labels.txt").read_text()
    with pytest.raises(DataError):
        load()
    assert (cache / "TOY" / "raw" / "TOY_graph_labels.txt").read_text() == kept
    assert not (cache / "TOY" / "raw" / "TOY_A.txt").exists()


def test_the_lock_is_held_while_files_are_read(load: Load, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def observed(*arguments: object) -> GraphArrays:
        other = FileLock(cache / ".TOY.lock", timeout=0, thread_local=False)
        try:
            other.acquire()
            other.release()
        except TimeoutError:
            held.append(True)
        return parse(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tu, "parse", observed)
    load()
    assert held == [True]


def test_waiting_for_another_process_is_told_and_ends(
    load: Load, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(raw_files, "SILENT", 0.01)
    monkeypatch.setattr(raw_files, "LONGEST", 0.01)
    cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / ".TOY.lock")
    with lock, pytest.raises(DataError) as error:
        load()
    assert "TOY: another process has held" in one_line(error) and ".TOY.lock" in one_line(error)
    assert "TOY: another process reads or downloads this dataset; waiting for it" in caplog.text
    assert load().num_graphs == 6


def test_raw_files_of_the_user_come_before_the_mirror(load: Load, cache: Path, write_tu: Write) -> None:
    write_tu(cache / "TOY" / "raw", "TOY", graphs=8)
    assert load().num_graphs == 8


def test_a_broken_file_of_the_user_is_named_and_kept(load: Load, cache: Path, write_tu: Write) -> None:
    write_tu(cache / "TOY" / "raw", "TOY")
    broken = cache / "TOY" / "raw" / "TOY_graph_labels.txt"
    cut(broken, 3)
    with pytest.raises(DataError) as error:
        load()
    assert str(broken) in one_line(error)
    assert broken.is_file()


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


def test_an_unwritable_cache_is_one_line(mirror: Path, tmp_path: Path, dataset_config: MakeConfig) -> None:
    (tmp_path / "file").write_text("no folder")
    data = DataConfig(root=str(tmp_path / "file" / "cache"), mirror=str(mirror))
    with pytest.raises(DataError, match=r"^data\.root: cannot write to .*file/cache: Not a directory$"):
        load_dataset(dataset_config(name="TOY", source="tu"), data)


def test_nothing_is_printed(load: Load, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # PyG is silent under pytest only
    load()
    assert capfd.readouterr() == ("", "")


def test_the_tests_are_offline() -> None:
    with pytest.raises(OSError, match="offline"):
        urllib.request.urlopen("https://example.org")
    assert "DQRUN_DATA" not in os.environ
