"""How alike reconstructions are to the eye: PSNR and SSIM, and LPIPS where its weights are.

All three are torchmetrics' own, here as one metric to log.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from typing_extensions import Self, override

__all__ = ["ReconstructionQuality"]

_WINDOW = 11  # pixels, of SSIM


class ReconstructionQuality(Metric):
    """PSNR (of the mean squared error over all images, in dB), SSIM, and LPIPS if asked for.

    Args:
        data_range: The largest value less the smallest that a pixel can have.
        lpips: Whether to report LPIPS too, of images in [0, 1] by AlexNet: for this torchmetrics
            needs torchvision, which loads its weights.
        kwargs: What every torchmetrics metric takes.

    Raises:
        ModuleNotFoundError: if LPIPS is asked for and torchvision is not installed.

    Source: Wang et al. 2004; Zhang et al. 2018.

    >>> import torch
    >>> metric = ReconstructionQuality()
    >>> x = torch.rand(4, 1, 16, 16)
    >>> metric.update(0.9 * x + 0.05, x)
    >>> {name: value > 0.5 for name, value in metric.compute().items()}
    {'psnr': tensor(True), 'ssim': tensor(True)}
    """

    full_state_update = False
    is_differentiable = True
    higher_is_better = True
    plot_lower_bound = 0.0

    def __init__(self, data_range: float = 1.0, lpips: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if data_range <= 0:
            raise ValueError(f"data_range must be above 0, got {data_range}.")
        self.psnr = PeakSignalNoiseRatio(data_range=data_range, **kwargs)
        self.ssim = StructuralSimilarityIndexMeasure(data_range=data_range, **kwargs)
        self.lpips = _perceptual(**kwargs) if lpips else None

    @override
    def update(self, reconstruction: Tensor, x: Tensor) -> None:
        """Add reconstructions of images, each [B, C, H, W].

        Raises:
            ValueError: if they have other shapes, or the images are smaller than SSIM's window.
        """
        if reconstruction.shape != x.shape or x.dim() != 4 or min(x.shape[2:]) < _WINDOW:
            raise ValueError(
                f"reconstruction and x must both be [B, C, H, W] with H and W of at least {_WINDOW},"
                f" got {list(reconstruction.shape)} and {list(x.shape)}."
            )
        reconstruction, x = reconstruction.detach().float(), x.float()
        self.psnr.update(reconstruction, x)
        self.ssim.update(reconstruction, x)
        if self.lpips is not None:
            colour = (-1, 3 if x.shape[1] == 1 else -1, -1, -1)
            self.lpips.update(reconstruction.expand(colour), x.expand(colour))

    @override
    def compute(self) -> dict[str, Tensor]:
        """The values, by name: "psnr", "ssim" and, if asked for, "lpips"."""
        named = {"psnr": self.psnr, "ssim": self.ssim, "lpips": self.lpips}
        return {name: metric.compute() for name, metric in named.items() if metric is not None}

    @override
    def reset(self) -> None:
        super().reset()
        for metric in (self.psnr, self.ssim, self.lpips):
            if metric is not None:
                metric.reset()

    # A sum in bfloat16 stops growing at 256 of its steps: states and LPIPS's weights stay float32.
    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Self:
        def move(state: Tensor) -> Tensor:
            return state.to(fn(torch.empty(0, device=state.device)).device)

        super()._apply(move, exclude_state)
        return self

    @override
    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the values, or several of them as curves."""
        return self._plot(val, ax)


def _perceptual(**kwargs: Any) -> Metric:
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        return LearnedPerceptualImagePatchSimilarity("alex", normalize=True, **kwargs)
    except (ImportError, OSError) as error:
        raise ModuleNotFoundError(
            "lpips=True needs torchvision and its weights for AlexNet: write pip install "
            "torchvision, where it can load them; or lpips=False."
        ) from error
