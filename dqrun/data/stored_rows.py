"""Features stored as codes of 8 or 4 bits; each batch is converted to float32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.data.features import Features, GivenFeatures
from dqrun.errors import DataError

BITS = {"int8": 8, "int4": 4, "int8_column": 8, "int4_column": 4}
ROWS_AT_ONCE = 65_536  # converted together: features may be in a file that is larger than memory


@dataclass(frozen=True)
class StoredRows:
    """Codes c of N rows; their values are lowest + c * step. It implements `data.features.Features`.

    codes: uint8 [N, F], or [N, ceil(F / 2)] with two codes of 4 bits in a byte, the first one in its low half. lowest,
    step: float32, [N, 1] with a range for each row, or [1, F] with one for each column. A row takes F bytes (4 bits:
    F / 2) instead of 4 F, plus 8 if each row has a range.
    """

    codes: Tensor
    lowest: Tensor
    step: Tensor
    in_channels: int
    bits: int
    num_categories: int = 0

    @classmethod
    def of(cls, x: Tensor, bits: int, by_column: bool = False) -> StoredRows:
        """Rounds x, float32 [N, F], to the nearest of 2^bits values from the smallest to the largest of its row or its
        column. Raises DataError for a range (largest minus smallest value) that is not finite in float32.
        """
        lowest, highest = _column_range(x) if by_column else _row_range(x)
        step = (highest.double() - lowest.double()).div(2**bits - 1).float()
        if not bool(step.mul(2**bits - 1).isfinite().all()):
            raise DataError("loader.feature_store must be float32 for features whose range is beyond float32")
        codes = torch.empty(len(x), x.size(1) if bits == 8 else -(-x.size(1) // 2), dtype=torch.uint8)
        for part in _parts(x):
            low, size = (each if by_column else each[part] for each in (lowest, step))
            places = (x[part] - low) / torch.where(size > 0, size, 1.0)
            codes[part] = _packed(places.round_().clamp_(0, 2**bits - 1).to(torch.uint8), bits)
        return cls(codes, lowest, step, x.size(1), bits)

    def gather(self, node_index: Tensor) -> Tensor:
        """Values of the rows `node_index`, int64 [n]: float32 [n, F]."""
        from dqrun.kernels.cpu import stored

        found = torch.empty(len(node_index), self.in_channels)
        codes, lowest, step, nodes = (each.numpy() for each in (self.codes, self.lowest, self.step, node_index))
        stored.rows(codes, lowest, step, nodes, self.bits == 4, found.numpy())
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.codes.nbytes + self.lowest.nbytes + self.step.nbytes


def stored(features: Features, store: str) -> Features:
    """The features in the form `store` (`loader.feature_store`); features that are not given by the data are
    unchanged."""
    if store == "float32" or not isinstance(features, GivenFeatures) or features.in_channels == 0:
        return features
    return StoredRows.of(features.x, BITS[store], store.endswith("_column"))


def _parts(x: Tensor) -> Iterator[slice]:
    return (slice(first, first + ROWS_AT_ONCE) for first in range(0, len(x), ROWS_AT_ONCE))


def _row_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and the largest value of each row, float32 [N, 1]."""
    lowest, highest = torch.empty(len(x), 1), torch.empty(len(x), 1)
    for part in _parts(x):
        lowest[part], highest[part] = x[part].amin(1, keepdim=True), x[part].amax(1, keepdim=True)
    return lowest, highest


def _column_range(x: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and the largest value of each column, float32 [1, F]."""
    ranges = [(x[part].amin(0, keepdim=True), x[part].amax(0, keepdim=True)) for part in _parts(x)]
    lowest, highest = zip(*ranges, strict=True)
    return torch.cat(lowest).amin(0, keepdim=True), torch.cat(highest).amax(0, keepdim=True)


def _packed(codes: Tensor, bits: int) -> Tensor:
    if bits == 8:
        return codes
    if codes.size(1) % 2:
        codes = torch.nn.functional.pad(codes, (0, 1))
    return codes[:, ::2] | codes[:, 1::2] << 4
