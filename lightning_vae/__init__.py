"""Variational autoencoders that do not collapse, for PyTorch Lightning."""
