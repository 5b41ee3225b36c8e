"""The optimiser takes torch's steps, and imports no compiler."""

import subprocess
import sys

import torch

from dqrun.training.adam import Adam


def test_steps_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    start, data = torch.randn(5, 3, generator=generator), torch.randn(20, 5, generator=generator)
    weights = []
    for kind in (Adam, torch.optim.Adam):
        weight, unused = (torch.nn.Parameter(start.clone()) for _ in range(2))
        optimizer = kind([{"params": [weight, unused], "lr": 0.1}], lr=1.0, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        for _ in range(5):
            optimizer.zero_grad()
            (data @ weight).square().mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        assert unused.grad is None and len(optimizer.state_dict()["state"]) == 1
        weights.append(weight.detach())
    assert torch.equal(*weights) and not torch.equal(weights[0], start)


def test_a_training_imports_no_compiler() -> None:
    code = (
        "import sys, torch; from dqrun.training.adam import Adam; weight = torch.nn.Parameter(torch.ones(2))\n"
        "optimizer = Adam([weight], lr=0.1); optimizer.zero_grad(); weight.sum().backward(); optimizer.step()\n"
        "assert weight[0] < 1; sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
