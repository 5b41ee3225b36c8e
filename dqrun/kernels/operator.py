"""`Operator`: an operation that torch's dispatcher knows as `dqrun::NAME`.

So `torch.compile` keeps it whole in its graphs, profilers show it, and a device's version of it is a registration. It
is registered with a definition in plain torch, which runs wherever there is nothing faster; the backends of its family
(`choice.Backend`); the shapes of its results, for tracing; and its derivative.
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
"""How a `CSR` is given in a schema: the tensors of `CSR.parts`."""

below_autograd: Any = torch._C._AutoDispatchBelowAutograd  # untyped in torch; what its own custom operators use


def backward_pass(function: Callable[..., Any]) -> Callable[..., Any]:
    """For a derivative's `backward`: cannot be derived again, and runs compiled, as its forward pass did."""

    @wraps(function)
    def backward(ctx: Any, *grads: Tensor) -> Any:
        with choice.no_reference():
            return function(ctx, *grads)

    derived: Callable[..., Any] = once_differentiable(backward)
    return derived


class Operator:
    """An operator `dqrun::NAME`; calling it runs it.

    A function of torch's autograd, `derivative`, computes forward and backward pass of the compiled version by further
    operators. Where the definition runs, torch derives that.
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
        """`schema`: torch's, "name(Tensor x, int n) -> Tensor"; the first argument tells device and type.

        `definition`: plain torch, with the schema's arguments. `shapes`: the same arguments to empty results.
        `derivative`: None where there is none. `inputs`: positions of the arguments that may have a gradient.
        """
        self.name = schema.partition("(")[0]
        self.definition, self.derivative, self.inputs = definition, derivative, inputs
        self.backends = {backend.device: backend for backend in backends}
        LIBRARY.define(schema)
        LIBRARY.impl(self.name, self._define, "CompositeExplicitAutograd")
        for backend in backends:
            LIBRARY.impl(self.name, self._version(backend), backend.device.upper())
        torch.library.register_fake(f"dqrun::{self.name}", shapes, lib=LIBRARY)
        autograd = torch.library.fallthrough_kernel if derivative is None else self._differentiable
        LIBRARY.impl(self.name, autograd, "Autograd")
        self.overload: Callable[..., Any] = getattr(torch.ops.dqrun, self.name).default

    def __call__(self, *args: Any) -> Any:
        """Runs the operator; what the dispatcher would call first for autograd is done here, which saves 3 us."""
        if self.derivative is None or torch.compiler.is_compiling():
            return self.overload(*args)
        if not (torch.is_grad_enabled() and self._asks(args)):
            return self.below(*args)
        if self._is_compiled(args[0]):
            return self.derivative.apply(*args)  # type: ignore[no-untyped-call]
        return self.overload(*args)

    def below(self, *args: Any) -> Any:
        """Runs the operator without a derivative."""
        with below_autograd():
            return self.overload(*args)

    def _differentiable(self, *args: Any) -> Any:
        """What the dispatcher calls for tensors of autograd."""
        if not (torch.is_grad_enabled() and self._asks(args)):
            return self.below(*args)
        if self._is_compiled(args[0]):
            assert self.derivative is not None
            return self.derivative.apply(*args)  # type: ignore[no-untyped-call]
        if self._backend(args[0]) is not None:
            choice.note("reference")
        return self.definition(*args)

    def _asks(self, args: tuple[Any, ...]) -> bool:
        return any(args[i] is not None and args[i].requires_grad for i in self.inputs)

    def _is_compiled(self, x: Tensor) -> bool:
        backend = self._backend(x)
        return backend is not None and choice.compiled(self.name, backend) is not None

    def _backend(self, x: Tensor) -> Backend | None:
        backend = self.backends.get(x.device.type)
        return backend if backend is not None and x.dtype in backend.dtypes else None

    def _define(self, *args: Any) -> Any:
        """The definition; results lie as `shapes` says, row by row."""
        results = self.definition(*args)
        if isinstance(results, tuple):
            return tuple(result.contiguous() for result in results)
        return results.contiguous()

    def _version(self, backend: Backend) -> Callable[..., Any]:
        return lambda *args: choice.run(self.name, backend, self._define, args, args[0])
