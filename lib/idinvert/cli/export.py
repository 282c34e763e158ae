"""Write a model's networks as ONNX files, for browsers, phones and other code.

    idinvert export face-stylegan-layerwise --to exported

writes generator, encoder, classifier, mapping network and the gradient of Eq. (4) as NAME.onnx,
with constant weights and a batch of one; model.json with shapes, average code and boundaries; and
differences.csv, which is printed too: how far onnxruntime is from PyTorch on 100 codes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from idinvert import models
from idinvert.files import locked
from idinvert.inversion.model import Model
from idinvert.publish import export
from idinvert.publish.compact import Storage
from idinvert.settings import Count

from . import UsageError, check_writable, read_options


@dataclass(frozen=True)
class Command:
    model: Positional[str]
    """generator of the registry: see `idinvert models`"""
    to: Path
    """folder for the files"""
    storage: Storage = "float16"
    """how weights are stored; int8 is the smallest, float32 exact; all compute in float32"""
    codes: Count = 100
    """sampled codes on which the files are compared with PyTorch"""


def main(arguments: list[str]) -> None:
    """Export, and show what was measured."""
    options = read_options(Command, arguments, __name__, __doc__)
    check_writable(options.to)
    if options.to.resolve() in (place.resolve() for place in models.folders()):
        raise UsageError(f"{options.to} is the folder of models, where model.json would be taken "
                         "for the card of one: name another --to.")
    if (about := options.to / "model.json").is_file() and not export.told(options.to):
        raise UsageError(f"{about} was not written by an export, and would be replaced: name "
                         "another --to.")
    model = Model(options.model, "cpu")
    with locked(options.to, wait=False):
        measured = export.export(model, options.to, options.storage, options.codes)
    print(measured.to_string(index=False, float_format=lambda value: f"{value:.2g}", na_rep=""))
    print(f"{options.to}: {measured['network'].nunique()} networks", file=sys.stderr)
