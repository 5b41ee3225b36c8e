"""Writes the tables of figures in PAGES from the JSON files in `benchmarks/figures/`: `python benchmarks/tables.py`.

A table stands between the lines `<!-- NAME -->` and `<!-- end -->`; NAME.json is its file. `summary` is over all files
of training and inference.
"""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dqrun.runs.intervals import ci95

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Pairs:
    """The test metrics of one network's seeds or folds, by dqrun and by a plain loop; fractions."""

    network: str
    dqrun: list[float]
    plain: list[float]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def training_table(document: dict[str, Any]) -> str:
    """Table of a file by `dqrun bench training --json`, or of the one that `benchmarks/repeated.py` chooses."""
    rows = []
    own = next(line for line in document["results"] if line["variant"] == "fp32")
    for line in document["results"]:
        form = line["form"] if line["form"] not in ("", "edge_index") else ""
        rows.append(
            [
                f"`{line['variant']}`" + (f" ({form})" if form else ""),
                f"{line['step_seconds'] * 1e3:.2f}",
                f"{line['ratio_to_fastest_fp32_peer']:.2f}",
                f"{line['peak_bytes'] / 2**20:.1f}",
                f"{line['peak_bytes'] / own['peak_bytes']:.2f}",
            ]
        )
    (pipeline,) = document["input_pipeline"]
    note = f"Input pipeline: {pipeline['share_of_epoch']:.1%} of an epoch of the fastest variant of our own."
    header = ["variant", "step, ms", "/ fastest FP32 peer", "peak memory, MiB", "/ our FP32"]
    if repeated := document.get("ratios_of_runs"):
        ours = [name for name in repeated if not name.startswith(("pyg", "dgl"))]
        spans = [f"`{name}` {min(repeated[name]):.2f} to {max(repeated[name]):.2f}" for name in ours]
        runs = len(next(iter(repeated.values())))
        note += f"\n\nOf {runs} runs, whose ratios were: {', '.join(spans)}."
    return markdown(header, rows) + "\n\n" + note


def memory_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/training_memory.py --json`: a network in each row, MiB and ratios to PyG's."""
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    for line in document["results"]:
        figures.setdefault(f"{line['dataset']} {line['model'].upper()}", {})[line["variant"]] = line
    rows = []
    for name, found in figures.items():
        pyg, coded = found["pyg_fp32"], found["dq_int4"]
        columns = ["pyg_fp32", "fp32", "dq_int8", "dq_int4", "dq_int4, floats kept"]
        sizes = [f"{found[variant]['peak_bytes'] / 2**20:.1f}" for variant in columns]
        ratios = [f"{coded[figure] / pyg[figure]:.2f}" for figure in ("peak_bytes", "resident_bytes")]
        rows.append([name, f"{sizes[0]} (`{pyg['form']}`)", *sizes[1:], *ratios])
    header = ["network", "PyG FP32", "FP32", "DQ INT8", "DQ INT4", "DQ INT4, floats kept", "INT4 / PyG", "resident"]
    return markdown(header, rows)


def scaling_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/scaling.py --json`: nanoseconds per node and edge, then the hub's ratio."""
    seconds = {(line["kernel"], line["shape"], line["edges"]): line["seconds"] for line in document["results"]}
    names = list(dict.fromkeys(kernel for kernel, _, _ in seconds))
    edges = sorted({number for _, _, number in seconds})
    powers = [f"10^{len(str(number)) - 1}" for number in edges]
    rows = []
    for name in names:
        row = [f"`{name}`"]
        for shape in ("uniform", "power law"):
            row += [f"{seconds[name, shape, number] / (1.1 * number) * 1e9:.2f}" for number in edges]
        row += [f"{seconds[name, 'hub', number] / seconds[name, 'uniform', number]:.2f}" for number in edges]
        rows.append(row)
    header = ["kernel"] + [f"{shape} {power}" for shape in ("uniform", "power law", "hub /") for power in powers]
    return markdown(header, rows)


