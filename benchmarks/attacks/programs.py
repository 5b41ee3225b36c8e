"""Damaged program files: `python benchmarks/attacks/programs.py [--count N] [--seed S]`.

The script changes small programs: GIN, GCN, GAT, GATv2 and GraphSAGE; node and graph tasks; INT8, INT4, INT2, one bit
and ternary weights; row ranges with real and power-of-two steps; embeddings. On average, one program in five gets
changed bytes. The others get changes of structure, shapes or numbers, and new checksums. Each program is loaded. If
that succeeds, the program is run on a small batch (a program of nodes also in blocks of nodes), written as an ONNX
model and as C, and read by `dqrun bench inference`. ONNX Runtime runs some models, a C compiler compiles some
libraries, and some programs are measured beside their FP32 network.

Failures:

- a signal, a hang, memory beyond the bound, or an error that is not a single line of dqrun's own;
- a program that loads and then refuses its input, or gives logits of a wrong shape or that are not finite;
- a result that depends on the content of unused memory;
- a compiled kernel whose codes differ from those of its definition in plain torch; for attention, codes outside the
  grid or a wrong shape;
- blocks whose bits differ from those of the whole graph;
- C whose logits differ from those of the program with the fixed-point rule;
- an ONNX model without attention whose logits differ from the program's by more than half a step.

The exit code is 1 after a failure.
"""

from __future__ import annotations

import base64
import json
import random
import sys
import tempfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save, save_file

sys.path.insert(0, str(Path(__file__).parent))
import pool

from dqrun import kernels
from dqrun.bench.one_bit import of_one_bit
from dqrun.bench.program import Batches, compare
from dqrun.bench.subject import Subject
from dqrun.cli.verbs.exporting import said
from dqrun.composition.compose import load_configs
from dqrun.data.features import FeatureRule
from dqrun.data.unlabelled import load_unlabelled
from dqrun.errors import DataError, DqrunError
from dqrun.graphs import Graph
from dqrun.integer import Program, load_program
from dqrun.integer.c import Library, Limits, write_library
from dqrun.integer.c.compiled import Compiled, find_compiler, stored
from dqrun.integer.container import FORMAT, STREAMS
from dqrun.integer.lower import lower
from dqrun.integer.onnx import Session, to_onnx
from dqrun.integer.operations import INPUT, Attention, DynamicAttention, Lookup, Operation, Value
from dqrun.integer.structure import build_graph
from dqrun.kernels.integer import CodeGrid, Codes
from dqrun.nn.build import build_model, uses_self_loops

NODES, EDGES, CHANNELS, CATEGORIES = 23, 70, 5, 6
SOME = 25
"""On average, one program in SOME is compiled as C, one is run by ONNX Runtime, and one is measured."""
ROWS = "quant.activation_granularity=row", "quant.row_scale=power_of_two"
WIDTH = {"i1": 1, "u1": 1, "f4": 4, "f8": 8}
EXTREMES: tuple[Any, ...] = (
    *(0, 1, 2, 3, 4, 8, 9, 15, 255, -1, 2**20, 2**31, 2**53, 10**30, 0.5, 1.0, -1.0, 1e-45, 1e38, 1e308, 1e-320),
    *("", "x", "logits", "none", "relu", "elu", "max", "nan", "inf", "1e-50", None, True, False, [], {}, ["f4", 1]),
)


def networks() -> Iterator[tuple[str, ...]]:
    """Yields the configuration words of each network whose program is damaged."""
    for model in ("gin", "gcn", "gat"):
        yield f"model={model}", "quant=int8", "dataset=reddit_binary", "model.norm=batch", "model.residual=true"
        yield f"model={model}", "quant=int4", "dataset=cora", "model.norm=none", "quant.weight_granularity=channel"
        yield f"model={model}", "quant=int2", "dataset=reddit_binary", "model.residual=true", *ROWS
    yield "model=gcn", "quant=int8", "dataset=cora", ROWS[0]
    yield "model=gin", "quant=int4", "dataset=zinc"
    yield "model=sage", "quant=int8", "dataset=cora", "model.residual=true"
    yield "model=sage", "quant=w1a4", "method=binary", "dataset=reddit_binary", ROWS[0]
    yield "model=gatv2", "quant=int4", "dataset=reddit_binary", "model.norm=batch"
    yield "model=gatv2", "quant=int2", "dataset=cora", *ROWS
    yield "model=gin", "quant=ternary", "method=twn", "dataset=cora"
    for model in ("gin", "gcn", "sage"):
        yield f"model={model}", "quant=int2", "dataset=cora"
    yield "model=gin", "quant=int2", "dataset=zinc"


