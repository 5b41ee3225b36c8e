"""Every operator as torch sees it: schema, shapes while tracing, derivative; compiled beside its definition."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from dqrun import kernels
from dqrun.graphs import CSR
from dqrun.kernels import choice, cpu
from dqrun.kernels.choice import Backend
from dqrun.kernels.grid_of_range import Grid
from dqrun.kernels.operator import Operator
from dqrun.kernels.ops import channels, dense, edges, kept, ranges, rounding, rows, sums
from dqrun.kernels.packing import pack_codes

OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for module in (channels, dense, edges, kept, ranges, rounding, rows, sums)
    for operator in vars(module).values()
    if isinstance(operator, Operator)
}
N, E = 7, 20
GRID, NOISE = (torch.tensor(0.4), torch.tensor(1, dtype=torch.int32), -4, 3), (0.5, 1, 2)
EXACT = torch.arange(N) % 3 == 0


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def arguments(csr: CSR) -> dict[str, list[tuple[Any, ...]]]:
    """Two sets of arguments for each operator: with and without what it can do without."""
    x, heads, weight, logits = normal(N, 4), normal(N, 2, 3), normal(E, seed=1), normal(E, 2, seed=2)
    grad, ptr, parts = normal(N, 4, seed=3), torch.tensor([0, 3, 3, N]), csr.parts
    per_head = normal(E, 2, seed=4)
    rounded = x, *GRID, EXACT, "clipped", True, *NOISE
    messages = [
        (x, None, *GRID, None, "ste", 1.0, 0, 0, *parts),
        (heads, per_head, *GRID, EXACT, "clipped", *NOISE, *parts),
    ]
    weighted = [(normal(*m[0].shape, seed=5), m[0], weight if m[1] is None else m[1], *m[2:]) for m in messages]
    seen = torch.tensor(-0.1), torch.tensor(5.0), "kthvalue"
    of_rows = x, 3, *Grid(-4, 3, offset="real"), EXACT, "clipped_ends", True, *NOISE
    sparse = torch.tensor([0, 3, 3, N]), torch.tensor([0, 0, 0, 2, 2, 2, 2]), torch.tensor([0, 5, 1])
    codes, pairs = pack_codes(torch.arange(4 * N) % 8, 4), pack_codes(torch.arange(4 * N) % 4, 2)
    of_channels = torch.rand(N, 1) + 0.2, torch.arange(N, dtype=torch.int32).view(N, 1) % 3, -4, 3
    return {
        "fake_quantize_broadcast": [(x, *of_channels, "ste"), (x, *of_channels, "clipped_ends")],
        "fake_quantize_broadcast_backward": [
            (grad, x, *of_channels, "clipped_ends"),
            (grad, x, *of_channels, "clipped"),
        ],
        "fake_quantize_broadcast_scale_backward": [(grad, x, *of_channels), (grad, 5 * x, *of_channels)],
        "channel_range": [
            (x, (N, 1), 0.0, None, None, "symmetric"),
            (x, (1, 4), 0.2, torch.full((1, 4), -0.1), torch.full((1, 4), 0.9), "kthvalue"),
        ],
        "fake_quantize": [(x, *GRID, None, "ste", False, 1.0, 0, 0), rounded],
        "fake_quantize_cachemask": [(x, *GRID, None, "clipped_ends", False, 1.0, 0, 0), rounded],
        "encode": [(x, *GRID), (4 * x, torch.tensor(0.1), torch.tensor(3, dtype=torch.int32), 0, 3)],
        "linear_coded_weight_backward": [
            (grad, *GRID, codes, None, None, False, [N, 4]),
            (grad, *GRID, codes, EXACT, grad[EXACT], True, [N, 4]),
        ],
        "decode": [
            (*GRID, codes, None, None, False, [N, 4]),
            (torch.tensor(0.1), torch.tensor(3, dtype=torch.int32), 0, 3, pairs, EXACT, grad[EXACT], True, [N, 4]),
        ],
        "fake_quantize_cachemask_backward": [(grad, torch.tensor([-559038737])), (normal(40), torch.tensor([5, -9]))],
        "fake_quantize_rows": [(x, 0, *Grid(0, 15), None, "ste", False, 1.0, 0, 0), of_rows],
        "fake_quantize_rows_cachemask": [(heads, 0, *Grid(0, 3), None, "clipped", True, 1.0, 0, 0), of_rows],
        "fake_quantize_sparse_rows": [
            (logits[:N, 0], *sparse, None, *Grid(-4, 3, offset="integer")),
            (logits[:N, 1], *sparse, torch.tensor([False, False, True]), *Grid(0, 3, power_of_two=True)),
        ],
        "fake_quantize_scale_backward": [
            (grad, x, *GRID, None, False, 1.0, 0, 0),
            (grad, x, *GRID, EXACT, True, *NOISE),
        ],
        "dropout": [(x, 0.3, torch.tensor([1, 2])), (heads, 0.6, torch.tensor([2**32 - 3, 5]))],
        "tail_range": [(x, 0.0, None, None, None, None, "symmetric"), (x, 0.1, csr.out_degree, EXACT, *seen)],
        "message_range": [
            (x, weight, 0.0, None, None, None, "symmetric", *parts),
            (heads, per_head, 0.1, EXACT, *seen, *parts),
        ],
        "linear": [(x, normal(5, 4), None, False), (x, normal(5, 4), normal(5), True)],
        "linear_weight_backward": [(normal(N, 5), x), (normal(0, 5), normal(0, 4))],
        "spmm": [(x, None, *parts), (heads, per_head, *parts)],
        "spmm_backward": [(grad, None, *parts), (heads, per_head, *parts)],
        "spmm_weight_backward": [(grad, x, weight, *parts), (heads, heads + 1, per_head, *parts)],
        "spmm_self": [(x, torch.tensor([1.5]), *parts), (x, torch.tensor([0.0]), *parts)],
        "spmm_self_backward": [(grad, torch.tensor([1.5]), *parts), (grad, torch.tensor([0.0]), *parts)],
        "spmm_quantized": messages,
        "spmm_quantized_backward": weighted,
        "spmm_quantized_weight_backward": weighted,
        "spmm_quantized_scale_backward": [(*w[:8], *w[9:]) for w in weighted],
        "edge_add": [(x, grad, *parts), (normal(N, 1), normal(N, 1), *parts)],
        "edge_add_backward": [(logits, *parts), (normal(E, 1), *parts)],
        "edge_softmax": [(logits, *parts), (logits * 50, *parts)],
        "edge_softmax_backward": [(logits, logits.sigmoid(), *parts), (logits * 50, logits, *parts)],
        "segment_sum": [(x, ptr), (normal(0, 4), torch.tensor([0, 0]))],
        "segment_max": [(x, ptr), (x.round(), torch.tensor([0, N]))],
    }


CASES = [(name, which) for name in sorted(OPERATORS) for which in (0, 1)]


@pytest.fixture(scope="module")
def cases(random_graph) -> dict[str, list[tuple[Any, ...]]]:
    found = arguments(random_graph(N, E, "both"))
    assert found.keys() == OPERATORS.keys()
    for name in ("fake_quantize_cachemask_backward",):
        found[name] = [(grad, mask.to(torch.int32)) for grad, mask in found[name]]
    return found


def leaves(operator: Operator, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same arguments; those that may have a gradient ask for one."""
    return tuple(
        value.clone().requires_grad_() if i in operator.inputs and value is not None else value
        for i, value in enumerate(args)
    )


