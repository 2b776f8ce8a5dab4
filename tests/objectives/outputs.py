"""What a pass yields, made by hand, and what two processes make of it: nothing of Lightning."""

import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

ROOT = Path(__file__).parent.parent.parent

if __name__ == "__main__":
    # Lightning takes seconds to import, and an objective needs none of it.
    package = types.ModuleType("lightning_vae")
    package.__path__ = importlib.util.find_spec("lightning_vae").submodule_search_locations
    sys.modules["lightning_vae"] = package

from lightning_vae import objectives
from lightning_vae.distributions import DiagonalGaussian, StandardGaussian
from lightning_vae.divergences import kl
from lightning_vae.latents import Latent, VAEOutput


def latent(loc, log_variance, z=None, prior=None):
    """A group of a diagonal Gaussian, at a given draw."""
    q = DiagonalGaussian(loc, log_variance)
    p = StandardGaussian(loc.shape[1:], like=loc) if prior is None else prior
    z = q.rsample() if z is None else z
    return Latent(q, p, z, kl(q, p, z, batch_dims=1 + z.dim() - loc.dim()))


def output(*latents, D=None, x=None, context=None):
    """A pass of one draw an example, at distortion D, 0 by default."""
    D = torch.zeros(len(latents[0].z)).to(latents[0].z) if D is None else D
    return VAEOutput(torch.zeros(len(D), 1) if x is None else x, None, latents, D, context or {})


def leaves(rows=slice(None), examples=8, factors=(3,)):
    """Means, log-variances and noise of given rows, the first two with gradients."""
    generator = torch.Generator().manual_seed(0)
    made = [
        torch.randn(examples, *factors, generator=generator, dtype=torch.float64) for _ in range(3)
    ]
    loc, log_variance, noise = (tensor[rows].clone() for tensor in made)
    return loc.requires_grad_(), log_variance.requires_grad_(), noise


class Fixed(StandardGaussian):
    """A standard normal prior whose draws are given."""

    def __init__(self, draws):
        super().__init__(draws.shape[1:], like=draws)
        self.draws = draws

    def rsample(self, shape=()):
        return self.draws


def found(make, rows=slice(None)):
    """The loss of an objective, as it is written, and its gradients, at some rows of a batch."""
    loc, log_variance, noise = leaves(rows)
    z = loc + noise * (0.5 * log_variance).exp()
    # What is drawn from the prior goes with the rows too.
    groups = (
        latent(loc, log_variance, z, Fixed(noise.flip(1))),
        latent(2 * loc[:, :2], log_variance[:, 1:], z[:, 1:], Fixed(noise[:, :2])),
    )
    objective = eval(make, vars(objectives) | {"objectives": objectives})
    loss = objective(output(*groups, D=z.square().sum(1)))["loss"]
    gradients = torch.autograd.grad(loss, [loc, log_variance])
    return {"loss": loss.item(), "gradients": [g.tolist() for g in gradients]}


def on_two_ranks(made, folder):
    """What each of two processes finds for the objectives, with its half of the batch."""
    command = [sys.executable, "-m", "tests.objectives.outputs"]
    # Sets in another order in each process, as they happen to be.
    orders = [{**os.environ, "PYTHONHASHSEED": seed} for seed in ("0", "1")]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(folder / "store"), json.dumps(made)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=orders[rank],
        )
        for rank in range(2)
    ]
    return [json.loads(process.communicate(timeout=120)[0]) for process in processes]


def refuse_unlike_one(made, folder):
    """Fail where two processes minimise something else than one does on the whole batch."""
    for make, one, two in zip(made, *on_two_ranks(made, folder), strict=True):
        alone = found(make)
        assert (one["loss"] + two["loss"]) / 2 == pytest.approx(alone["loss"]), make
        halves = zip(alone["gradients"], one["gradients"], two["gradients"], strict=True)
        for whole, mine, theirs in halves:
            # DDP averages gradients over ranks.
            together = np.concatenate([mine, theirs]) / 2
            np.testing.assert_allclose(together, whole, rtol=1e-6, atol=1e-9, err_msg=make)


if __name__ == "__main__":
    rank, store, made = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    print(json.dumps([found(make, slice(4 * rank, 4 * rank + 4)) for make in made]))
    distributed.destroy_process_group()
