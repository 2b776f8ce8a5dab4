"""The command line: LightningCLI over any LightningModule and LightningDataModule."""

import sys

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from rich.console import Console

import lightning_vae.data  # noqa: F401  short names work in configs once their modules are imported
from lightning_vae.drawing import PICTURES, draw

__all__ = ["VAECLI", "main", "run"]


class VAECLI(LightningCLI):
    """LightningCLI that ends a fit by saying where its results are and how to open them."""

    def after_fit(self) -> None:
        if self.trainer.is_global_zero and self.trainer.log_dir is not None:
            console = Console(soft_wrap=True, highlight=False)
            for name, value in self._results().items():
                console.print(f"[bold]{name:12}[/bold] {value}")

    def _results(self) -> dict[str, str]:
        trainer = self.trainer
        results = {"Results": str(trainer.log_dir)}
        if checkpoint := getattr(trainer.checkpoint_callback, "best_model_path", ""):
            results["Checkpoint"] = checkpoint
        if (elbo := trainer.callback_metrics.get("val/elbo")) is not None:
            results["val/elbo"] = f"{elbo:.2f} nats"
        if trainer.loggers:
            results["Open them"] = f"tensorboard --logdir {trainer.loggers[0].save_dir}"
        return results


def run(args: list[str] | None = None) -> VAECLI:
    """Run the command line; ``args`` stands in for what was typed."""
    return VAECLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        # A second run in the same folder writes its own configuration over the first's.
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"epilog": f"Pictures of a checkpoint: {', '.join(PICTURES)} (--help)."},
        args=args,
    )


def main() -> None:
    """Run ``lightning-vae``."""
    command, *args = sys.argv[1:] or [""]
    if command in PICTURES:
        Console(soft_wrap=True).print(draw(command, args))
    else:
        run()
