"""What holds for the package as a whole: one direction of imports, a row for every class, docs."""

import ast
import copy
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
from abc import ABC
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from torch import nn
from torch.distributions import Distribution

import lightning_vae as lv
from lightning_vae import (
    callbacks,
    data,
    distributions,
    likelihoods,
    metrics,
    networks,
    objectives,
    posteriors,
    priors,
)
from lightning_vae.distributions import (
    conditioner,
    continuous_bernoulli,
    discretised_logistic_mixture,
    mixture,
    negative_binomial,
    poisson,
    profile_normal,
    sentences,
    tokens,
    weighted,
    zero_inflated,
)

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lightning_vae"

# Left to right, as in the design; a file imports only from its left. Lightning begins with what
# the module is built on.
LAYERS = [
    {"arguments"},
    {"schedules", "coefficients", "conversions", "evaluation"},
    {"distributions", "checkpoints"},
    {"divergences", "likelihoods", "posteriors"},
    {"priors", "networks"},
    {"latents"},
    {"objectives"},
    {"terms"},
    {"clock", "hyperparameters", "optimizers"},
    {"module"},
    {"metrics", "data", "pictures"},
    {"callbacks"},
    {"drawing"},
    {"cli"},
]

# The one table: every concrete class of these kinds has a row, and every row is swept.
ROWS: dict[type, Callable[[], Any]] = {
    lv.Chain: lambda: lv.Constant(0.0, over=2) >> lv.Linear(0, 1, over=3),
    lv.Constant: lambda: lv.Constant(0.5),
    lv.Cosine: lambda: lv.Cosine(0, 1, over=5),
    lv.Cyclic: lambda: lv.Cyclic(lv.Linear(0, 1, over=5), period=10),
    lv.Exponential: lambda: lv.Exponential(0.01, 1, over=5),
    lv.Linear: lambda: lv.Linear(0, 1, over=5),
    lv.LogUniform: lambda: lv.LogUniform(0.1, 4, seed=0),
    lv.Logistic: lambda: lv.Logistic(0, 1, midpoint=5, rate=1),
    lv.Piecewise: lambda: lv.Piecewise([(0, 0.0), (5, 1.0)]),
    lv.Sigmoid: lambda: lv.Sigmoid(0, 1, over=5),
    distributions.DiagonalGaussian: lambda: lv.DiagonalGaussian(torch.zeros(3, 2), torch.ones(2)),
    distributions.StandardGaussian: lambda: distributions.StandardGaussian((3, 2)),
    distributions.AutoregressiveNormal: lambda: distributions.AutoregressiveNormal(0.9, 4),
    distributions.Bernoulli: lambda: distributions.Bernoulli(torch.zeros(3, 2)),
    distributions.Exponential: lambda: distributions.Exponential(torch.zeros(3, 2)),
    distributions.Weibull: lambda: distributions.Weibull(torch.zeros(3, 2), torch.ones(2)),
    distributions.Uniform: lambda: distributions.Uniform(torch.zeros(3, 2), torch.ones(2)),
    distributions.StableGaussian: lambda: distributions.StableGaussian(torch.zeros(3, 2), 1.0),
    distributions.HypersphericalUniform: lambda: distributions.HypersphericalUniform(3, (2,)),
    distributions.VonMisesFisher: lambda: distributions.VonMisesFisher(torch.eye(3), 5.0),
    distributions.Pushforward: lambda: distributions.Pushforward(
        lv.DiagonalGaussian(torch.zeros(3, 2), torch.ones(2)),
        [distributions.PlanarFlow(torch.ones(2), torch.ones(2), torch.zeros(()))],
    ),
    distributions.RelaxedCategorical: lambda: distributions.RelaxedCategorical(torch.zeros(3, 2)),
    continuous_bernoulli.ContinuousBernoulli: lambda: continuous_bernoulli.ContinuousBernoulli(
        torch.zeros(3, 2)
    ),
    poisson.Poisson: lambda: poisson.Poisson(torch.zeros(3, 2)),
    negative_binomial.NegativeBinomial: lambda: negative_binomial.NegativeBinomial(
        torch.zeros(3, 2), torch.zeros(2)
    ),
    zero_inflated.ZeroInflated: lambda: zero_inflated.ZeroInflated(
        poisson.Poisson(torch.zeros(3, 2)), torch.zeros(3, 2)
    ),
    profile_normal.ProfileNormal: lambda: profile_normal.ProfileNormal(torch.zeros(3), 1.0, 0.01),
    sentences.Sentences: lambda: sentences.Sentences(
        networks.LSTMDecoder(9, 2, 3, 4), torch.zeros(3, 2), length=5
    ),
    tokens.Tokens: lambda: tokens.Tokens(torch.zeros(3, 4, 5), padding=0),
    weighted.Weighted: lambda: weighted.Weighted(
        distributions.Bernoulli(torch.zeros(3, 2)), torch.ones(3, 1)
    ),
    discretised_logistic_mixture.DiscretisedLogisticMixture: lambda: (
        discretised_logistic_mixture.DiscretisedLogisticMixture(
            torch.zeros(3, 2, 5), torch.zeros(3, 2, 1, 5), torch.zeros(3, 2, 1, 5)
        )
    ),
    likelihoods.Bernoulli: likelihoods.Bernoulli,
    likelihoods.Gaussian: lambda: likelihoods.Gaussian(0.5),
    likelihoods.Laplace: lambda: likelihoods.Laplace(0.5),
    likelihoods.ContinuousBernoulli: likelihoods.ContinuousBernoulli,
    likelihoods.Poisson: likelihoods.Poisson,
    likelihoods.NegativeBinomial: likelihoods.NegativeBinomial,
    likelihoods.ZeroInflatedNegativeBinomial: likelihoods.ZeroInflatedNegativeBinomial,
    likelihoods.LearnedGaussian: likelihoods.LearnedGaussian,
    likelihoods.HeteroscedasticGaussian: likelihoods.HeteroscedasticGaussian,
    likelihoods.OptimalGaussian: likelihoods.OptimalGaussian,
    likelihoods.DiscretisedLogisticMixture: likelihoods.DiscretisedLogisticMixture,
    likelihoods.Categorical: lambda: likelihoods.Categorical(5, padding=0),
    likelihoods.Weighted: lambda: likelihoods.Weighted(likelihoods.Gaussian(), torch.ones(2)),
    priors.StandardNormal: lambda: lv.StandardNormal(4),
    priors.Product: lambda: lv.Product(lv.StandardNormal(4), lv.StandardNormal((2, 3))),
    priors.AutoregressiveNormal: lambda: priors.AutoregressiveNormal(4, correlation=0.9),
    priors.DiagonalNormal: lambda: priors.DiagonalNormal(4),
    priors.GaussianMixture: lambda: priors.GaussianMixture(4, components=3),
    priors.VampPrior: lambda: priors.VampPrior((3, 4), networks.MLPEncoder((4,), 2)),
    priors.RealNVP: lambda: priors.RealNVP(4),
    priors.Conditional: lambda: priors.Conditional(networks.MLPEncoder((3,), 2), "label"),
    conditioner.Conditioner: lambda: conditioner.Conditioner(2, 3),
    priors.HypersphericalUniform: lambda: priors.HypersphericalUniform(4),
    priors.Weibull: lambda: priors.Weibull(4),
    posteriors.Gaussian: posteriors.Gaussian,
    posteriors.VonMisesFisher: lambda: posteriors.VonMisesFisher(50.0),
    posteriors.Weibull: posteriors.Weibull,
    posteriors.Exponential: posteriors.Exponential,
    posteriors.Laplace: posteriors.Laplace,
    posteriors.Uniform: posteriors.Uniform,
    posteriors.FullGaussian: posteriors.FullGaussian,
    posteriors.LowRankGaussian: lambda: posteriors.LowRankGaussian(2),
    posteriors.PlanarFlow: lambda: posteriors.PlanarFlow(4, layers=2),
    posteriors.CouplingFlow: lambda: posteriors.CouplingFlow(4, layers=2),
    posteriors.RelaxedCategorical: lambda: posteriors.RelaxedCategorical(4, 0.5),
    priors.UniformCategorical: lambda: priors.UniformCategorical(3, 4),
    posteriors.BatchNormGaussian: lambda: posteriors.BatchNormGaussian(4),
    posteriors.DeltaGaussian: lambda: posteriors.DeltaGaussian(0.1),
    mixture.Mixture: lambda: mixture.Mixture(
        torch.distributions.Categorical(torch.ones(2)), lv.DiagonalGaussian(torch.zeros(2), 0.0)
    ),
    networks.MLPEncoder: lambda: networks.MLPEncoder((1, 8, 8), latent=4),
    networks.MLPDecoder: lambda: networks.MLPDecoder((1, 8, 8), latent=4),
    networks.ConvEncoder: lambda: networks.ConvEncoder((1, 16, 16), 4, (4, 8), hidden=(16,)),
    networks.ConvDecoder: lambda: networks.ConvDecoder((1, 16, 16), 4, (4, 8), hidden=(16,)),
    networks.LSTMEncoder: lambda: networks.LSTMEncoder(9, 2, 3, 4),
    networks.LSTMDecoder: lambda: networks.LSTMDecoder(9, 2, 3, 4, length=5),
    networks.TransformerDecoder: lambda: networks.TransformerDecoder(9, 2, 4, heads=2, length=5),
    lv.ELBO: lambda: lv.ELBO(beta=4.0, free_bits=0.1, capacity=2.0),
    objectives.TotalCorrelation: lambda: objectives.TotalCorrelation(size=100),
    objectives.DIP: lambda: objectives.DIP(lambda_od=5.0),
    objectives.MMD: lambda: objectives.MMD(lambda_mmd=10.0),
    objectives.ImportanceWeighted: lambda: objectives.ImportanceWeighted(samples=5),
    objectives.FactorVAE: lambda: objectives.FactorVAE(latents=2, hidden=(8,)),
    objectives.Balanced: lambda: objectives.Balanced(beta=0.5),
    objectives.MultiRate: objectives.MultiRate,
    objectives.RateGate: lambda: objectives.RateGate(8),
    objectives.Regularised: lambda: objectives.Regularised(gamma=2.0),
    lv.VAEModule: lambda: lv.VAEModule(
        networks.MLPEncoder((4,), 2), networks.MLPDecoder((4,), 2), lv.StandardNormal(2)
    ),
    lv.Anneal: lambda: lv.Anneal("objective.beta", lv.Linear(0, 1, over=5)),
    lv.BetaAnnealing: lambda: lv.BetaAnnealing(lv.Linear(0, 1, over=5)),
    lv.FreeBitsAnnealing: lambda: lv.FreeBitsAnnealing(0.25),
    lv.CapacityAnnealing: lambda: lv.CapacityAnnealing(lv.Linear(0, 25, over=5)),
    lv.CyclicalAnnealing: lambda: lv.CyclicalAnnealing(cycles=4),
    callbacks.RateController: lambda: callbacks.RateController(20.0),
    callbacks.GECO: lambda: callbacks.GECO(90.0, observe="mse"),
    callbacks.REWO: lambda: callbacks.REWO(90.0, tau=3.0),
    callbacks.MinimumRate: lambda: callbacks.MinimumRate(5.0),
    callbacks.SoftFreeBits: lambda: callbacks.SoftFreeBits(5.0, slack=0.1),
    callbacks.CollapseMonitor: lambda: callbacks.CollapseMonitor(action=callbacks.LowerBeta()),
    callbacks.EvaluationReport: lambda: callbacks.EvaluationReport("results"),
    metrics.ActiveUnits: lambda: metrics.ActiveUnits(of="rates"),
    metrics.ELBODecomposition: lambda: metrics.ELBODecomposition(examples=10),
    metrics.MarginalLikelihood: lambda: metrics.MarginalLikelihood(samples=5),
    metrics.MutualInformation: metrics.MutualInformation,
    metrics.RateSpectrum: metrics.RateSpectrum,
    metrics.ShuffledGap: metrics.ShuffledGap,
    metrics.VarianceSaturation: metrics.VarianceSaturation,
    callbacks.Reconstructions: callbacks.Reconstructions,
    callbacks.PriorSamples: lambda: callbacks.PriorSamples(temperature=0.7),
    callbacks.LatentTraversal: lambda: callbacks.LatentTraversal(by="quantile"),
    callbacks.CodeInterpolation: lambda: callbacks.CodeInterpolation([0.0, 0.0], [1.0, 2.0]),
    callbacks.ImageInterpolation: lambda: callbacks.ImageInterpolation(path="slerp"),
    callbacks.RateSpectrumFigure: callbacks.RateSpectrumFigure,
    callbacks.LatentScatter: lambda: callbacks.LatentScatter(column=1),
    callbacks.ScheduleOverlay: callbacks.ScheduleOverlay,
    lv.callbacks.DisentanglementEvaluation: lambda: lv.callbacks.DisentanglementEvaluation(
        points=9
    ),
    callbacks.SampleQuality: lambda: callbacks.SampleQuality([metrics.ReconstructionQuality()]),
    metrics.BetaVAEScore: metrics.BetaVAEScore,
    metrics.DCI: metrics.DCI,
    metrics.Explicitness: metrics.Explicitness,
    metrics.FactorVAEScore: metrics.FactorVAEScore,
    metrics.FrechetDistance: lambda: metrics.FrechetDistance(nn.Flatten(), features=6),
    metrics.GaussianTotalCorrelation: metrics.GaussianTotalCorrelation,
    metrics.GaussianWassersteinCorrelation: metrics.GaussianWassersteinCorrelation,
    metrics.IRS: metrics.IRS,
    metrics.MIG: metrics.MIG,
    metrics.Modularity: metrics.Modularity,
    metrics.PosteriorMIG: metrics.PosteriorMIG,
    metrics.PrecisionRecall: lambda: metrics.PrecisionRecall(nn.Flatten()),
    metrics.ReconstructionQuality: metrics.ReconstructionQuality,
    metrics.SAP: metrics.SAP,
    metrics.UDR: metrics.UDR,
    callbacks.LaggingInference: lambda: callbacks.LaggingInference(most=10),
    callbacks.ResetAt: lambda: callbacks.ResetAt(5, callbacks.Reset(optimizer=True)),
    data.Text: lambda: data.Text("data/ptb"),
    data.ToyText: lambda: data.ToyText(train_size=10),
    data.Arrays: lambda: data.Arrays(torch.rand(5, 2), torch.rand(3, 2)),
    data.MNIST: lambda: data.MNIST("data"),
    data.FashionMNIST: lambda: data.FashionMNIST("data"),
    data.LinearGaussian: lambda: data.LinearGaussian(size=100),
    data.Sprites: lambda: data.Sprites(train_size=100, val_size=10, test_size=10),
    data.DSprites: lambda: data.DSprites("data"),
    data.CelebA: lambda: data.CelebA("data"),
    data.CelebAHQ: lambda: data.CelebAHQ("data", as_npy=True),
    data.ImageFolder: lambda: data.ImageFolder("data"),
    data.BinarizedMNIST: lambda: data.BinarizedMNIST("data"),
    data.Omniglot: lambda: data.Omniglot("data"),
    data.FreyFaces: lambda: data.FreyFaces("data"),
    data.Counts: lambda: data.Counts("cells.h5ad"),
    data.PBMC3k: lambda: data.PBMC3k("data"),
}
KINDS = (lv.Schedule, Distribution, nn.Module, Callback, LightningDataModule)


