"""What real images are seen through: as many at a time as memory allows, whatever their size."""

import torch

from dgdd_cli.data.held import Held
from dgdd_cli.data.normalisation import normalisation_of
from dgdd_cli.networks import build
from dgdd_cli.networks.convnet import ConvNet
from dgdd_cli.networks.footprint import peak_bytes
from dgdd_cli.probes.view import Partition, View, image_features, subset_features


def view_of(network, device="cpu"):
    half = torch.full((3,), 0.5, device=device)
    return View(network, lambda images: images, half, half, torch.float32)


def test_the_bank_takes_a_bounded_memory_at_224_px():
    with torch.device("meta"):
        network, images = ConvNet(num_classes=7, image_size=224, width=64), torch.empty(200, 3, 224, 224)
    view = view_of(network.requires_grad_(False), "meta")
    pixels = Held(images.to(torch.uint8))
    assert peak_bytes(lambda: image_features(view, pixels)) < 0.7 * 2**30  # at once: 4.9 GiB


def test_chunks_and_rows_change_no_mean(monkeypatch):
    network = build("convnet", num_classes=3, image_size=8, generator=torch.Generator().manual_seed(0), width=8)
    view, images = view_of(network.requires_grad_(False)), Held(torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8))
    partition = Partition(torch.arange(40) % 3, 3)
    rows = torch.tensor([7, 3, 39, 12, 3, 8, 20])
    whole = (
        subset_features(view, images, [partition])[0],
        subset_features(view, images, [partition.only(rows)], rows)[0],
    )
    features = image_features(view, images)
    torch.testing.assert_close(whole[0][1], features[1::3].mean(0))
    torch.testing.assert_close(whole[1][0], features[rows[rows % 3 == 0]].mean(0))
    monkeypatch.setattr("dgdd_cli.networks.footprint.ACTIVATIONS", 1)  # an image at a time
    parts = (
        subset_features(view, images, [partition])[0],
        subset_features(view, images, [partition.only(rows)], rows)[0],
    )
    torch.testing.assert_close(parts, whole)


def test_statistics_of_the_source_are_counted_in_parts(shapes, monkeypatch):
    from dataclasses import replace

    source = replace(shapes(), normalisation=None)
    found = normalisation_of(source)
    values = source.images.double().transpose(0, 1).flatten(1) / 255
    torch.testing.assert_close(torch.tensor(found.mean).double(), values.mean(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.tensor(found.std).double(), values.std(1, correction=0), rtol=0, atol=1e-6)
    monkeypatch.setattr("dgdd_cli.data.normalisation._PIXELS", 100)
    assert normalisation_of(source) == found
    images = source.images.repeat(1000, 1, 1, 1)
    monkeypatch.undo()
    monkeypatch.setattr("dgdd_cli.data.normalisation._PIXELS", 2**16)
    large = replace(source, images=images, labels=source.labels.repeat(1000), domains=source.domains.repeat(1000))
    assert peak_bytes(lambda: normalisation_of(large)) < images.nbytes
