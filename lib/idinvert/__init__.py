"""In-domain GAN inversion: models, losses, inversion, editing and their evaluation."""
