import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from lightning_vae.metrics.linear_svm import fit, predict


def problem(classes):
    random = np.random.default_rng(classes)
    # Classes of different sizes, features of different scales and of different use.
    labels = np.minimum(random.integers(2 * classes, size=2000), classes - 1)
    x = random.normal(size=(2000, 5))
    x[:, 0] += labels
    x[:, 1] = 50 * x[:, 1] - labels
    x[:, 2] = labels + 3
    x[:, 3] = 0.01 * x[:, 3] + 0.005 * (labels == 0)
    return x, labels


@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_lines_are_those_of_linear_svc(classes, C):
    x, labels = problem(classes)
    lines = fit(torch.from_numpy(x), torch.from_numpy(labels), C)
    for d in range(x.shape[1]):
        machine = LinearSVC(C=C, class_weight="balanced", tol=1e-10, max_iter=100_000, dual=False)
        machine.fit(x[:, [d]], labels)
        np.testing.assert_allclose(lines.w[d], machine.coef_[:, 0], atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(lines.b[d], machine.intercept_, atol=1e-5, rtol=1e-5)
        expected = machine.predict(x[:, [d]])
        found = predict(lines, torch.from_numpy(x))[:, d].numpy()
        assert np.mean(found != expected) < 1e-3


def test_labels_are_any_classes():
    x = torch.tensor([[-1.0], [-1.0], [0.0], [1.0], [1.0], [1.0]])
    labels = torch.tensor([9, 9, 9, 4, 4, 4])
    assert predict(fit(x, labels, 10.0), x)[:, 0].tolist() == labels.tolist()


def test_a_constant_feature_says_one_class():
    labels = torch.arange(30) % 3
    lines = fit(torch.zeros(30, 1), labels)
    assert lines.w.abs().max() == 0
    assert len(predict(lines, torch.zeros(30, 1)).unique()) == 1
