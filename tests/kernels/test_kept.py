"""Backward passes keep codes of rounded tensors: gradients have the same bits, and the tensors are let go."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dqrun import kernels
from dqrun.kernels import Noise
from dqrun.kernels.ops import kept

N, WIDTH = 300, 12
GRID = {
    bits: (torch.tensor(0.3), torch.tensor(2, dtype=torch.int32), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for bits in (1, 2, 4, 8)
}
PROTECTED = torch.arange(N) % 7 == 3


@pytest.fixture(autouse=True)
def small_tensors_have_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SMALLEST", 1)


@pytest.fixture
def csr(random_graph: Callable[..., Any]) -> Any:
    return random_graph(N, 4 * N, "both")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Consumer = Callable[[Tensor, Tensor], Tensor]


def consumers(csr: Any) -> dict[str, tuple[Consumer, Tensor]]:
    """What needs its input x [N, WIDTH] in its backward pass, and the other tensor that has a gradient."""
    norm, heads = nn.BatchNorm1d(WIDTH), (N, 3, WIDTH // 3)

    def in_heads(x: Tensor) -> Tensor:
        return kernels.same_numbers(x, x.view(heads))

    def learned(x: Tensor, scale: Tensor) -> Tensor:
        return kernels.fake_quantize(x, scale, *GRID[4][1:])

    return {
        "linear": (kernels.linear, normal(5, WIDTH)),
        "add_self": (lambda x, w: kernels.add_self(csr, x.detach(), x, w), torch.ones(1)),
        "spmm_self": (lambda x, w: kernels.spmm_self(csr, x, w), torch.ones(1)),
        "spmm": (lambda x, w: kernels.spmm(csr, x, w), normal(csr.num_edges)),
        "spmm_quantized": (lambda x, w: kernels.spmm_quantized(csr, x, w, *GRID[4]), normal(csr.num_edges)),
        "batch_norm": (lambda x, w: kernels.batch_norm(x, norm) * w, torch.ones(1)),
        "head_scores": (lambda x, v: kernels.head_scores(in_heads(x), v), normal(2, *heads[1:])),
        "a learned scale": (learned, torch.tensor(0.7)),
    }


NAMES = ["linear", "add_self", "spmm_self", "spmm", "spmm_quantized", "batch_norm", "head_scores", "a learned scale"]


def run(consumer: Consumer, other: Tensor, **how: Any) -> tuple[list[Tensor], Any, list[int]]:
    """Result and gradients; a weak reference to the rounded tensor after the forward pass; bytes kept by tensor."""
    leaf, other = (2 * normal(N, WIDTH)).requires_grad_(), other.clone().requires_grad_()
    sizes: list[int] = []

    def pack(x: Tensor) -> Tensor:
        sizes.append(x.untyped_storage().nbytes())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        rounded = kernels.fake_quantize(leaf * 1.0, *GRID[how.pop("bits", 4)], **how)
        y = consumer(rounded, other)
    alive = weakref.ref(rounded.untyped_storage())
    del rounded
    gc.collect()
    was_alive = alive() is not None
    y.backward(normal(*y.shape, seed=3))
    assert leaf.grad is not None and other.grad is not None
    return [y.detach(), leaf.grad, other.grad], was_alive, sizes


@pytest.fixture
def floats(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Tensor]]]:
    """`run` without codes."""

    def plain(*args: Any, **how: Any) -> list[Tensor]:
        with monkeypatch.context() as patch:
            patch.setattr(kept, "SMALLEST", 2**40)
            results, was_alive, sizes = run(*args, **how)
        assert was_alive and max(sizes) >= 4 * N * WIDTH
        return results

    yield plain


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("protected", [None, PROTECTED], ids=["all rounded", "protected rows"])
@pytest.mark.parametrize("name", NAMES)
def test_codes_take_the_place_of_a_tensor_and_give_its_gradients(
    csr: Any, floats: Callable[..., list[Tensor]], name: str, protected: Tensor | None
) -> None:
    how = {"protected": protected, "estimator": "clipped", "relu": name != "spmm"}
    expected = floats(*consumers(csr)[name], **how)
    found, was_alive, sizes = run(*consumers(csr)[name], **how)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))
    if name != "batch_norm":  # whose own result is kept by the product that follows
        assert not was_alive
        assert max(size for size in sizes if size % (4 * WIDTH) == 0 or size < 4 * N) < 4 * N * WIDTH


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("heads", [1, 3])
def test_scores_of_heads_are_those_of_einsum(heads: int, rounded: bool) -> None:
    def run(scores: Callable[..., Tensor]) -> list[Tensor]:
        leaf, vectors = normal(N, heads, 7).requires_grad_(), normal(2, heads, 7, seed=1).requires_grad_()
        h = kernels.fake_quantize(leaf, *GRID[4]) if rounded else leaf * 1.0
        y = scores(h, vectors)
        return [y.detach(), *torch.autograd.grad(y, [leaf, vectors], normal(*y.shape, seed=2))]

    expected = run(lambda h, vectors: torch.einsum("nhc,shc->snh", h, vectors))
    orders_factors_alike = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13)
    for a, b in zip(run(kernels.head_scores), expected, strict=True):
        torch.testing.assert_close(a, b)
        assert torch.equal(a, b) or not orders_factors_alike


@pytest.mark.usefixtures("num_threads")
@settings(max_examples=30)
@given(
    st.integers(1, 700), st.integers(1, 12), st.sampled_from([1, 2, 4, 8]), st.booleans(), st.booleans(),
    st.integers(0, 99),
)  # fmt: skip
def test_the_compiled_codes_are_the_defined_ones(
    rows: int, width: int, bits: int, protects: bool, relu: bool, seed: int
) -> None:
    x = 2 * normal(rows, width, seed=seed)
    x[::5, ::3] = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0])[seed % 4]
    protected = torch.arange(rows) % 3 == seed % 3 if protects else None
    found = []
    for version in ("cpu", "reference"):
        with kernels.use(version):
            y = kernels.fake_quantize(x, *GRID[bits], protected, relu=relu)
            codes = kept.encode(y, *GRID[bits])
            exact = None if protected is None else y[protected]
            again = kept.decode(*GRID[bits], codes, protected, exact, relu, y.shape)
        found.append((y, codes, again))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
    known = ~found[0][0].isnan()
    assert torch.equal(found[0][0][known].view(torch.int32), found[0][2][known].view(torch.int32))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("how", [{"estimator": "ste"}, {"estimator": "clipped_ends", "relu": True}])
def test_every_width_and_estimator(floats: Callable[..., list[Tensor]], bits: int, how: dict[str, Any]) -> None:
    weight = normal(5, WIDTH)
    expected = floats(kernels.linear, weight, bits=bits, **how)
    found, was_alive, sizes = run(kernels.linear, weight, bits=bits, **how)
    assert not was_alive and 2048 * 2 * bits // 8 in sizes
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))


def test_what_has_no_codes_is_kept_as_it_is() -> None:
    leaf = normal(N, WIDTH).requires_grad_()
    assert kept.carries(kernels.fake_quantize(leaf, *GRID[4]))
    assert not kept.carries(kernels.fake_quantize(leaf, *GRID[4], noise=Noise(0.5, 1, 2)))
    assert not kept.carries(kernels.fake_quantize(leaf, *GRID[4]) * 1.0)
    with torch.no_grad():
        assert not kept.carries(kernels.fake_quantize(leaf, *GRID[4]))
    with kernels.use("reference"):
        assert not kept.carries(kernels.fake_quantize(leaf, *GRID[4]))


def test_a_tensor_that_changed_in_place_is_kept_as_it_is() -> None:
    """As in a user's network: a layer, `add_` of a residual, a batch norm."""
    gradients = []
    for inplace in (False, True):
        norm, leaf = nn.BatchNorm1d(WIDTH), normal(N, WIDTH).requires_grad_()
        y = kernels.fake_quantize(leaf, *GRID[4])
        view = kernels.same_numbers(y, y.view(N, WIDTH))
        assert kept.carries(y) and kept.carries(view)
        y = y.add_(normal(N, WIDTH, seed=5)) if inplace else y + normal(N, WIDTH, seed=5)
        assert not kept.carries(y) and kept.carries(view) != inplace
        kernels.batch_norm(y, norm).pow(3).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_a_batch_norm_counts_its_batches_and_moves_its_averages() -> None:
    ours, torchs = nn.BatchNorm1d(WIDTH), nn.BatchNorm1d(WIDTH)
    x = kernels.fake_quantize(normal(N, WIDTH).requires_grad_(), *GRID[4])
    assert torch.equal(kernels.batch_norm(x, ours), torchs(x))
    for name, value in torchs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert torch.equal(kernels.batch_norm(x, ours.eval()), torchs.eval()(x))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@settings(max_examples=100)
