"""The module: encoder, prior, decoder and objective, and what it promises around them."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal
from torch.utils.data import DataLoader, TensorDataset

from lightning_vae import (
    ELBO,
    Anneal,
    BetaAnnealing,
    Coefficient,
    DiagonalGaussian,
    FreeBitsAnnealing,
    Latent,
    Linear,
    Objective,
    Prior,
    StandardNormal,
    VAEModule,
    likelihoods,
)
from lightning_vae.divergences import kl
from lightning_vae.networks import MLPDecoder, MLPEncoder

X = torch.rand(12, 4, generator=torch.Generator().manual_seed(3))


def mlp(objective: Objective | None = None, **kwargs) -> VAEModule:
    encoder, decoder = MLPEncoder((4,), 2, hidden=(8,)), MLPDecoder((4,), 2, hidden=(8,))
    return VAEModule(encoder, decoder, objective=objective, **kwargs)


class Subclassed(VAEModule):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Linear(4, width)
        self.heads = nn.Linear(width, 4)
        self.out = nn.Linear(2, 4)

    def encode(self, x):
        loc, log_variance = self.heads(self.body(x).relu()).chunk(2, 1)
        return DiagonalGaussian(loc, log_variance)

    def decode(self, z):
        return likelihoods.Bernoulli()(self.out(z))


class TwoSpaces(VAEModule):
    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.first, self.second = MLPEncoder((4,), 2), MLPEncoder((4,), 3)
        self.out = MLPDecoder((4,), 5)

    def encode(self, x):
        return self.first(x), self.second(x)

    def decode(self, z):
        return self.out(torch.cat(z, 1))


class Ladder(VAEModule):
    """A hierarchy of two layers: one method overridden."""

    def __init__(self) -> None:
        super().__init__(prior=[StandardNormal(2), StandardNormal(2)])
        self.bottom, self.top = MLPEncoder((4,), 2), MLPEncoder((2,), 2)
        self.down, self.out = MLPEncoder((2,), 2), MLPDecoder((4,), 2)

    def infer(self, x, samples=None, **context):
        q1 = self.bottom(x)
        q2 = self.top(q1.loc)
        z2 = q2.rsample()
        p1 = self.down(z2)
        z1, p2 = q1.rsample(), self.prior()[1]
        return Latent(q1, p1, z1, kl(q1, p1, z1)), Latent(q2, p2, z2, kl(q2, p2, z2))

    def decode(self, z):
        return self.out(z[0])

    def draw(self, n, **context):
        z2 = self.prior()[1].sample((n,))
        return self.down(z2).sample(), z2


class Conditional(VAEModule):
    """A conditional VAE is the context, and two networks that take it."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.p = MLPEncoder((7,), 2), MLPDecoder((4,), 5)

    def context(self, batch):
        return {"label": nn.functional.one_hot(batch[1], 3).float()}

    def encode(self, x, label):
        return self.q(torch.cat([x, label], 1))

    def decode(self, z, label):
        return self.p(torch.cat([z, label], 1))


MODULES = {
    "composed": mlp,
    "subclassed": Subclassed,
    "two latent spaces": TwoSpaces,
    "hierarchy": Ladder,
}


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_every_term_is_per_example_and_in_nats(make):
    output = make()(X)
    oracle = output.likelihood.log_prob(X).sum(1)
    for latent in output.latents:
        oracle = oracle - torch.distributions.kl_divergence(
            latent.posterior, _base(latent.prior)
        ).sum(1)
        assert latent.rate.shape == latent.z.shape
    torch.testing.assert_close(output.elbo, oracle)


def _base(d: Distribution) -> Distribution:
    return d.base_dist if isinstance(d, Independent) else d


@pytest.mark.parametrize("make", [mlp, Subclassed, TwoSpaces])
def test_k_draws_lead_every_term(make):
    vae = make()
    output = vae(X, samples=5)
    assert output.distortion.shape == output.rate.shape == output.elbo.shape == (5, 12)
    for latent in output.latents:
        assert latent.z.shape[:2] == latent.rate.shape[:2] == (5, 12)
    k, b = 3, 7
    z = tuple(latent.z[k] for latent in output.latents)
    alone = vae.decode(z[0] if len(z) == 1 else z).log_prob(X).sum(1)[b]
    torch.testing.assert_close(-output.distortion[k, b], alone)


def test_k_draws_repeat_the_context():
    vae, y = Conditional(), torch.arange(12) % 3
    context = vae.context((X, y))
    output = vae(X, samples=4, **context)
    one = vae.decode(output.latents[0].z[2], **context).log_prob(X).sum(1)
    torch.testing.assert_close(-output.distortion[2], one)


