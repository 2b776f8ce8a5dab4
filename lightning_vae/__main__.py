"""``python -m lightning_vae`` is ``lightning-vae``."""

from lightning_vae.cli import main

if __name__ == "__main__":
    main()