def modules() -> Iterator[str]:
    for info in pkgutil.walk_packages([str(PACKAGE)], "lightning_vae."):
        if not info.name.endswith("__main__"):
            yield info.name


def concrete_classes() -> list[type]:
    found = {}
    for name in modules():
        for member in vars(importlib.import_module(name)).values():
            if inspect.isclass(member) and member.__module__.startswith("lightning_vae."):
                abstract = inspect.isabstract(member) or ABC in member.__bases__
                if issubclass(member, KINDS) and not abstract and member.__name__[0] != "_":
                    found[member] = None
    return list(found)


def test_every_concrete_class_has_its_row():
    assert set(ROWS) == set(concrete_classes())


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_class_can_be_sent_copied_and_printed(cls):
    made = ROWS[cls]()
    assert type(made) is cls
    assert type(pickle.loads(pickle.dumps(made))) is cls
    assert type(copy.deepcopy(made)) is cls
    assert cls.__name__ in repr(made) or issubclass(cls, (LightningDataModule, lv.Chain))


@pytest.mark.parametrize("cls", ROWS, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_class_documents_itself_with_an_example_that_runs(cls):
    assert cls.__doc__
    lines = cls.__doc__.strip().splitlines()
    assert lines[0].endswith("."), "one sentence first"
    assert ">>>" in cls.__doc__


def test_every_public_function_documents_itself():
    for name in modules():
        module = importlib.import_module(name)
        assert module.__doc__, name
        for public in getattr(module, "__all__", []):
            member = getattr(module, public)
            if inspect.isfunction(member) and member.__module__ == name:
                assert member.__doc__, f"{name}.{public}"


def imports(path: Path) -> set[str]:
    """The package's modules that a file imports at runtime."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if room(p) not in ("__init__", "__main__")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    depth = next(i for i, layer in enumerate(LAYERS) if room(path) in layer)
    left = set().union(*LAYERS[:depth])
    for name in imports(path):
        if name.startswith("lightning_vae."):
            other = name.split(".")[1]
            assert other in left | {room(path)}, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_left_of_the_module_imports_lightning(path):
    depth = next(i for i, layer in enumerate(LAYERS) if room(path) in layer)
    packages = {name.split(".")[0] for name in imports(path)}
    if depth < LAYERS.index({"clock", "hyperparameters", "optimizers"}):
        assert not packages & {"lightning", "pytorch_lightning"}
    if room(path) == "schedules":
        assert not packages & {"torch", "numpy"}


def test_importing_the_package_prints_nothing_and_loads_no_command_line():
    code = "import sys, lightning_vae; assert 'lightning_vae.cli' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_all_public_names_exist_and_are_sorted():
    for name in ["lightning_vae", *modules()]:
        module = importlib.import_module(name)
        public = getattr(module, "__all__", [])
        assert all(hasattr(module, each) for each in public), name


def test_lightning_modules_are_few():
    """A VAE variant is an argument, not a module class."""
    found = [cls for cls in concrete_classes() if issubclass(cls, LightningModule)]
    assert found == [lv.VAEModule]
