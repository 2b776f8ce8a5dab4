"""Paths between codes, against the geometry they claim."""

import math

import pytest
import torch

from lightning_vae.pictures import interpolation, lerp, paths, slerp


def between(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1).acos()


@pytest.mark.parametrize("path", ["lerp", "slerp"])
def test_both_ends_are_hit_in_any_shape(path):
    start, stop = torch.randn(2, 3, 2, 4)
    codes = interpolation(start, stop, steps=7, path=path)
    assert codes.shape == (3, 7, 2, 4)
    torch.testing.assert_close(codes[:, 0], start)
    torch.testing.assert_close(codes[:, -1], stop)


def test_slerp_turns_evenly_in_the_plane_of_its_ends_and_keeps_their_length():
    start, stop = torch.randn(2, 5, 16, dtype=torch.float64)
    start, stop = (3 * v / v.norm(dim=1, keepdim=True) for v in (start, stop))
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    codes = slerp(start, stop, t)
    torch.testing.assert_close(codes.norm(dim=2), torch.full((5, 9), 3.0, dtype=torch.float64))
    whole = between(start, stop)
    turned = between(start.unsqueeze(1), codes)
    torch.testing.assert_close(turned, t * whole.unsqueeze(1), atol=1e-7, rtol=0)
    basis, _ = torch.linalg.qr(torch.stack([start, stop], 2))
    inside = basis @ (basis.mT @ codes.mT)
    torch.testing.assert_close(inside.mT, codes)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0, 1 + 1e-7])
def test_without_a_plane_the_path_is_straight(factor):
    start = torch.tensor([[1.0, 2.0, 2.0]])
    t = torch.linspace(0, 1, 5)
    codes = slerp(start, factor * start, t)
    torch.testing.assert_close(codes, lerp(start, factor * start, t))


def test_a_straight_path_between_draws_passes_where_a_normal_prior_never_is():
    """White's reason for the sphere: in the middle of 1000 dimensions lerp has 1/√2 the length."""
    start, stop = torch.randn(2, 64, 1000)
    middle = {
        p: interpolation(start, stop, 3, p)[:, 1].norm(dim=1).mean() for p in ("lerp", "slerp")
    }
    assert middle["slerp"].item() == pytest.approx(math.sqrt(1000), rel=0.02)
    assert middle["lerp"].item() == pytest.approx(math.sqrt(500), rel=0.02)


def test_only_the_named_space_moves():
    starts, stops = (torch.zeros(2, 3), torch.zeros(2, 4)), (torch.ones(2, 3), torch.ones(2, 4))
    first, second = paths(starts, stops, steps=3, spaces=[1])
    assert (first == 0).all()
    assert second[:, :, 0].tolist() == [[0, 0.5, 1]] * 2
