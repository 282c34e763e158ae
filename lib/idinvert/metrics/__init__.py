"""Metrics of the study: one module each, plain functions of tensors.

Image metrics (`pixel`, `swd`, `features`) take images [N, 3, H, W], RGB, in [-1, 1], clipped to
that range as a saved file would be. Set metrics (`frechet`, `kid`) take features [N, F]. Import the
modules: `from idinvert.metrics import frechet, kid, pixel`.
"""
