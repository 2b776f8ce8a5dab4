"""The standard normal prior, the one by default."""

from collections.abc import Iterable, Sequence

from torch import Tensor
from torch.distributions import Distribution, Independent

from lightning_vae.distributions import StandardGaussian
from lightning_vae.priors.fixed import Fixed
from lightning_vae.priors.prior import Prior, Product
from lightning_vae.priors.shape import latent_shape

__all__ = ["StandardNormal", "standard_normal", "standard_shapes"]


class StandardNormal(Fixed):
    r"""The standard normal prior, :math:`p(z) = N(0, I)`.

    Args:
        shape: The latent shape of one example: ``20``, or ``(4, 8, 8)``.

    Raises:
        ValueError: if a size is not a positive whole number.

    Source: Kingma & Welling 2014, section 3.

    >>> StandardNormal(20)().sample((16,)).shape
    torch.Size([16, 20])
    """

    def __init__(self, shape: int | Sequence[int]) -> None:
        super().__init__()
        self.shape = latent_shape(shape)

    def made(self, like: Tensor) -> Distribution:
        normal = StandardGaussian(self.shape, like=like)
        return Independent(normal, len(self.shape), validate_args=False)

    def extra_repr(self) -> str:
        return ", ".join(str(size) for size in self.shape)


def standard_normal(shapes: Iterable[Sequence[int]]) -> Prior:
    """The standard normal prior over one latent space, or several."""
    priors = [StandardNormal(shape) for shape in shapes]
    return priors[0] if len(priors) == 1 else Product(*priors)


def standard_shapes(prior: Prior | None) -> list[list[int]] | None:
    """The shapes that :func:`standard_normal` would make this prior of; None if it is another.

    >>> standard_shapes(standard_normal([(2,), (4, 8)]))
    [[2], [4, 8]]
    """
    groups = list(prior.groups) if isinstance(prior, Product) else [prior]
    if not all(type(group) is StandardNormal for group in groups):
        return None
    return [list(group.shape) for group in groups if isinstance(group, StandardNormal)]
