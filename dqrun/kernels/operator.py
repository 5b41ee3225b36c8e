"""`Operator`: an operation that is registered with torch's dispatcher as `dqrun::NAME`.

Therefore `torch.compile` treats it as one node of its graphs, profilers show it, and a version for another device needs
only a registration. An operator has a definition in plain torch, which runs if there is no faster version; backends
with compiled versions (`choice.Backend`); the shapes of its results, for tracing; and a derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dqrun.kernels import choice
from dqrun.kernels.choice import FLOATING, Backend

LIBRARY: Any = torch.library.Library("dqrun", "DEF")  # type: ignore[no-untyped-call]
CSR_PARTS = "Tensor rowptr, Tensor col, Tensor row, Tensor t_rowptr, Tensor t_col, Tensor t_edge"
"""The arguments of a schema for a `CSR`: the tensors of `CSR.parts`."""

below_autograd: Any = torch._C._AutoDispatchBelowAutograd  # untyped in torch; what its own custom operators use

_profiler_enabled: Any = torch._C._autograd._profiler_enabled
_modes: Any = torch._C._len_torch_dispatch_stack
_transformation: Any = torch._C._functorch.maybe_current_level


def backward_pass(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for a derivative's `backward`: not differentiable again; runs compiled, as its forward pass did."""

    @wraps(function)
    def backward(ctx: Any, *grads: Tensor) -> Any:
        with choice.no_reference():
            return function(ctx, *grads)

    derived: Callable[..., Any] = once_differentiable(backward)
    return derived


def is_watched(x: Tensor) -> bool:
    """Whether a call must go through torch's dispatcher: a profiler or a dispatch mode is active, a functorch transform
    runs, or x is a subclass of Tensor other than Parameter."""
    return (
        _profiler_enabled()
        or _modes() > 0
        or _transformation() is not None
        or (type(x) is not Tensor and type(x) is not torch.nn.Parameter)
    )


class Operator:
    """An operator `dqrun::NAME`; a call of the object runs it.

    `derivative`, an autograd Function, computes forward and backward pass of the compiled version by other operators.
    If the definition runs, autograd derives its gradient.
    """

    def __init__(
        self,
        schema: str,
        definition: Callable[..., Any],
        shapes: Callable[..., Any],
        derivative: type[torch.autograd.Function] | None = None,
        inputs: tuple[int, ...] = (),
        backends: tuple[Backend, ...] = FLOATING,
    ) -> None:
        """`schema`: torch's, "name(Tensor x, int n) -> Tensor"; the first argument decides device and dtype.

        `definition`: plain torch, with the schema's arguments. `shapes`: a function of the same arguments that returns
        empty tensors of the results' shapes and types. `derivative`: None for no gradient. `inputs`: positions of the
        arguments that may have a gradient. `backends`: at most one for each type of device.
        """
        self.name = schema.partition("(")[0]
        self.definition, self.derivative, self.inputs = definition, derivative, inputs
        self.backends = {backend.device: backend for backend in backends}
        LIBRARY.define(schema)
        LIBRARY.impl(self.name, self._define, "CompositeExplicitAutograd")
        for backend in backends:
            LIBRARY.impl(self.name, self._run, backend.device.upper())
        torch.library.register_fake(f"dqrun::{self.name}", shapes, lib=LIBRARY)
        autograd = torch.library.fallthrough_kernel if derivative is None else self._differentiable
        LIBRARY.impl(self.name, autograd, "Autograd")
        self.overload: Callable[..., Any] = getattr(torch.ops.dqrun, self.name).default

    def __call__(self, *args: Any) -> Any:
        """Runs the operator; through torch's dispatcher, which takes 7 us, only if necessary (`is_watched`)."""
        if torch.compiler.is_compiling() or is_watched(args[0]):
            return self.overload(*args)
        if self._needs_derivative(args):
            assert self.derivative is not None
            return self.derivative.apply(*args) if self._is_compiled(args[0]) else self._derived(args)  # type: ignore[no-untyped-call]
        return self._run(*args)

    def below(self, *args: Any) -> Any:
        """Runs the operator in a derivative's forward pass."""
        if not is_watched(args[0]):
            return self._run(*args)
        with below_autograd():
            return self.overload(*args)

    def _differentiable(self, *args: Any) -> Any:
        """The function that the dispatcher calls for tensors with gradients."""
        if not self._needs_derivative(args):
            return self.below(*args)
        if self._is_compiled(args[0]):
            assert self.derivative is not None
            return self.derivative.apply(*args)  # type: ignore[no-untyped-call]
        return self._derived(args)

    def _derived(self, args: tuple[Any, ...]) -> Any:
        """Runs the definition, so that autograd derives the gradient."""
        if self._backend(args[0]) is not None:
            choice.note("reference")
        return self.definition(*args)

    def _needs_derivative(self, args: tuple[Any, ...]) -> bool:
        if self.derivative is not None and torch.is_grad_enabled():
            for i in self.inputs:
                if args[i] is not None and args[i].requires_grad:
                    return True
        return False

    def _is_compiled(self, x: Tensor) -> bool:
        backend = self._backend(x)
        return backend is not None and choice.compiled(self.name, backend) is not None

    def _backend(self, x: Tensor) -> Backend | None:
        backend = self.backends.get(x.device.type)
        return backend if backend is not None and x.dtype in backend.dtypes else None

    def _run(self, *args: Any) -> Any:
        """Runs the version for such data: compiled, or the definition."""
        backend = self._backend(args[0])
        return self._define(*args) if backend is None else choice.run(self.name, backend, self._define, args)

    def _define(self, *args: Any) -> Any:
        """Runs the definition; results are contiguous, as `shapes` promises."""
        results = self.definition(*args)
        if isinstance(results, tuple):
            return tuple(result.contiguous() for result in results)
        return results.contiguous()
