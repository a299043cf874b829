"""Images that domains have in common, told by their pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from dgdd_cli.data.dataset import DomainDataset
from dgdd_cli.data.held import Held
from dgdd_cli.data.shared_images import check_shared, image_hashes

Build = Callable[..., DomainDataset]


def test_a_hash_is_of_the_pixels_alone(shapes: Build) -> None:
    images = shapes().images
    hashes = image_hashes(Held(images))
    assert (hashes.shape, hashes.dtype) == ((len(images),), torch.int64)
    assert len(hashes.unique()) == len(images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    assert torch.equal(image_hashes(Held(images[order])), hashes[order])
    changed = images.clone()
    changed[3, 2, 7, 7] ^= 1
    assert (image_hashes(Held(changed)) != hashes).nonzero().tolist() == [[3]]
    assert torch.equal(image_hashes(Held(images.to(memory_format=torch.channels_last))), hashes)
    assert image_hashes(Held(images[:0])).shape == (0,)


def test_sources_without_shared_images_give_no_line(shapes: Build) -> None:
    assert check_shared(shapes()) == ()
    assert check_shared(shapes(domains=("blue",))) == ()


def test_the_labels_and_the_order_do_not_matter(shapes: Build) -> None:
    dataset = shapes(domains=("blue", "cyan"))
    images, labels = dataset.images.clone(), dataset.labels.clone()
    blue, cyan = ((dataset.domains == d).nonzero().squeeze(1) for d in (0, 1))
    images[cyan] = images[blue.flip(0)]
    labels[cyan] = 1
    (line,) = check_shared(replace(dataset, images=images, labels=labels))
    assert "'blue' and 'cyan' are identical: 18 images" in line
    images[cyan[0]] = 0
    (line,) = check_shared(replace(dataset, images=images, labels=labels))
    assert "share 17 images, of 18 and 18" in line
