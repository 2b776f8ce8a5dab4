"""The verdict on a VAE's latents: what the measures say together, and which edit to try next."""

import math
from typing import Literal, NamedTuple

from lightning_vae.callbacks.measures import Measures

__all__ = ["Kind", "Verdict", "verdict"]

Kind = Literal["healthy", "collapsed", "partly dead", "unregularised"]

NOTHING = 0.05  # nats of information, or of gap, that are none
MOST = 0.9  # the share of latents from which on all are said to live
APART = 1.0  # nats by which a latent's marginal may differ from the prior
COSTS = 0.5  # nats of rate, or of information, that are some
LITTLE, HALF = 0.1, 0.5  # shares of the rate that are next to no information, and not enough


class Verdict(NamedTuple):
    """One of four kinds, the next edit to try in one sentence, and whether it was planned so."""

    kind: Kind
    advice: str
    planned: bool = False


def verdict(
    measures: Measures, weight_rises: bool = False, capacity_rises: bool = False
) -> Verdict:
    """What the measures say of the latents together.

    Collapsed: no latent is active, none carries information, next to none of the rate is
    information, or the decoder uses none. Unregularised: the posteriors have no width, or lie far
    from the prior, so that samples of it decode to nothing. Partly dead: fewer than nine in ten
    latents are active, or less than half of the rate is information. Else healthy. The rate counts
    up to the ceiling, above which these examples cannot show what is information.

    Args:
        measures: What was measured.
        weight_rises: Whether a schedule is going to raise the weight of the rate: unregularised
            is as planned.
        capacity_rises: The same of a capacity or floor of the rate: collapsed is as planned.

    >>> verdict(Measures(latents=10, active_units=0, rate=0.0)).kind
    'collapsed'
    >>> verdict(Measures(latents=10, active_units=10, rate=15.0)).kind
    'healthy'
    """
    if (why := _collapsed(measures)) is not None:
        return Verdict("collapsed", why, planned=capacity_rises)
    if (why := _unregularised(measures)) is not None:
        return Verdict("unregularised", why, planned=weight_rises)
    if measures.active_units < MOST * measures.latents:
        return Verdict("partly dead", _of_the_dead(measures))
    if (share := _informative(measures)) is not None and share < HALF:
        return Verdict("partly dead", _of_the_idle(measures))
    return Verdict("healthy", _of_the_healthy(measures))


def _collapsed(m: Measures) -> str | None:
    uninformed = m.active_units == 0 or _none(m.mutual_information)
    if (uninformed and m.rate > COSTS) or _held(m):
        carried = "no" if uninformed else f"{m.mutual_information:.2g} of"
        return (
            f"the rate of {m.rate:.3g} nats carries {carried} information, as under a floor: put "
            f"the floor on the total, ELBO(free_bits=..., per='total'), or anneal beta in cycles "
            f"instead, CyclicalAnnealing()."
        )
    if uninformed:
        return (
            "no latent says anything of x: lower beta or the decoder's variance, or anneal beta "
            "from 0 in cycles, CyclicalAnnealing()."
        )
    if _none(m.shuffled_gap):
        return (
            f"the decoder does as well with another example's z (gap {m.shuffled_gap:.2g} nats): "
            f"make it weaker, or hide from it what it can guess x by."
        )
    return None


def _none(nats: float | None) -> bool:
    return nats is not None and nats < NOTHING


def _held(m: Measures) -> bool:
    """Whether something other than information holds the rate up, as a floor does."""
    share = _informative(m)
    if share is None or m.mutual_information is None or _narrow(m):
        return False
    return share < LITTLE and m.mutual_information < COSTS


def _informative(m: Measures) -> float | None:
    """The share of the rate that is information, of what the examples could show."""
    if m.mutual_information is None or m.rate <= COSTS:
        return None
    return m.mutual_information / min(m.rate, math.inf if m.ceiling is None else m.ceiling)


def _narrow(m: Measures) -> bool:
    return m.variance_at_zero is not None and m.variance_at_zero > 0.5


def _unregularised(m: Measures) -> str | None:
    if _narrow(m):
        return (
            f"the posteriors of {m.variance_at_zero:.0%} of the latents have no width: raise beta, "
            f"or let the decoder's variance be learned, likelihoods.LearnedGaussian()."
        )
    if m.dimension_wise_kl is not None and m.dimension_wise_kl > APART * max(1, m.active_units):
        return (
            f"the latents lie {m.dimension_wise_kl:.3g} nats from the prior, so that its samples "
            f"are none of the data's: raise beta."
        )
    return None


def _of_the_dead(m: Measures) -> str:
    return (
        f"{m.active_units} of {m.latents} latents are active: take latent={max(1, m.active_units)} "
        f"if the ELBO is what you want, or give each a floor, ELBO(free_bits=0.1), if it is not."
    )


def _of_the_idle(m: Measures) -> str:
    return (
        f"{m.mutual_information:.3g} of the {m.rate:.3g} nats of the rate are information, and the "
        f"others are paid for a code unlike the prior, as under a floor: put it on the total, "
        f"ELBO(free_bits=..., per='total'), or lower it."
    )


def _of_the_healthy(m: Measures) -> str:
    near = None not in (m.mutual_information, m.ceiling)
    if near and m.mutual_information > m.ceiling - 0.5:  # type: ignore[operator]
        return (
            f"{m.active_units} of {m.latents} latents are active, and know more than the "
            f"{m.ceiling:.3g} nats that so few examples can show: nothing to change."
        )
    return f"{m.active_units} of {m.latents} latents are active: nothing to change."
