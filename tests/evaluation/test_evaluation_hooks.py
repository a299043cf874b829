"""A trainer's own step, its own parameters and soft labels: the same in lockstep as alone."""

from __future__ import annotations

import pytest
import torch

from dgdd_cli.config import Protocol
from dgdd_cli.evaluation.contestant import TrainingSet, real_images
from dgdd_cli.evaluation.feed import Chance
from dgdd_cli.evaluation.together import train_together
from dgdd_cli.evaluation.train import train
from dgdd_cli.evaluation.trainers import TRAINERS
from dgdd_cli.evaluation.trainers.erm import erm_loss
from dgdd_cli.evaluation.trainers.trainer import Trainer
from dgdd_cli.networks import build
from dgdd_cli.synthesis.labels import Labels, label_losses

RADIUS = 0.2


def sharpness_aware(compute, parameters, optimiser, lead, settings):
    """SAM (Foret et al. 2021): the gradient at the worst point near the parameters."""

    def gradients():
        loss, state = compute()
        return torch.autograd.grad(loss, parameters), state

    found, _ = gradients()
    norms = sum(g.flatten(lead).square().sum(-1) for g in found).sqrt()
    moves = [RADIUS * g / norms.view(norms.shape + (1,) * (g.ndim - lead)) for g in found]
    with torch.no_grad():
        for parameter, move in zip(parameters, moves, strict=True):
            parameter += move
    found, state = gradients()
    with torch.no_grad():
        for parameter, move, gradient in zip(parameters, moves, found, strict=True):
            parameter -= move
            parameter.grad = gradient
    optimiser.step()
    return state


def scales(network, settings, generator):
    return {"scale": 1 + torch.rand(3, generator=generator), "shift": torch.zeros(())}


def scaled_loss(network, batch, own, state, settings):
    """Logits on a scale of each class that is learnt beside the network."""
    return label_losses(network(batch.images) * own["scale"] + own["shift"], batch.labels).mean(), state + 1


OUTSIDE = {"sam": Trainer(erm_loss, step=sharpness_aware), "scaled": Trainer(scaled_loss, parameters=scales)}


@pytest.fixture(autouse=True)
def entries(monkeypatch):
    for name, trainer in OUTSIDE.items():
        monkeypatch.setitem(TRAINERS, name, trainer)


def network(seed: int):
    return build("convnet", num_classes=3, image_size=16, generator=torch.Generator().manual_seed(seed), width=4)


def chance(seed: int) -> Chance:
    return Chance(torch.Generator().manual_seed(50 + seed), torch.Generator().manual_seed(90 + seed))


def trained(sets, name: str, normalisation, together: bool):
    protocol = Protocol(trainer=name, augment="color_crop", batch=12, rate=0.05)
    networks, chances = [network(r) for r in range(len(sets))], [chance(r) for r in range(len(sets))]
    given = {"num_domains": 3, "epochs": 3}
    if together:
        train_together(networks, sets, protocol, normalisation, chances, **given)
    else:
        for one, own, drawn in zip(networks, sets, chances, strict=True):
            train(one, own, protocol, normalisation, drawn, **given)
    return networks


def assert_alike(ones, others, *, alike: bool = True) -> None:
    for one, other in zip(ones, others, strict=True):
        pairs = zip(one.parameters(), other.parameters(), strict=True)
        assert all(torch.allclose(a, b, rtol=1e-3, atol=2e-5) for a, b in pairs) == alike


@pytest.mark.parametrize("name", OUTSIDE)
def test_lockstep_is_each_training_alone(shapes, name):
    dataset = shapes(size=16, per_cell=3)
    sets = [real_images(dataset, torch.arange(27).roll(r)) for r in range(3)]
    alone, together = (trained(sets, name, dataset.normalisation, mode) for mode in (False, True))
    assert_alike(alone, together)
    assert_alike(alone, trained(sets, "erm", dataset.normalisation, False), alike=False)


def test_a_step_of_its_own_goes_where_its_formula_says(shapes, monkeypatch):
    """One step without momentum: w - rate · g(w + radius · g / |g|)."""
    dataset, one = shapes(size=16, per_cell=1), network(0)
    before = [w.detach().clone() for w in one.parameters()]
    protocol = Protocol(trainer="sam", augment="none", batch=100, rate=0.05, weight_decay=0)
    train(one, real_images(dataset), protocol, dataset.normalisation, chance(0), num_domains=3, epochs=1)
    other, pixels = network(0), (dataset.images.float() / 255 - 0.5) / 0.25

    def gradients():
        loss = torch.nn.functional.cross_entropy(other(pixels), dataset.labels)
        return torch.autograd.grad(loss, list(other.parameters()))

    found = gradients()
    norm = torch.cat([g.flatten() for g in found]).norm()
    with torch.no_grad():
        for w, g in zip(other.parameters(), found, strict=True):
            w += RADIUS * g / norm
    for w, start, g in zip(one.parameters(), before, gradients(), strict=True):
        torch.testing.assert_close(w, start - 0.05 * g, rtol=1e-3, atol=1e-6)


def soft(own: TrainingSet, kind: str) -> TrainingSet:
    values = torch.nn.functional.one_hot(own.labels.classes, 3).float() * 0.4 + 0.2
    return own._replace(labels=Labels(kind, own.labels.classes, values if kind == "probability" else values - 1 / 3))


@pytest.mark.parametrize("kind", ["probability", "regression"])
@pytest.mark.parametrize("name", [name for name, trainer in TRAINERS.items() if trainer.alone is None])
def test_soft_labels_are_learnt_by_every_trainer_alone_and_in_lockstep(shapes, name, kind):
    dataset = shapes(size=16, per_cell=3)
    sets = [soft(real_images(dataset, torch.arange(27).roll(r)), kind) for r in range(2)]
    alone, together = (trained(sets, name, dataset.normalisation, mode) for mode in (False, True))
    assert_alike(alone, together)
    hard = [real_images(dataset, torch.arange(27).roll(r)) for r in range(2)]
    assert_alike(alone, trained(hard, name, dataset.normalisation, False), alike=False)


def test_a_student_of_soft_labels_comes_to_give_them(shapes):
    dataset, one = shapes(size=16, per_cell=2), network(0)
    own = soft(real_images(dataset), "probability")
    protocol = Protocol(augment="none", batch=6, rate=0.05)
    train(one, own, protocol, dataset.normalisation, chance(0), num_domains=3, epochs=60)
    found = one.eval()((dataset.images.float() / 255 - 0.5) / 0.25).softmax(1).detach()
    assert float((found - own.labels.soft).abs().mean()) < 0.05
