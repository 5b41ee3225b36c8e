"""`Workload`: the batches and networks that a benchmark runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dqrun.bench.dgl_peer import DGLNetwork, dgl_graph
from dqrun.bench.peer_runs import DGL
from dqrun.bench.peers import EDGE_FORMS, PyGNetwork, logits_of
from dqrun.bench.timing import Step
from dqrun.config import RunConfig
from dqrun.config.method import fp32_method
from dqrun.data.dataset import load_dataset
from dqrun.data.splits import split_for
from dqrun.data.trial_data import TrialData
from dqrun.graphs import Batch, dense
from dqrun.methods import Method, make_method
from dqrun.nn import GNN
from dqrun.nn.build import build_model, reads_edge_features, reads_edge_weights, uses_self_loops
from dqrun.runs.protocol import trials
from dqrun.training import seeding
from dqrun.training.course import Course
from dqrun.training.loop import train_step
from dqrun.training.seeding import Streams
from dqrun.training.state import Training, make_optimizer
from dqrun.training.tasks import Task

BATCHES = 6  # different batches, which the rounds use in turn


@dataclass(frozen=True)
class Workload:
    """The dataset, batches and task of a comparison; all its variants use them."""

    config: RunConfig
    data: TrialData
    batches: list[Batch]
    task: Task

    @classmethod
    def prepare(cls, config: RunConfig) -> Workload:
        """The first batches of the first trial."""
        trial = trials(config.protocol)[0]
        dataset = load_dataset(config.dataset, config.data)
        split, self_loops = split_for(dataset, config.protocol, trial.fold), uses_self_loops(config.model)
        data = TrialData.build(
            dataset,
            split,
            config.dataset,
            config.train.batch_size,
            self_loops,
            config.device,
            reads_edge_weights(config.model),
            reads_edge_features(config.model),
        )
        generator = seeding.generator(trial.seed, seeding.SHUFFLE)
        batches = [batch for batch, _ in zip(data.train_batches(generator), range(BATCHES), strict=False)]
        return cls(config, data, batches, Task.of(config.dataset))

    def network(self, config: RunConfig) -> GNN:
        """The network of a variant on its device; all variants start from the same weights."""
        torch.manual_seed(0)
        noise = seeding.generator(0, seeding.NOISE)
        return build_model(config, **self.data.shapes, generator=noise).to(config.device)

    def ours(self, config: RunConfig) -> Step:
        """A training step as in `fit`, including the method's work on the batch."""
        method, streams = make_method(config), Streams.of_seed(0, config.device)
        model = self.network(config).train()
        training = Training.begin(model, method, Course.of(method, self.config.train), streams)

        def step(i: int) -> None:
            train_step(training, self.batches[i % len(self.batches)], self.task)

        return step

    def peer(self, form: str, bf16: bool = False) -> Step:
        """A step of the same network in PyG or DGL; edges in the given form and dense features are prepared beforehand.

        `bf16`: with torch's autocast to bfloat16. Raises NoDGL if the form is DGL's and does not work.
        """
        network = self._peer_network(form).to(self.config.device).train()
        optimizer = make_optimizer(network, Method(fp32_method()), self.config.train)
        clip, device = self.config.train.grad_clip, torch.device(self.config.device).type
        edges = [dgl_graph(batch.graph) if form == DGL else EDGE_FORMS[form](batch.graph) for batch in self.batches]
        batches = [replace(batch, x=dense(batch.x)) for batch in self.batches]

        def step(i: int) -> None:
            batch = batches[i % len(batches)]
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                logits = logits_of(network, batch, edges[i % len(edges)])
            loss = self.task.loss(logits.float(), targets(batch))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if clip:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()

        return step

    def _peer_network(self, form: str) -> PyGNetwork:
        network, graph = self.network(self.config), self.batches[0].graph
        if form == DGL:
            return DGLNetwork(network, self.config.model)
        cached = not self.task.graph_level
        return PyGNetwork(network, self.config.model, cached, graph.edge_weight is not None)

    def pipeline_seconds(self, config: RunConfig) -> float:
        """Seconds to make an epoch's batches and prepare them by the method of `config`; those of the second epoch."""
        method, streams = make_method(config), Streams.of_seed(0, config.device)
        for _ in range(2):
            started = time.perf_counter()
            for batch in self.data.train_batches(streams.shuffle):
                method.before_batch(batch, streams)
            seconds = time.perf_counter() - started
        return seconds


def targets(batch: Batch) -> Tensor:
    """The targets of the rows `batch.index`; of all rows if it is None."""
    return batch.y if batch.index is None else batch.y[batch.index]
