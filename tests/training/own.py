"""Trainings with images of one's own, as short as can be."""

from idinvert.cli import main

SIZE = ["--channel-base", "64", "--channel-max", "8"]
NETWORK = [*SIZE, "--batch", "8", "--device", "cpu"]


def gan(folder, *extra, kimg=0.016, judge="--no-projected", resolution=8):
    return main(["train", "gan", "own", "--images", str(folder / "photos"),
                 "--resolution", str(resolution), "--dimensions", "4",
                 "--kimg", str(kimg), judge, *NETWORK, *extra])


def encoder(folder, *extra, kimg=0.016, size=SIZE):
    return main(["train", "encoder", "--generator", "own", "--images", str(folder / "photos"),
                 "--kimg", str(kimg), "--lambda-vgg", "0", "--batch", "8", "--device", "cpu",
                 *size, *extra])
