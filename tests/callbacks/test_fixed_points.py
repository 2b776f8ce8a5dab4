"""Controllers and a model that learns while they act: the linear-Gaussian VAE in closed form."""

import pytest
import torch

from lightning_vae import ELBO
from lightning_vae.callbacks import GECO, REWO, MinimumRate, RateController, SoftFreeBits
from lightning_vae.callbacks.control import Controller
from tests.callbacks.test_laws import PAPER, nats
from tests.test_linear_gaussian import NOISE, Expected, within

QUICK = {"nu": 0.003}  # a model of five latents moves the distortion by a nat or two
CASES = {  # (controller, β where it begins, β, rate and squared error where it ends)
    "rate 3": (RateController(3.0), 1.0, 0.6311, 3.0, 1.4622),
    "rate 1.0397": (RateController(1.0397), 1.0, 2.0, 1.0397, 3.7),
    "ControlVAE 3": (
        RateController(3.0, minimum=0.0, maximum=1.0, **PAPER),
        1.0,
        0.6311,
        3.0,
        1.4622,
    ),
    "ControlVAE 1.5": (
        RateController(1.5, minimum=1.0, maximum=100.0, **PAPER),
        1.0,
        1.4715,
        1.5,
        2.907,
    ),
    "ControlVAE, infeasible": (
        RateController(1.5, minimum=0.0, maximum=1.0, **PAPER),
        1.0,
        1.0,
        2.0794,
        2.2,
    ),
    "DynamicVAE 1.5": (
        RateController(1.5, kp=0.01, ki=0.005, log_space=False, minimum=0.1),
        3.0,
        1.4715,
        1.5,
        2.907,
    ),
    "GECO 2.2": (GECO(nats(2.2), **QUICK), 3.0, 1.0, 2.0795, 2.2),
    "GECO 3.7": (GECO(nats(3.7), **QUICK), 1.0, 2.0, 1.0397, 3.7),
    "minimum rate 1.5, inactive": (MinimumRate(1.5), 0.0, 1.0, 2.0794, 2.2),
    "minimum rate 3": (MinimumRate(3.0), 0.0, 0.6311, 3.0, 1.4622),
    "REWO 1.2": (REWO(nats(1.2), **QUICK), 0.01, 0.5, 3.4657, 1.2),
    "REWO 1.7": (REWO(nats(1.7), **QUICK), 0.01, 0.75, 2.655, 1.7),
    "REWO 2.2": (REWO(nats(2.2), **QUICK), 0.01, 1.0, 2.0794, 2.2),
    "REWO 3.7, loose": (REWO(nats(3.7), **QUICK), 0.01, 1.0, 2.0794, 2.2),
    "soft free bits 3": (SoftFreeBits(3.0, slack=0.01, step=0.002), 1.0, 0.6311, 3.0, 1.4622),
}


def settle(controller: Controller, start: float, steps: int) -> tuple[float, float, float]:
    """The means over the last fifth of β, rate and squared error."""
    model, objective = Expected(), ELBO()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    state, seen = controller.begun(start), []
    for t in range(steps):
        objective.beta = controller.number(state)
        output = model.output()
        rate, distortion = output.rate.mean(), output.distortion.mean()
        optimizer.zero_grad()
        objective(output)["loss"].backward()
        optimizer.step()
        observed = {"rate": rate, "distortion": distortion}[controller.observe].item()
        state = controller.updated(state, observed, controller.set_point(t))
        error = (distortion.item() - nats(0.0)) * 2 * NOISE
        seen.append([objective.beta, rate.item(), error])
    beta, rate, error = torch.tensor(seen[-steps // 5 :]).mean(0).tolist()
    return beta, rate, error


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_beta_rate_and_error_end_where_the_theory_says(case):
    controller, start, *truth = CASES[case]
    steps = 6000 if case in ("ControlVAE 1.5", "REWO 2.2") else 3000
    for value, true in zip(settle(controller, start, steps), truth, strict=True):
        assert within(value, true), case