@pytest.mark.parametrize(
    ("batch", "x"),
    [(X, X), ((X, 1), X), ([X], X), ({"x": X, "y": 0}, X)],
    ids=["tensor", "tuple", "list", "dict"],
)
def test_a_batch_may_be_a_tensor_a_tuple_or_a_dict(batch, x):
    assert mlp().inputs(batch) is x


@pytest.mark.parametrize(
    ("batch", "message"),
    [({"image": X}, r"keys \['image'\] but no \"x\""), ((1, X), "got int")],
)
def test_any_other_batch_is_refused_with_the_remedy(batch, message):
    with pytest.raises(ValueError, match=message) as caught:
        mlp().inputs(batch)
    assert "override inputs(batch)" in str(caught.value)


def test_a_conditional_vae_trains_from_tuples(fit_with):
    data = DataLoader(TensorDataset(X, torch.arange(12) % 3), 4)
    vae = Conditional()
    fit_with(max_epochs=1).fit(vae, data, data)
    label = nn.functional.one_hot(torch.tensor([2, 2]), 3).float()
    assert vae.sample(2, label=label).shape == (2, 4)


# ---- sample, reconstruct, embed, predict -----------------------------------------------------------


class Dropping(Subclassed):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.9), nn.BatchNorm1d(8))


@pytest.mark.parametrize("call", ["embed", "reconstruct", "sample"])
def test_what_a_trained_model_is_for_runs_in_eval_without_gradient_and_restores_the_mode(call):
    vae = Dropping()
    vae(X)
    vae.train()
    vae.body[2].eval()  # a frozen layer stays as it was
    argument = 5 if call == "sample" else X
    result = getattr(vae, call)(argument)
    assert not result.requires_grad
    assert vae.training
    assert not vae.body[2].training
    if call != "sample":
        torch.testing.assert_close(getattr(vae, call)(argument), result)
    with pytest.raises((TypeError, AttributeError)):
        getattr(vae, call)("nonsense")
    assert vae.training


def test_embed_is_the_posterior_mean_and_a_draw_on_demand():
    vae = mlp()
    torch.testing.assert_close(vae.embed(X), vae.encode(X).mean)
    draws = torch.stack([vae.embed(X, sample=True) for _ in range(4000)])
    torch.testing.assert_close(draws.mean(0), vae.encode(X).mean, atol=0.1, rtol=0)
    assert [z.shape for z in TwoSpaces().embed(X)] == [(12, 2), (12, 3)]


def test_sample_before_the_first_batch_says_what_to_write():
    with pytest.raises(RuntimeError, match=r"prior=StandardNormal\(20\)"):
        mlp().sample(2)
    assert mlp(prior=StandardNormal(2)).sample(2).shape == (2, 4)
    two = TwoSpaces(prior=[StandardNormal(2), StandardNormal(3)])
    assert two.sample(6).shape == (6, 4)


def test_a_float64_module_works_throughout():
    vae = mlp().double()
    output = vae(X.double())
    assert output.elbo.dtype == vae.sample(2).dtype == vae.embed(X.double()).dtype == torch.float64
    vae.float()
    assert vae.sample(2).dtype == torch.float32


def test_predict_gives_embedding_and_elbo_the_same_at_every_call(fit_with):
    vae, data = mlp(), DataLoader(X, 5)
    trainer = fit_with()
    first, second = trainer.predict(vae, data), trainer.predict(vae, data)
    assert [len(p["elbo"]) for p in first] == [5, 5, 2]
    for a, b, x in zip(first, second, X.split(5), strict=True):
        torch.testing.assert_close(a["embedding"], vae.embed(x))
        assert torch.equal(a["embedding"], b["embedding"])
        assert torch.equal(a["elbo"], b["elbo"])


def test_predict_step_by_itself_is_deterministic_and_without_gradient():
    vae = Dropping()
    first, second = vae.predict_step(X, 0), vae.predict_step(X, 0)
    assert torch.equal(first["embedding"], second["embedding"])
    assert torch.equal(first["elbo"], second["elbo"])
    assert not first["elbo"].requires_grad
    assert vae.training


