import pytest
import torch

from dgdd_cli.networks import build, images_at_once
from dgdd_cli.networks.footprint import ACTIVATIONS, COPIES, footprint_in, peak_bytes


def network_of(name="convnet", size=32, width=64):
    return build(name, num_classes=3, image_size=size, generator=torch.Generator().manual_seed(0), width=width)


def test_what_is_alive_together_is_counted_once():
    def work():
        one = torch.zeros(1000)  # 4,000 bytes
        two = one + 1
        del one
        two.view(10, 100).add_(1)  # the same memory
        return two + 1

    assert peak_bytes(work) == 8000


@pytest.mark.parametrize(("name", "width"), [("convnet", 16), ("resnet18", 128)])
def test_the_footprint_is_what_a_real_pass_takes(name, width):
    network, images = network_of(name, 32, width).eval(), torch.rand(6, 3, 32, 32)
    with torch.no_grad():
        taken = peak_bytes(lambda: network.features(images)) / 6
    copies = COPIES * 4 * images[0].numel()  # of the image itself, as it is augmented
    assert footprint_in(network, 32).peak - copies == pytest.approx(taken, rel=0.1)


def test_what_waits_for_the_backward_pass_is_two_maps_and_their_half_a_block():
    largest = 4 * 64 * 32 * 32
    assert footprint_in(network_of(), 32).kept == pytest.approx((2 + 1 / 4) * largest * (1 + 1 / 4 + 1 / 16), rel=0.05)


def test_chunks_follow_the_pixels():
    assert images_at_once(network_of(size=32, width=128), 32) == 256
    chunks = [images_at_once(network_of(size=size), size) for size in (64, 128, 224, 1024)]
    assert chunks == sorted(chunks, reverse=True)
    assert chunks[0] > 200
    assert 10 <= chunks[2] <= 25
    assert chunks[3] == 1 or chunks[3] * footprint_in(network_of(size=1024), 1024).peak <= ACTIVATIONS
    assert images_at_once(network_of(size=224).bfloat16(), 224, torch.bfloat16) > chunks[2]
