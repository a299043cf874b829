import torch

from dgdd_cli.runtime.seeds import stream


def test_a_stream_is_its_seed_and_its_name():
    assert torch.equal(torch.rand(4, generator=stream(3, "a", 1)), torch.rand(4, generator=stream(3, "a", 1)))


def test_streams_of_other_names_and_seeds_differ():
    draws = {
        tuple(torch.rand(2, generator=stream(*key)).tolist()) for key in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0)]
    }
    assert len(draws) == 4


def test_names_do_not_run_together():
    assert stream(0, "ab", "c").initial_seed() != stream(0, "a", "bc").initial_seed()
    assert stream(0, "1").initial_seed() != stream(0, 1).initial_seed()


def test_streams_leave_global_state_alone():
    before = torch.random.get_rng_state()
    torch.rand(3, generator=stream(0, "a"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_streams_are_pinned_so_that_old_bundles_can_be_remade():
    assert stream(0, "probe", 7).initial_seed() == 567229810809956850