@pytest.mark.parametrize("make", MODULES.values(), ids=MODULES)
def test_every_module_does_everything(fit_with, make):
    vae, data = make(), DataLoader(X, 4)
    trainer = fit_with(max_epochs=1)
    trainer.fit(vae, data, data)
    if not isinstance(vae, Ladder):
        assert vae(X, samples=3).elbo.shape == (3, 12)
    assert vae.sample(5).shape == (5, 4)
    assert vae.reconstruct(X).shape == (12, 4)
    for sample in (False, True):
        embedding = vae.embed(X, sample=sample)
        groups = embedding if isinstance(embedding, tuple) else (embedding,)
        assert [z.shape for z in groups] == [g.z.shape for g in vae(X).latents]
    torch.testing.assert_close(vae.embed(X), vae.embed(X))
    predicted = trainer.predict(vae, data)[0]
    torch.testing.assert_close(predicted["embedding"], vae.embed(X[:4]))


def test_each_group_of_several_is_logged(fit_with):
    for vae in (TwoSpaces(), Ladder()):
        trainer = fit_with(max_epochs=1)
        trainer.fit(vae, DataLoader(X, 4), DataLoader(X, 5))
        for stage in ("train", "val"):
            rates = [trainer.callback_metrics[f"{stage}/rate/{g}"] for g in range(2)]
            torch.testing.assert_close(sum(rates), trainer.callback_metrics[f"{stage}/rate"])
        assert vae.val_rate.mean()[0].sum().item() == pytest.approx(
            trainer.callback_metrics["val/rate/0"].item(), rel=1e-5
        )


class Plainest(Ladder):
    """A hierarchy that never heard of K draws."""

    def infer(self, x):
        return super().infer(x)


def test_a_hierarchy_need_not_know_of_k_draws(fit_with):
    fit_with(max_epochs=1).fit(Plainest(), DataLoader(X, 4), DataLoader(X, 4))


def test_data_in_float64_is_taken_at_the_modules_precision(fit_with):
    vae = mlp()
    fit_with(max_epochs=1).fit(vae, DataLoader(X.double(), 4), DataLoader(X.double(), 4))
    assert vae.embed(X.double()).dtype == torch.float32


class Undrawable(Ladder):
    draw = VAEModule.draw


def test_a_hierarchy_without_draw_says_what_to_write():
    with pytest.raises(RuntimeError, match=r"Undrawable overrides infer, .* write draw\(n\)"):
        Undrawable().sample(3)


class Remembering(Conditional):
    """What its networks were called with."""

    def encode(self, x, label):
        self.encoded = x, label
        return super().encode(x, label)

    def decode(self, z, label):
        self.decoded = label
        return super().decode(z, label)


@pytest.mark.parametrize("call", ["embed", "reconstruct", "sample"])
def test_what_a_user_calls_with_is_moved_to_the_module(call):
    vae = Remembering()
    vae.prior = StandardNormal(2)
    vae.to("meta").double()
    label = torch.zeros(3, 3)
    argument = 3 if call == "sample" else X[:3]
    result = getattr(vae, call)(argument, label=label)
    seen = [result] + (list(vae.encoded) if call != "sample" else [])
    seen += [vae.decoded] if call != "embed" else []
    assert {(t.device.type, t.dtype) for t in seen} == {("meta", torch.float64)}


class LabelPrior(Prior):
    """p(z|y): a mean for every label."""

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.Linear(3, 2)

    def forward(self, label, **_):
        return Independent(Normal(self.means(label), 1.0), 1)


def test_a_conditional_prior_takes_the_context():
    vae = Conditional()
    vae.prior = LabelPrior()
    nn.init.constant_(vae.prior.means.weight, 50.0)
    y = torch.arange(12) % 3
    latent = vae(X, **vae.context((X, y))).latents[0]
    oracle = torch.distributions.kl_divergence(latent.posterior, _base(latent.prior))
    torch.testing.assert_close(latent.rate, oracle)
    label = nn.functional.one_hot(torch.tensor([2, 2, 0]), 3).float()
    draws = vae.draw(3, label=label)
    assert draws.shape == (3, 2)
    torch.testing.assert_close(draws, vae.prior.means(label), atol=6.0, rtol=0)
    assert vae.sample(3, label=label).shape == (3, 4)
    assert vae(X, samples=5, **vae.context((X, y))).rate.shape == (5, 12)


class PerExample(ELBO):
    """β drawn for every example, known to both networks: context that the objective makes."""

    def context(self, x):
        return {"weight": torch.rand(len(x), 1) if self.training else torch.ones(len(x), 1)}

    def forward(self, output):
        weighted = output.context["weight"].squeeze(1) * output.rate
        return {"loss": (output.distortion + weighted).mean()}


class Weighted(VAEModule):
    def __init__(self) -> None:
        super().__init__(objective=PerExample())
        self.q, self.p, self.weights = MLPEncoder((5,), 2), MLPDecoder((4,), 3), []

    def encode(self, x, weight):
        self.weights.append(weight)
        return self.q(torch.cat([x, weight], 1))

    def decode(self, z, weight):
        return self.p(torch.cat([z, weight], 1))


