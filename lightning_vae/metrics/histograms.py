r"""Mutual information between binned codes and classes, for all pairs of columns at once.

.. math:: I(a; b) = H(a) + H(b) - H(a, b)

All contingency tables are counted in one pass over the rows.
"""

import torch
from torch import Tensor

__all__ = ["binned", "contingency", "entropy", "mutual_information"]

_CELLS = 2**19  # how many indices a chunk of rows may have


def binned(codes: Tensor, bins: int = 20) -> Tensor:
    """The bin of every element, of bins that part each column's range equally.

    As ``numpy.histogram`` has them: half open, but for the last. A constant column has one bin.

    Args:
        codes: [N, D].
        bins: How many.

    Returns:
        [N, D] int64, below ``bins``.

    >>> binned(torch.tensor([[0.0, 5.0], [0.9, 5.0], [1.0, 5.0], [2.0, 5.0]]), bins=2).T
    tensor([[0, 0, 1, 1],
            [1, 1, 1, 1]])
    """
    codes = codes.double().T.contiguous()
    lower, upper = codes.aminmax(dim=1, keepdim=True)
    inner = torch.arange(1, bins, device=codes.device)
    edges = lower + inner * ((upper - lower) / bins)
    return torch.searchsorted(edges, codes, right=True).T


def contingency(a: Tensor, b: Tensor) -> Tensor:
    """How often the classes of each column of a meet those of each column of b.

    Args:
        a: [N, D] int64, from 0.
        b: [N, K] int64, from 0.

    Returns:
        Counts [D, K, classes of a, classes of b] int64.

    >>> contingency(torch.tensor([[0], [1], [1]]), torch.tensor([[0], [1], [1]]))[0, 0]
    tensor([[1, 0],
            [0, 2]])
    """
    shape = (a.shape[1], b.shape[1], int(a.max()) + 1, int(b.max()) + 1)
    pairs, cells = shape[0] * shape[1], shape[2] * shape[3]
    # The number of a cell is a sum of what its row and its column say.
    first = shape[3] * a.T.contiguous() + shape[1] * cells * torch.arange(shape[0]).to(a).unsqueeze(
        1
    )
    second = b.T.contiguous() + cells * torch.arange(shape[1]).to(b).unsqueeze(1)
    counts = torch.zeros(pairs * cells, dtype=torch.int64, device=a.device)
    rows = max(1, _CELLS // pairs)
    for part, other in zip(first.split(rows, 1), second.split(rows, 1), strict=True):
        index = part.unsqueeze(1) + other
        counts += torch.bincount(index.flatten(), minlength=pairs * cells)
    return counts.view(shape)


def entropy(counts: Tensor) -> Tensor:
    """The entropy of the classes counted along the last dimension, in nats: [*, C] -> [*] float64.

    >>> entropy(torch.tensor([[4, 0], [2, 2]]))
    tensor([0.0000, 0.6931], dtype=torch.float64)
    """
    entropies: Tensor = torch.special.entr(counts.double() / counts.sum(-1, keepdim=True))
    return entropies.sum(-1)


def mutual_information(counts: Tensor) -> Tensor:
    """The mutual information in each table of counts, in nats: [*, A, B] -> [*] float64.

    >>> mutual_information(torch.tensor([[[2, 0], [0, 2]], [[1, 1], [1, 1]]]))
    tensor([0.6931, 0.0000], dtype=torch.float64)
    """
    apart, joint = entropy(counts.sum(-1)) + entropy(counts.sum(-2)), entropy(counts.flatten(-2))
    return apart - joint
