"""Scores of codes and factors: what the definitions imply, and what slow oracles say."""

import numpy as np
import pytest
import torch

from lightning_vae.metrics import (
    DCI,
    IRS,
    MIG,
    SAP,
    BetaVAEScore,
    Explicitness,
    FactorVAEScore,
    Modularity,
    binned_boosted_trees,
    boosted_trees,
    dci,
    explicitness,
    factor_vae_score,
    irs,
    mig,
    modularity,
    sap,
)
from lightning_vae.metrics.beta_vae_score import fresh_beta_vae_score
from lightning_vae.metrics.codes import split, varying
from lightning_vae.metrics.dci import completeness, disentanglement
from lightning_vae.metrics.factor_vae_score import fresh_factor_vae_score, majority, steadiest
from lightning_vae.metrics.fresh import Codebook, fresh_classes, fresh_groups, fresh_pairs
from lightning_vae.metrics.siblings import Siblings
from tests.metrics.codes import (
    binary,
    constant,
    grid,
    middling,
    middling_encoder,
    noise,
    perfect,
    permuted,
    rotated,
)
from tests.references import disentanglement as reference

VOTES = {"train": 500, "test": 400}


def scores(make, factors=None):
    factors = grid() if factors is None else factors
    codes = make(factors)
    metrics = {
        "mig": MIG(),
        "modularity": Modularity(),
        "irs": IRS(quantile=1.0),
        "factor": FactorVAEScore(**VOTES),
        "beta": BetaVAEScore(**VOTES),
        "sap": SAP(),
        "explicitness": Explicitness(),
        "dci": DCI(fit=binned_boosted_trees),
    }
    found = {}
    for name, metric in metrics.items():
        for chunk in zip(codes.split(100), factors.split(100), strict=True):
            metric.update(*chunk)
        value = metric.compute()
        found |= value if isinstance(value, dict) else {name: value}
    return {name: value.item() for name, value in found.items()}


# What the definitions imply


@pytest.mark.parametrize("make", [perfect, permuted])
def test_perfect_codes_have_all_ones_in_any_order_sign_and_scale(make):
    found = scores(make)
    sap = found.pop("sap")  # a line cannot part the middle classes of one feature
    assert found.pop("explicitness") > 0.95
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=1e-3)
    assert sap > 0.1


@pytest.mark.parametrize("make", [perfect, permuted])
def test_perfect_codes_of_binary_factors(make):
    found = scores(make, binary())
    # The other latents guess: one half.
    assert found.pop("sap") == pytest.approx(0.5, abs=0.06)
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=1e-3)


def test_rotated_codes_tell_all_and_part_nothing():
    found = scores(rotated, binary())
    assert found["mig"] == pytest.approx(0, abs=1e-6)
    assert found["modularity"] == pytest.approx(0, abs=1e-6)
    assert found["disentanglement"] < 0.3
    assert found["informativeness"] == 1
    assert found["explicitness"] == pytest.approx(1)
    assert found["sap"] < 0.05
    assert found["factor"] < 0.7
    assert found["irs"] < 0.5


def test_noise_scores_as_guessing_does():
    found = scores(noise, grid(repeats=40))
    assert found["mig"] < 0.01
    assert found["sap"] < 0.05
    assert found["informativeness"] < 0.3
    assert found["explicitness"] == pytest.approx(0.5, abs=0.03)
    assert found["factor"] == pytest.approx(1 / 3, abs=0.1)
    assert found["beta"] == pytest.approx(1 / 3, abs=0.1)
    assert found["irs"] < 0.4


def test_constant_codes_score_as_having_none():
    found = scores(constant)
    for name in ("mig", "sap", "modularity", "irs", "factor", "disentanglement", "completeness"):
        assert found[name] == pytest.approx(0, abs=1e-9), name
    assert found["explicitness"] == 0.5
    assert found["beta"] == pytest.approx(1 / 3, abs=0.06)


def test_a_factor_in_two_latents_has_no_gap_and_is_not_complete():
    factors = grid()
    codes = perfect(factors).repeat(1, 2)
    assert mig(codes, factors) == pytest.approx(0, abs=1e-6)
    importance = torch.eye(3).repeat(2, 1)
    assert disentanglement(importance) == 1
    assert completeness(importance) == pytest.approx(1 - np.log(2) / np.log(6))


def test_two_factors_in_one_latent_are_not_disentangled():
    factors = binary()
    codes = torch.stack([2.0 * factors[:, 0] + factors[:, 1], factors[:, 2]], 1)
    assert modularity(codes, factors) == pytest.approx((0.5 + 1) / 2)
    assert mig(codes, factors) == pytest.approx(1)
    importance = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert completeness(importance) == 1
    expected = (2 * (1 - np.log(2) / np.log(3)) + 1) / 3
    assert disentanglement(importance) == pytest.approx(expected)


