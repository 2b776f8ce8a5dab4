"""The published recipes in configs/recipes: each is what it says, runs, and prints back."""

from pathlib import Path

import pytest
import yaml

from lightning_vae import VAEModule, likelihoods, objectives, posteriors, priors
from lightning_vae.cli import run
from tests.test_cli import CONFIGS, ON_CPU, here, mnist_root  # noqa: F401  the last two are fixtures

RECIPES = {path.stem: path for path in (CONFIGS / "recipes").glob("*.yaml")}
recipes = pytest.mark.parametrize("recipe", RECIPES)

# What each is about: the paper its header names, and the parts that make it so.
ABOUT = {
    "beta_vae": ("Higgins et al. 2017", lambda vae: vae.objective.beta == 4),
    "burgess": ("Burgess et al. 2018", lambda vae: vae.objective.beta == 1000),
    "beta_tcvae": (
        "Chen et al. 2018",
        lambda vae: isinstance(vae.objective, objectives.TotalCorrelation),
    ),
    "factor_vae": (
        "Kim & Mnih 2018",
        lambda vae: isinstance(vae.objective, objectives.FactorVAE) and len(vae.optimizers()) == 2,
    ),
    "dip_vae_i": ("Kumar, Sattigeri", lambda vae: vae.objective.variant == "I"),
    "dip_vae_ii": ("Kumar, Sattigeri", lambda vae: vae.objective.variant == "II"),
    "info_vae": ("Zhao, Song & Ermon 2019", lambda vae: vae.objective.kernel == "rbf"),
    "wae": ("Tolstikhin et al. 2018", lambda vae: vae.objective.beta == 0),
    "iwae": ("Burda, Grosse", lambda vae: vae.objective.samples == 50),
    "vamp_prior": (
        "Tomczak & Welling 2018",
        lambda vae: isinstance(vae.prior, priors.VampPrior) and vae.prior.encoder is vae.encoder,
    ),
    "sigma_vae": (
        "Rybkin, Daniilidis & Levine 2021",
        lambda vae: isinstance(vae.decoder.likelihood, likelihoods.OptimalGaussian),
    ),
    "s_vae": (
        "Davidson et al. 2018",
        lambda vae: isinstance(vae.encoder.posterior, posteriors.VonMisesFisher),
    ),
    "pae_nmf": (
        "Squires, Prügel-Bennett & Niranjan 2019",
        lambda vae: isinstance(vae.encoder.posterior, posteriors.Weibull),
    ),
}
# Shorter, where the options of all would leave it long.
SMALL = {"beta_tcvae": ["--data.train_size=512", "--model.objective.size=512"]}


def test_every_recipe_is_here():
    assert set(RECIPES) == set(ABOUT)


def header(path: Path) -> str:
    lines = path.read_text().splitlines()
    return "\n".join(line for line in lines[: lines.index("seed_everything: 0")])


@recipes
def test_every_header_names_the_paper_the_command_and_the_numbers(recipe):
    text = header(RECIPES[recipe])
    assert all(line.startswith("# ") for line in text.splitlines())
    assert ABOUT[recipe][0] in text
    assert f"lightning-vae fit -c configs/recipes/{recipe}.yaml" in text
    assert any(whose in text for whose in ("disentanglement_lib", "authors'", "paper's"))


@recipes
def test_every_recipe_runs_and_keeps_what_it_watches(here, mnist_root, recipe):  # noqa: F811
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=3"]
    short += [
        "--trainer.limit_val_batches=2",
        "--data.batch_size=8",
        "--trainer.log_every_n_steps=1",
    ]
    cli = run(["fit", "-c", str(RECIPES[recipe]), *short, *SMALL.get(recipe, []), *ON_CPU])
    assert ABOUT[recipe][1](cli.model)
    best = cli.trainer.checkpoint_callback
    assert best.best_model_score.isfinite(), best.monitor
    assert best.monitor == {"wae": "val/loss", "iwae": "val/bound"}.get(recipe, "val/elbo")
    assert all(p.isfinite().all() for p in cli.model.parameters())
    last = Path(cli.trainer.log_dir) / "checkpoints" / "last.ckpt"
    loaded = VAEModule.load_from_checkpoint(last)
    assert loaded.objective.coefficients == cli.model.objective.coefficients
    assert loaded.sample(2).isfinite().all()
    assert cli.trainer.global_step == (6 if recipe == "factor_vae" else 3)


@recipes
def test_every_recipe_prints_back_as_it_was_read(capsys, here, recipe):  # noqa: F811
    def printed(path: Path) -> str:
        with pytest.raises(SystemExit):
            run(["fit", "-c", str(path), "--print_config"])
        return capsys.readouterr().out

    first = printed(RECIPES[recipe])
    (here / "printed.yaml").write_text(first)
    assert yaml.safe_load(printed(here / "printed.yaml")) == yaml.safe_load(first)