def test_an_objective_may_make_context(fit_with):
    vae = Weighted()
    data = DataLoader(X, 4)
    trainer = fit_with(max_epochs=1)
    trainer.fit(vae, data, data)
    drawn = torch.cat(vae.weights[:3])
    assert len(drawn.unique()) == 12
    assert all((weight == 1).all() for weight in vae.weights[3:])
    output = vae(X, weight=torch.full((12, 1), 0.5))
    loss = vae.objective(output)["loss"]
    torch.testing.assert_close(loss, (output.distortion + 0.5 * output.rate).mean())
    assert vae.reconstruct(X).shape == (12, 4)
    assert len(trainer.predict(vae, data)) == 3


# ---- priors and posteriors ---------------------------------------------------------------------------


class Beta12(Prior):
    def forward(self):
        return Independent(Normal(torch.zeros(2), torch.full((2,), 3.0)), 1)


def test_any_prior_module_serves():
    output = mlp(prior=Beta12())(X)
    q = output.latents[0].posterior
    oracle = torch.distributions.kl_divergence(Normal(q.loc, q.scale), Normal(torch.zeros(2), 3.0))
    torch.testing.assert_close(output.latents[0].rate, oracle)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (StandardNormal(3), r"write prior=StandardNormal\(2\)"),
        ([StandardNormal(2), StandardNormal(2)], "2 latent spaces but encode returned 1"),
    ],
)
def test_a_prior_that_does_not_fit_is_refused(prior, message):
    with pytest.raises(ValueError, match=message):
        mlp(prior=prior)(X)


class OnlyDraws(Distribution):
    """A user's distribution: rsample and log_prob, nothing else."""

    def __init__(self, loc: Tensor) -> None:
        self.loc = loc
        super().__init__(loc.shape, validate_args=False)

    def rsample(self, sample_shape=()):
        return self.loc + torch.randn(*sample_shape, *self.loc.shape)

    def log_prob(self, value):
        return Normal(self.loc, 1.0).log_prob(value)


class Returning(Subclassed):
    """Encode to whatever posterior the test names."""

    def __init__(self, posterior) -> None:
        super().__init__()
        self.posterior = posterior

    def encode(self, x):
        loc, _ = self.heads(self.body(x).relu()).chunk(2, 1)
        return self.posterior(loc)


def test_a_distribution_with_only_rsample_and_log_prob_trains(fit_with):
    vae = Returning(OnlyDraws)
    fit_with(max_epochs=1).fit(vae, DataLoader(X, 4))
    output = vae(X)
    z, loc = output.latents[0].z, output.latents[0].posterior.loc
    oracle = Normal(loc, 1.0).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    torch.testing.assert_close(output.latents[0].rate, oracle)
    with pytest.raises(TypeError, match=r"OnlyDraws has no mean .* sample=True"):
        vae.embed(X)
    assert vae.embed(X, sample=True).shape == (12, 2)


def test_a_posterior_without_gradient_is_refused():
    with pytest.raises(TypeError, match="Poisson has no rsample"):
        Returning(lambda loc: torch.distributions.Poisson(loc.exp()))(X)


def test_a_full_covariance_posterior_gives_one_rate_an_example_and_no_free_bits_per_latent():
    vae = Returning(lambda loc: MultivariateNormal(loc, torch.eye(2)))
    vae.prior = _FullPrior()
    output = vae(X)
    assert output.latents[0].rate.shape == (12, 1)
    assert ELBO(free_bits=0.5, per="group")(output)["loss"].isfinite()
    with pytest.raises(ValueError, match="does not split over latents; write per='group'"):
        ELBO(free_bits=0.5)(output)


class _FullPrior(Prior):
    def forward(self):
        return MultivariateNormal(torch.zeros(2), torch.eye(2))


class Shapeless(OnlyDraws):
    """The same, stating no shapes."""

    def __init__(self, loc: Tensor) -> None:
        self.loc = loc
        Distribution.__init__(self, validate_args=False)


def test_k_draws_of_a_posterior_that_states_no_shapes():
    output = Returning(Shapeless)(X, samples=5)
    assert output.latents[0].rate.shape == (5, 12, 2)
    latent = output.latents[0]
    oracle = Normal(latent.posterior.loc, 1.0).log_prob(latent.z) - Normal(0.0, 1.0).log_prob(
        latent.z
    )
    torch.testing.assert_close(latent.rate, oracle)


# ---- validation ----------------------------------------------------------------------------------------


