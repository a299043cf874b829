"""Fixed buffers against plain calls; the graph itself needs a GPU, on a CPU the work is simply repeated."""

import pytest
import torch

from dgdd_cli.config import Matching, Probes, Surgery
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.methods.capture import captured, cuda_graphs
from dgdd_cli.methods.cells import describe_cells
from dgdd_cli.methods.pooling import average
from dgdd_cli.methods.step import pooled_gradient, surgical_gradient
from dgdd_cli.probes.source import probe_source
from dgdd_cli.runtime.context import Context
from dgdd_cli.runtime.device import given

NORM = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
NOBODY = torch.zeros(0)


def split_cells(shapes, surgery: bool, device: str = "cpu"):
    place = torch.device(device)
    settings = Probes(width=8, augment="color_crop_cutout_flip_scale_rotate", source="bank:9")
    at = probe_source(Context(chosen=given(place)), shapes(), settings, NORM, steps=18)
    labels, domains = torch.arange(9) // 3, torch.arange(9) % 3
    cells = describe_cells(labels.to(place), domains.to(place), torch.ones(3, 3, device=place), "equal")
    matching = Matching()
    gradient = surgical_gradient(matching, Surgery(), cells) if surgery else pooled_gradient(average(matching, cells))
    return gradient, at


def pictures(step: int) -> torch.Tensor:
    return torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(step))


@pytest.mark.parametrize("surgery", [False, True])
def test_a_replayed_step_is_the_plain_step(shapes, surgery):
    gradient, at = split_cells(shapes, surgery)
    records = []

    def repeat(work):
        records.append(work)
        work()
        return work

    replayed = captured(gradient, repeat)
    results = [replayed(pictures(step).requires_grad_(), at(step), NOBODY) for step in range(18)]
    for step, found in enumerate(results):  # after all replays: nothing that was returned may lie in a buffer
        plain = gradient(pictures(step).requires_grad_(), at(step), NOBODY)
        assert torch.equal(found.update, plain.update)
        assert torch.equal(found.figures["loss"], plain.figures["loss"])
    operations = {at(step).view.augmentation.operation for step in range(18)}
    assert len(records) == len(operations) > 1


def test_what_is_given_stays_as_it_is(shapes):
    gradient, at = split_cells(shapes, False)
    before = [p.clone() for step in range(9) for p in at(step).view.network.parameters()]
    replayed = captured(gradient, lambda work: work)
    for step in range(9):
        replayed(pictures(step).requires_grad_(), at(step), NOBODY)
    after = [p for step in range(9) for p in at(step).view.network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("surgery", [False, True])
def test_a_cuda_graph_gives_the_plain_step(shapes, surgery):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    gradient, at = split_cells(shapes, surgery, "cuda")
    replayed, nobody = captured(gradient, cuda_graphs(torch.device("cuda"))), NOBODY.cuda()
    for step in range(18):
        found = replayed(pictures(step).cuda().requires_grad_(), at(step), nobody)
        plain = gradient(pictures(step).cuda().requires_grad_(), at(step), nobody)
        torch.testing.assert_close(found.update, plain.update, rtol=1e-3, atol=1e-5)
