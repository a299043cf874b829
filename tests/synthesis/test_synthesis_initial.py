import pytest
import torch

from dgdd_cli.errors import UsageError
from dgdd_cli.synthesis.initial import PERMUTED, balanced_rows, deal, kmeans_rows, random_rows


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(source):
    return lambda rows: source.at(rows).flatten(1).float()


@pytest.mark.parametrize("select", ["random", "balanced", "kmeans"])
@pytest.mark.parametrize("ipc", [1, 4, 18])
def test_every_class_gets_ipc_rows_of_its_own(shapes, select, ipc):
    source = shapes()
    rows = {
        "random": lambda: random_rows(source, ipc, seeded()),
        "balanced": lambda: balanced_rows(source, ipc, seeded()),
        "kmeans": lambda: kmeans_rows(source, ipc, seeded(), pixels(source)),
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
    rows = kmeans_rows(source, 3, seeded(), pixels(source))
    for label in range(3):  # the three domains have three colours: one representative each
        assert sorted(source.domains[rows[source.labels[rows] == label]].tolist()) == [0, 1, 2]


def test_duplicate_images_do_not_make_the_set_smaller(shapes):
    source = shapes(per_cell=3)
    source.images[:] = source.images[0]
    rows = kmeans_rows(source, 5, seeded(), pixels(source))
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


def test_dealing_takes_the_tops_of_shuffled_decks_in_turn():
    subsets = [torch.arange(0, 10), torch.arange(10, 12), torch.arange(12, 40)]
    shuffle = seeded(5)
    decks = [rows[torch.randperm(len(rows), generator=shuffle)].tolist() for rows in subsets]
    expected = [decks[place].pop() for place in (1, 2, 0, 1, 2, 0, 2, 0)]  # the second deck has only two
    assert deal(subsets, 8, 1, seeded(5)) == expected
    assert sorted(deal(subsets, 99, 1, seeded(5))) == list(range(40))


def test_a_few_rows_of_many_are_drawn_without_a_permutation(dispatched):
    subsets = [torch.arange(5 * PERMUTED), torch.arange(5 * PERMUTED, 10 * PERMUTED)]
    with dispatched() as seen:
        dealt = deal(subsets, 100, 0, seeded())
    assert seen.largest <= 100
    assert len(set(dealt)) == 100
    assert [row < 5 * PERMUTED for row in dealt] == [True, False] * 50
    assert deal(subsets, 100, 0, seeded()) == dealt != deal(subsets, 100, 0, seeded(1))


def test_rows_of_a_large_stratum_are_drawn_alike():
    """Every tenth of the rows as often as any other, first or last in the order of the draw."""
    rows, draw = torch.arange(2 * PERMUTED), seeded()
    dealt = torch.tensor([deal([rows], PERMUTED // 2, 0, draw) for _ in range(20)])
    for part in (dealt[:, :400], dealt[:, -400:]):
        tenths = torch.bincount(part.flatten() * 10 // len(rows), minlength=10)
        assert ((tenths - 800).abs() < 4 * 800**0.5).all()