def test_val_elbo_is_exact_over_the_set_free_of_annealing_and_the_same_at_every_validation(
    fit_with,
):
    vae = mlp(ELBO(beta=7.0, free_bits=0.5, capacity=1.0))
    data = DataLoader(X, 5)
    trainer = fit_with()
    first = trainer.validate(vae, data, verbose=False)[0]
    torch.randn(17)
    assert trainer.validate(vae, data, verbose=False)[0] == first
    elbo = torch.cat([p["elbo"] for p in trainer.predict(vae, data)])
    assert first["val/elbo"] == pytest.approx(elbo.mean().item(), rel=1e-6)
    assert first["val/elbo"] == pytest.approx(-first["val/distortion"] - first["val/rate"])
    assert first["val/loss"] != pytest.approx(-first["val/elbo"])
    vae.objective.beta = 0.0
    assert trainer.validate(vae, data, verbose=False)[0]["val/elbo"] == first["val/elbo"]


def test_test_logs_the_same_under_its_own_name(fit_with):
    vae, trainer = mlp(), fit_with()
    val = trainer.validate(vae, DataLoader(X, 5), verbose=False)[0]
    test = trainer.test(vae, DataLoader(X, 5), verbose=False)[0]
    assert {key.replace("test/", "val/"): value for key, value in test.items()} == val


def test_validation_leaves_trainings_random_state_alone(fit_with):
    def losses(val):
        torch.manual_seed(5)
        vae = mlp()
        seen = []
        vae.on_train_batch_end = lambda outputs, *_: seen.append(outputs["loss"].item())
        fit_with(max_epochs=3).fit(vae, DataLoader(X, 4), val)
        return seen

    # A DataLoader draws a seed for its workers; from its own generator, that nothing else disturbs.
    assert losses(None) == losses(DataLoader(X, 5, generator=torch.Generator()))


def test_two_validation_sets_are_told_apart(fit_with):
    trainer = fit_with(max_epochs=1)
    trainer.fit(mlp(), DataLoader(X, 4), [DataLoader(X, 4), DataLoader(X, 6)])
    assert {"val/elbo/dataloader_idx_0", "val/elbo/dataloader_idx_1"} <= set(
        trainer.callback_metrics
    )


# ---- training ------------------------------------------------------------------------------------------


def test_at_the_defaults_the_loss_is_the_negative_elbo(fit_with):
    vae = mlp()
    terms = vae.training_step(X, 0)
    assert set(terms) == {"loss", "distortion", "rate", "penalty"}
    assert terms["loss"].requires_grad
    assert not any(value.requires_grad for key, value in terms.items() if key != "loss")
    torch.testing.assert_close(terms["loss"].detach(), terms["distortion"] + terms["rate"])


def test_the_running_rate_is_the_mean_over_the_epoch(fit_with):
    vae = mlp(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.0))
    fit_with(max_epochs=2).fit(vae, DataLoader(X, 5), DataLoader(X, 7))
    mean = kl(vae.encode(X), vae.prior(), vae.embed(X)).mean(0)
    for running in (vae.train_rate, vae.val_rate):
        torch.testing.assert_close(running.mean()[0], mean)


class _Broken(Subclassed):
    def decode(self, z):
        return Independent(Normal(self.out(z) * float("inf"), 1.0, validate_args=False), 1)


@pytest.mark.parametrize(
    ("vae", "x", "message"),
    [
        (_Broken(), X, "not finite in distortion"),
        (
            Returning(lambda loc: DiagonalGaussian(loc * 1e30, loc)),
            X,
            "not finite in rate of group 0",
        ),
        (mlp(), X * 300, r"x lies outside the support of Bernoulli, .* to 2[89]"),
        (mlp(), X * float("nan"), "x has entries that are NaN"),
        (mlp(), X[:, None], "make the decoder's output"),
    ],
    ids=["distortion", "rate", "support", "nan", "shape"],
)
def test_a_bad_loss_names_its_term_before_anything_is_lost(vae, x, message):
    before = [p.clone() for p in vae.parameters()]
    with pytest.raises(ValueError, match=message):
        vae.training_step(x, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, vae.parameters(), strict=True))


def test_without_networks_the_error_says_what_to_write(fit_with):
    with pytest.raises(TypeError, match="encoder and decoder, or write encode and decode"):
        fit_with(max_epochs=1).fit(VAEModule(), DataLoader(X, 4))


def test_the_error_names_where_it_began():
    with pytest.raises(ValueError, match=r"not finite in distortion\. Look"):
        _Broken().training_step(X, 0)


# ---- an objective with networks of its own ---------------------------------------------------------------


