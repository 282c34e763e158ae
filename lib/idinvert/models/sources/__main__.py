"""Fetch all models that are fetched: `python -m idinvert.models.sources`."""

import sys

from ..packages import PretrainedError
from . import SOURCES, folder, provide

if __name__ == "__main__":
    try:
        for name, source in SOURCES.items():
            provide(name)
            print(f"{source.title}: {folder() / name}.safetensors")
    except PretrainedError as error:
        sys.exit(str(error))
