import numpy as np
import pytest
import torch

from lightning_vae.metrics import histograms
from lightning_vae.metrics.histograms import binned, contingency, entropy, mutual_information
from tests.metrics.codes import grid, middling
from tests.references import disentanglement as reference


@pytest.mark.parametrize("bins", [2, 7, 20])
def test_bins_are_numpys(bins):
    codes = middling()[0].double().numpy()
    codes[:, 0] = np.arange(len(codes)) % (bins + 1)  # every value on an edge
    codes[:, 1] = 3.0
    expected = [np.digitize(c, np.histogram(c, bins)[1][:-1]) - 1 for c in np.delete(codes, 1, 1).T]
    found = binned(torch.from_numpy(codes), bins)
    assert (expected == np.delete(found.numpy(), 1, 1).T).all()
    assert len(found[:, 1].unique()) == 1


def test_information_is_that_of_a_loop_over_pairs():
    codes, factors = middling()
    found = mutual_information(contingency(binned(codes), factors))
    expected = reference.information(codes.double().numpy(), factors.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_chunks_of_rows_add_up(monkeypatch):
    codes, factors = middling()
    whole = contingency(binned(codes), factors)
    monkeypatch.setattr(histograms, "_CELLS", 999)
    assert contingency(binned(codes), factors).equal(whole)
    assert whole.dtype == torch.int64
    assert (whole.sum((2, 3)) == len(codes)).all()


def test_independent_classes_share_nothing_and_equal_ones_all():
    factors = grid()
    counts = contingency(factors, factors)
    found = mutual_information(counts)
    expected = torch.tensor([4.0, 5, 6]).double().log().diag()
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(entropy(counts[0].sum(-2)), expected.diagonal())
