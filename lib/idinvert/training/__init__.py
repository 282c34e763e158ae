"""Training of generators, encoders and classifiers through one resumable loop.

`zoo.entries()` lists what the study trains, `train_entry` trains one: an entry of that list, or one
made for images of one's own. What can be trained is registered in `entries.TASKS`; a task is one
file of this package.
"""

from .train import train_entry

__all__ = ["train_entry"]
