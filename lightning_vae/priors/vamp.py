"""The prior that is a mixture of posteriors."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent

from lightning_vae.arguments import one_of
from lightning_vae.distributions.mixture import Mixture
from lightning_vae.distributions.precision import at_least_float32
from lightning_vae.priors.prior import Prior
from lightning_vae.priors.shape import latent_shape

__all__ = ["VampPrior"]


class VampPrior(Prior):
    r"""The variational mixture of posteriors: the encoder's own, at K learned pseudo-inputs.

    .. math:: p(z) = \frac1K \sum_{k=1}^K q(z \mid u_k)

    With all of the data as pseudo-inputs it is the aggregate posterior, the prior that is best for
    the ELBO. The rate is one-sample Monte Carlo, one number an example in nats, and does not split
    over latents: free bits are per group. Every pass encodes the K pseudo-inputs besides the
    batch.

    The encoder is the VAE's, and stays the VAE's: its parameters are trained, moved and saved
    there, once, and the prior's state holds the pseudo-inputs alone. Write ``VAEModule(encoder,
    decoder, VampPrior(u))``: the module lends its encoder. A subclass that writes ``encode`` passes
    that: ``self.prior = VampPrior(u, self.encode)``. The authors hold pseudo-inputs in the data's range,
    which is ``VampPrior(u, nn.Sequential(nn.Hardtanh(0, 1), encoder))``; but with that, an element
    on the bound or beyond gets no gradient.

    Args:
        pseudo_inputs: u, [K, ...] in the form of a batch of x, where they start: ``x_train[:500]``.
            Or that shape, ``(500, 1, 28, 28)``.
        encoder: x → q(z|x), without context, one distribution; by default the VAE's.
        init: Where pseudo-inputs of a shape start: ``"uniform"`` in [0, 1], or at ``"data"``, the
            first examples that the training loader gives, which the module hands over as a fit
            begins. A state that is loaded stays.

    Raises:
        ValueError: if the pseudo-inputs are no batch of finite numbers, ``init`` neither of the two
            or said of given ones, or an encoder is given whose parameters are to be trained but are
            not the VAE's; as a fit begins, if examples are of another shape, or too few.
        RuntimeError: when called, if no encoder was given or lent.
        TypeError: when called, if the encoder returns no single distribution.

    Source: Tomczak & Welling 2018, "VAE with a VampPrior".

    >>> from lightning_vae.networks import MLPEncoder
    >>> encoder = MLPEncoder((1, 28, 28), latent=20)
    >>> prior = VampPrior(torch.rand(500, 1, 28, 28), encoder)
    >>> prior().sample((16,)).shape, list(prior.state_dict())
    (torch.Size([16, 20]), ['pseudo_inputs'])
    """

    encoder: Callable[[Tensor], Distribution] | None

    def __init__(
        self,
        pseudo_inputs: Tensor | Sequence[int],
        encoder: Callable[[Tensor], Distribution] | None = None,
        init: Literal["uniform", "data"] = "uniform",
    ) -> None:
        super().__init__()
        self.pseudo_inputs = nn.Parameter(_start(pseudo_inputs))
        if one_of("init", init, ("uniform", "data")) == "data":
            if isinstance(pseudo_inputs, Tensor):
                raise ValueError(
                    f"init='data' is for pseudo-inputs that are yet to come; write "
                    f"pseudo_inputs={tuple(pseudo_inputs.shape)}, or no init."
                )
            self.wanted = len(self.pseudo_inputs)
        self._hold(encoder)

    def _hold(self, encoder: Callable[[Tensor], Distribution] | None) -> None:
        # Past nn.Module, which would register the VAE's parameters a second time, as the prior's.
        object.__setattr__(self, "encoder", encoder)

    def lend(self, encoder: nn.Module) -> None:
        if self.encoder is None:
            self._hold(encoder)
        elif isinstance(self.encoder, nn.Module):
            _refuse_untrained(self.encoder, encoder)

    @torch.no_grad()
    def start(self, examples: Tensor) -> None:
        if examples.shape != self.pseudo_inputs.shape:
            raise ValueError(
                f"pseudo_inputs has shape {tuple(self.pseudo_inputs.shape)}, but the training set "
                f"gives {tuple(examples.shape)}; write a shape that it has."
            )
        self.pseudo_inputs.copy_(examples)
        self.wanted = 0

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.wanted = 0  # what is loaded stays
        super()._load_from_state_dict(*args, **kwargs)

    def forward(self, **context: Any) -> Distribution:
        if self.encoder is None:
            raise RuntimeError(
                "VampPrior has no encoder; give it to VAEModule(encoder, decoder, prior), or write "
                "VampPrior(pseudo_inputs, encoder)."
            )
        posteriors = _checked(self.encoder(self.pseudo_inputs))
        components = Independent(posteriors, len(posteriors.batch_shape) - 1, validate_args=False)
        logits = at_least_float32(self.pseudo_inputs.new_zeros(len(self.pseudo_inputs)))
        equal = Categorical(logits=logits, validate_args=False)
        return Mixture(equal, components, validate_args=False)

    def extra_repr(self) -> str:
        return str(tuple(self.pseudo_inputs.shape))


def _start(pseudo_inputs: Tensor | Sequence[int]) -> Tensor:
    """A copy of the given ones, or uniform ones of the given shape."""
    if isinstance(pseudo_inputs, Tensor):
        start = pseudo_inputs.detach().clone()
    else:
        start = torch.rand(latent_shape(pseudo_inputs))
    if start.dim() < 2 or not start.numel() or not start.is_floating_point():
        raise ValueError(
            f"pseudo_inputs must be a batch of floating-point examples, got shape "
            f"{tuple(start.shape)} in {start.dtype}; write pseudo_inputs=x_train[:500]."
        )
    if not start.isfinite().all():
        raise ValueError(
            "pseudo_inputs must be finite, got NaN or infinity; leave such examples out."
        )
    return start


def _refuse_untrained(encoder: nn.Module, vaes: nn.Module) -> None:
    """An encoder that nothing trains is a mistake, unless it is frozen on purpose."""
    trained = set(vaes.parameters())
    if any(p.requires_grad and p not in trained for p in encoder.parameters()):
        raise ValueError(
            "encoder of VampPrior has parameters that are not the VAE's, so that nothing would "
            "train them; write VampPrior(pseudo_inputs), which takes the VAE's."
        )


def _checked(posteriors: Any) -> Distribution:
    if not isinstance(posteriors, Distribution):
        raise TypeError(
            f"encoder of VampPrior returned a {type(posteriors).__name__}, not one distribution; "
            f"give it an encoder of this prior's latent space alone."
        )
    return posteriors