class Adversarial(Objective):
    """A critic that tells the draws from the prior's, by an optimizer of its own."""

    gamma = Coefficient[float]()

    def __init__(self, gamma: float = 1.0, lr: float = 0.1) -> None:
        super().__init__()
        self.gamma, self.critic = gamma, nn.Linear(2, 1)
        self.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=lr)

    def forward(self, output):
        z = output.latents[0].z
        fooled = self.critic(z).mean()
        own = self.critic(torch.zeros_like(z)).mean() - self.critic(z.detach()).mean()
        loss = output.distortion.mean() + self.gamma * fooled
        return {"loss": loss, "own_loss": own, "fooled": fooled.detach()}


def test_an_objectives_own_networks_are_trained_by_their_own_loss_alone(fit_with):
    def trained(lr: float, gamma: float) -> VAEModule:
        torch.manual_seed(1)
        vae = mlp(Adversarial(gamma, lr), optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
        fit_with(max_epochs=1, limit_train_batches=1).fit(vae, DataLoader(X, 12))
        return vae

    still, moved, unweighed = trained(0.0, 1.0), trained(0.1, 1.0), trained(0.1, 0.0)
    torch.testing.assert_close(still.encoder.state_dict(), moved.encoder.state_dict())
    z_mean = (still.objective.critic.weight - moved.objective.critic.weight) / 0.1
    # The gradient of mean(critic(0)) - mean(critic(z)) is -mean(z), whatever the VAE's own loss.
    weight = unweighed.objective.critic.weight
    torch.testing.assert_close((still.objective.critic.weight - weight) / 0.1, z_mean)
    assert z_mean.norm() > 0
    assert not torch.equal(still.encoder.linears[0].weight, unweighed.encoder.linears[0].weight)


def test_with_two_optimizers_everything_else_is_the_same(fit_with, tmp_path):
    vae = mlp(Adversarial(), lr_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5))
    annealing = Anneal("objective.gamma", Linear(0, 1, over=6), unit="step")
    callbacks = [annealing, ModelCheckpoint(tmp_path, "run")]
    trainer = fit_with(max_epochs=2, callbacks=callbacks)
    trainer.fit(vae, DataLoader(X, 4), DataLoader(X, 4))
    assert vae.objective.gamma == pytest.approx(5 / 6)
    first, second = vae.optimizers()
    assert first.param_groups[0]["lr"] == 1e-3 / 4
    held = [len(o.param_groups[0]["params"]) for o in (first, second)]
    assert held == [8, 2]
    assert {"train/own_loss", "train/fooled", "val/own_loss"} <= set(trainer.callback_metrics)
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert saved["lightning_vae"]["coefficients"] == {"objective.gamma": pytest.approx(5 / 6)}
    assert "objective.critic.weight" in saved["state_dict"]
    resumed = mlp(Adversarial(), lr_scheduler=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5))
    again = Anneal("objective.gamma", Linear(0, 1, over=6), unit="step")
    fit_with(max_epochs=3, callbacks=[again]).fit(
        resumed, DataLoader(X, 4), ckpt_path=tmp_path / "run.ckpt"
    )
    assert resumed.objective.gamma == 1.0
    assert resumed.optimizers()[0].param_groups[0]["lr"] == 1e-3 / 8


def test_with_two_optimizers_a_checkpoint_of_an_epochs_last_step_has_the_next_learning_rate(
    fit_with, tmp_path
):
    def fit(epochs: int, ckpt_path: Path | None = None) -> list[float]:
        rates = []

        class Rates(Callback):
            def on_train_batch_start(self, trainer, *_):
                rates.append(trainer.optimizers[0].param_groups[0]["lr"])

            def on_train_batch_end(self, trainer, *_):
                trainer.save_checkpoint(tmp_path / f"{len(rates)}.ckpt")

        halving = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
        vae = mlp(Adversarial(), lr_scheduler=halving)
        fit_with(max_epochs=epochs, callbacks=[Rates()]).fit(
            vae, DataLoader(X, 4), ckpt_path=ckpt_path
        )
        return rates

    assert fit(3) == [1e-3] * 3 + [1e-3 / 2] * 3 + [1e-3 / 4] * 3
    assert fit(3, tmp_path / "6.ckpt") == [1e-3 / 4] * 3


def test_a_plateau_is_watched_with_two_optimizers_too(fit_with):
    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=0)

    still = {"optimizer": lambda p: torch.optim.SGD(p, lr=0.0)}
    vae = mlp(Adversarial(lr=0.0), lr_scheduler=plateau, **still)
    trainer = fit_with(max_epochs=3)
    trainer.fit(vae, DataLoader(X, 4), DataLoader(X, 4))
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 3
    assert trainer.lr_scheduler_configs[0].scheduler.best == trainer.callback_metrics["val/elbo"]
    with pytest.raises(ValueError, match="watches 'val/elbo', which is not logged"):
        fit_with(max_epochs=1).fit(mlp(Adversarial(), lr_scheduler=plateau), DataLoader(X, 4))


