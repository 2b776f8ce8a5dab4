"""The uniform prior of categorical variables."""

from torch import Tensor
from torch.distributions import Distribution, Independent

from lightning_vae import distributions
from lightning_vae.arguments import whole
from lightning_vae.priors.fixed import Fixed

__all__ = ["UniformCategorical"]


class UniformCategorical(Fixed):
    r"""The uniform prior of categorical variables, that of a Gumbel-softmax posterior.

    .. math:: p(z) = K^{-V}, \quad z \text{ one-hot in each of its V rows}

    Args:
        variables: V.
        classes: K, of every variable.

    Raises:
        ValueError: if V is no whole number above 0, or K none above 1.

    Source: Jang, Gu & Poole 2017, "Categorical Reparameterization with Gumbel-Softmax".

    >>> UniformCategorical(20, classes=10)().sample((16,)).shape
    torch.Size([16, 20, 10])
    """

    def __init__(self, variables: int, classes: int) -> None:
        super().__init__()
        self.variables, self.classes = whole("variables", variables), whole("classes", classes, 2)

    def made(self, like: Tensor) -> Distribution:
        logits = like.new_zeros(self.variables, self.classes)
        each = distributions.RelaxedCategorical(logits, validate_args=False)
        return Independent(each, 1, validate_args=False)

    def extra_repr(self) -> str:
        return f"{self.variables}, classes={self.classes}"