def inference_table(document: dict[str, Any]) -> str:
    """Table of a file by `dqrun bench inference --json`."""
    rows = [
        [
            f"`{line['variant']}`" + (f" ({line['form']})" if line["form"] not in ("", "edge_index") else ""),
            f"{line['run_seconds'] * 1e3:.1f}",
            f"{line['speedup_vs_fastest_fp32_peer']:.2f}",
            f"{line['speedup_vs_pyg_edge_index']:.2f}",
            f"{line['speedup_vs_own_fp32']:.2f}",
            f"{line['peak_bytes'] / 2**20:.1f}",
            f"{line['fraction_of_bandwidth_bound']:.2f}",
        ]
        for line in document["results"]
    ]
    header = [
        "variant",
        "run, ms",
        "x fastest FP32 peer",
        "x PyG edge_index",
        "x our FP32",
        "peak, MiB",
        "of the bandwidth bound",
    ]
    return markdown(header, rows)


def parity_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/programs.py --json`: codes and predictions that differ."""

    def apart(count: dict[str, int]) -> str:
        return f"{count['differing']:,}" + (f", by {count['largest']} at most" if count["differing"] else "")

    rows = []
    for line in document["results"]:
        counts = [apart(line[judge]) for judge in ("float32", "by_operation", "float64")]
        agreeing = [f"{line[judge]} of {line['predictions']}" for judge in ("agree_float64", "agree_float32")]
        rows.append([line["run"], str(line["epochs"]), f"{line['codes'] / 1e6:.1f} M", *counts, *agreeing])
    header = ["run", "epochs", "codes", "differ in float32, end to end", "by operation", "in float64"]
    return markdown([*header, "predictions that agree with float64", "with float32"], rows)


def sizes_table(document: dict[str, Any]) -> str:
    """Table of the same file: bytes of program files."""
    names = ("fp32", "file", "weights", "numbers", "structure")
    rows = []
    for line in document["results"]:
        fp32, file, *parts = (f"{line[name]:,}" for name in names)
        rows.append([line["run"], fp32, file, f"{line['file'] / line['fp32']:.3f}", *parts])
    return markdown(["run", "FP32 weights", "file", "share", "weights", "numbers", "structure"], rows)


def c_export_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/c_export.py --json`: bytes of C libraries, and times beside engine and PyG."""
    rows = []
    for line in document["results"]:
        sizes = [f"{line[name]:,}" for name in ("fp32", "flash", "ram")]
        times = [f"{line[f'{name}_seconds'] * 1e3:.2f}" for name in ("c", "engine", "pyg")]
        rows.append([line["run"], f"{line['max_nodes']} / {line['max_edges']}", *sizes, str(line["graphs"]), *times])
    header = ["run", "nodes / edges", "FP32 weights, bytes", "flash, bytes", "RAM, bytes"]
    return markdown([*header, "graphs", "C, ms", "Python engine, ms", "PyG FP32, ms"], rows)


def codes_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/codes.py --json`: the share of the most common code, layer by layer."""
    layers = range(max(len(line["shares"]) for line in document["results"]))
    rows = []
    for line in document["results"]:
        run = f"{line['dataset']} {line['model'].upper()} {line['quant'].upper()} {line['method']}"
        shares = [f"{share:.1%}" for share in line["shares"]]
        rows.append([run, f"{line['test_metric']:.1%}", *shares, *[""] * (len(layers) - len(shares))])
    return markdown(["run", "accuracy", *(f"layer {layer}" for layer in layers)], rows)


