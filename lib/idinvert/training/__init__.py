"""Training of generators, encoders and classifiers through one resumable loop."""