@cache
def whole_files() -> tuple[bytes, ...]:
    """Returns the undamaged program files."""
    found = []
    torch.manual_seed(0)
    for words in networks():
        heads = ("model.heads=2",) if "gat" in words[0] else ()
        (config,) = load_configs([*words, "plan=integer", "model.layers=2", "model.hidden=8", *heads])
        categories = CATEGORIES if "dataset=zinc" in words else 0
        network = build_model(config, 0 if categories else CHANNELS, categories, 3)
        graph = build_graph(*structure(), uses_self_loops(config.model))
        for _ in range(3):
            network(torch.randint(categories, (NODES,)) if categories else torch.randn(NODES, CHANNELS), graph)
        with tempfile.TemporaryDirectory() as folder:
            rule = FeatureRule("category", CATEGORIES) if categories else FeatureRule("given", CHANNELS)
            origin = {"run": "r0", "quant": config.quant.label, "model": said(config.model)}
            origin |= {"dataset": said(config.dataset), "features": said(rule)}
            program = lower(network.eval(), origin)
            for each in (program, of_one_bit(program)) if "quant=int2" in words else (program,):
                each.save(Path(folder) / "a.dqp")
                found.append((Path(folder) / "a.dqp").read_bytes())
    return tuple(found)


def structure() -> tuple[torch.Tensor, int, torch.Tensor]:
    """Returns edges (int64 [2, EDGES]), number of nodes and batch vector (int64 [NODES]) of a batch of three graphs."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(NODES, (2, EDGES), generator=generator), NODES, torch.arange(NODES) * 3 // NODES


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """Yields `count` damaged files; the same seed gives the same files."""
    random_ = random.Random(seed)
    for _ in range(count):
        whole = random_.choice(whole_files())
        yield bytewise(whole, random_) if random_.random() < 0.2 else renewed(whole, random_)


def bytewise(data: bytes, random_: random.Random) -> bytes:
    """Returns the file with bytes changed, cut off, removed or repeated; checksums stay as they were."""
    start, length = random_.randrange(len(data)), random_.choice((1, 1, 2, 8, 100))
    piece = data[start : start + length]
    other = bytes(byte ^ random_.randrange(256) for byte in piece)
    return random_.choice((data[:start], data[:start] + other, data[:start] + piece * 2)) + (
        data[start + length :] if random_.random() < 0.9 else b""
    )


def renewed(data: bytes, random_: random.Random) -> bytes:
    """Returns the file with one to three changes of structure, shapes or numbers, in a newly written container."""
    stored = load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    tree = json.loads(zlib.decompress(base64.b85decode(header["__metadata__"][FORMAT])))
    streams = {name: bytearray(zlib.decompress(stored[name].numpy().tobytes())) for name in stored}
    for _ in range(random_.choice((1, 1, 2, 3))):
        if random_.random() < 0.35:
            change_numbers(streams[random_.choice(sorted(streams))], random_)
        else:
            tree = changed_tree(tree, random_)
    if isinstance(tree, dict) and random_.random() < 0.8:
        resize(tree, streams, random_)
    content = {
        name: torch.frombuffer(bytearray(zlib.compress(bytes(stream))), dtype=torch.uint8)
        for name, stream in streams.items()
        if stream
    }
    return save(content, {FORMAT: base64.b85encode(zlib.compress(json.dumps(tree).encode())).decode()})


def change_numbers(stream: bytearray, random_: random.Random) -> None:
    """Sets 1, 4 or 64 random bytes of a stream to extreme or random values, in place."""
    for _ in range(random_.choice((1, 4, 64))):
        if stream:
            stream[random_.randrange(len(stream))] = random_.choice((0, 127, 128, 255, random_.randrange(256)))


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Returns (container, key) for every value in a tree of lists and dicts, at all depths."""
    keys = range(len(tree)) if isinstance(tree, list) else list(tree) if isinstance(tree, dict) else ()
    return [(tree, key) for key in keys] + [place for key in keys for place in places(tree[key])]


