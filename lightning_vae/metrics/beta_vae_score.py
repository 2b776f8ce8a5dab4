r"""The β-VAE score: whether a linear classifier sees which factor two sets of examples share.

For each vote, L pairs of examples are drawn that agree in one factor, and their codes' mean
distance in each latent,

.. math:: \frac1L \sum_l |z^{(l)} - z'^{(l)}|,

is what logistic regression names that factor from. The score is its accuracy on further votes.
"""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.metrics.classifiers import as_arrays, scikit_learn
from lightning_vae.metrics.codes import CodeMetric, varying
from lightning_vae.metrics.siblings import Siblings, shares

__all__ = ["BetaVAEScore", "beta_vae_score", "distances"]


def beta_vae_score(
    codes: Tensor,
    factors: Tensor,
    train: int = 10_000,
    test: int = 5_000,
    group: int = 64,
    seed: int = 0,
) -> Tensor:
    """The β-VAE score, in [0, 1]; chance is 1/K.

    Pairs are drawn from the codes given, which takes one encoding pass of a few thousand images in
    place of two million.

    Args:
        codes: Posterior means, [N, D].
        factors: Classes, [N, K] int64. A factor that is constant is left out.
        train: Votes to fit the classifier to.
        test: Votes that are scored.
        group: Pairs a vote.
        seed: Seed of the pairs.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.

    Source: Higgins et al. 2017, section 3; numbers as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> beta_vae_score(factors.float(), factors, train=500, test=200)
    tensor(1.)
    """
    linear_model = scikit_learn("linear_model", "BetaVAEScore")
    factors = varying(factors)
    if factors.shape[1] == 1:
        return torch.ones(())  # there is nothing else to name
    pairs = Siblings.among(factors)
    generator = torch.Generator().manual_seed(seed)
    learnt = _votes(codes, pairs, train, group, generator)
    asked = _votes(codes, pairs, test, group, generator)
    model = linear_model.LogisticRegression(random_state=seed).fit(*as_arrays(*learnt))
    return torch.tensor(model.score(*as_arrays(*asked)))


def _votes(
    codes: Tensor, siblings: Siblings, n: int, group: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The distances [n, D] and the factors [n] that are to be named from them."""
    parts = []
    for portion in shares(n, 2 * group, codes.shape[1]):
        factor, first, second = siblings.pairs(portion, group, generator)
        parts.append((distances(codes[first], codes[second]), factor))
    seen, factors = zip(*parts, strict=True)
    return torch.cat(seen), torch.cat(factors)


def distances(first: Tensor, second: Tensor) -> Tensor:
    """The mean distance of L pairs in each latent: two of [n, L, D] -> [n, D].

    >>> distances(torch.tensor([[[0.0, 1.0], [3.0, 1.0]]]), torch.ones(1, 2, 2))
    tensor([[1.5000, 0.0000]])
    """
    return (first - second).abs().mean(1)


class BetaVAEScore(CodeMetric):
    """Whether a linear classifier sees which factor two sets share; chance is 1/K.

    Args:
        train: Votes to fit the classifier to.
        test: Votes that are scored.
        group: Pairs a vote.
        seed: Seed of the pairs.
        kwargs: What every torchmetrics metric takes.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.

    Source: Higgins et al. 2017, section 3; numbers as in Locatello et al. 2019, appendix C.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    >>> metric = BetaVAEScore(train=500, test=200)
    >>> metric.update(factors.float(), factors)
    >>> metric.compute()
    tensor(1.)
    """

    def __init__(
        self,
        train: int = 10_000,
        test: int = 5_000,
        group: int = 64,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        scikit_learn("linear_model", type(self).__name__)
        self.train_votes, self.test_votes = whole("train", train), whole("test", test)
        self.group, self.seed = whole("group", group), seed

    @override
    def score(self, codes: Tensor, factors: Tensor) -> Tensor:
        votes = self.train_votes, self.test_votes
        return beta_vae_score(codes, factors, *votes, self.group, self.seed)
