from dataclasses import replace

import torch

from dgdd_cli.augment import draw
from dgdd_cli.config import Protocol
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.data.held import Held
from dgdd_cli.evaluation.contestant import TrainingSet, real_images
from dgdd_cli.evaluation.feed import Chance, parts, pool_of
from dgdd_cli.evaluation.metrics import accuracy
from dgdd_cli.evaluation.train import predict, train
from dgdd_cli.evaluation.trainers import TRAINERS
from dgdd_cli.networks import build
from dgdd_cli.networks.footprint import peak_bytes
from dgdd_cli.synthesis.labels import Labels

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "test")


def trained(dataset, protocol, epochs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    network = build("convnet", num_classes=3, image_size=8, generator=generator, width=8)
    ticks: list[int] = []
    train(
        network,
        real_images(dataset),
        protocol,
        dataset.normalisation,
        Chance(generator, torch.Generator().manual_seed(1)),
        num_domains=3,
        epochs=epochs,
        tick=ticks.append,
    )
    assert ticks == list(range(1, epochs + 1))
    return network


def test_training_learns_the_training_set(shapes):
    dataset, protocol = shapes(), Protocol(augment="crop", batch=16)
    untrained, network = trained(dataset, protocol, 0), trained(dataset, protocol, 30)
    before, after = (
        accuracy(predict(n, dataset, protocol, dataset.normalisation), dataset.labels) for n in (untrained, network)
    )
    assert after > 0.9 > before + 0.2


def test_training_repeats_bit_by_bit(shapes):
    dataset, protocol = shapes(), Protocol(augment="color_crop_cutout_flip_scale_rotate", batch=16)
    first, again, other = (trained(dataset, protocol, 3, seed) for seed in (0, 0, 1))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_the_rate_drops_at_half_time(shapes, monkeypatch):
    rates: list[float] = []
    step = torch.optim.SGD.step

    def spy(self, *arguments, **named):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    trained(shapes(), Protocol(augment="none", batch=1000, rate=0.02, drop=0.5), 4)
    assert rates == [0.02, 0.02, 0.01, 0.01]


def test_predictions_are_probabilities_and_do_not_depend_on_the_batch(shapes):
    dataset, protocol = shapes(), Protocol(augment="none")
    network = trained(dataset, protocol, 1)
    probabilities = predict(network, dataset, protocol, dataset.normalisation)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(dataset)))
    two = predict(network, Held(dataset.images[:2]), protocol, dataset.normalisation)
    torch.testing.assert_close(probabilities[:2], two)


def test_training_against_a_loop_spelled_out(shapes):
    """Augmented batches, SGD with momentum and weight decay, rate and momentum dropped at half time."""
    dataset, epochs = shapes(per_cell=4), 4
    protocol = Protocol(augment="color_crop", batch=13, rate=0.05, weight_decay=0.1, drop=0.2)
    ours = trained(dataset, protocol, epochs)

    generator = torch.Generator().manual_seed(0)
    network = build("convnet", num_classes=3, image_size=8, generator=generator, width=8)
    weights = list(network.parameters())
    velocity = [torch.zeros_like(w) for w in weights]
    pixels, rate = (dataset.images.float() / 255 - 0.5) / 0.25, protocol.rate
    for epoch in range(epochs):
        if epoch == epochs // 2:
            rate, velocity = rate * protocol.drop, [torch.zeros_like(w) for w in weights]
        for rows in torch.randperm(len(dataset), generator=generator).split(13):
            augmented = draw(protocol.augment, generator, rows=len(rows))(pixels[rows])
            loss = torch.nn.functional.cross_entropy(network(augmented), dataset.labels[rows])
            for i, (w, g) in enumerate(zip(weights, torch.autograd.grad(loss, weights), strict=True)):
                velocity[i] = protocol.momentum * velocity[i] + g + protocol.weight_decay * w.detach()
                w.data -= rate * velocity[i]
    for a, b in zip(ours.parameters(), weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    logits = network((dataset.images.float() / 255 - 0.5) / 0.25)
    probabilities = predict(ours, dataset, protocol, dataset.normalisation)
    torch.testing.assert_close(probabilities, logits.softmax(1), rtol=1e-3, atol=1e-5)


def test_a_last_batch_of_one_image_joins_the_one_before():
    assert [len(part) for part in parts(torch.arange(20), 19)] == [20]
    assert [len(part) for part in parts(torch.arange(20), 6)] == [6, 6, 6, 2]
    assert [len(part) for part in parts(torch.arange(1), 6)] == [1]


def test_prediction_uses_running_statistics_not_the_batch(shapes):
    dataset, protocol = shapes(), Protocol(augment="none")
    network = build("resnet18", num_classes=3, image_size=8, generator=torch.Generator().manual_seed(0))
    together = predict(network.train(), Held(dataset.images[:6]), protocol, dataset.normalisation)
    alone = predict(network.train(), Held(dataset.images[:1]), protocol, dataset.normalisation)
    torch.testing.assert_close(together[:1], alone, rtol=1e-3, atol=1e-5)


def test_a_training_in_bfloat16_sees_the_images_of_one_in_float32(shapes, monkeypatch):
    """A grid made under autocast is off by a fraction of a pixel, at 224 by 0.4."""
    seen: dict[str, list[torch.Tensor]] = {"float32": [], "bfloat16": []}
    erm = TRAINERS["erm"]
    for precision, images in seen.items():

        def spy(network, batch, *rest, images=images):
            images.append(batch.images)
            return erm.loss(network, batch, *rest)

        monkeypatch.setitem(TRAINERS, "erm", replace(erm, loss=spy))
        trained(shapes(), Protocol(augment="color_scale_rotate", batch=16, precision=precision), 3)
    assert len(seen["float32"]) == 9 + 3
    assert {images.dtype for images in seen["bfloat16"]} == {torch.float32}
    for exact, rounded in zip(*seen.values(), strict=True):
        assert torch.equal(exact, rounded)


def test_how_many_images_are_tested_at_once_depends_on_their_size(monkeypatch):
    def batches(size):
        network = build("convnet", num_classes=3, image_size=size, generator=torch.Generator().manual_seed(0))
        seen = []
        network.forward = lambda images: seen.append(len(images)) or torch.zeros(len(images), 3)
        images = torch.zeros(300, 3, size, size, dtype=torch.uint8)
        assert predict(network, Held(images), Protocol(augment="none"), HALF).shape == (300, 3)
        return seen

    assert batches(32) == [256, 44]
    assert max(batches(128)) < 40


def test_training_sets_lie_in_memory_as_bytes():
    images = torch.zeros(500, 3, 32, 32, dtype=torch.uint8)
    zeros = torch.zeros(500, dtype=torch.int64)
    training = TrainingSet(Held(images), Labels("hard", zeros), zeros)
    assert peak_bytes(lambda: pool_of([training], [0], HALF)) < images.nbytes
