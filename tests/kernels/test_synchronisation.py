"""No value is read back from the device: with fake tensors, which hold none, reading one raises.

A GPU would have to finish all its work before Python goes on. What the definitions and a whole training step do is the
same on each device, so this holds for CUDA too.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from dqrun import kernels
from dqrun.composition.compose import load_configs
from dqrun.graphs import CSR, Graph
from dqrun.kernels import reference
from dqrun.nn.build import build_model
from dqrun.quant import LearnedScale, Quantizer, QuantSpec, RangeObserver, UniformRounding

SPEC = QuantSpec(4)
GRID = torch.tensor(0.5), torch.tensor(1, dtype=torch.int32), -8, 7


NAMES = ("rowptr", "col", "row", "t_rowptr", "t_col", "t_edge")


def faked(mode: FakeTensorMode, csr: CSR) -> CSR:
    return CSR(*(mode.from_tensor(getattr(csr, name)) for name in NAMES))


def cases(csr: CSR, grid: tuple[Tensor, Tensor, int, int]) -> dict[str, Callable[[], Tensor]]:
    n, e = csr.num_nodes, csr.num_edges
    x, protected = torch.randn(n, 6, requires_grad=True), torch.zeros(n, dtype=torch.bool)
    weight, logits = torch.rand(e, requires_grad=True), torch.randn(e, 2, requires_grad=True)
    matrix, ptr = torch.randn(4, 6, requires_grad=True), torch.zeros(4, dtype=torch.int64)

    def ranges(*given: Tensor | str | None, tail: float = 0.01) -> Tensor:
        return torch.stack(reference.tail_range(x, tail, *given)) * x.sum()

    return {
        "fake_quantize": lambda: reference.fake_quantize(x, *grid, protected, "clipped", True),
        "dropout": lambda: reference.dropout(x, 0.5, 1, 2),
        "tail_range": lambda: ranges(),
        "tail_range of rows": lambda: ranges(csr.out_degree, protected),
        "tail_range of rows, kthvalue": lambda: ranges(csr.out_degree, protected, None, "kthvalue"),
        "extremes of rows": lambda: ranges(csr.out_degree, protected, tail=0.0),
        "message_range": lambda: torch.stack(reference.message_range(csr, x, weight, 0.01, protected)) * x.sum(),
        "linear": lambda: reference.linear(x, matrix, None, True),
        "spmm": lambda: reference.spmm(csr, x, weight),
        "spmm_self": lambda: reference.spmm_self(csr, x, torch.ones(1)),
        "spmm_quantized": lambda: reference.spmm_quantized(csr, x, weight, *grid, protected, "clipped"),
        "edge_add": lambda: reference.edge_add(csr, x, x),
        "edge_softmax": lambda: reference.edge_softmax(csr, logits),
        "segment_sum": lambda: reference.segment_reduce(x, ptr, "sum"),
        "segment_mean": lambda: reference.segment_reduce(x, ptr, "mean"),
        "segment_max": lambda: reference.segment_reduce(x, ptr, "max"),
    }


def test_reading_a_value_would_be_noticed() -> None:
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        torch.ones(3).sum().item()


@pytest.mark.parametrize("name", cases(CSR.from_edge_index(torch.zeros(2, 1, dtype=torch.int64), 3), GRID))
def test_no_definition_reads_a_value(name: str, random_graph) -> None:
    csr = random_graph(20, 60)
    with FakeTensorMode() as mode:
        grid = mode.from_tensor(GRID[0]), mode.from_tensor(GRID[1]), *GRID[2:]
        cases(faked(mode, csr), grid)[name]().sum().backward()


@pytest.mark.parametrize("update", ["running_minmax", "ema", "last_batch"])
def test_no_quantiser_in_training_reads_a_value(update: str) -> None:
    with FakeTensorMode(), kernels.use("reference"):
        quantizer = Quantizer(RangeObserver(SPEC, (), 0.01, update), UniformRounding(SPEC, "clipped")).train()
        x = torch.randn(20, 6, requires_grad=True)
        quantizer(x, torch.zeros(20, dtype=torch.bool), torch.ones(20, dtype=torch.int64), relu=True).sum().backward()


def test_no_learned_step_that_has_begun_reads_a_value() -> None:
    quantizer = Quantizer(LearnedScale(RangeObserver(SPEC)), UniformRounding(SPEC, "clipped")).train()
    quantizer(torch.randn(20, 6))
    with FakeTensorMode(allow_non_fake_inputs=True), kernels.use("reference"):
        x = torch.randn(20, 6, requires_grad=True)
        quantizer(x, torch.zeros(20, dtype=torch.bool)).sum().backward()


@pytest.mark.parametrize("plan", ["paper", "integer"])
@pytest.mark.parametrize("name", ["gcn", "gat", "gin"])
def test_no_training_step_reads_a_value(name: str, plan: str, random_graph) -> None:
    (config,) = load_configs([f"model={name}", f"plan={plan}", "quant=int4", "method=dq", "model.norm=batch"])
    csr = random_graph(20, 60)
    with FakeTensorMode() as mode, kernels.use("reference"):
        ptr, batch = torch.zeros(3, dtype=torch.int64), torch.zeros(20, dtype=torch.int64)
        graph = Graph(faked(mode, csr), ptr, batch, torch.ones(20), protection_masks=torch.rand(1, 20) < 0.2)
        model = build_model(config, 6, 0, 3).train()
        model(torch.randn(20, 6), graph).sum().backward()