def changed_tree(tree: Any, random_: random.Random) -> Any:
    """Replaces, removes or repeats one value of a structure, or copies another value to its place; returns the tree."""
    found = places(tree)
    if not found:
        return random_.choice(EXTREMES)
    owner, key = random_.choice(found)
    other_owner, other_key = random_.choice(found)
    other = json.loads(json.dumps(other_owner[other_key]))
    value, way = owner[key], random_.random()
    if type(value) is int and way < 0.5:
        owner[key] = random_.choice((value + 1, value - 1, value * 2, value // 2, -value))
    elif isinstance(value, str) and way < 0.6:
        texts = [place[0][place[1]] for place in found if isinstance(place[0][place[1]], str)]
        owner[key] = random_.choice(texts)
    elif way < 0.7:
        owner[key] = random_.choice(EXTREMES)
    elif way < 0.8:
        owner[key] = other
    elif way < 0.9 and isinstance(owner, list):
        owner.insert(key, other if random_.random() < 0.3 else json.loads(json.dumps(value)))
    else:
        del owner[key]
    return tree


def resize(tree: dict[str, Any], streams: dict[str, bytearray], random_: random.Random) -> None:
    """Gives the streams the sizes that the changed shapes need, unless they need more than a mebibyte.

    Changes `tree` and `streams`; new bytes are random.
    """
    sizes = {1: 0, 4: 0}
    for owner, key in places(tree):
        spec = owner[key]
        if isinstance(spec, list) and spec and str(spec[0]) in WIDTH and all(type(size) is int for size in spec[1:]):
            count = WIDTH[spec[0]]
            for size in spec[1:]:
                count *= max(size, 0)
            sizes[1 if count and WIDTH[spec[0]] == 1 else 4] += count
    if sum(sizes.values()) > 2**20:
        return
    tree["words"] = [sizes[1], sizes[4] // 4]
    for width, name in STREAMS.items():
        stream = streams.setdefault(name, bytearray())
        stream += random_.randbytes(max(0, sizes[width] - len(stream)))
        del stream[sizes[width] :]


def judge(path: Path) -> str:
    """Loads and runs a program file; returns "refused", "ran", or a description of the failure."""
    pool.fill_memory(random.randrange(1, 256))
    try:
        program = load_program(path)
    except DataError as error:
        return "refused" if "\n" not in str(error) else f"lines {error!r}"
    x, edges, nodes, batch = features(program), *structure()
    try:
        graph = program.graph(edges, nodes, batch)
        logits = program(x, edges, batch)
    except DataError as error:
        return f"input {error}"
    rows = 3 if program.signature.graph_level else nodes
    if logits.shape != (rows, program.signature.out_channels) or not bool(logits.isfinite().all()):
        return f"wrong logits {list(logits.shape)}"
    wrong = agree(program, x, graph)
    if wrong != "ran":
        return wrong
    luck = zlib.crc32(path.read_bytes())
    wrong = in_blocks(program, x, graph, logits) or as_c(program, x, luck) or as_onnx(program, x, logits, luck)
    return wrong or measured(path, x, luck) or "ran"


def in_blocks(program: Program, x: torch.Tensor, graph: Graph, logits: torch.Tensor) -> str:
    """Describes the fault of a node program that runs block by block; "" if there is none, or for a graph program."""
    if program.signature.graph_level:
        return ""
    return "" if same(program.stream(x, graph, 7), logits) else "wrong logits of blocks"


def as_c(program: Program, x: torch.Tensor, luck: int) -> str:
    """Describes the fault of a program's C library; "" if there is none. Compiles and compares one library in SOME."""
    edges, nodes, _ = structure()
    try:
        judge_ = program.with_epilogue("fixed")
        library = Library(judge_, Limits(nodes, EDGES, EDGES), "attacked")
    except DqrunError as error:
        return "" if "\n" not in str(error) else f"lines {error!r}"
    with tempfile.TemporaryDirectory() as folder:
        write_library(library, Path(folder))
        compiler = find_compiler()
        if compiler is None or luck % SOME:
            return ""
        first = judge_.operations[0]
        graph = judge_.graph(edges, nodes)
        given = x if isinstance(first, Lookup) else stored(first.run({INPUT: x}, graph))
        found = Compiled(library, Path(folder), compiler, ("-std=c99", "-O0")).run(given, edges)
        return "" if torch.equal(found, judge_.trace(x, graph)["logits"].int()) else "wrong logits of C"


def as_onnx(program: Program, x: torch.Tensor, logits: torch.Tensor, luck: int) -> str:
    """Describes the fault of a program's ONNX model; "" if there is none. Runs and compares one model in SOME."""
    edges, _, batch = structure()
    try:
        to_onnx(program)
    except DqrunError as error:
        return "" if "\n" not in str(error) else f"lines {error!r}"
    if luck % SOME != 1:
        return ""
    found = Session(program, threads=1)(x, edges, batch)
    near = (found - logits).abs() <= program.output_step.float() / 2 + 1e-6 * logits.abs()
    floats = any(isinstance(operation, Attention | DynamicAttention) for operation in program.operations)
    return "" if found.shape == logits.shape and (floats or bool(near.all())) else "wrong logits of ONNX Runtime"


def measured(path: Path, x: torch.Tensor, luck: int) -> str:
    """Describes the fault of `dqrun bench inference` on a program; "" if there is none. Measures one in SOME."""
    edges, _, batch = structure()
    try:
        subject = Subject.load(str(path), path.parent)
        if luck % SOME == 2:
            graphs = path.with_name("graphs.safetensors")
            save_file({"x": x, "edge_index": edges, "batch": batch}, graphs)
            batches = Batches.of(subject, load_unlabelled([graphs], subject.predictor.trained_on.task), 128)
            compare(subject, batches, 1, profile=True)
    except DqrunError as error:
        return "" if "\n" not in str(error) else f"lines {error!r}"
    return ""


def features(program: Program) -> torch.Tensor:
    """Returns features of the small batch in the program's form: categories int64 [N] or float32 [N, C]."""
    generator = torch.Generator().manual_seed(2)
    if program.signature.num_categories:
        return torch.randint(program.signature.num_categories, (NODES,), generator=generator)
    return 10 * torch.randn(NODES, program.signature.in_channels, generator=generator)


def agree(program: Program, x: torch.Tensor, graph: Graph) -> str:
    """Compares each compiled operation with its definition; returns "ran" or a description of the first failure.

    Each compiled operation runs twice on the same input, with different bytes in free memory.
    """
    values: dict[str, Value] = {INPUT: x}
    for operation in program.operations:
        found = []
        for byte in (0x55, 0xAA):
            pool.fill_memory(byte)
            found.append(raw(operation.run(values, graph)))
        with kernels.use("reference"):
            values[operation.target] = operation.run(values, graph)
        problem = difference(operation, values[operation.target], *found)
        if problem:
            return f"wrong {problem} of {type(operation).__name__}"
    return "ran"


def difference(operation: Operation, expected: Value, first: torch.Tensor, second: torch.Tensor) -> str:
    """Describes the fault of the two results of a compiled operation; "" if there is none."""
    if not same(first, second):
        return "result that changes with free memory"
    if not isinstance(operation, Attention | DynamicAttention):
        return "" if same(first, raw(expected)) else "codes"
    if isinstance(expected, Codes) and isinstance(expected.grid, CodeGrid) and int(first.max()) > expected.grid.top:
        return "codes beyond the grid"
    return "" if first.shape == raw(expected).shape else "shape"


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Returns whether two results have the same shape and numbers; NaN equals NaN."""
    return first.shape == second.shape and torch.equal(first.nan_to_num(7.25), second.nan_to_num(7.25))


def raw(value: Value) -> torch.Tensor:
    """Returns codes, one per byte, or logits; for rows with their own grids, the real numbers of the codes."""
    if not isinstance(value, Codes):
        return value
    return value.unpack() if isinstance(value.grid, CodeGrid) else value.real()


def prepare(path: Path) -> None:
    """Judges all undamaged files; this compiles every needed kernel before memory is bounded."""
    pool.judges_whole_files(judge, whole_files(), path)


if __name__ == "__main__":
    sys.exit(pool.main(__file__, __doc__, "programs", 8000, mutants, judge, prepare))
