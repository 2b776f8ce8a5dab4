"""Mixtures of logistic distributions over the levels of digital images."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import Categorical, Distribution, constraints
from torch.nn.functional import logsigmoid

from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.distributions.support import in_support, validates_values, zero_outside

__all__ = ["DiscretisedLogisticMixture"]

_TINY = -16.0  # log δ below which log(1 - e^-δ) is log δ - δ/2 to every digit of float64


class _Levels(constraints.Constraint):
    """The multiples of 1 / (levels - 1) in [0, 1], to a tenth: float16 holds them, bfloat16 not."""

    is_discrete = True

    def __init__(self, levels: int) -> None:
        self.steps = levels - 1
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        level = at_least_float32(value) * self.steps
        return (level - level.round()).abs().lt(0.1) & (value >= 0) & (value <= 1)

    def __repr__(self) -> str:
        return f"the multiples of 1/{self.steps} from 0 to 1"


class DiscretisedLogisticMixture(Distribution):
    r"""A mixture of logistic distributions whose mass falls on the levels of 8-bit images.

    .. math:: p(x) = \sum_k \pi_k \prod_c \left[F\Bigl(\tfrac{x_c + h - \mu_{kc}}{s_{kc}}\Bigr) -
              F\Bigl(\tfrac{x_c - h - \mu_{kc}}{s_{kc}}\Bigr)\right], \quad
              \mu_{kc} = m_{kc} + \textstyle\sum_{j<c} a_{kcj} x_j

    F is the logistic function; h is half a level, and beyond the first and last level the bins go
    on for ever. x is in [0, 1], multiples of 1/255; inside, as in the papers, and for the
    parameters, it is in [-1, 1]. A colour is given those before it, and so is ``log_prob``: it is
    :math:`\log p(x_c|x_{<c})`, one for every element, which sum to the logarithm of the above. The
    difference is computed as :math:`F(a) F(-b) (1 - e^{b-a})`, whose logarithm has no cancellation
    at any scale, so that the levels sum to one; the papers' code approximates it in the tails.

    ``mean`` is exact for the first colour of each group; for another it is taken at the means of
    those before, which is exact but for what the edges cut off. Between the levels the
    log-probability is −∞ (an error with ``validate_args=True``).

    Args:
        logits: Of the mixture, [B, G, \*pixels, K], for G groups of colours.
        loc: m, [B, G, C, \*pixels, K] for the C colours of a group; x has dimension 1 of size G·C.
        log_scale: log s, in loc's shape.
        coefficients: a, [B, G, C(C-1)/2, \*pixels, K]: of the first on the second colour, then of
            the first and the second on the third. None where C = 1.
        levels: How many; 256 for 8 bits.
        pixel_dims: How many dimensions are pixels; by default what B, G and K leave over.

    Raises:
        ValueError: if the shapes do not fit.

    Source: Salimans et al. 2017 (PixelCNN++), section 2.1; Child 2021 (VDVAE).

    >>> parameters = torch.zeros(1, 1, 5), torch.zeros(1, 1, 1, 5), torch.zeros(1, 1, 1, 5)
    >>> x = torch.arange(256)[:, None, None] / 255
    >>> DiscretisedLogisticMixture(*parameters).log_prob(x).exp().sum(0)
    tensor([[1.0000]])
    """

    arg_constraints = {  # noqa: RUF012
        "logits": constraints.real,
        "loc": constraints.real,
        "log_scale": constraints.real,
    }

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        coefficients: Tensor | None = None,
        levels: int = 256,
        pixel_dims: int | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._axis = -2 - (logits.dim() - 3 if pixel_dims is None else pixel_dims)  # of colours
        self.logits, self.loc, self.log_scale = logits, loc, log_scale
        colours = loc.shape[self._axis]
        pairs = colours * (colours - 1) // 2
        self.coefficients = loc.narrow(self._axis, 0, 0) if coefficients is None else coefficients
        self.levels, self._half = levels, 1 / (levels - 1)
        _refuse_shapes(self, pairs)
        lead, rest = loc.shape[: self._axis - 1], loc.shape[self._axis + 1 : -1]
        shape = Size([*lead, loc.shape[self._axis - 1] * colours, *rest])
        super().__init__(shape, validate_args=validate_args)

    def expand(
        self, batch_shape: Size | list[int] | tuple[int, ...], _instance: Any = None
    ) -> "DiscretisedLogisticMixture":
        lead = tuple(batch_shape)[: self._axis + 1]

        def expanded(parameter: Tensor, dims: int) -> Tensor:
            return parameter.expand(*lead, *parameter.shape[dims:])

        groups = self._axis - 1
        return DiscretisedLogisticMixture(
            expanded(self.logits, groups + 1),
            expanded(self.loc, groups),
            expanded(self.log_scale, groups),
            expanded(self.coefficients, groups),
            self.levels,
            -2 - self._axis,
            validates_values(self),
        )

    @property
    def support(self) -> Any:
        return _Levels(self.levels)

    def log_prob(self, value: Tensor) -> Tensor:
        inside = in_support(self, value)
        value = value.masked_fill(~inside, 0)
        given = [colour.unsqueeze(-1) for colour in self._colours(2 * at_least_float32(value) - 1)]
        scales = self.log_scale.unbind(self._axis)
        log_joint, before = self.logits.log_softmax(-1), torch.zeros_like(given[0][..., 0])
        conditional = []
        for c, (x, log_scale) in enumerate(zip(given, scales, strict=True)):
            log_joint = log_joint + self._log_mass(x, self._located(c, given), log_scale)
            joint = log_joint.logsumexp(-1)
            conditional.append(joint - before)
            before = joint
        return zero_outside(inside, self._elements(conditional))

    @property
    def mean(self) -> Tensor:
        share = self.logits.softmax(-1)
        means = self._in_turn(self._component_mean)
        return self._elements([(share * mean).sum(-1) for mean in means]) / 2 + 0.5

    @torch.no_grad()
    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        lead = Size(sample_shape)
        chosen = Categorical(logits=self.logits, validate_args=False).sample(lead).unsqueeze(-1)

        def draw(loc: Tensor, log_scale: Tensor) -> Tensor:
            u = torch.rand(lead + self.logits.shape, dtype=loc.dtype, device=loc.device)
            continuous = loc + log_scale.exp() * u.logit(eps=torch.finfo(u.dtype).tiny)
            return self._nearest(continuous)

        draws = self._in_turn(draw)
        return self._elements([draw.gather(-1, chosen)[..., 0] for draw in draws]) / 2 + 0.5

    def _colours(self, x: Tensor) -> tuple[Tensor, ...]:
        """[..., G·C, *pixels] to C of [..., G, *pixels]."""
        grouped: Tensor = x.unflatten(self._axis + 1, (-1, self.loc.shape[self._axis]))
        return grouped.unbind(self._axis + 1)

    def _elements(self, colours: Sequence[Tensor]) -> Tensor:
        """The way back."""
        return torch.stack(tuple(colours), self._axis + 1).flatten(self._axis, self._axis + 1)

    def _located(self, c: int, given: Sequence[Tensor]) -> Tensor:
        """The location of colour c, [..., G, *pixels, K], given those before it."""
        loc, first = self.loc.select(self._axis, c), c * (c - 1) // 2
        for j in range(c):
            loc = loc + self.coefficients.select(self._axis, first + j) * given[j]
        return loc

    def _in_turn(self, colour: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
        """A colour of every component from its location and log-scale, one after the other."""
        made: list[Tensor] = []
        for c, log_scale in enumerate(self.log_scale.unbind(self._axis)):
            made.append(colour(self._located(c, made), log_scale))
        return made

    def _log_mass(self, x: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
        """The logarithm of the logistic mass between x - h and x + h."""
        per_scale = (-log_scale).exp()
        below = logsigmoid((x + self._half - loc) * per_scale)
        above = logsigmoid(-(x - self._half - loc) * per_scale)
        first, last, none = x < self._half - 1, x > 1 - self._half, torch.zeros_like(below)
        inside = _log_one_minus_exp(math.log(2 * self._half) - log_scale)
        return (
            torch.where(last, none, below)
            + torch.where(first, none, above)
            + torch.where(first | last, none, inside)
        )

    def _component_mean(self, loc: Tensor, log_scale: Tensor) -> Tensor:
        # By parts: the last level, less a step for every edge with its mass below.
        per_scale, total = (-log_scale).exp(), torch.zeros_like(loc)
        for edge in range(self.levels - 1):
            total = total + torch.sigmoid(((2 * edge + 1) * self._half - 1 - loc) * per_scale)
        return 1 - 2 * self._half * total

    def _nearest(self, x: Tensor) -> Tensor:
        level = ((x + 1) / (2 * self._half)).round().clamp(0, self.levels - 1)
        return level * (2 * self._half) - 1


def _refuse_shapes(p: DiscretisedLogisticMixture, pairs: int) -> None:
    axis, wanted = p._axis, list(p.loc.shape)
    without = Size(wanted[:axis] + wanted[axis + 1 :])
    wanted[axis] = pairs
    for name, shape in (("log_scale", p.loc.shape), ("logits", without), ("coefficients", wanted)):
        got = getattr(p, name).shape
        if got != Size(shape):
            raise ValueError(
                f"{name} must have shape {tuple(shape)} for loc of shape {tuple(p.loc.shape)}, "
                f"got {tuple(got)}."
            )


def _log_one_minus_exp(log_delta: Tensor) -> Tensor:
    """log(1 - e^-δ)."""
    tiny, delta = log_delta < _TINY, log_delta.exp()
    # The branch not taken must not make a gradient NaN.
    safe = torch.where(tiny, torch.ones_like(delta), delta)
    return torch.where(tiny, log_delta - delta / 2, torch.log(-torch.expm1(-safe)))
