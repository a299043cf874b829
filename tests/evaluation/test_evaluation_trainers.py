"""The losses of the trainers against their formulas in NumPy, and what they refuse."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from dgdd_cli.config import Protocol
from dgdd_cli.errors import UsageError
from dgdd_cli.evaluation.trainers import TRAINERS, protocol_of, trainer_named, trainer_of
from dgdd_cli.evaluation.trainers.beta import beta_draws
from dgdd_cli.evaluation.trainers.check import check_domains, check_labels, check_network
from dgdd_cli.evaluation.trainers.coral import coral_penalty
from dgdd_cli.evaluation.trainers.mixstyle import early_inputs, mix_style
from dgdd_cli.evaluation.trainers.trainer import Batch
from dgdd_cli.networks import blueprint, build
from dgdd_cli.synthesis.labels import Labels


def network_of(name: str = "convnet", size: int = 16):
    return build(name, num_classes=3, image_size=size, generator=torch.Generator().manual_seed(0), width=4)


def batch(count: int = 12, size: int = 16):
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, size, size, generator=generator)
    return images, torch.randint(3, (count,), generator=generator), torch.randint(3, (count,), generator=generator)


def losses_of(network, images, labels) -> np.ndarray:
    logits = network(images).detach().double().numpy()
    shifted = logits - logits.max(1, keepdims=True)
    return (np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels.numpy()]).astype(np.float64)


def loss_of(name: str, network, images, labels, domains, *, draws=None, state=None, grad=False, **settings):
    trainer, settings = trainer_of(protocol_of(trainer=name, **({name: settings} if settings else {})))
    if draws is None:
        draws = trainer.draw(len(labels), settings, torch.Generator().manual_seed(2))
    state = trainer.start(domains, 3) if state is None else state
    labels = labels if isinstance(labels, Labels) else Labels("hard", labels)
    loss, after = trainer.loss(network, Batch(images, labels, domains, draws), {}, state, settings)
    return (loss if grad else loss.detach()), after


@pytest.mark.parametrize("tail", [0.2, 0.5, 1.0])
def test_cvar_is_the_mean_of_the_worst_share(tail):
    network, (images, labels, domains) = network_of(), batch()
    losses = np.sort(losses_of(network, images, labels))[::-1]
    budget, taken = tail * len(losses), 0.0
    for i, loss in enumerate(losses):
        taken += loss * min(max(budget - i, 0), 1)
    loss, _ = loss_of("cvar", network, images, labels, domains, tail=tail)
    assert float(loss) == pytest.approx(taken / budget, rel=1e-5)


def test_group_dro_follows_its_formula_over_batches():
    """Exponentiated weights, over three batches, one group absent from the second and mixed images in the third."""
    network, (images, labels, domains) = network_of(), batch()
    sets = [domains, domains.clamp(max=1), torch.where(torch.arange(12) < 3, -1, domains)]
    training = torch.cat(sets)
    state, q, rate = TRAINERS["groupdro"].start(training, 3), np.full(4, 0.25), 0.7
    losses = losses_of(network, images, labels)
    for own in sets:
        loss, state = loss_of("groupdro", network, images, labels, own, state=state, rate=rate)
        groups = np.where(own.numpy() < 0, 3, own.numpy())
        means = np.array([losses[groups == g].mean() if (groups == g).any() else 0.0 for g in range(4)])
        q = q * np.exp(rate * means)
        q /= q.sum()
        np.testing.assert_allclose(state.exp().numpy(), q, rtol=1e-5)
        assert float(loss) == pytest.approx(float((q * means).sum()), rel=1e-5)


def test_group_dro_gives_no_weight_to_a_domain_without_images():
    start = TRAINERS["groupdro"].start
    assert start(torch.tensor([0, 0, 2]), 4).exp().tolist() == [0.5, 0, 0.5, 0, 0]
    assert start(torch.tensor([0, -1, 1]), 2).exp().tolist() == pytest.approx([1 / 3] * 3)


def test_group_dro_trains_on_the_worst_group_when_its_rate_is_large():
    network, (images, labels, domains) = network_of(), batch()
    losses = losses_of(network, images, labels)
    worst = max(losses[domains.numpy() == d].mean() for d in range(3))
    loss, _ = loss_of("groupdro", network, images, labels, domains, rate=1e4)
    assert float(loss) == pytest.approx(worst, rel=1e-4)


def test_mixup_mixes_images_and_losses():
    network, (images, labels, domains) = network_of(), batch()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    mixed = 0.3 * images + 0.7 * images[order]
    expected = 0.3 * losses_of(network, mixed, labels) + 0.7 * losses_of(network, mixed, labels[order])
    loss, _ = loss_of("mixup", network, images, labels, domains, draws=(torch.tensor(0.3), order))
    assert float(loss) == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("alpha", [0.02, 0.2, 1.0])
def test_beta_draws_follow_the_beta_distribution(alpha):
    draws = beta_draws(alpha, 4000, torch.Generator().manual_seed(0)).double().numpy()
    assert ((draws >= 0) & (draws <= 1)).all()
    for level in (1e-3, 0.1, 0.5, 0.9):
        expected = scipy.stats.beta.cdf(level, alpha, alpha)
        assert (draws <= level).mean() == pytest.approx(expected, abs=0.03)


def coral_oracle(features: np.ndarray, domains: np.ndarray) -> float:
    own = {d: features[domains == d] for d in range(domains.max() + 1) if (domains == d).sum() >= 2}
    terms = [
        ((a.mean(0) - b.mean(0)) ** 2).mean() + ((np.cov(a.T) - np.cov(b.T)) ** 2).mean()
        for a, b in itertools.combinations(own.values(), 2)
    ]
    return float(np.mean(terms)) if terms else 0.0


@pytest.mark.parametrize(
    "domains",
    [
        [0, 1, 0, 1, 2, 2, 2, 0],
        [0, 1, 0, 1, 2, 0, 0, 0],  # one image has no covariance
        [0, 1, 0, 1, -1, -1, 2, 2],  # mixed images are in no domain
        [0, 0, 0, 0, 0, 0, 0, 1],  # no pair
    ],
)
def test_coral_against_covariances_that_are_spelled_out(domains):
    features = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = coral_penalty(features, torch.tensor(domains), 3)
    assert float(found) == pytest.approx(coral_oracle(features.numpy(), np.array(domains)), abs=1e-12)


def test_the_gradient_of_coral_by_finite_differences():
    features = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    domains = torch.tensor([0, 1, 0, 1, 1, 0, -1])
    assert torch.autograd.gradcheck(lambda x: coral_penalty(x, domains, 2), (features,))


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
def test_the_weight_of_coral_scales_the_penalty_on_features(name):
    network, (images, labels, domains) = network_of(name), batch()
    network.eval()
    penalty = coral_oracle(network.features(images).detach().double().numpy(), domains.numpy())
    loss, _ = loss_of("coral", network, images, labels, domains, weight=30.0)
    assert float(loss) == pytest.approx(losses_of(network, images, labels).mean() + 30 * penalty, rel=1e-3)


@pytest.mark.parametrize("name", ["groupdro", "coral"])
def test_figures_of_groups_are_not_rounded_under_autocast(name, monkeypatch):
    """With logits and features of float32, autocast changes nothing: what is computed from them stays float32."""
    network, (images, labels, domains) = network_of(), batch()
    features = network.features(images).detach() * 30 + 100
    monkeypatch.setattr(network, "features", lambda _: features)
    monkeypatch.setattr(network, "forward", lambda _: features[:, :3])
    monkeypatch.setattr(network.classifier, "forward", lambda seen: seen[:, :3])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss_of(name, network, images, labels, domains)
    exact = loss_of(name, network, images, labels, domains)
    assert torch.equal(rounded[0], exact[0])
    assert torch.equal(rounded[1], exact[1])


def test_mixed_maps_have_mixed_statistics():
    maps = torch.randn(4, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 + 1
    order, share = torch.tensor([2, 3, 1, 0]), torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    mixed = mix_style(maps, share, order).numpy()
    mean, std = maps.numpy().mean((2, 3)), maps.numpy().std((2, 3), ddof=1)
    weight = share.numpy()[:, None]
    np.testing.assert_allclose(mixed.mean((2, 3)), weight * mean + (1 - weight) * mean[order], atol=1e-6)
    np.testing.assert_allclose(mixed.std((2, 3), ddof=1), weight * std + (1 - weight) * std[order], atol=1e-5)
    np.testing.assert_allclose(mixed[3], maps.numpy()[3], atol=1e-6)  # λ = 1 keeps the style


@pytest.mark.parametrize(("name", "size"), [("convnet", 32), ("resnet18", 8)])
def test_mixstyle_acts_at_the_drawn_places_and_leaves_no_trace(name, size):
    network, (images, labels, domains) = network_of(name, size), batch(size=size)
    network.eval()
    plain = float(losses_of(network, images, labels).mean())
    order = torch.arange(12).roll(1).repeat(2, 1)
    found = []
    for acts in ([False, False], [True, False], [False, True], [True, True]):
        draws = (torch.tensor(acts), torch.full((2, 12), 0.1), order)
        found.append(float(loss_of("mixstyle", network, images, labels, domains, draws=draws)[0]))
    assert found[0] == pytest.approx(plain, rel=1e-6)
    assert len({round(value, 7) for value in found}) == 4
    assert float(losses_of(network, images, labels).mean()) == plain


def test_mixstyle_spares_the_last_block():
    assert [len(early_inputs(network_of(size=size))) for size in (8, 16, 32, 64)] == [0, 1, 2, 2]
    network = network_of(size=16)
    assert early_inputs(network)[0] is network.entrances[1]

    def check(trainer: str, network: str, size: int, **over: int) -> None:
        form = blueprint(network, image_size=size)
        check_network(trainer, replace(TRAINERS[trainer], **over), network, form, size)

    with pytest.raises(UsageError, match="one block only"):
        check("mixstyle", "convnet", 8)
    check("mixstyle", "convnet", 16)
    check("mixstyle", "resnet18", 8)
    check("erm", "convnet", 8)
    with pytest.raises(UsageError, match="a convnet at 16 px has 2 blocks only"):
        check("erm", "convnet", 16, min_depth=3)


def test_how_often_mixstyle_acts():
    draw, generator = TRAINERS["mixstyle"].draw, torch.Generator().manual_seed(0)
    acts = torch.stack([draw(2, TRAINERS["mixstyle"].settings(), generator)[0] for _ in range(400)])
    assert acts.double().mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.08)


@pytest.mark.parametrize("name", TRAINERS)
def test_every_trainer_gives_a_gradient_to_every_parameter(name):
    network, (images, labels, domains) = network_of(), batch()
    loss_of(name, network, images, labels, domains, grad=True)[0].backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in network.classifier.parameters())
    assert all(float(layer.weight.grad.abs().sum()) > 0 for layer in network.convolutions)


def test_trainers_that_compare_domains_need_two():
    check_domains("coral", TRAINERS["coral"], "x", torch.tensor([0, -1, 1]))
    with pytest.raises(UsageError, match="one domain only"):
        check_domains("coral", TRAINERS["coral"], "x", torch.tensor([1, 1, -1]))
    with pytest.raises(UsageError, match="mixtures"):
        check_domains("groupdro", TRAINERS["groupdro"], "x", torch.tensor([-1, -1]))


def test_labels_of_a_kind_that_a_trainer_cannot_use_are_refused():
    labels, one = Labels("regression", torch.tensor([0]), torch.zeros(1, 3)), replace(TRAINERS["erm"], labels=("hard",))
    check_labels("erm", TRAINERS["erm"], "x", labels)
    with pytest.raises(UsageError, match="trainer 'one' cannot use regression labels, which those of x are"):
        check_labels("one", one, "x", labels)


@pytest.mark.parametrize("name", TRAINERS)
def test_one_hot_probabilities_are_learnt_as_classes_are(name):
    network, (images, labels, domains) = network_of(), batch()
    one_hot = Labels("probability", labels, torch.nn.functional.one_hot(labels, 3).float())
    spread = Labels("probability", labels, one_hot.soft * 0.7 + 0.1)
    hard, soft, other = (loss_of(name, network, images, own, domains) for own in (labels, one_hot, spread))
    torch.testing.assert_close(hard, soft)
    assert float(other[0]) != pytest.approx(float(hard[0]), rel=1e-5)


def test_the_settings_of_another_trainer_are_refused():
    with pytest.raises(UsageError, match="belong to the trainer 'cvar'") as caught:
        protocol_of(cvar={"tail": 0.3})
    assert caught.value.hint == "--trainer cvar"
    with pytest.raises(UsageError, match="belong to the trainer 'mixup', not to 'coral'"):
        protocol_of(trainer="coral", mixup={"alpha": 0.3})
    with pytest.raises(UsageError, match="unknown trainer"):
        trainer_named("gropdro")
    with pytest.raises(UsageError, match=r"cvar\.tail"):
        protocol_of(trainer="cvar", cvar={"tail": 1.5})
    with pytest.raises(UsageError, match=r"cvar\.tial") as caught:
        protocol_of(trainer="cvar", cvar={"tial": 0.5})
    assert "'cvar.tail'" in caught.value.hint
    with pytest.raises(UsageError, match="cvr") as caught:
        protocol_of(cvr={"tail": 0.5})
    assert "'cvar.tail'" in caught.value.hint


def test_a_trainer_has_its_defaults_and_no_other_table():
    assert trainer_of(Protocol()) == (TRAINERS["erm"], None)
    assert trainer_of(Protocol(trainer="groupdro"))[1].rate == 0.01
    document = protocol_of(trainer="groupdro").model_dump(exclude_none=True)
    assert document["groupdro"] == {"rate": 0.01}
    assert document.keys() & {"cvar", "mixup", "coral", "mixstyle"} == set()
    assert "groupdro" not in Protocol.model_fields
    assert protocol_of(**document).model_dump(exclude_none=True) == document
    assert set(TRAINERS) == {"erm", "groupdro", "cvar", "mixup", "coral", "mixstyle"}