def test_more_bins_than_classes_and_fewer():
    """A perfect code of 40 classes has 20 bins to name them: half of what it knows, at most."""
    factors = grid((40, 2))
    information = np.log(20) / np.log(40)
    assert mig(perfect(factors), factors, bins=20) == pytest.approx((information + 1) / 2)
    assert mig(perfect(factors), factors, bins=400) == pytest.approx(1)


# What slow oracles say of middling codes


def as_arrays(*tensors):
    return [t.double().numpy() if t.is_floating_point() else t.numpy() for t in tensors]


@pytest.mark.parametrize("name", ["mig", "modularity", "irs"])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_of_all_codes_are_the_oracles(name, seed):
    ours = {"mig": mig, "modularity": modularity, "irs": irs}[name]
    codes, factors = middling(seed=seed)
    expected = getattr(reference, name)(*as_arrays(codes, factors))
    assert 0.02 < expected < 0.98
    assert ours(codes, factors).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("ours", [sap, explicitness])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_of_unseen_codes_are_the_oracles(ours, seed):
    values = *middling(2000, seed), *middling(1000, seed + 10)
    expected = getattr(reference, ours.__name__)(*as_arrays(*values))
    assert 0.02 < expected < 0.98
    assert ours(*values).item() == pytest.approx(expected, abs=1e-3)


def test_dci_is_that_of_published_trees():
    (codes, factors), (test_codes, test_factors) = middling(600), middling(300, 1)
    factors, test_factors = factors[:, :2], test_factors[:, :2]
    found = dci(codes, factors, test_codes, test_factors)
    importance = np.stack(
        [boosted_trees(codes.double().numpy(), c).importance for c in factors.numpy().T], 1
    )
    assert found["disentanglement"].item() == pytest.approx(
        reference.disentanglement(importance), abs=1e-6
    )
    assert found["completeness"].item() == pytest.approx(
        reference.disentanglement(importance.T), abs=1e-6
    )
    quick = dci(codes, factors, test_codes, test_factors, fit=binned_boosted_trees)
    for name, value in found.items():
        assert quick[name].item() == pytest.approx(value.item(), abs=0.06), name


def test_votes_from_one_pool_score_as_fresh_examples_do():
    sizes = (3, 6, 10, 8)
    encode = middling_encoder()
    random = np.random.default_rng(5)
    factors = random.integers(np.array(sizes), size=(10_000, 4))
    codes = torch.from_numpy(encode(factors)).float()
    fresh = (encode, sizes, 1500, 1500, 64, random)
    for metric, oracle in (
        (FactorVAEScore(train=10_000, test=10_000), reference.factor_vae_score),
        (BetaVAEScore(train=3_000, test=10_000), reference.beta_vae_score),
    ):
        metric.update(codes, torch.from_numpy(factors))
        # 1500 votes have a standard error of 0.013 at most.
        assert metric.compute().item() == pytest.approx(oracle(*fresh), abs=0.04)


# What the published votes say: each of fresh examples, all encoded at once


def entangled(factors):
    """Codes of classes, numpy or tensors: somewhat entangled, one of them dead."""
    return middling_encoder()(np.asarray(factors))


def encoded(classes):
    return torch.from_numpy(entangled(classes)).float()


