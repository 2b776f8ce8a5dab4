"""One file for each objective, against truth."""
