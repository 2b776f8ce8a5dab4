r"""The β-VAE score: whether a linear classifier sees which factor two sets of examples share.

For each vote, L pairs of examples are drawn that agree in one factor, and their codes' mean
distance in each latent,

.. math:: \frac1L \sum_l |z^{(l)} - z'^{(l)}|,

is what logistic regression names that factor from. The score is its accuracy on further votes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_vae.arguments import whole
from lightning_vae.metrics.classifiers import as_arrays, scikit_learn
from lightning_vae.metrics.codes import CodeMetric, varying
from lightning_vae.metrics.fresh import Encode, fresh_pairs, varying_sizes
from lightning_vae.metrics.siblings import Siblings, shares

__all__ = ["BetaVAEScore", "beta_vae_score", "distances", "fresh_beta_vae_score"]


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
    place of two million. :func:`fresh_beta_vae_score` draws fresh ones.

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
    scikit_learn("linear_model", "BetaVAEScore")
    factors = varying(factors)
    if factors.shape[1] == 1:
        return torch.ones(())  # there is nothing else to name
    siblings = Siblings.among(factors)
    generator = torch.Generator().manual_seed(seed)

    def drawn(n: int) -> tuple[Tensor, Tensor]:
        factor, first, second = siblings.pairs(n, group, generator)
        return distances(codes[first], codes[second]), factor

    width = 2 * group * codes.shape[1]
    return _accuracy(_votes(drawn, train, width), _votes(drawn, test, width), seed)


def fresh_beta_vae_score(
    encode: Encode,
    sizes: Sequence[int],
    train: int = 10_000,
    test: int = 5_000,
    group: int = 64,
    seed: int = 0,
) -> Tensor:
    """The β-VAE score as it is defined, every vote by pairs of its own.

    Votes are drawn first, and ``encode`` is called with all of their classes, four million numbers
    at a time; a :class:`~lightning_vae.metrics.fresh.Codebook` encodes each combination once.

    Args:
        encode: Classes [n, K] → codes [n, D].
        sizes: How many classes each factor has. A factor of one is left out.
        train: Votes to fit the classifier to.
        test: Votes that are scored.
        group: Pairs a vote.
        seed: Seed of the pairs.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.
        ValueError: if no factor varies.

    Source: Higgins et al. 2017, section 3; numbers as in Locatello et al. 2019, appendix C.

    >>> fresh_beta_vae_score(lambda classes: classes.float(), (4, 5), train=500, test=200)
    tensor(1.)
    """
    scikit_learn("linear_model", "BetaVAEScore")
    if len(varying_sizes(sizes)) == 1:
        return torch.ones(())
    generator = torch.Generator().manual_seed(seed)

    def drawn(n: int) -> tuple[Tensor, Tensor]:
        factor, *both = fresh_pairs(sizes, n, group, generator)
        first, second = (encode(classes.flatten(0, 1)).view(n, group, -1) for classes in both)
        return distances(first, second), factor

    width = 2 * group * len(sizes)  # of the latents it is not known yet
    return _accuracy(_votes(drawn, train, width), _votes(drawn, test, width), seed)


def _votes(
    drawn: Callable[[int], tuple[Tensor, Tensor]], n: int, width: int
) -> tuple[Tensor, Tensor]:
    """The distances [n, D] and the factors [n] that are to be named from them."""
    seen, factors = zip(*map(drawn, shares(n, width, 1)), strict=True)
    return torch.cat(seen), torch.cat(factors)


def _accuracy(learnt: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor], seed: int) -> Tensor:
    linear_model = scikit_learn("linear_model", "BetaVAEScore")
    model = linear_model.LogisticRegression(random_state=seed).fit(*as_arrays(*learnt))
    return torch.tensor(model.score(*as_arrays(*asked)))


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

    def of_fresh(self, encode: Encode, sizes: Sequence[int]) -> Tensor:
        """The score by :func:`fresh_beta_vae_score`, of no codes that were added."""
        votes = self.train_votes, self.test_votes
        return fresh_beta_vae_score(encode, sizes, *votes, self.group, self.seed)
