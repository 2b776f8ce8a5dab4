"""Data sets, one a file, each a LightningDataModule that gathers whole batches."""