def steadiness_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/steadiness.py --json`: validation in the last epochs, run by run."""
    rows = []
    for line in document["results"]:
        fp32 = line["quant"] == "fp32"
        run = [f"{line['quant'].upper()} {'' if fp32 else line['method']}".strip(), str(line["fold"])]
        options = [
            "logits in FP32" if line["plan.fp32"] else "",
            f"`bn_reestimation={line['train.bn_reestimation']}`" if line["train.bn_reestimation"] else "",
            "learned steps" if line["method.learned_scale"] else "",
        ]
        shares = [f"{line[name]:.1%}" for name in ("val_metric", "mean", "smallest", "largest")]
        rows.append([*run, "" if fp32 else ", ".join(filter(None, options)), *shares])
    last = f"last {document['epochs']} epochs: mean"
    return markdown(["run", "fold", "options", "kept epoch", last, "smallest", "largest"], rows)


def scale_table(document: dict[str, Any]) -> str:
    """Table of one part of a file by `dqrun bench scale --json`: the columns that `dqrun bench scale` prints."""
    from dqrun.bench.scale_cli import LINES

    results = document["results"]
    fields = {"ratio_to_fastest_pyg": "full", "batches_per_second": "sampled", "ratio": "growth"}
    (part,) = {fields[name] for line in results for name in fields if name in line}
    rows = [LINES[part](SimpleNamespace(**line)) for line in results]
    return markdown(list(rows[0]), [[f"`{row['variant']}`", *list(row.values())[1:]] for row in rows])


def store_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/feature_store.py --json`: bytes, time and accuracy of each store."""
    lines = document["results"]
    found = {(line["dataset"], line["store"]): line["test"] for line in lines if "test" in line}
    names = list(dict.fromkeys(name for name, _ in found))
    rows = []
    for line in (line for line in lines if "bytes_per_node" in line):
        row = [f"`{line['store']}`", f"{line['bytes_per_node']:.0f}", f"{line['batch_seconds'] * 1e3:.1f}"]
        for name in names:
            values = [100 * value for value in found[name, line["store"]]]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            row.append(f"{statistics.fmean(values):.2f}{spread}")
        rows.append(row)
    return markdown(["store", "bytes of a node", "batch, ms", *(f"{name}, %" for name in names)], rows)


def operations_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/operations.py --json`: milliseconds of each operation of some programs."""
    rows = []
    for line in document["results"]:
        spent: dict[str, list[float]] = {"quantize": [], "linear": [], "aggregate": []}
        for operation in line["operations"]:
            spent[operation["kind"]].append(operation["seconds"] * 1e3)
        parts = [" + ".join(f"{each:.1f}" for each in kind) for kind in spent.values()]
        rows.append([f"`{line['program']}`", *parts, f"{sum(map(sum, spent.values())):.1f}"])
    return markdown(["program", "rounding of features, ms", "products", "sums over edges", "all"], rows)


def parquet_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/parquet_program.py --json`: time and memory of each step."""
    rows = []
    for line in document["results"]:
        peak = f"{line['peak_bytes'] / 1e9:.1f} GB"
        rows.append([line["step"], f"{line['seconds']:.0f} s", f"{line['processor_seconds']:.0f} s", peak])
        if line["step"] == "the training command":
            rows.append(["of it, the epoch and the validation part", f"{document['epoch_seconds']:.0f} s", "", ""])
    return markdown(["step", "time by the clock", "processor time", "resident memory at most"], rows)


def processes_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/processes.py --json`: differences of the first epoch's loss, and test metrics."""
    networks: dict[str, dict[str, dict[str, Any]]] = {}
    for line in document["results"]:
        networks.setdefault(line["network"], {})[line["way"]] = line
    rows = []
    for name, ways in networks.items():
        one = ways["one"]["first_loss"]

        def apart(way: str, ways: dict[str, Any] = ways, one: list[float] = one) -> str:
            return f"{max(abs(b / a - 1) for a, b in zip(one, ways[way]['first_loss'], strict=True)):.1e}"

        spread = [
            f"{100 * statistics.fmean(ways[way]['test']):.1f} ± {100 * statistics.stdev(ways[way]['test']):.1f}"
            for way in ("one", "nudged", "two", "codes")
        ]
        rows.append([name, apart("nudged"), apart("two"), *spread])
    loss = "loss of epoch 1: last bits changed", "two processes"
    return markdown(["network", *loss, "test, %: one", "last bits changed", "two", "two, codes"], rows)


