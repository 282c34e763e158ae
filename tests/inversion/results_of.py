"""Commands that invert a folder of images, and what they leave."""

import numpy as np


def command(images, out, **options):
    options = {"lambda-vgg": 0, "iterations": 3, "batch": 2, "device": "cpu"} | options
    extra = [x for k, v in options.items() if v is not None for x in (f"--{k}", str(v))]
    return ["invert", str(images), "--model", "own", "--out", str(out), *extra]


def everything(folder):
    """The content of each file; of archives, which hold the time, that of each array."""
    def content(path):
        if path.suffix != ".npz":
            return path.read_bytes()
        return {key: value.tobytes() for key, value in np.load(path).items()}
    return {path.relative_to(folder): content(path) for path in folder.rglob("*.*")}
