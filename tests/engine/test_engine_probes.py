import pytest
import torch

from dgdd_cli.config import Probes
from dgdd_cli.data.dataset import Normalisation
from dgdd_cli.engine.probes import bank_bytes, cell_means, make_view, probe_source
from dgdd_cli.errors import UsageError
from dgdd_cli.progress import silent

NORM = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "test")
CPU = torch.device("cpu")


def settings(**over) -> Probes:
    return Probes.model_validate({"width": 8, "augment": "color_crop", "source": "bank:3", "batch": 2} | over)


def source_of(dataset, probes, steps=6, seed=0):
    return probe_source(dataset, probes, NORM, seed=seed, steps=steps, device=CPU, progress=silent)


def test_cell_means_against_a_loop(shapes):
    dataset = shapes(per_cell=4).only(["amber", "cyan"])
    view = make_view(dataset, settings(), NORM, 0, 0, CPU)
    means = cell_means(view, dataset.images, dataset.labels * 2 + dataset.domains, (3, 2))
    for c in range(3):
        for d in range(2):
            rows = (dataset.labels == c) & (dataset.domains == d)
            expected = view(dataset.images[rows].float() / 255).mean(0)
            torch.testing.assert_close(means[c, d], expected, rtol=1e-5, atol=1e-6)


def test_an_empty_cell_has_mean_zero(shapes):
    dataset = shapes(per_cell=2)
    cells = torch.where(dataset.labels * 3 + dataset.domains == 4, 0, dataset.labels * 3 + dataset.domains)
    means = cell_means(make_view(dataset, settings(), NORM, 0, 0, CPU), dataset.images, cells, (3, 3))
    assert not means[1, 1].any()
    assert means[1, 0].any()


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
    assert torch.equal(at(4).cell_means, again(4).cell_means)
    assert not torch.equal(at(4).cell_means, at(5).cell_means)
    assert not torch.equal(at(4).cell_means, other(4).cell_means)


def test_fresh_probes_see_a_sample_of_each_cell(shapes):
    dataset = shapes(per_cell=6)
    exact = source_of(dataset, settings(source="fresh", batch=6))(0).cell_means
    sampled = source_of(dataset, settings(source="fresh", batch=2))(0).cell_means
    assert not torch.allclose(exact, sampled)
    whole = cell_means(
        source_of(dataset, settings(source="fresh"))(0).view,
        dataset.images,
        dataset.labels * 3 + dataset.domains,
        (3, 3),
    )
    torch.testing.assert_close(exact, whole)


def test_networks_stay_frozen(shapes):
    view = source_of(shapes(), settings())(0).view
    assert not any(p.requires_grad for p in view.network.parameters())


def test_a_bank_larger_than_memory_is_refused_beforehand(shapes, monkeypatch):
    view = make_view(shapes(), settings(), NORM, 0, 0, CPU)
    one = bank_bytes(view.network, (3, 3), 1)
    features = view.network.classifier.in_features
    assert one == 4 * (9 * features + sum(p.numel() for p in view.network.parameters()))
    monkeypatch.setattr("dgdd_cli.engine.probes.free_memory_bytes", lambda device: 5 * one)
    monkeypatch.setattr("dgdd_cli.engine.probes.cell_means", lambda *a: pytest.fail("it began all the same"))
    with pytest.raises(UsageError, match="bank of 6 probes needs") as caught:
        source_of(shapes(), settings(source="bank:6"), steps=6)
    assert "--probes bank:2" in caught.value.hint


@pytest.mark.parametrize("source", ["bank:0", "bank:", "bank:-3", "fresher", "bank:2.5"])
def test_a_bad_probe_source_is_refused(source):
    with pytest.raises(ValueError, match="source"):
        settings(source=source)
