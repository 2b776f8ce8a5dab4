#!/usr/bin/env bash
# Makes traversal.png, traversal.gif and reconstructions.png: a beta-VAE with beta = 4 on Sprites,
# five epochs of 61,440 images, the longest fit of this folder; then what its latents do. Options that
# are given go to the fit, such as --data.train_size=640 to see it work.
#   bash notebooks/pictures.sh
set -euo pipefail
cd "$(dirname "$0")/.."
lightning-vae fit -c configs/sprites.yaml \
    --trainer.callbacks.schedule.stop=4 --trainer.callbacks.schedule.over=2 \
    --data.train_size=61440 --trainer.max_epochs=5 --trainer.logger.init_args.version=pictures "$@"
checkpoint=runs/sprites/pictures/checkpoints/last.ckpt
lightning-vae traverse --ckpt "$checkpoint" --to notebooks/traversal.png \
    --most_active=6 --example=5 --row_size=9
lightning-vae traverse --ckpt "$checkpoint" --to notebooks/traversal.gif \
    --most_active=6 --example=5 --row_size=12 --animated=true
lightning-vae reconstruct --ckpt "$checkpoint" --to notebooks/reconstructions.png --row_size=9