FRESH = (3, 6, 10, 8)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_factor_vae_score_is_the_published_one_of_the_same_votes(seed):
    found = fresh_factor_vae_score(encoded, FRESH, train=800, test=1500, group=5, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    examples = fresh_classes(FRESH, (10_000,), generator).numpy()
    votes = [[part.numpy() for part in fresh_groups(FRESH, n, 5, generator)] for n in (800, 1500)]
    expected = reference.factor_vae_score_of(entangled, examples, *votes)
    assert 0.4 < expected < 0.98
    assert found.item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_beta_vae_score_is_the_published_one_of_the_same_votes(seed):
    found = fresh_beta_vae_score(encoded, FRESH, train=800, test=1500, group=8, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    votes = [[part.numpy() for part in fresh_pairs(FRESH, n, 8, generator)] for n in (800, 1500)]
    expected = reference.beta_vae_score_of(entangled, *votes, seed)
    assert 0.4 < expected < 0.98
    assert found.item() == pytest.approx(expected, abs=1e-3)


def test_a_pool_of_every_combination_votes_as_fresh_examples_do():
    """A group is then drawn just as fresh ones are: only which votes came up differs."""
    factors = grid(FRESH, repeats=1)
    pooled = factor_vae_score(encoded(factors), factors, train=10_000, test=20_000, group=5)
    fresh = fresh_factor_vae_score(encoded, FRESH, train=10_000, test=20_000, group=5)
    assert 0.4 < fresh < 0.98
    assert pooled.item() == pytest.approx(fresh.item(), abs=0.015)  # 3 standard errors
    metric = FactorVAEScore(train=800, test=400, seed=3)
    expected = fresh_factor_vae_score(encoded, FRESH, train=800, test=400, seed=3)
    assert metric.of_fresh(encoded, FRESH) == expected
    metric = BetaVAEScore(train=800, test=400, group=8, seed=3)
    expected = fresh_beta_vae_score(encoded, FRESH, train=800, test=400, group=8, seed=3)
    assert metric.of_fresh(encoded, FRESH) == expected


def test_fresh_groups_agree_in_one_factor_and_are_random_in_all_others():
    generator = torch.Generator().manual_seed(0)
    factor, classes = fresh_groups((3, 1, 4), 6000, 5, generator)
    assert factor.bincount().tolist() == pytest.approx([3000, 0, 3000], abs=160)
    for k, size in ((0, 3), (2, 4)):
        same = classes[factor == k][..., k]
        assert (same == same[:, :1]).all()
        torch.testing.assert_close(
            same[:, 0].bincount() / len(same), torch.full((size,), 1 / size), atol=0.03, rtol=0
        )
        other = classes[factor != k][..., k]
        alike = (other[:, 1:] == other[:, :1]).double().mean().item()
        assert alike == pytest.approx(1 / size, abs=0.02)
    factor, first, second = fresh_pairs((3, 1, 4), 6000, 5, generator)
    for k, size in ((0, 3), (2, 4)):
        alike = (first == second)[factor == k][..., k]
        assert alike.all()
        alike = (first == second)[factor != k][..., k].double().mean().item()
        assert alike == pytest.approx(1 / size, abs=0.02)
        own = first[factor == k][..., k]
        assert (own != own[:, :1]).any(), "each pair has a class of its own"


def test_dead_latents_and_constant_factors_take_no_part_in_fresh_votes():
    for sizes, score in (((4, 1, 5), 1.0), ((4, 1, 1), 1.0)):
        assert fresh_factor_vae_score(perfect_of(sizes), sizes, 200, 100) == score
        assert fresh_beta_vae_score(perfect_of(sizes), sizes, 200, 100) == score
    assert fresh_factor_vae_score(lambda c: 0.01 * c.float(), (4, 5), 200, 100) == 0
    with pytest.raises(ValueError, match="factors are all constant"):
        fresh_factor_vae_score(encoded, (1, 1), 200, 100)


def perfect_of(sizes):
    return lambda classes: classes / torch.tensor(sizes)


def test_a_codebook_encodes_every_combination_once_and_in_one_call():
    asked = []

    def encode(classes):
        asked.append(classes)
        return encoded(classes)

    codes = Codebook(encode, FRESH)
    first, second = (
        fresh_classes(FRESH, (5000,), torch.Generator().manual_seed(s)) for s in (0, 1)
    )
    assert codes(first).equal(encoded(first))
    assert codes(second).equal(encoded(second))
    assert codes(first).equal(encoded(first))
    assert len(asked) == 2
    assert len(torch.cat(asked)) == len(torch.cat(asked).unique(dim=0))


# Parts


def test_siblings_share_the_factor_and_pairs_are_of_two():
    factors = middling(500)[1]
    siblings = Siblings.among(factors)
    generator = torch.Generator().manual_seed(0)
    factor, rows = siblings.groups(300, 8, generator)
    classes = factors[rows].gather(2, factor.view(-1, 1, 1).expand(-1, 8, 1)).squeeze(2)
    assert (classes == classes[:, :1]).all()
    factor, first, second = siblings.pairs(300, 8, generator)
    own, other = (
        factors[r].gather(2, factor.view(-1, 1, 1).expand(-1, 8, 1)).squeeze(2)
        for r in (first, second)
    )
    assert (own == other).all()
    assert (first != second).all()
    assert len(own[0].unique()) > 1  # each pair has a class of its own
    assert factor.bincount().min() > 40


def test_groups_are_drawn_evenly_from_a_class():
    factors = torch.tensor([[0], [0], [0], [1], [1], [2]])
    _, rows = Siblings.among(factors).groups(20_000, 3, torch.Generator().manual_seed(0))
    share = rows.flatten().bincount(minlength=6) / rows.numel()
    torch.testing.assert_close(share, torch.tensor([0.2, 0.2, 0.2, 0.2, 0.2, 0]), atol=0.01, rtol=0)


def test_dead_latents_do_not_vote():
    factors = grid()
    generator = torch.Generator().manual_seed(0)
    dead = 0.01 * torch.randn(len(factors), 1, generator=generator)
    dead[:, 0] *= factors[:, 0] == 0  # it would win every vote of two factors
    codes = torch.cat([dead, perfect(factors)], 1)
    assert factor_vae_score(codes, factors, **VOTES) == 1
    assert factor_vae_score(0.01 * codes, factors, **VOTES) == 0
    assert factor_vae_score(0.01 * codes, factors, **VOTES, dead=1e-6) > 0


def test_votes_and_majorities():
    codes = torch.randn(50, 16, 4)
    expected = np.var(codes.numpy(), axis=1, ddof=1).argmin(1)
    assert steadiest(codes).tolist() == expected.tolist()
    assert majority(torch.tensor([[3, 0], [2, 0]]), torch.tensor([[1, 2], [3, 4]])) == 0.3


def test_split_is_one_for_all_values_and_leaves_none_out():
    (a, b), (c, d) = split([torch.arange(100), torch.arange(100)], seed=3)
    assert a.equal(c)
    assert b.equal(d)
    assert sorted([*a.tolist(), *b.tolist()]) == list(range(100))


# What they are given


def test_a_constant_factor_changes_no_score():
    factors = torch.cat([grid(), torch.full((len(grid()), 1), 2)], 1)
    codes = rotated(grid())
    assert varying(factors).equal(grid())
    for make in (MIG, SAP, Modularity, IRS, lambda: FactorVAEScore(**VOTES)):
        with_it, without = make(), make()
        with_it.update(codes, factors)
        without.update(codes, grid())
        assert with_it.compute() == without.compute()


def test_bfloat16_codes_are_scored_as_what_they_are():
    codes, factors = middling()
    for make in (MIG, SAP, IRS):
        low, same = make().to(torch.bfloat16), make()
        low.update(codes.bfloat16(), factors)
        same.update(codes.bfloat16().float(), factors)
        assert low.compute() == same.compute()


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (torch.rand(4, 2, 2), torch.zeros(4, 1).long(), r"^codes must be \[B, D\] of floats"),
        (torch.zeros(4, 2).long(), torch.zeros(4, 1).long(), r"^codes must be .* torch.int64"),
        (torch.rand(4, 2), torch.zeros(4).long(), r"^factors must be \[4, K\] int64"),
        (torch.rand(4, 2), torch.zeros(3, 1).long(), r"^factors must be \[4, K\] int64"),
        (torch.rand(4, 2), torch.zeros(4, 1), r"^factors must be .* torch.float32"),
        (torch.rand(4, 2), torch.full((4, 1), -1), r"^factors must be classes from 0 on, got -1"),
    ],
)
def test_what_is_not_codes_and_classes_is_named(codes, factors, message):
    with pytest.raises(ValueError, match=message):
        MIG().update(codes, factors)


