"""Coefficients in a checkpoint: a loaded module keeps them, and an argument given anew wins."""

import warnings

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_vae import (
    ELBO,
    BetaAnnealing,
    DiagonalGaussian,
    Linear,
    Objective,
    VAEModule,
    checkpoints,
)
from lightning_vae.networks import MLPDecoder, MLPEncoder

X = torch.rand(12, 4, generator=torch.Generator().manual_seed(3))


def mlp(objective: Objective | None = None) -> VAEModule:
    encoder, decoder = MLPEncoder((4,), 2, hidden=(8,)), MLPDecoder((4,), 2, hidden=(8,))
    return VAEModule(encoder, decoder, objective=objective)


class Plain(VAEModule):
    """A subclass with a plain hyperparameter that its objective is made of."""

    def __init__(self, beta: float | None = None) -> None:
        super().__init__(objective=ELBO() if beta is None else ELBO(beta=beta))
        self.body, self.out = nn.Linear(4, 4), MLPDecoder((4,), 2)

    def encode(self, x):
        return DiagonalGaussian(*self.body(x).chunk(2, 1))

    def decode(self, z):
        return self.out(z)


class HardWired(ELBO):
    def __init__(self) -> None:
        super().__init__(beta=4.0)


class Sum(Objective):
    """An objective made of others."""

    def __init__(self, *terms: Objective) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)

    def forward(self, output):
        return {"loss": sum(term(output)["loss"] for term in self.terms)}


def saved_run(fit_with, folder, vae: VAEModule, *callbacks):
    fit_with(max_epochs=1, callbacks=[ModelCheckpoint(folder, "run"), *callbacks]).fit(
        vae, DataLoader(X, 4)
    )
    return folder / "run.ckpt"


# What the saved and the resumed objective are, and whether the second keeps its own beta.
CASES = {
    "nothing given": (ELBO, ELBO, False),
    "given anew": (ELBO, lambda: ELBO(beta=4.0), True),
    "given anew at the default": (ELBO, lambda: ELBO(beta=1.0), True),
    "given again, in a script": (lambda: ELBO(beta=4.0), lambda: ELBO(beta=4.0), True),
    "not given again": (lambda: ELBO(beta=4.0), ELBO, False),
    "hard-wired in a subclass": (HardWired, HardWired, False),
    "another argument given": (ELBO, lambda: ELBO(capacity=3.0), False),
}


@pytest.mark.parametrize(("first", "second", "wins"), CASES.values(), ids=CASES)
def test_on_resume_an_argument_given_wins_and_anything_else_is_restored(
    fit_with, tmp_path, first, second, wins
):
    path = saved_run(fit_with, tmp_path, mlp(first()), BetaAnnealing(0.25))
    vae = mlp(second())
    here = vae.objective.beta
    said = f"beta={here} as given" if wins else r"objective\.beta=0\.25 from the checkpoint"
    with pytest.warns(UserWarning, match=said):
        fit_with(max_epochs=2).fit(vae, DataLoader(X, 4), ckpt_path=path)
    assert vae.objective.beta == (here if wins else 0.25)


def test_a_value_that_a_callback_has_moved_is_no_longer_the_one_given(fit_with, tmp_path):
    vae = mlp(ELBO(beta=4.0))
    path = saved_run(fit_with, tmp_path, vae, BetaAnnealing(Linear(0, 1, over=4), unit="step"))
    vae.objective.beta = 0.75  # where a longer run would have left it
    with pytest.warns(UserWarning, match=r"beta=0\.5 from the checkpoint \(the module had 0.75\)"):
        fit_with().test(vae, DataLoader(X, 4), ckpt_path=path, verbose=False)
    assert vae.objective.beta == 0.5


@pytest.mark.filterwarnings("ignore:.*goes on with.*")
@pytest.mark.parametrize(
    ("arguments", "beta"), [({}, 0.25), ({"beta": 4.0}, 0.25), ({"beta": 2.0}, 2.0)]
)
def test_a_hyperparameter_that_the_checkpoint_itself_repeats_was_not_given_anew(
    fit_with, tmp_path, arguments, beta
):
    path = saved_run(fit_with, tmp_path, Plain(beta=4.0), BetaAnnealing(0.25))
    assert Plain.load_from_checkpoint(path, **arguments).objective.beta == beta


def test_coefficients_are_saved_by_path_wherever_they_are(fit_with, tmp_path):
    path = saved_run(fit_with, tmp_path, mlp(Sum(ELBO(beta=(2.0,)), ELBO(capacity=3))))
    saved = torch.load(path, weights_only=True)["lightning_vae"]
    assert saved["version"] == 1
    assert saved["coefficients"]["objective.terms.0.beta"] == (2.0,)
    assert saved["coefficients"]["objective.terms.1.capacity"] == 3.0
    assert saved["given"] == {"objective.terms.0.beta": (2.0,), "objective.terms.1.capacity": 3.0}
    other = mlp(Sum(ELBO(), ELBO()))
    with pytest.warns(UserWarning, match="goes on with"):
        other.on_load_checkpoint({"lightning_vae": saved})
    assert other.objective.terms[0].beta == (2.0,)
    assert other.objective.terms[1].capacity == 3.0


def test_what_is_saved_and_not_here_is_left_and_what_is_not_legal_is_refused():
    vae = mlp()
    assert checkpoints.restore(vae, {"coefficients": {"objective.unheard_of": 1.0}}, False) == []
    with pytest.raises(ValueError, match="beta must be"):
        checkpoints.restore(vae, {"coefficients": {"objective.beta": -1.0}}, False)


def test_a_loaded_module_keeps_its_coefficients_and_says_so_once(fit_with, tmp_path):
    annealing = BetaAnnealing(Linear(0.25, 1, over=10))
    path = saved_run(fit_with, tmp_path, Plain(), annealing)
    with pytest.warns(
        UserWarning, match=r"beta=0.25 from the checkpoint \(the module had 1.0\)"
    ) as w:
        vae = Plain.load_from_checkpoint(path)
    assert len([x for x in w if "goes on with" in str(x.message)]) == 1
    assert vae.objective.beta == 0.25


@pytest.mark.filterwarnings("ignore:.*goes on with.*")
@pytest.mark.parametrize("method", ["validate", "test"])
def test_an_evaluated_checkpoint_brings_its_coefficients(fit_with, tmp_path, method):
    path = saved_run(fit_with, tmp_path, Plain(), BetaAnnealing(0.25))
    vae = Plain()
    trainer = fit_with()
    getattr(trainer, method)(vae, DataLoader(X, 4), ckpt_path=path, verbose=False)
    assert vae.objective.beta == 0.25
    metrics = {k.partition("/")[2]: v.item() for k, v in trainer.callback_metrics.items()}
    assert metrics["loss"] == pytest.approx(metrics["distortion"] + 0.25 * metrics["rate"])


def test_a_coefficient_given_to_the_constructor_wins_and_says_so(fit_with, tmp_path):
    path = saved_run(fit_with, tmp_path, mlp(), BetaAnnealing(0.25))
    vae = mlp(ELBO(beta=4.0))
    with pytest.warns(UserWarning, match=r"beta=4.0 as given \(the checkpoint had 0.25\)"):
        vae.on_load_checkpoint(torch.load(path, weights_only=True))
    assert vae.objective.beta == 4.0


def test_an_unchanged_coefficient_is_not_worth_a_warning(fit_with, tmp_path):
    path = saved_run(fit_with, tmp_path, Plain())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*goes on with.*")
        Plain.load_from_checkpoint(path)
