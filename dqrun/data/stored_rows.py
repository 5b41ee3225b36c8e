"""Features that are held as codes of 8 or 4 bits, with a range for each row, and made float32 a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dqrun.data.features import Features, GivenFeatures

BITS = {"int8": 8, "int4": 4}
ROWS_AT_ONCE = 65_536  # that are converted: features may lie in a file that is larger than memory


@dataclass(frozen=True)
class StoredRows:
    """Codes c of N rows, which stand for lowest + c * step: `data.features.Features`.

    codes: uint8 [N, F], or [N, ceil(F / 2)] with two codes of 4 bits in a byte, the first one in its low half. lowest,
    step: float32 [N]. A row takes F (F / 2) + 8 bytes in place of 4 F.
    """

    codes: Tensor
    lowest: Tensor
    step: Tensor
    in_channels: int
    bits: int
    num_categories: int = 0

    @classmethod
    def of(cls, x: Tensor, bits: int) -> StoredRows:
        """Rounds each row of x, float32 [N, F], to the nearest of 2^bits values from its smallest to its largest."""
        width = x.size(1) if bits == 8 else -(-x.size(1) // 2)
        codes = torch.empty(len(x), width, dtype=torch.uint8)
        lowest, step = torch.empty(len(x)), torch.empty(len(x))
        for first in range(0, len(x), ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            rows = x[part]
            low, high = rows.amin(1), rows.amax(1)
            size = (high.double() - low.double()).div(2**bits - 1).float()
            places = (rows - low.unsqueeze(1)) / torch.where(size > 0, size, 1.0).unsqueeze(1)
            codes[part] = _packed(places.round_().clamp_(0, 2**bits - 1).to(torch.uint8), bits)
            lowest[part], step[part] = low, size
        return cls(codes, lowest, step, x.size(1), bits)

    def gather(self, node_index: Tensor) -> Tensor:
        """float32 [n, F]."""
        codes = self.codes[node_index]
        if self.bits == 4:
            codes = torch.stack([codes & 15, codes >> 4], dim=2).flatten(1)[:, : self.in_channels]
        rows = codes.float().mul_(self.step[node_index].unsqueeze(1))
        return rows.add_(self.lowest[node_index].unsqueeze(1))

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.codes.nbytes + self.lowest.nbytes + self.step.nbytes


def stored(features: Features, store: str) -> Features:
    """The same features, held as `loader.feature_store` says; those that the data does not give stay as they are."""
    if store == "float32" or not isinstance(features, GivenFeatures) or features.in_channels == 0:
        return features
    return StoredRows.of(features.x, BITS[store])


def _packed(codes: Tensor, bits: int) -> Tensor:
    if bits == 8:
        return codes
    if codes.size(1) % 2:
        codes = torch.nn.functional.pad(codes, (0, 1))
    return codes[:, ::2] | codes[:, 1::2] << 4