def speed_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/processes.py --speed --json`: the median epoch of one and of two processes."""
    rows = []
    for line in document["results"]:
        one, two = statistics.median(line["one"]), statistics.median(line["two"])
        rows.append([line["network"], f"{one:.3f}", f"{two:.3f}", f"{one / two:.2f}"])
    return markdown(["network", "one process, s", "two processes, s", "speed-up"], rows)


def plain_table(document: dict[str, Any]) -> str:
    """Table of a file by `benchmarks/plain_loop.py` or `benchmarks/tolokers.py`: means of pairs, in percent."""

    def interval(values: list[float], sign: str = "") -> str:
        return f"{100 * statistics.fmean(values):{sign}.2f} ± {100 * ci95(values):.2f}"

    rows = []
    for line in document["results"]:
        difference = [b - a for a, b in zip(line["dqrun"], line["plain"], strict=True)]
        rows.append([line["network"], interval(line["dqrun"]), interval(line["plain"]), interval(difference, "+")])
    return markdown(["network", "dqrun", "plain loop", "difference of the pairs"], rows)


def summary_table() -> str:
    """Table of all networks: Degree-Quant's step time and integer programs' speed, against the fastest FP32 peer."""
    ratios = {
        **_figures("training", "ratio_to_fastest_fp32_peer"),
        **_figures("inference", "speedup_vs_fastest_fp32_peer"),
    }
    columns = [("training", "dq_int8"), ("training", "dq_int4"), ("inference", "int8"), ("inference", "int4")]
    networks = dict.fromkeys(network for network, _, _ in sorted(ratios))
    rows = []
    for network in networks:
        found = [ratios.get((network, *column)) for column in columns]
        rows.append([network, *("" if ratio is None else f"{ratio:.2f}" for ratio in found)])
    widths = "INT8", "INT4"
    header = ["network", *(f"{w} step / PyG FP32" for w in widths), *(f"fastest FP32 / {w} program" for w in widths)]
    return markdown(header, rows)


def _figures(kind: str, field: str) -> dict[tuple[str, str, str], float]:
    """The values of a field in all files of a kind, by network (`zinc GIN`), kind and variant."""
    figures = {}
    for path in sorted((HERE / "figures").glob(f"{kind}_*.json")):
        graph, model = path.stem.removeprefix(f"{kind}_").rsplit("_", 1)
        for line in json.loads(path.read_text(encoding="utf-8"))["results"]:
            figures[f"{graph} {model.upper()}", kind, line["variant"]] = line[field]
    return figures


MAKERS = {
    "c": c_export_table,
    "codes": codes_table,
    "memory": memory_table,
    "steadiness": steadiness_table,
    "scaling": scaling_table,
    "training": training_table,
    "inference": inference_table,
    "parity": parity_table,
    "sizes": sizes_table,
    "scale": scale_table,
    "store": store_table,
    "operations": operations_table,
    "parquet": parquet_table,
    "processes": processes_table,
    "speed": speed_table,
    "plain": plain_table,
}
FILES = {"parity": "programs", "sizes": "programs", "store": "feature_store", "speed": "processes_speed"}
"""The names of files that differ from the names of their tables."""
PAGES = (
    "docs/measurements/speed.md",
    "docs/measurements/integer_programs.md",
    "docs/measurements/reproduction.md",
    "docs/howto/large_graphs.md",
    "docs/howto/several_processes.md",
    "docs/howto/python.md",
)


def filled(text: str) -> str:
    """The page with all tables made anew; the first word of a table's name is its key in MAKERS."""

    def table(match: re.Match[str]) -> str:
        name = match[1]
        if name == "summary":
            return f"<!-- {name} -->\n\n{summary_table()}\n\n<!-- end -->"
        document = json.loads((HERE / "figures" / f"{FILES.get(name, name)}.json").read_text(encoding="utf-8"))
        make = MAKERS[name.split("_")[0]]
        return f"<!-- {name} -->\n\n{make(document)}\n\n<!-- end -->"

    return re.sub(r"<!-- (?!end )(\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


if __name__ == "__main__":
    for page in (HERE.parent / name for name in PAGES):
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
