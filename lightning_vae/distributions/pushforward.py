"""The distribution of draws that went through flows."""

from torch import Tensor
from torch.distributions import TransformedDistribution

from lightning_vae.distributions.support import zero_outside

__all__ = ["Pushforward"]


class Pushforward(TransformedDistribution):
    r"""What a distribution becomes when its draws go through flows, one after another.

    .. math:: \log q(z) = \log q_0(x) - \textstyle\sum_l \log |\det J_l|, \quad
              z = f_L \circ \dots \circ f_1(x)

    Torch's ``TransformedDistribution``, whose log-density of what is NaN or infinite is NaN; here
    it is −∞. It does not know its mean: see ``embed(x, sample=True)``.

    Args:
        base_distribution: :math:`q_0`.
        transforms: The flows, the first one first.

    >>> import torch
    >>> from torch.distributions import Independent
    >>> from lightning_vae.distributions import DiagonalGaussian, PlanarFlow
    >>> base = Independent(DiagonalGaussian(torch.zeros(2), torch.zeros(2)), 1)
    >>> q = Pushforward(base, [PlanarFlow(torch.zeros(2), torch.ones(2), torch.zeros(()))])
    >>> q.log_prob(torch.tensor([[0.0, 0.0], [0.0, torch.nan]]))
    tensor([-1.8379,    -inf])
    """

    # Torch's default would raise in the middle of a Monte Carlo divergence, whose answer is infinity.
    _validate_args = False

    def log_prob(self, value: Tensor) -> Tensor:
        events = list(range(-len(self.event_shape), 0))
        inside = value.isfinite()
        # The value goes on as it is: a flow knows its own draw by identity.
        log_density: Tensor = super().log_prob(value)  # type: ignore[no-untyped-call]
        return zero_outside(inside.all(events) if events else inside, log_density)
