"""Damaged model files: `python benchmarks/attacks/models.py [--count N] [--seed S]`.

The script changes the files of small networks with random weights and calibrated quantisers (GIN, GCN, GAT; FP32, INT8,
INT4, learned steps). It changes bytes; metadata (fields removed, exchanged, of other types, of extreme values); and
tensors (removed, other names, shapes and types, extreme numbers and numbers that are not finite). Each file is opened
by the loader and the warm start. A network that loads goes through `dqrun robustness` and the lowering of `dqrun
export`, and the resulting program is run.

Failures: a signal, a hang, an error that is not a single line of dqrun's own, memory beyond the bound, a network or
program with numbers that are not finite, and a metric of `dqrun robustness` outside 0..100. The exit code is 1 after a
failure.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load, save

sys.path.insert(0, str(Path(__file__).parent))
import pool
from programs import EXTREMES, bytewise, places, structure

from dqrun.analysis.networks import Datasets
from dqrun.analysis.robustness import Exposure, findings, write_findings
from dqrun.analysis.rows import Run
from dqrun.composition.compose import load_configs
from dqrun.data.features import FeatureRule
from dqrun.errors import DqrunError
from dqrun.integer.lower import lower
from dqrun.integer.structure import build_graph
from dqrun.nn.build import build_model, uses_self_loops
from dqrun.runs.model_file import Shapes, load_features, load_model, load_parameters, save_model
from dqrun.runs.store import MODEL

CHANNELS = 1
RULE = FeatureRule("scaled_degree", CHANNELS, mean=2.0)
EXPOSURE = Exposure(edges=(0.3,), features=(0.3,), flips=(1, 0.01), draws=1)
NETWORKS = (
    ("model=gin", "quant=int8", "plan=integer", "model.norm=batch"),
    ("model=gin", "quant=fp32"),
    ("model=gcn", "quant=int4", "plan=integer", "model.norm=none"),
    ("model=gcn", "quant=int8", "method.learned_scale=true"),
    ("model=gat", "quant=int8", "plan=integer", "model.heads=2"),
)


@cache
def whole_files() -> tuple[bytes, ...]:
    """Returns the undamaged model files."""
    found = []
    torch.manual_seed(0)
    for words in NETWORKS:
        (config,) = load_configs(["dataset=threads", "dataset.graphs=20", *words, "model.hidden=4", "model.layers=2"])
        network = build_model(config, CHANNELS, 0, 2)
        edges, nodes, batch = structure()
        for _ in range(2):
            network(torch.randn(nodes, CHANNELS), build_graph(edges, nodes, batch, uses_self_loops(config.model)))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a"
            save_model(path, network, config, Shapes(CHANNELS, 0, 2), RULE)
            found.append(path.read_bytes())
    return tuple(found)


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """Yields `count` damaged files; the same seed gives the same files."""
    random_ = random.Random(seed)
    for _ in range(count):
        whole = random_.choice(whole_files())
        yield bytewise(whole, random_) if random_.random() < 0.3 else rewritten(whole, random_)


def rewritten(data: bytes, random_: random.Random) -> bytes:
    """Returns a valid safetensors file with one to three random changes of metadata or tensors."""
    tensors = load(data)
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        with safe_open(file.name, framework="pt") as opened:
            metadata: dict[str, str] = dict(opened.metadata())
    for _ in range(random_.choice((1, 1, 2, 3))):
        if random_.random() < 0.5:
            change_metadata(metadata, random_)
        elif tensors:
            change_tensors(tensors, random_)
    return save(tensors, metadata)


def change_metadata(metadata: dict[str, str], random_: random.Random) -> None:
    """Removes an entry, replaces its text, or removes, exchanges or replaces one value in it; changes `metadata`."""
    name = random_.choice(sorted(metadata) or ["format"])
    way = random_.random()
    if way < 0.1:
        metadata.pop(name, None)
    elif way < 0.2 or name == "format":
        metadata[name] = random_.choice(("", "{", "[]", "null", "NaN", '{"a": 1}', "[" * 5000, metadata.get(name, "")))
    else:
        try:
            tree = json.loads(metadata[name])
        except (ValueError, KeyError, RecursionError):
            return
        found = places(tree)
        if not found:
            return
        (owner, key), (other_owner, other_key) = random_.choice(found), random_.choice(found)
        if random_.random() < 0.3:
            del owner[key]
        else:
            other: Any = other_owner[other_key]
            owner[key] = random_.choice((*EXTREMES, float("nan"), json.loads(json.dumps(other)), str(owner[key])))
        metadata[name] = json.dumps(tree)


def change_tensors(tensors: dict[str, torch.Tensor], random_: random.Random) -> None:
    """Removes or renames a tensor, or changes its shape, its type or one number; changes `tensors`."""
    name = random_.choice(sorted(tensors))
    tensor, way = tensors[name], random_.random()
    if way < 0.15:
        del tensors[name]
    elif way < 0.3:
        tensors[random_.choice((name + "x", "a\x1b[2J", random_.choice(sorted(tensors))))] = tensors.pop(name).clone()
    elif way < 0.45:
        tensors[name] = random_.choice(
            (tensor.flatten()[:-1], tensor.unsqueeze(0), tensor.repeat(2, *[1] * tensor.dim()))
        )
        tensors[name] = tensors[name].clone()
    elif way < 0.6:
        tensors[name] = tensor.to(random_.choice((torch.float64, torch.float16, torch.int8, torch.bool, torch.int64)))
    elif tensor.is_floating_point() and tensor.numel():
        flat = tensor.clone().flatten()
        flat[random_.randrange(flat.numel())] = random_.choice(
            (torch.nan, torch.inf, -torch.inf, -1.0, 0.0, 3e38, 1e-45)
        )
        tensors[name] = flat.view(tensor.shape)


def judge(path: Path) -> str:
    """Opens and runs a model file; returns "refused", "ran", or a description of the failure."""
    try:
        model, config = load_model(path)
        load_features(path)
        load_parameters(path, build_model(config, CHANNELS, 0, 2))
    except DqrunError as error:
        return "refused" if "\n" not in str(error) else f"lines {error!r}"
    for name, tensor in model.state_dict().items():
        if ".quantizer." not in name and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return f"numbers {name} of a network that was taken"
    if wrong := exposed(path):
        return wrong
    try:
        program = lower(model)
    except DqrunError as error:
        return "ran" if "\n" not in str(error) else f"lines {error!r}"
    edges, nodes, batch = structure()
    logits = program(torch.randn(nodes, program.signature.in_channels), edges, batch)
    return "ran" if bool(logits.isfinite().all()) else "numbers of a program that was taken"


def exposed(path: Path) -> str:
    """Describes the fault of `dqrun robustness` on a model file; "" if there is none."""
    folder = path.with_name("run")
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / MODEL)
    row = {"run_id": "r0", "dataset": "threads", "model": "gin", "quant": "int8", "method": "dq", "fold": None}
    try:
        found = list(findings(Run(row, folder), Datasets(), EXPOSURE))
    except DqrunError as error:
        return "" if "\n" not in str(error) else f"lines {error!r}"
    write_findings(io.StringIO(), found)
    wrong = [line for line in found if not (0 <= line.clean <= 100 and 0 <= line.mean <= 100)]
    return f"metrics {wrong[0]}" if wrong else ""


def prepare(path: Path) -> None:
    """Judges all undamaged files; this compiles every needed kernel before memory is bounded."""
    pool.judges_whole_files(judge, whole_files(), path)


if __name__ == "__main__":
    sys.exit(pool.main(__file__, __doc__, "models", 500, mutants, judge, prepare))
