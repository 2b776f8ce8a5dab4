"""The command line: LightningCLI over any LightningModule and LightningDataModule."""

from collections.abc import Sequence

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from rich.console import Console

import lightning_vae.data

# Short class names work in configs once their modules are imported.
from lightning_vae import VAEModule, likelihoods, networks, priors, schedules

__all__ = ["VAECLI", "main"]


class VAECLI(LightningCLI):
    """LightningCLI that ends a fit by saying where its results are and how to open them."""

    def after_fit(self) -> None:
        folder, root = self.trainer.log_dir, self.trainer.default_root_dir
        if folder is None or not self.trainer.is_global_zero:
            return
        console = Console(soft_wrap=True, highlight=False)
        console.print(f"\n[bold]Results[/bold]      {folder}")
        checkpoint = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        if checkpoint:
            console.print(f"[bold]Checkpoint[/bold]   {checkpoint}")
        elbo = self.trainer.callback_metrics.get("val/elbo")
        if elbo is not None:
            console.print(f"[bold]val/elbo[/bold]     {elbo:.2f} nats")
        console.print(f"[bold]Open them[/bold]    tensorboard --logdir {root}")


def main(args: Sequence[str] | None = None) -> VAECLI:
    """Run ``lightning-vae``; ``args`` stands in for the command line's."""
    return VAECLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        # A second run in the same folder writes its own configuration over the first's.
        save_config_kwargs={"overwrite": True},
        args=args,
    )
