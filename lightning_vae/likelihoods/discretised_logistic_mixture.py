"""The discretised logistic mixture likelihood of 8-bit images."""

from torch import Tensor
from torch.distributions import Distribution

from lightning_vae.arguments import positive, whole
from lightning_vae.distributions import discretised_logistic_mixture
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.likelihoods.floors import log_scale_above
from lightning_vae.likelihoods.likelihood import Likelihood, parameters

__all__ = ["DiscretisedLogisticMixture"]


class DiscretisedLogisticMixture(Likelihood):
    r"""The likelihood of 8-bit images that PixelCNN++ and VDVAE use: a probability of levels.

    .. math:: -\log p(x|z) = -\sum_\text{pixels} \log \sum_k \pi_k \prod_c
              \int_{x_c - h}^{x_c + h} \mathrm{Logistic}(t; \mu_{kc}, s_{kc})\,dt

    x is in [0, 1], multiples of 1/255: images divided by 255, without noise. Being a probability,
    its ELBO gives bits per dimension as it is: ``bits_per_dimension(nats, dimensions)``.

    Args:
        mixtures: K, the components.
        colours: C, how many channels share a component and are each given those before it: 1, each
            channel by itself, or 3 for RGB.
        floor: The scale that every s stays above, in units of x from -1 to 1, where a level is
            1/127.5; e⁻⁷ by default.
        levels: How many; 256 for 8 bits.

    Raises:
        ValueError: if mixtures or colours are less than one, levels less than two, or the floor is
            not positive; when ``features`` is asked for and is no whole number.

    Features: of each group of C channels 1 + 2C + C(C-1)/2 times K, a logit, m and log s of each
    colour and the coefficients before their tanh: 3K a channel alone, 10K for RGB. The first of all
    components come first, in every component all groups. Per element of x that is 10K/3: for a
    network that counts per element choose ``mixtures`` a multiple of 3; one of your own may yield
    ``maps`` of them per group.

    Source: Salimans et al. 2017 (PixelCNN++), section 2.1; Child 2021 (VDVAE).

    >>> import torch
    >>> head = DiscretisedLogisticMixture(mixtures=10, colours=3)
    >>> head.maps, head(torch.zeros(2, 100, 32, 32)).mean.shape
    (100, torch.Size([2, 3, 32, 32]))
    """

    def __init__(
        self, mixtures: int = 10, colours: int = 1, floor: float = 9e-4, levels: int = 256
    ) -> None:
        super().__init__()
        self.mixtures, self.colours = whole("mixtures", mixtures), whole("colours", colours)
        self.levels = whole("levels", levels, 2)
        self.floor = positive("floor", floor)

    @property
    def maps(self) -> int:
        """How many features a group of colours has."""
        return self.mixtures * (1 + 2 * self.colours + self.colours * (self.colours - 1) // 2)

    @property
    def features(self) -> int:  # type: ignore[override]
        """How many it has for one element of x."""
        if self.maps % self.colours:
            raise ValueError(
                f"{self.mixtures} mixtures of {self.colours} colours have {self.maps} features, "
                f"no whole number a colour; write mixtures={self.colours * self.mixtures}, or a "
                f"smaller multiple of {self.colours}."
            )
        return self.maps // self.colours

    def forward(self, features: Tensor) -> Distribution:
        parameters(features, self.maps)
        groups, C = features.shape[1] // self.maps, self.colours
        # [B, n·K·G, *pixels] to [B, G, n, *pixels, K]
        apart = at_least_float32(features).unflatten(1, (-1, self.mixtures, groups))
        apart = apart.movedim(2, -1).transpose(1, 2)
        logits, loc, raw, coefficients = apart.split([1, C, C, C * (C - 1) // 2], dim=2)
        return discretised_logistic_mixture.DiscretisedLogisticMixture(
            logits.squeeze(2),
            loc,
            log_scale_above(self.floor, raw),
            coefficients.tanh(),
            self.levels,
            validate_args=False,
        )

    def extra_repr(self) -> str:
        return f"mixtures={self.mixtures}, colours={self.colours}, floor={self.floor}"
