"""CSV folders: what is read, and one line with file, line and rule for each rule that can be broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dqrun.config import DataConfig, DatasetConfig, ProtocolConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.splits import split_for
from dqrun.errors import DataError

MakeConfig = Callable[..., DatasetConfig]
Load = Callable[..., GraphDataset]

GRAPHS = {
    "graphs.csv": "graph,label,split\n7,1,train\n3,0,val\n5,0,test\n9,1,\n",
    "nodes.csv": "graph,node,mass,charge\n7,10,1,0\n3,10,3,0.5\n7,20,2,-1\n5,0,4,0\n9,0,5,0\n",
    "edges.csv": "graph,source,target\n5,0,0\n7,10,20\n7,20,10\n",
}
NODES = {
    "nodes.csv": "node,label,split,a\n4,1,train,0.1\n2,0,train,0.2\n0,1,val,0.3\n9,0,test,0.4\n",
    "edges.csv": "source,target\n4,2\n2,4\n9,0\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.fixture
def load(folder: Path, dataset_config: MakeConfig) -> Load:
    """Writes the files (None: left out), then loads the folder for a task."""

    def make(files: dict[str, str | None], task: str = "graph_classification") -> GraphDataset:
        for name, text in files.items():
            if text is not None:
                (folder / name).write_text(text)
        return load_dataset(dataset_config(name="mine", source="folder", path=str(folder), task=task), DataConfig())

    return make


def test_graphs_keep_the_order_of_graphs_csv(load: Load) -> None:
    dataset = load(GRAPHS)
    assert dataset.y.tolist() == [1, 0, 0, 1] and dataset.num_classes == 2
    assert dataset.packed.node_ptr.tolist() == [0, 2, 3, 4, 5]
    assert dataset.x is not None and dataset.x.dtype == torch.float32
    assert dataset.x.tolist() == [[1, 0], [2, -1], [3, 0.5], [4, 0], [5, 0]]
    graph, _ = dataset.packed.gather(torch.arange(4))
    assert (graph.csr.col.tolist(), graph.csr.row.tolist()) == ([1, 0, 3], [0, 1, 3])
    split = split_for(dataset, ProtocolConfig(name="seeds"), None)
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([0], [1], [2])


def test_nodes_keep_the_order_of_nodes_csv(load: Load) -> None:
    dataset = load(NODES, "node_classification")
    assert dataset.y.tolist() == [1, 0, 1, 0]
    graph, _ = dataset.packed.gather(torch.tensor([0]))
    assert (graph.csr.col.tolist(), graph.csr.row.tolist()) == ([1, 0, 3], [0, 1, 2])
    assert dataset.official is not None and dataset.official.train.tolist() == [0, 1]


def test_targets_of_a_regression_are_floats(load: Load) -> None:
    files = GRAPHS | {"graphs.csv": "graph,label\n7,1.5\n3,-2\n5,0\n9,1e3\n"}
    dataset = load(files, "graph_regression")
    assert dataset.y.tolist() == [1.5, -2, 0, 1000] and dataset.y.dtype == torch.float32
    assert dataset.num_classes == 0 and dataset.official is None


def test_features_splits_and_edges_are_optional(load: Load) -> None:
    files = {
        "graphs.csv": "label,graph\n0,0\n1,1\n",
        "nodes.csv": "node,graph\n0,0\n0,1\n",
        "edges.csv": "graph,source,target\n",
    }
    dataset = load(files)
    assert dataset.x is None and dataset.official is None and dataset.num_edges == 0


def test_blank_lines_spaces_crlf_and_a_byte_order_mark_are_harmless(load: Load, folder: Path) -> None:
    text = "\ufeffgraph, label ,split\r\n7, 1, train\r\n\r\n3, 0, val\r\n5, 0, test\r\n9, 1,\r\n\r\n"
    (folder / "graphs.csv").write_bytes(text.encode())
    dataset = load(GRAPHS | {"graphs.csv": None})
    assert dataset.y.tolist() == [1, 0, 0, 1]
    assert dataset.official is not None and dataset.official.test.tolist() == [2]


def change(files: dict[str, str], name: str, old: str, new: str) -> dict[str, str | None]:
    assert old in files[name]
    return files | {name: files[name].replace(old, new, 1)}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("edges.csv", "7,20,10", "7,20,11", r"edges\.csv: line 4: target must be a node of nodes\.csv, in the same gr"),
        ("edges.csv", "7,10,20", "3,10,20", r"edges\.csv: line 3: target must be a node .*, got 20"),
        ("edges.csv", "5,0,0", "5,3,0", r"edges\.csv: line 2: source must be a node .*, got 3"),
        ("edges.csv", "5,0,0", "6,0,0", r"edges\.csv: line 2: graph must be listed in graphs\.csv, got 6"),
        ("edges.csv", "5,0,0", "5,0.5,0", r"edges\.csv: line 2: source must be an integer, got 0\.5"),
        ("edges.csv", "5,0,0", "5,0", r"edges\.csv: line 2: must have 3 values, .*, got 2"),
        ("edges.csv", "5,0,0", "5,x,0", r"edges\.csv: line 2: source must be an integer, got x"),
        ("edges.csv", "5,0,0", "5,-1,0", r"edges\.csv: line 2: source must be >= 0, got -1"),
        (
            "edges.csv",
            "5,0,0",
            "5,0,0,1",
            r"edges\.csv: line 2: must have 3 values, one for each column of the header, got 4",
        ),
        ("edges.csv", "7,20,10", "7,20,10,1", r"edges\.csv: line 4: must have 3 values, .*, got 4"),
        ("edges.csv", "graph,source,target", "graph,source,to", r"edges\.csv: line 1: column target is missing"),
        ("edges.csv", "source,target", "source,target,w", r"edges\.csv: line 2: must have 4 values, .*, got 3"),
        ("nodes.csv", "9,0,5,0", "9,0,nan,0", r"nodes\.csv: line 6: mass must be a finite number in float32, got nan"),
        (
            "nodes.csv",
            "9,0,5,0",
            "9,0,5,inf",
            r"nodes\.csv: line 6: charge must be a finite number in float32, got inf",
        ),
        ("nodes.csv", "9,0,5,0", "9,0,,0", r"nodes\.csv: line 6: mass must be a finite number"),
        (
            "nodes.csv",
            "9,0,5,0",
            "9,0,True,0",
            r"nodes\.csv: line 6: mass must be a finite number in float32, got True",
        ),
        ("nodes.csv", "7,20,2,-1", "7,10,2,-1", r"nodes\.csv: line 4: node must be listed once in its graph, got 10"),
        ("nodes.csv", "9,0,5,0", "8,0,5,0", r"nodes\.csv: line 6: graph must be listed in graphs\.csv, got 8"),
        ("nodes.csv", "9,0,5,0\n", "", r"graphs\.csv: line 5: graph must have a node in nodes\.csv, got 9"),
        ("nodes.csv", "charge", "label", r"nodes\.csv: line 1: column label belongs in graphs\.csv"),
        ("nodes.csv", "charge", "mass", r"nodes\.csv: line 1: each column must have a name of its own, got 'mass'"),
        ("graphs.csv", "7,1,", "7,3,", r"graphs\.csv: line 2: labels must be 0\.\.C-1 without a gap, got 3 but no 2"),
        ("graphs.csv", "7,1,", "7,0.5,", r"graphs\.csv: line 2: label must be an integer, got 0\.5"),
        ("graphs.csv", "7,1,", "7,-1,", r"graphs\.csv: line 2: label must be an integer >= 0, got -1"),
        ("graphs.csv", "7,1,", "7,,", r"graphs\.csv: line 2: label must be an integer, got nothing"),
        ("graphs.csv", ",test", ",tset", r"graphs\.csv: line 4: split must be train, val, test or empty, got tset"),
        ("graphs.csv", ",test", ",train", r"graphs\.csv: column split must name .*, got no test"),
        ("graphs.csv", "9,1,", "7,1,val", r"graphs\.csv: line 5: splits overlap: graph 7 is in train and val"),
        ("graphs.csv", "9,1,", "7,1,train", r"graphs\.csv: line 5: graph must be listed once, got 7 again"),
    ],
)
def test_a_broken_rule_of_graph_tasks_is_named(name: str, old: str, new: str, message: str, load: Load) -> None:
    with pytest.raises(DataError, match=message) as error:
        load(change(GRAPHS, name, old, new))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("edges.csv", "9,0", "9,7", r"edges\.csv: line 4: target must be a node of nodes\.csv, got 7"),
        ("nodes.csv", "9,0,test", "4,1,test", r"nodes\.csv: line 5: splits overlap: node 4 is in train and test"),
        ("nodes.csv", "9,0,test", "4,1,train", r"nodes\.csv: line 5: node must be listed once, got 4 again"),
        ("nodes.csv", "0.4", "-inf", r"nodes\.csv: line 5: a must be a finite number in float32, got -inf"),
        ("nodes.csv", "4,1,train", "4,3,train", r"nodes\.csv: line 2: labels must be .*, got 3 but no 2"),
        ("nodes.csv", "node,label", "node,lable", r"nodes\.csv: line 1: column label is missing"),
    ],
)
def test_a_broken_rule_of_node_tasks_is_named(name: str, old: str, new: str, message: str, load: Load) -> None:
    with pytest.raises(DataError, match=message):
        load(change(NODES, name, old, new), "node_classification")


def test_line_numbers_count_blank_lines(load: Load) -> None:
    with pytest.raises(DataError, match=r"edges\.csv: line 4: source"):
        load(GRAPHS | {"edges.csv": "graph,source,target\n5,0,0\n\n5,8,0\n"})


def test_one_class_is_no_classification(load: Load) -> None:
    with pytest.raises(DataError, match=r"graphs\.csv: line 2: labels must have at least 2 classes, got only 0"):
        load(GRAPHS | {"graphs.csv": "graph,label\n7,0\n3,0\n5,0\n9,0\n"})


@pytest.mark.parametrize("name", ["graphs.csv", "edges.csv"])
def test_a_missing_file_is_named(name: str, load: Load) -> None:
    with pytest.raises(DataError, match=rf"{name}: the file is missing"):
        load(GRAPHS | {name: None})


@pytest.mark.parametrize("text", ["", "\n", "graph,label,split\n"])
def test_an_empty_file_is_named(text: str, load: Load) -> None:
    with pytest.raises(DataError, match=r"graphs\.csv: line [12]: "):
        load(GRAPHS | {"graphs.csv": text})


def test_a_file_that_is_no_text_is_named(load: Load, folder: Path) -> None:
    (folder / "graphs.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match=r"graphs\.csv: line 1: the file must be text in UTF-8"):
        load(GRAPHS | {"graphs.csv": None})


WORDS = ("True", "1e3", "1_000", "0x10", "1.5", "", "\u0661", "9223372036854775808", "--1", "1 2", "nan", "NA")


@pytest.mark.parametrize("blank", ["", "\n", "\n  \n,,\n"], ids=["plain", "blank line", "blank lines"])
@pytest.mark.parametrize("word", WORDS)
def test_a_blank_line_changes_neither_type_nor_message(word: str, blank: str, load: Load) -> None:
    for name, old, new in (
        ("edges.csv", "5,0,0\n", f"5,0,{word}\n{blank}"),
        ("graphs.csv", "7,1,train\n", f"7,{word},train\n{blank}"),
    ):
        with pytest.raises(DataError, match=rf"{name}: line 2: (target|label) must be an integer, got "):
            load(change(GRAPHS, name, old, new))


@pytest.mark.parametrize("blank", ["", "\n"])
@pytest.mark.parametrize("form", ["{}", '"{}"', " {} ", "+{}", "{}.0", "000{}"])
def test_large_ids_stay_what_they_are(form: str, blank: str, load: Load) -> None:
    """Beyond 2^53 floats would merge neighbours, and the first edge would be a loop."""
    first, second = 2**53, 2**53 + 1
    dataset = load(
        {
            "graphs.csv": "graph,label\n0,0\n1,1\n",
            "nodes.csv": f"graph,node\n0,{second}\n0,{first}\n1,5\n",
            "edges.csv": f"graph,source,target\n0,{form.format(first)},{form.format(second)}\n{blank}",
        }
    )
    assert (dataset.packed.edges.col.tolist(), dataset.packed.edges.row.tolist()) == ([1], [0])


@pytest.mark.parametrize(
    "value", ["1e39", "-1e39", "1e400", "3.5e38", "inf", "nan", "NaN", "1,5", "0x1F", "1d3", "TRUE", "1.5f"]
)
def test_a_feature_is_a_number_that_float32_holds(value: str, load: Load) -> None:
    text = f'"{value}"' if "," in value else value
    with pytest.raises(DataError, match=r"nodes\.csv: line 6: charge must be a finite number in float32, got "):
        load(change(GRAPHS, "nodes.csv", "9,0,5,0", f"9,0,5,{text}"))


def test_a_target_is_a_number_that_float32_holds(load: Load) -> None:
    with pytest.raises(DataError, match=r"graphs\.csv: line 3: label must be a finite number in float32, got 1e39"):
        load(GRAPHS | {"graphs.csv": "graph,label\n7,0.5\n3,1e39\n5,0\n9,0\n"}, "graph_regression")


@pytest.mark.parametrize(
    "value", ["0.1", "1e-3", ".5", "5.", "+2.5E+1", "3.4028235e38", "1e-400", " 0.25 ", '"1.5"', "8.000000001"]
)
def test_numbers_are_rounded_as_python_rounds_them(value: str, load: Load) -> None:
    dataset = load(change(GRAPHS, "nodes.csv", "9,0,5,0", f"9,0,5,{value}"))
    assert dataset.x is not None
    assert dataset.x[-1, 1].item() == np.float32(float(value.strip('" ')))


@pytest.mark.parametrize(
    "text",
    ["graph,source,target\n7,10\n5,0,0,1\n", "graph,source,target\n5,0,0,1\n7,10\n", '"graph,source,target\n5,0,0\n'],
)
def test_rows_of_other_lengths_are_named(text: str, load: Load) -> None:
    with pytest.raises(
        DataError, match=r"edges\.csv: line \d+: (must have 3 values|not a CSV table|.*name of its own)|missing"
    ):
        load(GRAPHS | {"edges.csv": text})


@pytest.mark.parametrize("byte", ["\0", "\x1b", "\x08"])
def test_control_characters_are_refused(byte: str, load: Load) -> None:
    with pytest.raises(DataError, match=r"nodes\.csv: line 6: must hold no control characters"):
        load(change(GRAPHS, "nodes.csv", "9,0,5,0", f"9,0,5,0{byte}"))


def test_one_way_and_repeated_edges_are_counted(load: Load) -> None:
    dataset = load(GRAPHS | {"edges.csv": "graph,source,target\n7,10,20\n7,10,20\n7,20,10\n5,0,0\n3,10,10\n3,10,10\n"})
    assert "2 of 6 edges repeat an earlier one" in dataset.note and "one direction" not in dataset.note
    dataset = load(GRAPHS | {"edges.csv": "graph,source,target\n7,10,20\n5,0,0\n"})
    assert "1 of 2 edges go in one direction only" in dataset.note and "earlier" not in dataset.note
