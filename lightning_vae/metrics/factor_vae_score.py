r"""The FactorVAE score: whether one latent stands still when one factor does.

Groups of examples are drawn that agree in a factor; each votes for the latent of least variance,

.. math:: j^* = \arg\min_j\ \mathrm{Var}(z_j) / s_j^2, \qquad s_j^2 = \mathrm{Var}_{\text{all}}(z_j),

and the score is the accuracy, on further groups, of naming the factor that most often had that
vote. Latents that are dead (s < 0.05, for a prior of spread 1) do not take part, as published: they
would win every vote.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.metrics.codes import CodeMetric, varying
from lightning_vae.metrics.fresh import Encode, fresh_classes, fresh_groups, varying_sizes
from lightning_vae.metrics.siblings import Siblings, shares

__all__ = [
    "FactorVAEScore",
    "factor_vae_score",
    "fresh_factor_vae_score",
    "majority",
    "steadiest",
]


def factor_vae_score(
    codes: Tensor,
    factors: Tensor,
    train: int = 10_000,
    test: int = 5_000,
    group: int = 64,
    dead: float = 0.05,
    seed: int = 0,
) -> Tensor:
    """The FactorVAE score, in [0, 1]; 0 where all latents are dead.

    Groups are drawn from the codes given, which takes one encoding pass of a few thousand images
    in place of a million; the score is that of fresh images but for the noise of those thousands.
    Of codes of every combination of the factors, once each, it is exactly that.
    :func:`fresh_factor_vae_score` draws fresh ones.

    Args:
        codes: Posterior means, [N, D].
        factors: Classes, [N, K] int64. A factor that is constant is left out.
        train: Votes that decide which factor a latent stands for.
        test: Votes that are scored.
        group: Examples a vote.
        dead: The standard deviation below which a latent is dead.
        seed: Seed of the groups.

    Source: Kim & Mnih 2018, section 4; numbers as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> factor_vae_score(factors.float(), factors)
    tensor(1.)
    """
    deviation = codes.std(0)
    alive = deviation >= dead
    if not alive.any():
        return codes.new_zeros(())
    scaled = codes[:, alive] / deviation[alive]
    siblings = Siblings.among(varying(factors))
    generator = torch.Generator().manual_seed(seed)

    def drawn(n: int) -> tuple[Tensor, Tensor]:
        factor, rows = siblings.groups(n, group, generator)
        return factor, scaled[rows]

    shape = (len(siblings.order), scaled.shape[1])
    return majority(*(_votes(drawn, n, group, shape) for n in (train, test)))


def fresh_factor_vae_score(
    encode: Encode,
    sizes: Sequence[int],
    train: int = 10_000,
    test: int = 5_000,
    group: int = 64,
    dead: float = 0.05,
    seed: int = 0,
    examples: int = 10_000,
) -> Tensor:
    """The FactorVAE score as it is defined, every vote by examples of its own.

    Votes are drawn first, and ``encode`` is called with all of their classes, four million numbers
    at a time; a :class:`~lightning_vae.metrics.fresh.Codebook` encodes each combination once.

    Args:
        encode: Classes [n, K] → codes [n, D].
        sizes: How many classes each factor has. A factor of one is left out.
        train: Votes that decide which factor a latent stands for.
        test: Votes that are scored.
        group: Examples a vote.
        dead: The standard deviation below which a latent is dead.
        seed: Seed of the examples.
        examples: How many tell each latent's standard deviation.

    Raises:
        ValueError: if no factor varies.

    Source: Kim & Mnih 2018, section 4; numbers as in Locatello et al. 2019, appendix C.

    >>> fresh_factor_vae_score(lambda classes: classes.float(), (4, 5), train=500, test=200)
    tensor(1.)
    """
    varying_sizes(sizes)
    generator = torch.Generator().manual_seed(seed)
    deviation = encode(fresh_classes(sizes, (examples,), generator)).std(0)
    alive = deviation >= dead
    if not alive.any():
        return deviation.new_zeros(())

    def drawn(n: int) -> tuple[Tensor, Tensor]:
        factor, classes = fresh_groups(sizes, n, group, generator)
        scaled = encode(classes.flatten(0, 1))[:, alive] / deviation[alive]
        return factor.to(scaled.device), scaled.view(n, group, -1)

    shape = (len(sizes), int(alive.sum()))
    return majority(*(_votes(drawn, n, group, shape) for n in (train, test)))


def _votes(
    drawn: Callable[[int], tuple[Tensor, Tensor]], n: int, group: int, shape: tuple[int, int]
) -> Tensor:
    """How often each factor had each latent's vote, of groups [n, L, D] as drawn: [K, D] int64."""
    counts = []
    for portion in shares(n, group, shape[1]):
        factor, codes = drawn(portion)
        cells = factor * shape[1] + steadiest(codes)
        counts.append(cells.bincount(minlength=shape[0] * shape[1]).view(shape))
    return torch.stack(counts).sum(0)


def steadiest(groups: Tensor) -> Tensor:
    """The latent of least variance in each group: codes [n, L, D], standardised -> [n] int64.

    >>> steadiest(torch.tensor([[[0.0, 1.0], [3.0, 1.0]]]))
    tensor([1])
    """
    return groups.var(1).argmin(-1)


def majority(learnt: Tensor, asked: Tensor) -> Tensor:
    """The share of votes asked which name the factor that a latent most often stood for.

    Args:
        learnt: Votes by factor and latent, [K, D].
        asked: Further votes, [K, D].

    >>> majority(torch.tensor([[9, 1], [1, 8]]), torch.tensor([[4, 1], [0, 5]]))
    tensor(0.9000)
    """
    right = asked.gather(0, learnt.argmax(0, keepdim=True)).sum()
    return right.float() / asked.sum()


class FactorVAEScore(CodeMetric):
    """Whether one latent stands still when one factor does: 1 if each factor has its own.

    Args:
        train: Votes that decide which factor a latent stands for.
        test: Votes that are scored.
        group: Examples a vote.
        dead: The standard deviation below which a latent is dead and takes no part.
        seed: Seed of the groups.
        kwargs: What every torchmetrics metric takes.

    Source: Kim & Mnih 2018, section 4; numbers as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> metric = FactorVAEScore()
    >>> metric.update(factors.float(), factors)
    >>> metric.compute()
    tensor(1.)
    """

    def __init__(
        self,
        train: int = 10_000,
        test: int = 5_000,
        group: int = 64,
        dead: float = 0.05,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.train_votes, self.test_votes = whole("train", train), whole("test", test)
        self.group = whole("group", group, 2)
        self.dead, self.seed = dead, seed

    @override
    def score(self, codes: Tensor, factors: Tensor) -> Tensor:
        votes = self.train_votes, self.test_votes
        return factor_vae_score(codes, factors, *votes, self.group, self.dead, self.seed)

    def of_fresh(self, encode: Encode, sizes: Sequence[int]) -> Tensor:
        """The score by :func:`fresh_factor_vae_score`, of no codes that were added."""
        votes = self.train_votes, self.test_votes
        return fresh_factor_vae_score(encode, sizes, *votes, self.group, self.dead, self.seed)