# ---- low precision ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_in_low_precision_the_elbo_is_that_of_full(fit_with, precision):
    """A thousand pixels and a mean over many examples, which bfloat16 gives three digits."""
    x = torch.rand(64, 32 * 32)
    torch.manual_seed(2)
    encoder, decoder = MLPEncoder((1024,), 4, hidden=(8,)), MLPDecoder((1024,), 4, hidden=(8,))
    vae = VAEModule(encoder, decoder, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    full = fit_with().validate(vae, DataLoader(x, 16), verbose=False)[0]
    trainer = fit_with(precision=precision, max_epochs=1)
    low = trainer.validate(vae, DataLoader(x, 16), verbose=False)[0]
    assert low["val/elbo"] == pytest.approx(full["val/elbo"], rel=2e-4)
    trainer.fit(vae, DataLoader(x, 16))
    assert vae.prior().mean.dtype == vae.dtype
    output = vae(x.to(vae.dtype))
    assert output.distortion.dtype == output.rate.dtype == output.elbo.dtype == torch.float32
    assert vae.sample(3).shape == (3, 1024)


# ---- optimisers ----------------------------------------------------------------------------------------


def test_the_default_optimiser_is_fused_adam_but_where_lightning_would_refuse_it(fit_with):
    vae = mlp()
    fit_with(max_epochs=1).fit(vae, DataLoader(X, 4))
    optimizer = vae.optimizers().optimizer
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["fused"]
    assert optimizer.defaults["lr"] == 1e-3


def test_optimiser_and_scheduler_come_as_callables(fit_with):
    def plateau(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max")

    def cosine(optimizer):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)

    for scheduler in (plateau, cosine):
        vae = mlp(
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5), lr_scheduler=scheduler
        )
        fit_with(max_epochs=2).fit(vae, DataLoader(X, 4), DataLoader(X, 4))
        assert isinstance(vae.optimizers().optimizer, torch.optim.SGD)


def test_a_plateau_that_looks_the_wrong_way_is_refused(fit_with):
    vae = mlp(lr_scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau)
    with pytest.raises(ValueError, match="write mode='max'"):
        fit_with(max_epochs=1).fit(vae, DataLoader(X, 4), DataLoader(X, 4))


# ---- checkpoints ---------------------------------------------------------------------------------------


def saved_run(fit_with, folder: Path, vae: VAEModule, *callbacks) -> Path:
    fit_with(max_epochs=1, callbacks=[ModelCheckpoint(folder, "run"), *callbacks]).fit(
        vae, DataLoader(X, 4)
    )
    return folder / "run.ckpt"


def test_a_checkpoint_is_read_without_pickle_and_remembers_the_latent_shape(fit_with, tmp_path):
    path = saved_run(fit_with, tmp_path, mlp())
    saved = torch.load(path, weights_only=True)
    assert saved["lightning_vae"]["latent_shapes"] == [[2]]
    vae = VAEModule.load_from_checkpoint(
        path, encoder=MLPEncoder((4,), 2, (8,)), decoder=MLPDecoder((4,), 2, (8,))
    )
    assert vae.sample(3).shape == (3, 4)
    assert not [key for key in saved["state_dict"] if "prior" in key or "objective" in key]


def test_several_spaces_are_remembered_too(fit_with, tmp_path):
    path = saved_run(fit_with, tmp_path, TwoSpaces())
    assert TwoSpaces.load_from_checkpoint(path).sample(3).shape == (3, 4)


class _Other(Objective):
    gamma = Coefficient[float]()

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, output):
        return {"loss": output.distortion.mean() + self.gamma * output.rate.mean()}


def test_another_objective_or_an_older_checkpoint_loads_too(fit_with, tmp_path):
    path = saved_run(fit_with, tmp_path, mlp())
    checkpoint = torch.load(path, weights_only=True)
    other = mlp(_Other())
    other.on_load_checkpoint(checkpoint)
    other.load_state_dict(checkpoint["state_dict"])
    assert other.objective.gamma == 2.0
    del checkpoint["lightning_vae"]
    mlp().on_load_checkpoint(checkpoint)


class StandardByItself(Subclassed):
    def __init__(self) -> None:
        super().__init__()
        self.prior = Beta12()


