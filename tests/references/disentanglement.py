"""Slow oracles: the published definitions one pair, one vote, one class at a time.

They follow what Locatello et al. 2019 (appendix C) state of their evaluation: codes parted in 20
bins by numpy, scikit-learn's scores and classifiers, fresh examples for every vote. Codes are
[N, D], classes [N, K], both numpy.
"""

import numpy as np
from scipy.linalg import sqrtm
from scipy.stats import entropy as entropy_of
from scipy.stats import spearmanr
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.metrics import mutual_info_score, roc_auc_score
from sklearn.svm import LinearSVC


def information(codes, factors, bins=20):
    """[D, K] nats."""
    table = np.zeros((codes.shape[1], factors.shape[1]))
    for j in range(codes.shape[1]):
        edges = np.histogram(codes[:, j], bins)[1]
        named = np.digitize(codes[:, j], edges[:-1])
        for k in range(factors.shape[1]):
            table[j, k] = mutual_info_score(factors[:, k], named)
    return table


def mig(codes, factors, bins=20):
    table, gaps = information(codes, factors, bins), []
    for k in range(factors.shape[1]):
        second, first = sorted(table[:, k])[-2:]
        gaps.append((first - second) / mutual_info_score(factors[:, k], factors[:, k]))
    return np.mean(gaps)


def modularity(codes, factors, bins=20):
    scores = []
    for row in information(codes, factors, bins) ** 2:
        if row.max() == 0:
            scores.append(0.0)
        else:
            scores.append(1 - (row.sum() - row.max()) / (row.max() * (len(row) - 1)))
    return np.mean(scores)


def sap(codes, factors, test_codes, test_factors):
    gaps = []
    for k in range(factors.shape[1]):
        accuracies = []
        for j in range(codes.shape[1]):
            machine = LinearSVC(C=0.01, class_weight="balanced")
            machine.fit(codes[:, [j]], factors[:, k])
            accuracies.append(np.mean(machine.predict(test_codes[:, [j]]) == test_factors[:, k]))
        second, first = sorted(accuracies)[-2:]
        gaps.append(first - second)
    return np.mean(gaps)


def explicitness(codes, factors, test_codes, test_factors):
    centre, scale, areas = codes.mean(0), codes.std(0), []
    for k in range(factors.shape[1]):
        model = LogisticRegression().fit((codes - centre) / scale, factors[:, k])
        chances = model.predict_proba((test_codes - centre) / scale)
        one_hot = test_factors[:, [k]] == model.classes_
        areas.append(
            np.mean([roc_auc_score(*each) for each in zip(one_hot.T, chances.T, strict=True)])
        )
    return np.mean(areas)


def irs(codes, factors, bins=20, quantile=0.99):
    farthest = np.abs(codes - codes.mean(0)).max(0)
    best = np.zeros(codes.shape[1])
    for j in range(codes.shape[1]):
        for k in range(factors.shape[1]):
            named = np.digitize(factors[:, k], np.histogram(factors[:, k], bins)[1][:-1])
            deviations = []
            for value in np.unique(named):
                group = codes[named == value, j]
                deviations.append(np.quantile(np.abs(group - group.mean()), quantile))
            best[j] = max(best[j], 1 - np.mean(deviations) / farthest[j])
    return np.average(best, weights=farthest)


def disentanglement(importance):
    """Importances [D, K]; transposed, it is completeness."""
    parts = [1 - entropy_of(row + 1e-11, base=len(row)) for row in importance]
    return np.dot(parts, importance.sum(1)) / importance.sum()


def wasserstein_correlation(covariance):
    product = sqrtm(covariance @ np.diag(np.diag(covariance)))
    return (2 * np.trace(covariance) - 2 * np.trace(product)).real


def _batch(encode, sizes, factor, group, random):
    """Fresh codes whose one factor is the same."""
    classes = np.stack([random.integers(size, size=group) for size in sizes], 1)
    classes[:, factor] = classes[0, factor]
    return encode(classes)