def test_codes_that_diverged_and_factors_that_stand_still_are_named():
    metric = MIG()
    metric.update(torch.tensor([[torch.nan], [0.0]]), torch.tensor([[0], [1]]))
    with pytest.raises(ValueError, match="nan or inf"):
        metric.compute()
    with pytest.raises(ValueError, match="all constant"):
        mig(torch.rand(3, 2), torch.ones(3, 1).long())
    with pytest.raises(ValueError, match=r"factor 0 has no class that two of the 3 examples"):
        Siblings.among(torch.arange(3).unsqueeze(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MIG(bins=1), "bins must be a whole number of at least 2, got 1"),
        (lambda: Modularity(bins=0), "bins must be a whole number of at least 2, got 0"),
        (lambda: IRS(quantile=0), r"quantile must be a positive finite number, got 0"),
        (lambda: FactorVAEScore(group=1), "group must be a whole number of at least 2, got 1"),
        (lambda: BetaVAEScore(test=0), "test must be a whole number of at least 1, got 0"),
        (lambda: DCI(fit="trees"), "fit must be a function"),
    ],
)
def test_wrong_argument_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [BetaVAEScore, Explicitness, DCI])
def test_without_scikit_learn_they_say_what_to_install(make, monkeypatch):
    def gone(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("lightning_vae.metrics.classifiers.importlib.import_module", gone)
    with pytest.raises(
        ModuleNotFoundError, match=r'pip install "lightning-vae\[disentanglement\]"'
    ):
        make()
    MIG(), SAP(), FactorVAEScore(), IRS(), Modularity()


def test_metrics_reset_and_plot():
    metric = MIG()
    metric.update(perfect(grid()), grid())
    metric.compute()
    figure, _ = metric.plot()
    assert figure is not None
    metric.reset()
    metric.update(perfect(grid()).repeat(1, 2), grid())
    assert metric.compute() == pytest.approx(0, abs=1e-6)
