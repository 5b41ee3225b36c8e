"""A reader and interpreter of program files in numpy, written from docs/reference/program_format.md alone."""

from __future__ import annotations

import base64
import copy
import json
import math
import zlib
from typing import Any

import numpy as np

TYPES = {"i1": np.int8, "u1": np.uint8, "f4": np.float32, "f8": np.float64}
F4 = np.float32


class File:
    """The structure of a file, and its tensors in order."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        ((name, text),) = header.pop("__metadata__").items()
        assert name == "dqrun-program-5"
        self.structure = json.loads(zlib.decompress(base64.b85decode(text)))
        self.streams: dict[str, np.ndarray] = {}
        for (stream, width), count in zip((("codes", 1), ("numbers", 4)), self.structure["words"], strict=True):
            begin, end = header[stream]["data_offsets"] if stream in header else (0, 0)
            planes = zlib.decompress(data[8 + length + begin : 8 + length + end]) if end else b""
            self.streams[stream] = np.frombuffer(planes, np.uint8).reshape(width, count).T.copy()

    def tensor(self, spec: list[Any]) -> np.ndarray:
        dtype, shape = TYPES[spec[0]], spec[1:]
        stream = "codes" if dtype().itemsize == 1 else "numbers"
        words = math.prod(shape) * (2 if spec[0] == "f8" else 1)
        taken, self.streams[stream] = self.streams[stream][:words], self.streams[stream][words:]
        return taken.copy().reshape(-1).view(dtype).reshape(shape)


class Grid:
    def __init__(self, plain: list[Any]) -> None:
        self.rows: Any = None  # scales and lowest numbers of rows, float64 [N, 1] each
        if plain[0] == "row":
            _, self.bits, self.offset, self.power_of_two, self.headroom, self.share, self.spare = plain
            self.zero, self.scale = 0, 1.0
        else:
            self.bits, scale, self.zero, self.spare = plain
            self.scale, self.offset = float(scale) if isinstance(scale, str) else float(F4(scale)), ""
        self.top = 2**self.bits - 1 - self.spare

    def with_rows(self, numbers: np.ndarray) -> Grid:
        grid = copy.copy(self)
        s, o = numbers.astype(np.float64).T[:, :, None]
        grid.rows = s, o if self.offset == "real" else s * o
        return grid

    def real(self, q: np.ndarray) -> np.ndarray:
        """Codes less their zero point, or what codes of rows stand for."""
        if self.rows is None:
            return q - self.zero
        s, low = self.rows
        return q * s + low

    def encode(self, x: np.ndarray) -> tuple[np.ndarray, Grid]:
        """Codes of a row, step by step."""
        top, zero = F4(self.top), F4(0)
        ends = x.min(1, keepdims=True), x.max(1, keepdims=True)
        low, high = (np.clip(end, F4(-(2.0**64)), F4(2.0**64)) for end in ends)
        if self.share is not None:
            half, middle = (high - low) / F4(2) * F4(self.share), (low + high) / F4(2)
            low, high = middle - half, middle + half
        if self.offset in ("inside", "symmetric"):
            low, high = np.minimum(low, zero), np.maximum(high, zero)
        if self.headroom:
            low, high = low * F4(1 + self.headroom), high * F4(1 + self.headroom)
        size = np.maximum(-low, high)
        step = (high - low) / top
        if self.offset == "integer":
            step = np.maximum(high - low, size / F4(16)) / top
        if self.offset == "symmetric":
            step = size / F4(self.top / 2) if self.spare else high / top
        s = np.maximum(step, F4(2.0**-124))
        if self.power_of_two:
            s = np.exp2(np.ceil(np.log2(s.astype(np.float64)))).astype(F4)
        one, shift = F4(1), zero
        if self.offset == "real":
            o = shift = low
        elif self.offset == "integer":
            o = np.rint(low * (one / s))
        elif self.offset == "inside":
            o = -np.clip(-np.rint(low / s), zero, top)
        else:
            o = np.full_like(s, -self.top / 2 if self.spare else 0)
        code = np.rint((x - shift) * (one / s)) - (zero if self.offset == "real" else o)
        assert s.dtype == o.dtype == code.dtype == F4
        return np.clip(code, 0, top).astype(np.int64), self.with_rows(np.concatenate([s, o], 1))


def stored_bits(bits: int) -> int:
    return min(size for size in (1, 2, 4, 8) if size >= bits)


def unpacked(stored: np.ndarray, channels: int, bits: int) -> np.ndarray:
    """Several codes in a byte: the lowest bits of all bytes, then the next ones."""
    b = stored_bits(bits)
    return np.concatenate([stored >> shift & 2**b - 1 for shift in range(0, 8, b)], 1)[:, :channels]


def rows(stored: np.ndarray, channels: int, grid: Grid) -> np.ndarray:
    return unpacked(stored, channels, grid.bits)


def weight(file: File, plain: dict[str, Any], bits: int) -> np.ndarray:
    stored = file.tensor(plain["codes"])
    if bits > 4:
        return stored.astype(np.int64)
    codes = unpacked(stored, plain["inputs"], bits).astype(np.int64)
    return 2 * codes - 1 if bits == 1 else codes - 2 ** (stored_bits(bits) - 1)


class Program:
    """Runs a file. Values are pairs of codes (int64) and their grid."""

    def __init__(self, data: bytes) -> None:
        file = File(data)
        self.self_loops, self.operations = file.structure["self_loops"], file.structure["operations"]
        for operation in self.operations:
            kind = operation["kind"]
            if kind == "Lookup":
                for part in ("codes", "numbers"):
                    if part in operation["table"]:
                        operation["table"][part] = file.tensor(operation["table"][part])
            for name in ("weight", "second_weight"):
                if name in operation:
                    operation[name] = weight(file, operation[name], operation[f"{name}_bits"])
            if kind == "LinearPair":
                operation["ratio"] = file.tensor(operation["ratio"])
            if kind == "Attention":
                operation["attention"] = file.tensor(operation["attention"])
            epilogue = operation.get("epilogue", {})
            for part in ("multiplier", "bias", "gain", "offset"):
                if part in epilogue:
                    epilogue[part] = file.tensor(epilogue[part]).astype(np.float64)
        assert not any(len(stream) for stream in file.streams.values())

    def run(self, x: np.ndarray, edges: np.ndarray, graph_of: np.ndarray) -> dict[str, Any]:
        """All values by name: codes, and `logits` in float32."""
        nodes = len(x)
        if self.self_loops:
            loops = np.arange(nodes)
            edges = np.concatenate([edges[:, edges[0] != edges[1]], np.stack([loops, loops])], 1)
        degree = np.bincount(edges[1], minlength=nodes).astype(F4)
        with np.errstate(divide="ignore"):
            self.root = np.where(degree > 0, F4(1) / np.sqrt(degree), F4(0)).astype(np.float64)
        self.edges, self.graph_of, self.values = edges, graph_of, {"x": (x, None)}
        for operation in self.operations:
            source, grid = self.values[operation["source"]]
            self.values[operation["target"]] = getattr(self, operation["kind"].lower())(operation, source, grid)
        return {name: codes for name, (codes, _) in self.values.items() if name != "x"}

    def quantize(self, operation: dict[str, Any], x: np.ndarray, _: None) -> tuple[np.ndarray, Grid]:
        grid = Grid(operation["grid"])
        if grid.offset:
            return grid.encode(x)
        codes = np.rint(x * (F4(1) / F4(grid.scale))) + F4(grid.zero)
        return np.clip(codes, 0, grid.top).astype(np.int64), grid

    def lookup(self, operation: dict[str, Any], x: np.ndarray, _: None) -> tuple[np.ndarray, Grid]:
        table, grid = operation["table"], Grid(operation["table"]["grid"])
        grid = grid.with_rows(table["numbers"][x]) if grid.offset else grid
        return rows(table["codes"], table["channels"], grid)[x].astype(np.int64), grid

    def linear(self, operation: dict[str, Any], q: np.ndarray, grid: Grid) -> Any:
        acc = (q - grid.zero) @ operation["weight"].T
        if grid.rows is None:
            return self.epilogue(operation, acc)
        root = self.root[:, None] if operation.get("degree_scale", False) else 1.0
        s, low = (numbers * root for numbers in grid.rows)
        acc = acc * s + low * operation["weight"].sum(1)
        return self.epilogue({**operation, "degree_scale": False}, acc, in_reals=True)

    def linearpair(self, operation: dict[str, Any], q: np.ndarray, grid: Grid) -> Any:
        def worth(q: np.ndarray, grid: Grid, weight: np.ndarray) -> np.ndarray:
            acc = (q - grid.zero) @ weight.T
            return acc if grid.rows is None else acc * grid.rows[0] + grid.rows[1] * weight.sum(1)

        second = worth(*self.values[operation["second"]], operation["second_weight"])
        return self.epilogue(operation, worth(q, grid, operation["weight"]) + operation["ratio"] * second)

    def aggregate(self, operation: dict[str, Any], q: np.ndarray, grid: Grid) -> Any:
        acc = self.edge_sums(q, grid).astype(np.float64)
        if operation.get("mean", False):
            acc = acc / np.maximum(np.bincount(self.edges[1], minlength=len(q)), 1)[:, None]
        own = operation["self_weight"]
        return self.epilogue(operation, acc if own is None else acc + own * grid.real(q).astype(np.float64))

    def edge_sums(self, q: np.ndarray, grid: Grid) -> np.ndarray:
        def sums(values: np.ndarray) -> np.ndarray:
            acc = np.zeros((len(q), values.shape[1]), values.dtype)
            np.add.at(acc, self.edges[1], values[self.edges[0]])
            return acc

        return sums(grid.real(q)) if grid.rows is None else sums(q * grid.rows[0]) + sums(grid.rows[1])

    def readout(self, operation: dict[str, Any], q: np.ndarray, grid: Grid) -> Any:
        centred, mode = grid.real(q), operation["mode"]
        parts = [centred[self.graph_of == graph] for graph in range(self.graph_of.max() + 1)]
        how = {"sum": lambda part: part.sum(0), "max": lambda part: part.max(0)}
        acc = [part.sum(0) / np.float64(len(part)) if mode == "mean" else how[mode](part) for part in parts]
        return self.epilogue(operation, np.stack(acc))

    def attention(self, operation: dict[str, Any], q: np.ndarray, grid: Grid) -> Any:
        vectors, (source, target) = operation["attention"], self.edges
        _, heads, channels = vectors.shape
        centred = grid.real(q).astype(F4).reshape(len(q), heads, channels)
        halves = [(centred * F4(grid.scale) * vector).sum(-1) for vector in vectors]
        logit = halves[0][source] + halves[1][target]
        logit = np.where(logit > 0, logit, logit * F4(operation["negative_slope"]))
        acc = np.zeros_like(centred)
        for i in range(len(q)):
            here = target == i
            if here.any():
                weight = np.exp(logit[here] - logit[here].max(0))
                acc[i] = ((weight / weight.sum(0))[:, :, None] * centred[source[here]]).sum(0)
        acc = acc.reshape(len(q), -1) if operation["concat"] else acc.mean(1)
        return self.epilogue(operation, acc.astype(np.float64))

    def epilogue(self, operation: dict[str, Any], acc: np.ndarray, in_reals: bool = False) -> Any:
        e = operation["epilogue"]
        m, b, g, o = (e.get(part) for part in ("multiplier", "bias", "gain", "offset"))
        pre_relu, activation = e.get("pre_relu", False), e.get("activation", "none")
        grid = Grid(e["grid"]) if "grid" in e else None
        by_rows = operation.get("residual", "") and self.values[operation["residual"]][1].rows is not None
        in_steps = grid is not None and not grid.offset and activation != "elu" and not (by_rows or in_reals)
        t = 1 / grid.scale if grid is not None else 1.0
        if in_steps:
            if g is not None and pre_relu:
                g, o = g * t, o * t
            elif g is not None:
                b, m, g, o = (o if b is None else b * g + o) * t, m * g * t, None, None
            else:
                m, b = m * t, None if b is None else b * t
        elif grid is not None and grid.offset and g is not None and not pre_relu:
            b, m, g, o = (o if b is None else b * g + o), m * g, None, None
        v = acc.astype(np.float64)
        v = v * self.root[:, None] if operation.get("degree_scale", False) else v
        v = v * m
        v = v if b is None else v + b
        v = np.maximum(v, 0) if pre_relu else v
        v = v if g is None else v * g + o
        v = np.maximum(v, 0) if activation == "relu" else v
        v = np.where(v > 0, v, exp(np.minimum(v, 0)) - 1) if activation == "elu" else v
        if operation.get("residual", ""):
            codes, beside = self.values[operation["residual"]]
            v = v + beside.real(codes) * (beside.scale * t if in_steps else beside.scale)
        if grid is None:
            return v.astype(F4), None
        if grid.offset:
            return grid.encode(v.astype(F4))
        steps = v if in_steps else v * t
        return np.clip(np.rint(steps) + grid.zero, 0, grid.top).astype(np.int64), grid


def exp(v: np.ndarray) -> np.ndarray:
    v = np.maximum(v, -700.0)
    n = np.rint(v * 1.4426950408889634)
    r = (v - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10
    p = np.full_like(r, 1 / math.factorial(13))
    for k in range(12, -1, -1):
        p = p * r + 1 / math.factorial(k)
    return np.ldexp(p, n.astype(np.int64))
