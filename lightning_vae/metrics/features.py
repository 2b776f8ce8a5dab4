"""Features of images by a network that the user gives: no weights are downloaded."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lightning_vae import posteriors
from lightning_vae.evaluation import evaluating

__all__ = ["Extractor", "TorchScript", "extracted"]

Extractor: TypeAlias = Callable[[Tensor], Any]


def extracted(extractor: Extractor, x: Tensor) -> Tensor:
    """What an extractor makes of images: [B, ...] → [B, F] float32, without gradient.

    Args:
        extractor: Any function or module x → features [B, ...]; of a distribution, such as an
            encoder returns, the mean. A module is in eval mode meanwhile.
        x: The images, [B, ...].

    Raises:
        ValueError: if the features are not one row an image.

    >>> extracted(nn.Flatten(), torch.rand(4, 1, 2, 3)).shape
    torch.Size([4, 6])
    """
    if isinstance(extractor, nn.Module):
        with evaluating(extractor):
            features = extractor(x)
    else:
        with torch.no_grad():
            features = extractor(x)
    if isinstance(features, Distribution):
        features = posteriors.mean(features)
    if not isinstance(features, Tensor) or features.dim() < 2 or len(features) != len(x):
        shape = getattr(features, "shape", type(features).__name__)
        raise ValueError(
            f"extractor must return features [{len(x)}, ...], one row an image, got {shape}."
        )
    return features.detach().flatten(1).float()


class TorchScript:
    """A network that ``torch.jit.save`` wrote, as an extractor: read once, where the images are.

    Args:
        path: The file.

    Raises:
        ValueError: if there is none.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "features.pt"
    >>> torch.jit.script(nn.Flatten()).save(path)
    >>> extracted(TorchScript(str(path)), torch.rand(4, 1, 2, 3)).shape
    torch.Size([4, 6])
    """

    def __init__(self, path: str) -> None:
        if not Path(path).is_file():
            raise ValueError(f"path={path!r} is no file: write a network with torch.jit.save.")
        self.path = path

    def __call__(self, x: Tensor) -> Any:
        return _read(self.path, x.device)(x)


# Not kept on the object: what torch reads can be neither pickled nor sent to a process.
@cache
def _read(path: str, device: torch.device) -> torch.jit.ScriptModule:
    network: torch.jit.ScriptModule = torch.jit.load(path, map_location=device)
    network.eval()
    return network
