"""Pictures show what they say, and leave no trace in training."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.distributions import Distribution, Independent, Normal
from torch.utils.data import DataLoader, TensorDataset

from lightning_vae import (
    Anneal,
    BetaAnnealing,
    DiagonalGaussian,
    Latent,
    Linear,
    StandardNormal,
    VAEModule,
    kl,
    likelihoods,
    objectives,
    priors,
)
from lightning_vae.callbacks import (
    CodeInterpolation,
    Decoded,
    ImageInterpolation,
    LatentScatter,
    LatentTraversal,
    Picture,
    PriorSamples,
    RateSpectrumFigure,
    Reconstructions,
    ScheduleOverlay,
)
from lightning_vae.distributions.tokens import Tokens
from lightning_vae.networks import MLPDecoder, MLPEncoder
from lightning_vae.pictures import Examples, Sentences

RECORDED = json.loads((Path(__file__).parent.parent / "recorded" / "variational.json").read_text())
CASES = {case["id"]: case for case in RECORDED["cases"]}

ALL = [
    Reconstructions,
    PriorSamples,
    LatentTraversal,
    CodeInterpolation,
    ImageInterpolation,
    RateSpectrumFigure,
    LatentScatter,
]


class Identity(VAEModule):
    """The flattened image is the code, and the code the image."""

    sign = 1.0

    def __init__(self, latent: int = 4) -> None:
        super().__init__(prior=StandardNormal(latent))

    def encode(self, x):
        return Normal(x.flatten(1), 0.1)

    def decode(self, z):
        return Normal(self.sign * z.view(-1, 1, 2, 2), 1.0)


class Negated(Identity):
    sign = -1.0


def walked(picture: Decoded, vae: VAEModule, x: torch.Tensor) -> torch.Tensor:
    return picture.values(vae, Examples(x))


def recorded(name: str) -> tuple[dict, torch.Tensor, torch.Tensor]:
    case = CASES[name]
    result = torch.tensor(case["outputs"]["result"])
    return case["params"], torch.tensor(case["inputs"]["x"]), result


WIDE = (-5.0, 5.0)  # the recorded images are no images


@pytest.mark.parametrize("name", ["default", "2dims", "zero"])
def test_traversals_are_those_recorded(name):
    params, x, result = recorded(f"walk-linspace-{name}")
    picture = LatentTraversal(
        latents=params["dims_to_walk"],
        origin="zero" if params["zero_init"] else "encoding",
        same_image=params["same_image"],
        between=(params["linspace"][0], params["linspace"][-1]),
        row_size=params["row_size"],
        value_range=WIDE,
    )
    torch.testing.assert_close(walked(picture, Identity(), x), result, atol=1e-6, rtol=0)


def test_two_latents_of_one_image_walk_where_the_recorded_code_could_not():
    case = CASES["walk-linspace-same_image"]
    x = torch.tensor(case["inputs"]["x"])
    picture = LatentTraversal(case["params"]["dims_to_walk"], between=(-1, 1), value_range=WIDE)
    images = walked(picture, Identity(), x).flatten(1).view(2, 8, 4)
    steps = torch.linspace(-1, 1, 8)
    for row, latent in enumerate((0, 1)):
        expected = x[0].flatten().expand(8, -1).clone()
        expected[:, latent] = steps
        torch.testing.assert_close(images[row], expected)


def test_the_example_that_walks_can_be_chosen():
    x = torch.rand(5, 1, 2, 2)
    picture = LatentTraversal([3], example=2, between=(0, 1), row_size=2)
    images = walked(picture, Identity(), x).flatten(1)
    assert images[:, :3].equal(x[2].flatten()[:3].expand(2, 3))
    with pytest.raises(ValueError, match="example=5 does not exist: there are 5"):
        LatentTraversal(example=5).render(Identity(), x)


def test_reconstructions_are_those_recorded():
    params, x, result = recorded("walk-reconstruction")
    picture = Reconstructions(row_size=params["row_size"], value_range=WIDE)
    torch.testing.assert_close(walked(picture, Negated(), x), result)


def test_code_interpolations_are_those_recorded():
    params, x, result = recorded("walk-codepath")
    rows = result.flatten(1).view(2, params["num_steps"], 4)
    picture = CodeInterpolation(
        start=rows[:, 0].tolist(), stop=rows[:, -1].tolist(), row_size=5, value_range=WIDE
    )
    torch.testing.assert_close(walked(picture, Identity(), x), result)


def test_image_interpolations_go_between_images():
    x = torch.rand(2, 1, 2, 2)
    picture = ImageInterpolation(rows=1, row_size=3)
    images = walked(picture, Identity(), x)
    torch.testing.assert_close(images, torch.stack([x[0], x.mean(0), x[1]]))
    given = ImageInterpolation(start=x[:1], stop=x[1:], row_size=3)
    assert walked(given, Identity(), torch.rand(9, 1, 2, 2)).equal(images)


def test_samples_have_the_moments_that_the_recorded_code_missed():
    """There: mean -var and standard deviation 2·var. ``var`` is a temperature of √var here."""
    correct = CASES["walk-random"]["correct"]
    n = CASES["walk-random"]["inputs"]["num_images"]
    x = torch.rand(3, 1, 2, 2)
    for var in (1, 3):
        z = walked(PriorSamples(n, temperature=var**0.5), Identity(), x)
        assert z.mean().item() == pytest.approx(correct[f"normal_var{var}_mean"], abs=0.02)
        assert z.std().item() == pytest.approx(correct[f"normal_var{var}_std"], abs=0.02)
    uniform = walked(PriorSamples(n, draws="uniform"), Identity(), x)
    outputs = CASES["walk-random"]["outputs"]
    assert uniform.min().item() == pytest.approx(outputs["uniform_min"], abs=1e-3)
    assert uniform.max().item() == pytest.approx(outputs["uniform_max"], abs=1e-3)
    assert uniform.mean().item() == pytest.approx(outputs["uniform_mean"], abs=0.01)


def test_a_forward_pass_decodes_what_it_encodes_and_keeps_x():
    case = CASES["auto-encoder-base"]

    class Base(VAEModule):  # two codes of two, as their test has it
        def encode(self, x):
            return Normal(x + 1, 1e-12)

        def decode(self, z):
            return Normal(2 * z - 1, 1.0)

    x = torch.tensor(case["inputs"]["x"])
    vae = Base()
    torch.testing.assert_close(vae.reconstruct(x), torch.tensor(case["outputs"]["out"]))
    assert (vae(x).x is x) == case["outputs"]["y_true_is_x"]
    with pytest.raises(TypeError, match="no encoder"):
        VAEModule().setup("fit")


# ---- what walks ---------------------------------------------------------------------------------


class Linearly(VAEModule):
    """Latents of known rates: a posterior N(0, 1) but for its means, which are scaled."""

    def __init__(self) -> None:
        super().__init__(prior=StandardNormal(4))
        self.scales = torch.tensor([0.5, 3.0, 0.0, 1.0])

    def encode(self, x):
        return DiagonalGaussian(x.flatten(1) * self.scales, torch.zeros(4))

    def decode(self, z):
        return Normal(z.view(-1, 1, 2, 2), 1.0)


def test_the_latents_that_carry_the_most_walk_first():
    picture = LatentTraversal(most_active=3, between=(-7, 7), row_size=2, value_range=WIDE)
    images = walked(picture, Linearly(), torch.rand(64, 1, 2, 2)).flatten(1)
    moved = (images[1::2] - images[::2]).abs() > 10
    assert moved.nonzero()[:, 1].tolist() == [1, 3, 0]


def test_the_names_of_rows_are_their_latents_and_their_nats():
    vae, x = Linearly(), torch.ones(4, 1, 2, 2)
    picture = LatentTraversal()
    places, activities = picture._walked(vae, Examples(x))
    assert picture._name(places[0], activities) == "z1  4.50", "½ · 3² nats"


def test_by_quantile_the_prior_says_how_far():
    class Scaled(Linearly):
        def __init__(self) -> None:
            super().__init__()
            self.prior = priors.DiagonalNormal(4)
            state = self.prior.state_dict()
            self.prior.load_state_dict(
                {k: torch.arange(4.0).view(v.shape) for k, v in state.items()}
            )

    vae = Scaled()
    picture = LatentTraversal(
        [0, 1, 2, 3], by="quantile", between=(0.1, 0.9), row_size=3, value_range=(-9, 9)
    )
    images = walked(picture, vae, torch.rand(3, 1, 2, 2)).flatten(1).view(4, 3, 4)
    prior = vae.prior().base_dist
    exact = prior.icdf(torch.tensor([[0.1], [0.5], [0.9]]))
    for latent in range(4):
        torch.testing.assert_close(images[latent, :, latent], exact[:, latent])


def test_an_animation_shows_every_walk_at_once_there_and_back():
    picture = LatentTraversal([0, 1], between=(0, 1), row_size=4, animated=True)
    frames = picture.render(Identity(), torch.zeros(1, 1, 2, 2))
    assert frames.shape == (6, 1, 2 + 2 * 2, 2 * (2 + 2) + 2)
    assert [frame[0, 2, 2].item() for frame in frames] == [0, 85, 170, 255, 170, 85]
    assert frames[3][0, 2, 7].item() == 255, "the second latent is the second pixel"


class Pair(VAEModule):
    """Two latent spaces, the second an image: the decoded image is both, side by side."""

    def __init__(self) -> None:
        super().__init__(prior=[StandardNormal(2), StandardNormal((1, 2))])

    def encode(self, x):
        flat = x.flatten(1)
        return Normal(flat[:, :2], 0.1), Normal(flat[:, None, 2:] * 3, 0.1)

    def decode(self, z):
        return Normal(torch.cat([z[0], z[1].flatten(1)], 1).view(-1, 1, 2, 2), 1.0)


def test_several_spaces_walk_together_or_one_at_a_time():
    x = torch.full((4, 1, 2, 2), 0.9)
    together = LatentTraversal(most_active=4, between=(-3, 3), row_size=2)
    images = walked(together, Pair(), x).flatten(1)
    walks = (images[1::2] - images[::2]).abs().argmax(1).tolist()
    assert sorted(walks[:2]) == [2, 3], "the second space carries more"
    assert sorted(walks) == [0, 1, 2, 3]
    one = LatentTraversal(most_active=4, between=(-3, 3), row_size=2, space=0)
    assert len(walked(one, Pair(), x)) == 2 * 2
    chosen = LatentTraversal([1], space=1, between=(-3, 3), row_size=2)
    images = walked(chosen, Pair(), x).flatten(1)
    assert images[:, 3].tolist() == [-3, 3]
    assert images[:, :3].tolist() == [[pytest.approx(v) for v in (0.9, 0.9, 2.7)]] * 2
    samples = walked(PriorSamples(5, space=1), Pair(), x).flatten(1)
    assert (samples[:, :2] == 0.9).all()
    assert samples[:, 2:].std() > 0
    codes = walked(CodeInterpolation([[0.0, 0]], [[1.0, 1]], space=0, row_size=3), Pair(), x)
    assert codes.flatten(1).tolist() == [[t, t, 0, 0] for t in (0, 0.5, 1)]
    for picture in (PriorSamples(), CodeInterpolation(), ImageInterpolation(), Reconstructions()):
        assert picture.render(Pair(), x).dtype == torch.uint8
    assert LatentScatter(space=1).render(Pair(), x).shape[0] == 3


class Hierarchy(VAEModule):
    """z1 given z2: p(z1|z2) = N(z2, 1)."""

    def infer(self, x, samples=None, **context):
        q2 = DiagonalGaussian(x.flatten(1), torch.zeros(4))
        z2 = q2.rsample()
        q1, p1 = DiagonalGaussian(z2 / 2, torch.zeros(4)), DiagonalGaussian(z2, torch.zeros(4))
        z1 = q1.rsample()
        p2 = StandardNormal(4)()
        return Latent(q2, p2, z2, kl(q2, p2, z2)), Latent(q1, p1, z1, kl(q1, p1, z1))

    def decode(self, z):
        return Normal((z[0] + z[1]).view(-1, 1, 2, 2).sigmoid(), 1.0)


class Drawable(Hierarchy):
    def draw(self, n, **context):
        z2 = torch.randn(n, 4)
        return z2, z2 + torch.randn(n, 4)


@pytest.mark.parametrize("cls", ALL)
def test_a_hierarchy_that_can_draw_is_drawn(cls):
    assert cls().render(Drawable(), torch.rand(9, 1, 2, 2)).dtype == torch.uint8


def test_a_hierarchy_that_cannot_draw_is_refused_before_the_first_batch(fit_with):
    trainer = fit_with(max_epochs=1, callbacks=[PriorSamples()])
    with pytest.raises(TypeError, match=r"overrides infer but not draw.*write draw"):
        trainer.fit(Hierarchy(), DataLoader(torch.rand(4, 1, 2, 2)))


class Labelled(VAEModule):
    """The label is the image."""

    def __init__(self) -> None:
        super().__init__(prior=StandardNormal(2), objective=objectives.MultiRate())
        self.scale = nn.Parameter(torch.tensor(1.0))

    def context(self, batch):
        return {"label": batch[1].float()}

    def encode(self, x, label, beta):
        assert len(x) == len(label) == len(beta)
        return DiagonalGaussian(x.flatten(1)[:, :2] * self.scale, torch.zeros(2))

    def decode(self, z, label, beta):
        assert len(z) == len(label) == len(beta)
        return Normal((label + 0 * z.sum(1)).view(-1, 1, 1, 1).expand(-1, 1, 2, 2), 1.0)


def test_a_conditional_vae_is_drawn_with_the_context_of_the_batch():
    x, labels = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1])
    batch = (x, labels)
    seen = {}

    def shown(picture: Decoded) -> list[float]:
        examples = Examples(*vae.unpack(batch))
        return picture.values(vae, examples)[:, 0, 0, 0].tolist()

    vae = Labelled().eval()
    seen["samples"] = shown(PriorSamples(5))
    assert seen["samples"] == [0, 1, 1, 0, 1], "the labels in turn"
    assert shown(Reconstructions(row_size=3))[3:] == [0, 1, 1]
    assert shown(LatentTraversal([0, 1], same_image=False, row_size=2)) == [0, 0, 1, 1]
    assert shown(ImageInterpolation(rows=1, row_size=3)) == [0, 0, 0]
    assert shown(CodeInterpolation(rows=2, row_size=2)) == [0, 0, 1, 1]
    for cls in ALL:
        assert cls().render(vae, batch).dtype == torch.uint8


class Words(VAEModule):
    def __init__(self) -> None:
        super().__init__(prior=StandardNormal(3))
        self.embed_words = nn.Embedding(5, 3)

    def encode(self, x):
        return DiagonalGaussian(self.embed_words(x).mean(1), torch.zeros(3))

    def decode(self, z):
        logits = z.sum(1).view(-1, 1, 1) * torch.eye(5)[:4]
        return Tokens(logits)


WORDS = ["the", "cat", "sat", "still", "."]


@pytest.mark.parametrize(
    "cls", [Reconstructions, PriorSamples, LatentTraversal, CodeInterpolation, ImageInterpolation]
)
def test_a_text_vae_is_shown_as_sentences(cls):
    x = torch.randint(0, 5, (4, 4))
    table = cls(detokenise=WORDS, row_size=3).render(Words(), x)
    assert isinstance(table, Sentences)
    assert all(set(s.split()) <= set(WORDS) for column in table.columns for s in column)
    assert all(len(column) <= 3 for column in table.columns)
    if cls is Reconstructions:
        assert table.columns[0] == [" ".join(WORDS[t] for t in row) for row in x[:3].tolist()]


# ---- what is refused ----------------------------------------------------------------------------


def test_a_likelihood_without_images_is_refused_by_name(fit_with):
    vae = VAEModule(MLPEncoder((5,), 2), MLPDecoder((5,), 2))
    x = torch.rand(8, 5)
    for cls in (Reconstructions, PriorSamples, LatentTraversal):
        steps = []
        trainer = fit_with(max_epochs=1, num_sanity_val_steps=1, callbacks=[cls()])
        vae.on_train_batch_start = lambda *a, steps=steps: steps.append(1)
        with pytest.raises(
            ValueError, match=rf"{cls.__name__} draws images, but.*Bernoulli.*\(., 5\)"
        ):
            trainer.fit(vae, DataLoader(x, 4), DataLoader(x, 4))
        assert not steps, "before the first batch"
    flat = Reconstructions(shape=(1, 5), row_size=2).render(vae, x)
    assert flat.shape == (1, 2 * 3 + 2, 2 * 7 + 2)


def test_tokens_without_words_are_refused_by_name():
    with pytest.raises(ValueError, match=r"decode returned a Tokens: .*detokenise=... for tokens"):
        PriorSamples().render(Words(), torch.randint(0, 5, (4, 4)))


def test_data_on_another_scale_is_refused():
    with pytest.raises(ValueError, match=r"outside value_range=\(0.0, 1.0\)"):
        Reconstructions().render(Identity(), torch.full((2, 1, 2, 2), -1.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Reconstructions(on="test"), "on must be 'train' or 'val', got 'test'"),
        (lambda: Reconstructions(every_n_epochs=0), "every_n_epochs must be a whole number"),
        (lambda: Reconstructions(row_size=1.5), "row_size must be a whole number of at least 1"),
        (lambda: Reconstructions(value_range=(1, 0)), "value_range must be"),
        (lambda: PriorSamples(draws="normal"), "draws must be 'prior' or 'uniform'"),
        (lambda: PriorSamples(temperature=0.0), "temperature must be above 0"),
        (lambda: LatentTraversal(origin="prior"), "origin must be 'encoding' or 'zero'"),
        (lambda: LatentTraversal(by="steps"), "by must be 'value' or 'quantile'"),
        (lambda: LatentTraversal(by="quantile", between=(-2, 2)), r"probabilities inside \(0, 1\)"),
        (lambda: CodeInterpolation(path="line"), "path must be 'lerp' or 'slerp'"),
        (lambda: CodeInterpolation(start=[0.0]), "give both, or neither"),
        (lambda: ImageInterpolation(stop=[0.0]), "give both, or neither"),
        (lambda: LatentScatter(projection="tsne"), "projection must be 'latents' or 'pca'"),
        (lambda: LatentScatter(points=0), "points must be a whole number"),
    ],
)
def test_refused_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (LatentTraversal([4], space=0), r"latents=\[4\] do not exist: there are 2"),
        (LatentTraversal([0]), "latents=.* are of one space, but encode returns 2; write space=0"),
        (LatentTraversal(space=2), "space=2 does not exist: encode returns 2, from 0 to 1"),
        (PriorSamples(space=-1), "space=-1 does not exist"),
        (CodeInterpolation([0.0, 0], [1.0, 1]), "start and stop are of one space"),
        (CodeInterpolation([0.0], [1.0], space=0), r"codes of shape \(2,\), got \(1,\)"),
        (LatentScatter(space=2), "space=2 does not exist"),
        (LatentScatter(projection="latents", latents=(0, 2)), r"latents=\(0, 2\) do not exist"),
        (LatentTraversal(animated=True, detokenise=WORDS), "are no tokens"),
    ],
)
def test_refused_when_drawn(picture, message):
    with pytest.raises(ValueError, match=message):
        picture.render(Pair(), torch.rand(4, 1, 2, 2))


def test_a_temperature_needs_the_priors_mean():
    class NoMean(priors.Prior):
        def forward(self, **context):
            return Independent(Normal(torch.zeros(4), 1.0), 1) if context else Meanless((4,))

    class Meanless(Distribution):
        def __init__(self, shape):
            super().__init__(event_shape=torch.Size(shape), validate_args=False)

        def sample(self, shape=()):
            return torch.randn(*shape, *self.event_shape)

    vae = Identity()
    vae.prior = NoMean()
    PriorSamples(4).render(vae, torch.rand(2, 1, 2, 2))
    with pytest.raises(ValueError, match=r"temperature=0\.5 needs the prior's mean"):
        PriorSamples(4, temperature=0.5).render(vae, torch.rand(2, 1, 2, 2))


def test_a_column_of_labels_colours_the_dots():
    vae, x = Identity(), torch.rand(4, 1, 2, 2)
    factors = torch.arange(20).view(4, 5)
    for column in range(5):
        examples = LatentScatter(column=column).examples(vae, (x, factors))
        assert examples.labels.equal(factors[:, column])
    assert LatentScatter().examples(vae, (x, factors[:, 0])).labels.equal(factors[:, 0])
    assert LatentScatter(labels="y").examples(vae, {"x": x, "y": factors}).labels[1] == 5
    assert LatentScatter().examples(vae, x).labels is None
    with pytest.raises(ValueError, match=r"labels have shape \(4, 5\), and column=5 is none"):
        LatentScatter(column=5).render(vae, (x, factors))


def test_a_module_of_another_kind_is_refused(fit_with):
    class Theirs(LightningModule):
        def configure_optimizers(self):
            return None

        def training_step(self, batch, batch_idx):
            return None

    with pytest.raises(TypeError, match="Reconstructions draws a VAEModule, got Theirs"):
        fit_with(max_epochs=1, callbacks=[Reconstructions()]).fit(Theirs(), DataLoader([1]))


def test_two_pictures_of_one_name_are_refused(fit_with):
    callbacks = [LatentTraversal(), LatentTraversal(space=1)]
    with pytest.raises(ValueError, match="two pictures are called 'pictures/traversal'"):
        fit_with(max_epochs=1, callbacks=callbacks).fit(small(), loader())


# ---- in training --------------------------------------------------------------------------------


class Noisy(VAEModule):
    """With all that a picture could disturb: draws, dropout, running statistics, frozen parts."""

    def __init__(self) -> None:
        super().__init__(prior=StandardNormal(3))
        self.norm, self.drop = nn.BatchNorm1d(16), nn.Dropout(0.3)
        self.frozen = nn.Dropout(0.5).eval()
        self.q, self.p = nn.Linear(16, 6), nn.Linear(3, 16)
        self.losses, self.states, self.modes = [], [], []

    def encode(self, x):
        features = self.frozen(self.drop(self.norm(x.flatten(1))))
        return DiagonalGaussian(*self.q(features).chunk(2, dim=1))

    def decode(self, z):
        return likelihoods.Bernoulli()(self.p(self.drop(z)).view(-1, 1, 4, 4))

    def training_step(self, batch, batch_idx):
        self.modes.append([module.training for module in self.modules()])
        parts = super().training_step(batch, batch_idx)
        self.losses.append(parts["loss"].item())
        self.states.append(torch.get_rng_state())
        return parts


def small() -> Noisy:
    torch.manual_seed(0)
    return Noisy()


def loader(n: int = 24, labels: bool = True) -> DataLoader:
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, torch.arange(n) % 3) if labels else x, 8)


def everything(on: str, **options) -> list[Picture]:
    return [cls(on=on, key=f"pictures/{cls.__name__}-{on}", **options) for cls in ALL]


@pytest.mark.parametrize("on", ["train", "val"])
def test_the_run_is_bit_equal_with_and_without_pictures(fit_with, on):
    def run(callbacks):
        vae = small()
        trainer = fit_with(max_epochs=4, num_sanity_val_steps=1, callbacks=callbacks)
        trainer.fit(vae, loader(), loader())
        return vae, trainer.callback_metrics["val/elbo"]

    without, elbo = run([])
    drawn, drawn_elbo = run([*everything(on, every_n_epochs=2), ScheduleOverlay()])
    assert len(without.losses) == 12
    assert without.losses == drawn.losses
    assert elbo == drawn_elbo
    assert all(map(torch.equal, without.states, drawn.states))
    assert without.modes == drawn.modes
    for a, b in zip(without.state_dict().values(), drawn.state_dict().values(), strict=True):
        assert a.equal(b)


@pytest.mark.parametrize("on", ["train", "val"])
def test_pictures_come_once_every_so_many_epochs_at_the_loggers_step(fit_with, tmp_path, on):
    logger = TensorBoardLogger(tmp_path)
    pictures = everything(on, every_n_epochs=2)
    trainer = fit_with(max_epochs=5, num_sanity_val_steps=1, callbacks=pictures, logger=logger)
    trainer.fit(small(), loader(), loader())
    read = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    read.Reload()
    for picture in pictures:
        assert [event.step for event in read.Images(picture.tag)] == [5, 11], picture
        shown = read.Images(picture.tag)[-1].encoded_image_string
        array = np.asarray(Image.open(io.BytesIO(shown)))  # TensorBoard makes gray RGB
        assert np.array_equal(array, picture.latest.permute(1, 2, 0).expand(array.shape))


@pytest.mark.parametrize("on", ["train", "val"])
def test_nothing_is_done_in_other_epochs_and_on_other_ranks(fit_with, monkeypatch, on):
    class Counting(Noisy):
        calls = 0

        def decode(self, z):
            type(self).calls += 1
            return super().decode(z)

        def unpack(self, batch):
            type(self).calls += 1
            return super().unpack(batch)

    def calls(callbacks):
        Counting.calls = 0
        fit_with(max_epochs=3, callbacks=callbacks).fit(Counting(), loader(), loader())
        return Counting.calls

    plain = calls([])
    trial = 2 if on == "train" else 0  # one batch is read and drawn, to be refused early
    assert calls([Reconstructions(on=on, every_n_epochs=4)]) == plain + trial
    assert calls([Reconstructions(on=on, every_n_epochs=3)]) == plain + trial + 2
    monkeypatch.setattr("lightning.pytorch.Trainer.is_global_zero", False)
    assert calls([Reconstructions(on=on)]) == plain


@pytest.mark.slow
def test_of_two_ranks_the_first_draws_and_neither_trains_otherwise(tmp_path):
    script, root = Path(__file__).parent / "two_ranks_draw.py", Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(
        command,
        check=False,
        env=environment,
        cwd=tmp_path,
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        without, drawn = json.loads((tmp_path / f"{rank}.json").read_text())
        assert without == drawn
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert len(names) == 3 * 4
    assert sum(name.startswith("traversal-") for name in names) == 3


def test_without_a_logger_there_is_a_folder(fit_with, tmp_path):
    pictures = [
        Reconstructions(row_size=4),
        LatentTraversal(animated=True, folder=str(tmp_path / "mine"), key="walks"),
        RateSpectrumFigure(),
    ]
    fit_with(max_epochs=2, callbacks=pictures).fit(small(), loader(), loader())
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*") if p.is_file()}
    assert found == {
        "pictures/reconstructions-000002.png",
        "pictures/reconstructions-000005.png",
        "pictures/rate_spectrum-000002.png",
        "pictures/rate_spectrum-000005.png",
        "mine/walks-000002.gif",
        "mine/walks-000005.gif",
    }
    top = np.asarray(Image.open(tmp_path / "pictures/reconstructions-000005.png"))[2:6, 2:6]
    x = next(iter(loader()))[0][0, 0]
    assert np.array_equal(top, (x * 255).round().byte())


def test_more_examples_than_a_batch_has_are_collected_and_no_more(fit_with):
    seen = []

    class Counts(Picture):
        shows = "counts"
        needs = 20

        def draw(self, module, examples):
            seen.append(len(examples))
            return torch.zeros(1, 4, 4, dtype=torch.uint8)

    fit_with(max_epochs=1, callbacks=[Counts()]).fit(small(), loader(), loader(32))
    assert seen == [24]


def test_given_data_is_drawn_whatever_comes_by(fit_with):
    mine = torch.rand(2, 1, 4, 4)
    picture = Reconstructions(data=mine, row_size=2)
    fit_with(max_epochs=1, callbacks=[picture]).fit(small(), loader(), loader())
    assert picture.latest[0, 2:6, 2:6].equal((mine[0, 0] * 255).round().byte())


def test_a_walker_of_ones_own(fit_with):
    class Halves(Decoded):
        shows = "halves"

        def values(self, module, examples):
            codes = self.encoded(module, examples)
            return self.decoded(module, [z / 2 for z in codes], examples)

    picture = Halves(row_size=2)
    fit_with(max_epochs=1, callbacks=[picture]).fit(small(), loader(), loader())
    assert picture.latest.dtype == torch.uint8


def test_it_is_drawn_on_validation_alone_too(fit_with, tmp_path):
    picture = Reconstructions(every_n_epochs=10)
    fit_with(callbacks=[picture]).validate(small(), loader(), verbose=False)
    assert picture.latest is not None
    picture = Reconstructions()
    fit_with(fast_dev_run=True, callbacks=[picture]).fit(small(), loader(), loader())
    assert picture.latest is None
    assert not list((tmp_path / "pictures").glob("*000001*"))


# ---- the schedules ------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["listed first", "listed last"])
def test_the_overlay_holds_what_was_logged(fit_with, tmp_path, first):
    overlay, annealing = ScheduleOverlay(), BetaAnnealing(Linear(0, 1, over=6), unit="step")
    callbacks = [overlay, annealing] if first else [annealing, overlay]
    logger = TensorBoardLogger(tmp_path)
    trainer = fit_with(max_epochs=4, callbacks=callbacks, logger=logger, log_every_n_steps=2)
    trainer.fit(small(), loader(), loader())
    read = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    read.Reload()
    keys = ["schedule/beta", *(f"{s}/{t}" for s in ("train", "val") for t in overlay.terms)]
    assert sorted(overlay._curves) == sorted(keys)
    for key in keys:
        logged = {e.step: e.value for e in read.Scalars(key)}
        kept = dict(zip(*overlay._curves[key], strict=True))
        assert set(kept) == set(logged), key
        assert list(kept.values()) == [pytest.approx(v) for v in logged.values()], key
    assert [e.step for e in read.Images("pictures/schedules")] == [2, 5, 8, 11]


def test_the_overlay_works_with_a_module_that_is_not_ours(fit_with, tmp_path):
    class Theirs(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.kl_weight = nn.Linear(4, 1), 1.0

        def training_step(self, batch, batch_idx):
            loss = self.layer(batch).square().mean()
            self.log("train/rate", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    overlay = ScheduleOverlay()
    callbacks = [overlay, Anneal("kl_weight", Linear(0, 1, over=4), unit="step")]
    trainer = fit_with(max_epochs=1, callbacks=callbacks, log_every_n_steps=1)
    trainer.fit(Theirs(), DataLoader(torch.rand(4, 4)))
    assert overlay._curves["schedule/kl_weight"] == ([0, 1, 2, 3], [0, 0.25, 0.5, 0.75])
    assert overlay._curves["train/rate"][0] == [0, 1, 2, 3]
    assert (tmp_path / "pictures" / "schedules-000003.png").exists()


def test_a_resumed_overlay_begins_at_the_beginning(fit_with, tmp_path):
    def run(epochs, ckpt_path=None):
        overlay = ScheduleOverlay(every_n_epochs=4)
        annealing = BetaAnnealing(Linear(0, 1, over=6), unit="step")
        trainer = fit_with(max_epochs=epochs, callbacks=[annealing, overlay], log_every_n_steps=1)
        trainer.fit(small(), loader(), loader(), ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return overlay._curves

    whole, _ = run(4), run(2)
    resumed = run(4, tmp_path / "2.ckpt")
    assert resumed["schedule/beta"] == whole["schedule/beta"]
    assert {key: steps for key, (steps, _) in resumed.items()} == {
        key: steps for key, (steps, _) in whole.items()
    }
    torch.load(tmp_path / "4.ckpt", weights_only=True)
    assert (tmp_path / "pictures" / "schedules-000011.png").exists()
    assert not (tmp_path / "pictures" / "schedules-000002.png").exists()
