"""The laws of controllers as their papers write them, one number at a time."""

import math

import torch


def control_vae(rates, set_points, kp, ki, start, lower, upper, authors=False):
    """β_t = Kp / (1 + exp e) − Ki Σ e + constant, as Shao et al. 2020 write it: in sums.

    The constant makes the first step's proportional part vanish in β = start. ``authors`` holds the
    integral on the condition of the authors' code, which is never true.
    """
    total, output, betas, constant = 0.0, start, [], None
    for rate, c in zip(rates, set_points, strict=True):
        e = c - rate
        proportional = kp / (1 + math.exp(e))
        constant = start - proportional if constant is None else constant
        held = output < 0 and output >= 1
        if not authors:
            held = (output >= upper and e < 0) or (output <= lower and e > 0)
        total += 0.0 if held else e
        output = proportional - ki * total + constant
        betas.append(min(max(output, lower), upper))
    return betas


def geco(constraints, nu, alpha, start):
    """λ ← λ exp(ν C̄), C̄ ← α C̄ + (1 − α) C, of Rezende & Viola 2018."""
    multiplier, average, multipliers = start, constraints[0], []
    for constraint in constraints:
        average = alpha * average + (1 - alpha) * constraint
        multiplier *= math.exp(nu * average)
        multipliers.append(multiplier)
    return multipliers


def rewo(constraints, nu, tau, alpha, start):
    """β ← β exp(ν f C̄), f = (1 − H) tanh(τ(β − 1)) − H, of Klushyn et al. 2019."""
    beta, average, betas = start, constraints[0], []
    for constraint in constraints:
        average = alpha * average + (1 - alpha) * constraint
        H = 1.0 if average >= 0 else 0.0
        f = (1 - H) * math.tanh(tau * (beta - 1)) - H
        beta *= math.exp(nu * f * average)
        betas.append(beta)
    return betas


def minimum_rate(rates, minimum, lr, alpha, start):
    """u ascends u (R_min − R) by torch's own RMSprop, as in Pelsmaeker & Aziz 2020; u ≥ 0."""
    u = torch.tensor([start], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.RMSprop([u], lr=lr, alpha=alpha, maximize=True)
    betas = []
    for rate in rates:
        optimizer.zero_grad()
        (u * (minimum - rate)).sum().backward()
        optimizer.step()
        with torch.no_grad():
            u.clamp_(0, 1)
        betas.append(1 - u.item())
    return betas
