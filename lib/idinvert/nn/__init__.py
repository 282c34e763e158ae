"""Networks only: no files, no training, no plotting."""