@pytest.mark.parametrize(("name", "which"), CASES)
@pytest.mark.parametrize("version", ["cpu", "reference"])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not")  # opcheck of torch 2.14 reads it
def test_opcheck(cases, name: str, which: int, version: str) -> None:
    operator = OPERATORS[name]
    with kernels.use(version):
        torch.library.opcheck(operator.overload, leaves(operator, cases[name][which]))


@pytest.mark.parametrize(("name", "which"), CASES)
def test_the_compiled_version_is_its_definition(cases, name: str, which: int) -> None:
    args = cases[name][which]
    results = []
    for version in ("cpu", "reference"):
        with kernels.use(version), kernels.ran() as ran, torch.no_grad():
            results.append(OPERATORS[name](*args))
        assert ran.name == version
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, operator in OPERATORS.items() if operator.derivative])
@pytest.mark.parametrize("which", [0, 1])
def test_definitions_of_gradients_are_what_autograd_makes(
    cases, name: str, which: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The derivative, made of definitions only, beside torch's own of the definition."""
    operator = OPERATORS[name]
    found = []
    for derived in (True, False):
        args = leaves(operator, cases[name][which])
        if derived:
            definitions = {other.name: other._define for other in OPERATORS.values()} | {name: operator.definition}
            monkeypatch.setattr(choice, "_function", lambda of, backend, known=definitions: known[of])
            y = operator(*args)
        else:
            y = operator.definition(*args)
        y = y[0] if isinstance(y, tuple) else y
        asked = [args[i] for i in operator.inputs if args[i] is not None]
        found.append(torch.autograd.grad((y * normal(*y.shape, seed=9)).sum(), asked))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_compiled_version_takes_the_schemas_arguments(name: str) -> None:
    schema = torch.ops.dqrun.__getattr__(name).default._schema
    expected = [argument.name for argument in schema.arguments]
    parameters = list(inspect.signature(getattr(cpu, name)).parameters.values())
    names = [p.name.lstrip("_") for p in parameters if p.kind is not p.VAR_POSITIONAL]
    rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    assert names == (expected[: len(names)] if rest else expected)


def test_the_profiler_shows_operators_there_and_back(random_graph) -> None:
    csr, x = random_graph(N, E), normal(N, 4).requires_grad_()
    step: Callable[[], Tensor] = lambda: kernels.spmm(csr, kernels.fake_quantize(x, *GRID, None, "clipped"))  # noqa: E731
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step().sum().backward()
    names = {event.key for event in recorded.key_averages()}
    assert {"dqrun::spmm", "dqrun::fake_quantize_cachemask", "dqrun::spmm_backward"} <= names
    assert "dqrun::fake_quantize_cachemask_backward" in names


def test_a_further_device_is_a_registration() -> None:
    """An operator without compiled versions runs its definition; a backend's dispatch key gets its own function."""
    backend = Backend("cuda", "a.module.that.is.imported.on.such.a.device", (torch.float32,), "nobody")
    double = Operator(
        "test_double(Tensor x) -> Tensor", lambda x: 2 * x, lambda x: x.new_empty(x.shape), backends=(backend,)
    )
    assert double(torch.ones(2)).tolist() == [2, 2]
    assert [key for key in ("CPU", "CUDA") if dispatch_has(key)] == ["CUDA"]


def dispatch_has(key: str) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key("dqrun::test_double", key))
