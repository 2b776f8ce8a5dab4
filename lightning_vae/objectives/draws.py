"""Objectives that take one draw of z an example."""

from lightning_vae.latents import VAEOutput

__all__ = ["refuse_several_draws"]


def refuse_several_draws(output: VAEOutput) -> None:
    """Refuse an output whose draws lead with a dimension of their own.

    Raises:
        ValueError: if there are K draws an example.
    """
    if output.distortion.dim() > 1:
        raise ValueError(
            f"the output holds {len(output.distortion)} draws of z an example, but this objective "
            f"takes one; leave samples=None."
        )
