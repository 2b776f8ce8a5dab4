"""Worker processes give what one process gives."""

import itertools
import os

import pytest
import torch

from lightning_vae.data import Batches


class Squares:
    """k -> k², and the process that computed it."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return index**2, torch.tensor(os.getpid())


class Faulty(Squares):
    def __getitem__(self, index):
        if 7 in index.tolist():
            raise ValueError("seven.png cannot be read")
        return super().__getitem__(index)


class Random(Squares):
    def __getitem__(self, index):
        return torch.rand(len(index)), index


def numbers(loader):
    return [x.tolist() for x, _ in loader]


def loader(workers, dataset=None, **arguments):
    return Batches(dataset or Squares(), 3, shuffle=True, seed=4, workers=workers, **arguments)


def test_workers_change_nothing_but_where():
    plain, ahead = loader(0), loader(2)
    for _ in range(3):
        assert numbers(ahead) == numbers(plain)
    processes = {int(pid) for _, pid in ahead}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_workers_stay_from_one_epoch_to_the_next():
    ahead = loader(1)
    assert len({int(pid) for _ in range(3) for _, pid in ahead}) == 1


def test_a_pass_that_is_broken_off_leaves_the_next_whole():
    plain, ahead = loader(0), loader(2)
    for epoch in range(3):
        ahead.set_epoch(epoch)
        plain.set_epoch(epoch)
        assert len(list(itertools.islice(ahead, 2))) == 2
        assert len(list(itertools.islice(plain, 2))) == 2
    assert numbers(ahead) == numbers(plain)


def test_two_passes_at_once_do_not_disturb_each_other():
    ahead, plain = loader(1), loader(0)
    expected = [numbers(plain), numbers(plain)]
    pairs = list(zip(ahead, ahead, strict=True))
    assert [[x.tolist() for (x, _) in column] for column in zip(*pairs, strict=True)] == expected


def test_position_is_saved_and_taken_up():
    whole = numbers(loader(0))
    first = loader(2)
    assert len(list(itertools.islice(first, 3))) == 3
    resumed = loader(2)
    resumed.load_state_dict(first.state_dict())
    resumed.set_epoch(0)
    assert numbers(resumed) == whole[3:]


def test_noise_does_not_depend_on_workers():
    def noise(batch, generator):
        return batch[0] + generator.integers(1000), batch[1]

    assert numbers(loader(1, noise=noise)) == numbers(loader(0, noise=noise))


def test_what_workers_draw_follows_the_seed():
    assert numbers(loader(2, Random())) == numbers(loader(2, Random()))
    ahead, other = loader(1, Random()), loader(1, Random())
    first, second = numbers(ahead), numbers(ahead)
    assert first != second
    other.set_epoch(1)
    assert numbers(other) == second, "of the epoch, not of how often it was asked"
    assert numbers(Batches(Random(), 3, seed=5, workers=1)) != first
    resumed = loader(2, Random())
    resumed.load_state_dict({"epoch": 1, "batch": 4})
    assert numbers(resumed) == second[4:]


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    list(loader(1))
    assert torch.get_rng_state().equal(before)


def test_an_error_of_a_worker_says_what_went_wrong():
    with pytest.raises(ValueError, match=r"seven\.png cannot be read"):
        list(loader(1, Faulty()))
