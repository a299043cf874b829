import pytest
import torch

from dgdd_cli.config import Probes
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.probes.source import probe_source
from dgdd_cli.probes.subsets import rows_of_subsets, sample_subsets
from dgdd_cli.probes.view import Partition, make_view, subset_features
from dgdd_cli.runtime.context import Context

NORM = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
CPU = torch.device("cpu")


def settings(**over) -> Probes:
    return Probes.model_validate({"width": 8, "augment": "color_crop", "source": "bank:3", "batch": 2} | over)


def source_of(dataset, probes, steps=6, seed=0):
    return probe_source(Context(seed=seed), dataset, probes, NORM, steps=steps)


def test_subset_features_against_a_loop(shapes):
    dataset = shapes(per_cell=4).only(["amber", "cyan"])
    view = make_view(dataset, settings(), NORM, 0, 0, CPU)
    cells, halves = Partition(dataset.labels * 2 + dataset.domains, 6), Partition(torch.arange(24) % 2, 2)
    found = subset_features(view, dataset, [cells, halves])
    for partition, means in zip((cells, halves), found, strict=True):
        for subset in range(partition.count):
            expected = view(dataset.images[partition.ids == subset].float() / 255).mean(0)
            torch.testing.assert_close(means[subset], expected, rtol=1e-5, atol=1e-6)


def test_a_view_in_bfloat16_sees_what_one_in_float32_sees(shapes):
    images = shapes(per_cell=2).images / 255
    exact, rounded = (
        make_view(shapes(), settings(augment="none", precision=precision), NORM, 0, 0, CPU)(images)
        for precision in ("float32", "bfloat16")
    )
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).norm() < 0.02 * exact.norm()  # eight bits of mantissa


def test_pixels_get_their_gradient_through_bfloat16(shapes):
    directions = []
    for precision in ("float32", "bfloat16"):
        images = (shapes(per_cell=2).images / 255).requires_grad_()
        view = make_view(shapes(), settings(augment="none", precision=precision), NORM, 0, 0, CPU)
        directions.append(torch.autograd.grad((view(images).mean(0) - 1).square().sum(), images)[0].flatten())
    assert directions[1].dtype == torch.float32
    assert torch.cosine_similarity(*directions, dim=0) > 0.99


def test_an_empty_subset_has_mean_zero(shapes):
    dataset = shapes(per_cell=2)
    ids = torch.where(dataset.labels * 3 + dataset.domains == 4, 0, dataset.labels * 3 + dataset.domains)
    view = make_view(dataset, settings(), NORM, 0, 0, CPU)
    (means,) = subset_features(view, dataset, [Partition(ids, 9)])
    assert not means[4].any()
    assert means[3].any()


def test_parts_are_seen_beside_the_cells(shapes):
    dataset = shapes(per_cell=4)
    group_cells = Partition(torch.arange(len(dataset)) % 5, 5)
    for source in ("bank:2", "fresh"):
        probes = settings(source=source, batch=100)
        at = probe_source(Context(), dataset, probes, NORM, steps=2, group_cells=group_cells)
        plain = source_of(dataset, probes, steps=2)
        torch.testing.assert_close(at(0).cells, plain(0).cells)
        (expected,) = subset_features(at(0).view, dataset, [group_cells])
        torch.testing.assert_close(at(0).group_cells, expected)
        assert plain(0).group_cells.shape == (0, expected.shape[1])


def test_a_bank_visits_every_probe_once_a_turn(shapes):
    at = source_of(shapes(), settings())
    first, second = [{id(at(step).view) for step in turn} for turn in (range(3), range(3, 6))]
    assert len(first) == 3
    assert first == second


def test_a_bank_is_no_larger_than_the_run(shapes):
    at = source_of(shapes(), settings(source="bank:500"), steps=2)
    assert len({id(at(step).view) for step in range(2)}) == 2


def test_fresh_probes_differ_at_every_step_and_repeat_by_seed(shapes):
    at, again, other = (source_of(shapes(), settings(source="fresh"), seed=s) for s in (0, 0, 1))
    assert torch.equal(at(4).cells, again(4).cells)
    assert not torch.equal(at(4).cells, at(5).cells)
    assert not torch.equal(at(4).cells, other(4).cells)


def test_fresh_probes_see_a_sample_of_each_cell(shapes):
    dataset = shapes(per_cell=6)
    exact = source_of(dataset, settings(source="fresh", batch=6))(0).cells
    sampled = source_of(dataset, settings(source="fresh", batch=2))(0).cells
    assert not torch.allclose(exact, sampled)
    view = source_of(dataset, settings(source="fresh"))(0).view
    (whole,) = subset_features(view, dataset, [Partition(dataset.labels * 3 + dataset.domains, 9)])
    torch.testing.assert_close(exact.flatten(0, 1), whole)


def test_networks_stay_frozen(shapes):
    view = source_of(shapes(), settings())(0).view
    assert not any(p.requires_grad for p in view.network.parameters())


@pytest.mark.parametrize("source", ["bank:0", "bank:", "bank:-3", "fresher", "bank:2.5"])
def test_a_bad_probe_source_is_refused(source):
    with pytest.raises(ValueError, match="source"):
        settings(source=source)


@pytest.mark.parametrize("source", ["bank:2", "fresh"])
def test_reservoirs_hold_features_of_images_of_their_cell(shapes, source):
    dataset = shapes(per_cell=4)
    group_cells = Partition(torch.arange(len(dataset)) % 5, 5)
    at = probe_source(Context(), dataset, settings(source=source), NORM, steps=2, group_cells=group_cells, samples=6)
    features = at(0).view(dataset.images.float() / 255)
    assert at(0).cells.shape == (3, 3, 6, features.shape[1])
    assert at(0).group_cells.shape == (5, 6, features.shape[1])
    for c in range(3):
        for d in range(3):
            own = features[(dataset.labels == c) & (dataset.domains == d)]
            distances = torch.cdist(at(0).cells[c, d], own)
            assert distances.min(1).values.max() < 1e-3
            assert len(distances.argmin(1).unique()) == 4  # all there are, the first of them again
    assert not torch.equal(at(0).cells, at(1).cells)


@pytest.mark.parametrize("fill", [False, True])
def test_a_sample_of_subsets_is_drawn_without_a_look_at_all_images(dispatched, fill):
    """The rows that a scan for each subset would draw, from one sort for all draws."""
    ids = torch.randint(40, (2000,), generator=torch.Generator().manual_seed(3))
    ids[ids == 7] = 8  # an empty subset
    subsets = rows_of_subsets(Partition(ids, 40))
    with dispatched() as seen:
        found = sample_subsets(subsets, 60, torch.Generator().manual_seed(4), fill=fill)
    assert seen.calls["eq"] == seen.calls["nonzero"] == 0
    draw, expected = torch.Generator().manual_seed(4), []
    for subset in range(40):
        rows = (ids == subset).nonzero().squeeze(1)
        drawn = rows[torch.randperm(len(rows), generator=draw)[:60]].tolist()
        if fill:
            drawn = ((drawn or [0]) * 60)[:60]
        expected += drawn
    assert found.tolist() == expected