def factor_vae_score(encode, sizes, train, test, group, random, dead=0.05):
    """The score by fresh examples, encode: classes [n, K] → codes [n, D]."""
    deviation = encode(np.stack([random.integers(size, size=10_000) for size in sizes], 1)).std(0)
    alive = np.flatnonzero(deviation >= dead)
    counts = np.zeros((2, len(sizes), len(alive)))
    for part, votes in enumerate((train, test)):
        for _ in range(votes):
            factor = random.integers(len(sizes))
            codes = _batch(encode, sizes, factor, group, random)[:, alive]
            counts[part, factor, np.argmin((codes / deviation[alive]).var(0, ddof=1))] += 1
    return sum(counts[1][counts[0][:, j].argmax(), j] for j in range(len(alive))) / test


def factor_vae_score_of(encode, examples, train, test, dead=0.05):
    """The score of votes that are given, one at a time: each a factor and its group's classes."""
    spread = np.var(encode(examples), axis=0, ddof=1)
    alive = [j for j in range(len(spread)) if spread[j] ** 0.5 >= dead]
    table = {j: [0] * examples.shape[1] for j in alive}
    for factor, classes in zip(*train, strict=True):
        table[_vote(encode(classes), spread, alive)][factor] += 1
    named = {j: int(np.argmax(row)) for j, row in table.items()}
    right = [named[_vote(encode(c), spread, alive)] == k for k, c in zip(*test, strict=True)]
    return np.mean(right)


def _vote(codes, spread, alive):
    return min(alive, key=lambda j: np.var(codes[:, j], ddof=1) / spread[j])


def beta_vae_score_of(encode, train, test, seed):
    """The score of votes that are given: each a factor, and the classes of two sets of examples."""
    seen, factors = [], []
    for factor, first, second in [*zip(*train, strict=True), *zip(*test, strict=True)]:
        seen.append(np.mean(np.abs(encode(first) - encode(second)), axis=0))
        factors.append(factor)
    model = LogisticRegression(random_state=seed)
    model.fit(seen[: len(train[0])], factors[: len(train[0])])
    return model.score(seen[len(train[0]) :], factors[len(train[0]) :])


def beta_vae_score(encode, sizes, train, test, group, random):
    """The score by fresh examples, encode: classes [n, K] → codes [n, D]."""
    seen, factors = [], []
    for _ in range(train + test):
        factor = random.integers(len(sizes))
        first, second = (
            np.stack([random.integers(size, size=group) for size in sizes], 1) for _ in range(2)
        )
        second[:, factor] = first[:, factor]
        seen.append(np.abs(encode(first) - encode(second)).mean(0))
        factors.append(factor)
    model = LogisticRegression().fit(seen[:train], factors[:train])
    return model.score(seen[train:], factors[train:])


def udr(models, used, lasso=False):
    """Codes of each model [N, D], and which latents it uses."""
    scores = []
    for i, target in enumerate(models):
        values = []
        for j, other in enumerate(models):
            if i != j:
                table = _alike(other[:, used[j]], target[:, used[i]], lasso)
                columns = [max(c) ** 2 / sum(c) if sum(c) else 0 for c in table.T]
                rows = [max(r) ** 2 / sum(r) if sum(r) else 0 for r in table]
                values.append((np.mean(columns) + np.mean(rows)) / 2)
        scores.append(np.median(values))
    return scores


def _alike(a, b, lasso):
    if lasso:
        a, b = ((x - x.mean(0)) / x.std(0) for x in (a, b))
        return np.stack([np.abs(Lasso(alpha=0.1).fit(a, column).coef_) for column in b.T], 1)
    return np.array([[abs(spearmanr(x, y)[0]) for y in b.T] for x in a.T])


def posterior_information(loc, scale, classes, points=20_001):
    """I(z; v) of z ~ q(z|x_n), by quadrature over one latent: loc and scale [N]."""
    z = np.linspace((loc - 9 * scale).min(), (loc + 9 * scale).max(), points)
    density = np.exp(-0.5 * ((z[:, None] - loc) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
    everywhere, total = density.mean(1), 0.0
    for value in np.unique(classes):
        within = density[:, classes == value].mean(1)
        ratio = np.log(np.where(within > 0, within, 1) / np.where(everywhere > 0, everywhere, 1))
        total += np.mean(classes == value) * np.trapezoid(within * ratio, z)
    return total


def covered(points, centres, k):
    """The share of points within reach of a centre, one distance at a time."""
    radii = [sorted(np.linalg.norm(centres - c, axis=1))[k] for c in centres]
    inside = [
        any(np.linalg.norm(p - c) <= r for c, r in zip(centres, radii, strict=True)) for p in points
    ]
    return np.mean(inside)