@given(st.floats(2**-124, 2**120), st.integers(), st.booleans(), st.data())
def test_codes_of_any_grid_stand_for_all_its_numbers(
    bits: int, scale: float, zero: int, relu: bool, data: st.DataObject
) -> None:
    qmin = data.draw(st.sampled_from([0, -(2 ** (bits - 1))]))
    qmax = qmin + 2**bits - 1
    grid = torch.tensor(scale), torch.tensor(qmin + zero % 2**bits, dtype=torch.int32), qmin, qmax
    x = ((torch.arange(qmin - 2, qmax + 3) - grid[1]) * grid[0]).unsqueeze(1)
    y = kernels.fake_quantize(x, *grid, relu=relu)
    again = kept.decode(*grid, kept.encode(y, *grid), None, None, relu, y.shape)
    assert torch.equal(y.view(torch.int32), again.view(torch.int32))


def test_only_tensors_that_are_kept_get_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    encode = kept.encode

    def counted(x: Tensor, *grid: Any) -> Tensor:
        made.append(x.numel())
        return encode(x, *grid)

    monkeypatch.setattr(kept, "encode", counted)
    x = kernels.fake_quantize(normal(N, WIDTH).requires_grad_(), *GRID[4])
    _ = x + 1.0
    assert made == []
    for _ in range(2):
        kernels.linear(x, normal(5, WIDTH).requires_grad_())
    assert made == [N * WIDTH]
