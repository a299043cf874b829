import pytest
import torch

from dgdd_cli.errors import UsageError
from dgdd_cli.synthesis.initial import balanced_rows, kmeans_rows, random_rows


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1).float()


@pytest.mark.parametrize("select", ["random", "balanced", "kmeans"])
@pytest.mark.parametrize("ipc", [1, 4, 18])
def test_every_class_gets_ipc_rows_of_its_own(shapes, select, ipc):
    source = shapes()
    rows = {
        "random": lambda: random_rows(source, ipc, seeded()),
        "balanced": lambda: balanced_rows(source, ipc, seeded()),
        "kmeans": lambda: kmeans_rows(source, ipc, seeded(), pixels),
    }[select]()
    assert source.labels[rows].tolist() == [c for c in range(3) for _ in range(ipc)]
    assert len(set(rows.tolist())) == 3 * ipc


def test_balanced_rows_differ_by_one_image_a_domain_at_most(shapes):
    source = shapes()
    rows = balanced_rows(source, 4, seeded())
    totals = torch.zeros(3, dtype=torch.int64)
    for label in range(3):
        counts = torch.bincount(source.domains[rows[source.labels[rows] == label]], minlength=3)
        assert counts.max() - counts.min() <= 1
        totals += counts
    assert totals.tolist() == [4, 4, 4]  # the remainder rotates over the classes


def test_balanced_rows_pass_over_a_domain_that_ran_out(shapes):
    source = shapes(per_cell=2)
    rows = balanced_rows(source, 6, seeded())
    assert len(set(rows.tolist())) == 18


def test_kmeans_rows_find_the_clusters(shapes):
    source = shapes(per_cell=8)
    rows = kmeans_rows(source, 3, seeded(), pixels)
    for label in range(3):  # the three domains have three colours: one representative each
        assert sorted(source.domains[rows[source.labels[rows] == label]].tolist()) == [0, 1, 2]


def test_duplicate_images_do_not_make_the_set_smaller(shapes):
    source = shapes(per_cell=3)
    source.images[:] = source.images[0]
    rows = kmeans_rows(source, 5, seeded(), pixels)
    assert source.labels[rows].tolist() == [c for c in range(3) for _ in range(5)]
    assert len(set(rows.tolist())) == 15


def test_rows_depend_on_the_seed_alone(shapes):
    source = shapes()
    assert torch.equal(random_rows(source, 3, seeded(1)), random_rows(source, 3, seeded(1)))
    assert not torch.equal(random_rows(source, 3, seeded(1)), random_rows(source, 3, seeded(2)))


def test_more_images_than_there_are_is_refused(shapes):
    with pytest.raises(UsageError, match="--ipc 19 is above the number of images of class 'bar'") as caught:
        balanced_rows(shapes(), 19, seeded())
    assert "--ipc 18" in caught.value.hint
