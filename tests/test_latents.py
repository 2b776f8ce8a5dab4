"""What a pass yields, and the running sum over passes."""

import pytest
import torch

from lightning_vae import DiagonalGaussian, Latent, VAEOutput
from lightning_vae.distributions import StandardGaussian
from lightning_vae.latents import RunningRate

P = StandardGaussian((3,))


def output(rates: list[torch.Tensor], distortion: torch.Tensor) -> VAEOutput:
    q = DiagonalGaussian(torch.zeros(1, 3), torch.zeros(1, 3))
    latents = tuple(Latent(q, P, rate, rate) for rate in rates)
    return VAEOutput(distortion, P, latents, distortion)


def test_rate_and_elbo_sum_over_groups_and_latents_per_example():
    one, two = torch.rand(4, 3), torch.rand(4, 2, 5)
    whole = output([one, two], torch.arange(4.0))
    torch.testing.assert_close(whole.rate, one.sum(1) + two.sum((1, 2)))
    torch.testing.assert_close(whole.elbo, -torch.arange(4.0) - whole.rate)


def test_a_leading_k_stays_in_front():
    rate = torch.rand(6, 4, 3)
    torch.testing.assert_close(output([rate], torch.zeros(6, 4)).rate, rate.sum(2))


@pytest.mark.parametrize("lead", [(), (5,)], ids=["one draw", "k draws"])
def test_the_running_rate_weighs_every_example_alike(lead):
    running, seen = RunningRate(), []
    for size in (4, 1, 3):
        rates = [torch.rand(*lead, size, 3), torch.rand(*lead, size, 2, 2)]
        running.update(output(rates, torch.zeros(*lead, size)))
        seen.append([rate.flatten(0, len(lead)) for rate in rates])
    for mean, parts in zip(running.mean(), zip(*seen, strict=True), strict=True):
        torch.testing.assert_close(mean, torch.cat(parts).mean(0))
    running.reset()
    assert running.mean() == ()


def test_the_running_rate_holds_no_graph():
    running, rate = RunningRate(), torch.rand(2, 3, requires_grad=True)
    running.update(output([rate], torch.zeros(2)))
    assert not running.mean()[0].requires_grad


def test_the_running_rate_does_not_stop_growing_in_low_precision():
    running = RunningRate()
    for _ in range(500):
        running.update(output([torch.ones(128, 3, dtype=torch.bfloat16)], torch.zeros(128)))
    torch.testing.assert_close(running.mean()[0], torch.ones(3))


def test_running_rates_of_uneven_shares_add_up_and_one_may_be_empty():
    parts, whole = [RunningRate() for _ in range(3)], RunningRate()
    for part, size in zip(parts, (4, 1, 0), strict=True):
        if size:
            seen = output([torch.rand(size, 3), torch.rand(size, 2, 2)], torch.zeros(size))
            part.update(seen)
            whole.update(seen)
    for order in (parts, parts[::-1]):
        together = sum((part.cpu() for part in order), start=RunningRate())
        for mean, truth in zip(together.mean(), whole.mean(), strict=True):
            torch.testing.assert_close(mean, truth)