def test_a_prior_of_a_subclass_is_not_taken_for_the_default(fit_with, tmp_path):
    path = saved_run(fit_with, tmp_path, StandardByItself())
    assert torch.load(path, weights_only=True)["lightning_vae"]["latent_shapes"] is None
    assert isinstance(StandardByItself.load_from_checkpoint(path).prior, Beta12)


def test_weight_averaging_and_low_precision_do_not_blur_a_coefficient(fit_with):
    class Average(WeightAveraging):
        def __init__(self):
            super().__init__(use_buffers=True)

    vae = mlp()
    annealing = BetaAnnealing(Linear(0.9985, 0.9, over=3), unit="step")
    fit_with(max_epochs=1, callbacks=[annealing, Average()], precision="bf16-true").fit(
        vae, DataLoader(X, 4)
    )
    assert vae.objective.beta == Linear(0.9985, 0.9, over=3)(2)


# ---- hyperparameters: the four ways in which a checkpoint is read (two more in test_cli.py) ---------------


def test_python_resumes_and_loads_with_networks_passed(fit_with, tmp_path):
    path = saved_run(fit_with, tmp_path, mlp())
    vae = mlp()
    fit_with(max_epochs=2).fit(vae, DataLoader(X, 4), ckpt_path=path)
    loaded = VAEModule.load_from_checkpoint(
        path, encoder=MLPEncoder((4,), 2, (8,)), decoder=MLPDecoder((4,), 2, (8,))
    )
    assert loaded.embed(X).shape == (12, 2)


def test_a_subclass_keeps_its_plain_arguments_and_loads_by_itself(fit_with, tmp_path):
    path = saved_run(fit_with, tmp_path, Subclassed(width=5))
    vae = Subclassed.load_from_checkpoint(path)
    assert vae.hparams == {"width": 5}
    assert vae.body.out_features == 5


def test_an_argument_that_needs_pickle_is_left_out(fit_with, tmp_path):
    class Given(Subclassed):
        def __init__(self, net: nn.Module, width: int = 8, names: tuple = ("a", 1)) -> None:
            super().__init__(width)
            self.net = net

    path = saved_run(fit_with, tmp_path, Given(nn.Linear(1, 1)))
    assert torch.load(path, weights_only=True)["hyper_parameters"] == {
        "width": 8,
        "names": ("a", 1),
    }
    Given.load_from_checkpoint(path, net=nn.Linear(1, 1))


# ---- torch.compile -------------------------------------------------------------------------------------


def _losses(fit_with, prepare) -> list[float]:
    torch.manual_seed(7)
    vae, seen = mlp(ELBO(capacity=None)), []
    vae.on_train_batch_end = lambda outputs, *_: seen.append(outputs["loss"].item())
    callbacks = [
        BetaAnnealing(Linear(0, 1, over=6), unit="step"),
        FreeBitsAnnealing(Linear(0.1, 0.9, over=6), unit="step"),
    ]
    trainer = fit_with(max_epochs=3, callbacks=callbacks)
    trainer.fit(prepare(vae), DataLoader(X, 4))
    return seen


def _in_place(vae: LightningModule) -> LightningModule:
    vae.encoder.compile()
    vae.decoder.compile()
    return vae


@pytest.mark.slow
@pytest.mark.parametrize(
    "prepare", [_in_place, lambda vae: torch.compile(vae)], ids=["networks", "whole module"]
)
def test_compiled_losses_are_the_eager_ones_while_coefficients_move(fit_with, monkeypatch, prepare):
    torch._dynamo.reset()
    eager = _losses(fit_with, lambda vae: vae)
    with inductor.patch("fallback_random", True):  # eager's own draws
        compiled = _losses(fit_with, prepare)
    assert len(set(eager)) == 9
    assert compiled == pytest.approx(eager, rel=1e-5)


def test_moving_a_coefficient_recompiles_nothing(fit_with):
    torch._dynamo.reset()
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    vae = mlp(ELBO(free_bits=0.1))
    vae.encoder.compile(backend=count)
    vae.decoder.compile(backend=count)
    for step in range(20):
        vae.objective.beta = vae.objective.free_bits = 0.05 * step + 0.01
        vae.training_step(X, 0)["loss"].backward()
    assert len(graphs) == 2
    assert not [key for key in vae.state_dict() if "_orig_mod" in key]


def test_a_lightning_trainer_is_all_it_needs(tmp_path):
    """The example of the README's opening, at its smallest."""
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, accelerator="cpu", logger=False)
    trainer.fit(Subclassed(), DataLoader(X, 4))
    assert trainer.callback_metrics["train/elbo"].isfinite()
