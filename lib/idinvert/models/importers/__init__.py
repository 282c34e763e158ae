"""Readers of other projects' checkpoints."""
