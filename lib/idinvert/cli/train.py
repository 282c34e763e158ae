"""Command line: `python -m idinvert.training NAME` trains or continues a model of the zoo,
`python -m idinvert.training gan`, `encoder` and `classifier` models on images of one's own."""

from __future__ import annotations

import argparse
import sys

from idinvert import boundaries, processes
from idinvert import models as weights
from idinvert.training import own, zoo
from idinvert.training.loop import Schedule, train


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="idinvert.training", description="Train or continue models of the zoo; "
        "`gan --help`, `encoder --help` and `classifier --help` tell how to train on images of "
        "one's own.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models, see --list")
    parser.add_argument("--list", action="store_true", help="show every model and its state")
    parser.add_argument("--all", action="store_true", help="train what is missing, in order")
    parser.add_argument("--kimg", type=float, help="thousand images, as in the zoo unless told")
    parser.add_argument("--budget-minutes", type=float, default=float("inf"),
                        help="stop cleanly after this time; the same command continues")
    parser.add_argument("--checkpoint-kimg", type=float, default=10.0)
    parser.add_argument("--device", default="auto", help="cuda if there is one")
    return parser


def state(name: str) -> str:
    """One line on a model: trained or not, what was spent, last figures."""
    if not zoo.trained(name):
        return f"{name:40} not trained"
    if zoo.entry(name)["kind"] == "boundaries":
        fitted = boundaries.load(weights.folder() / f"{name}.safetensors").values()
        return f"{name:40} accuracy  " + " ".join(f"{b.name}={b.accuracy:.3f}" for b in fitted)
    card = weights.card(name)
    figures = " ".join(f"{k}={v:.4g}" for k, v in card["evaluation"].items())
    return f"{name:40} {card['kimg']:8.0f} kimg {card['seconds'] / 60:7.0f} min  {figures}"


def train_one(name: str, arguments: argparse.Namespace, share: processes.Share) -> bool:
    """Train one model and publish it, also where it was stopped early; True if finished.

    A model published elsewhere at that length stays as it is, and so does what its card says. Of
    several processes the first one publishes.
    """
    if zoo.entry(name)["kind"] == "boundaries":
        if share.first:
            zoo.fit_boundaries(name, arguments.device)
            print(state(name))
        return True
    kimg = arguments.kimg or zoo.entry(name, arguments.device)["kimg"]
    started = (zoo.run_folder(name) / "checkpoint.pt").exists()
    if not started and zoo.trained(name) and weights.card(name)["kimg"] >= kimg:
        if share.first:
            print(f"{state(name)}  (--kimg above {weights.card(name)['kimg']:g} trains on)")
        return True
    task = zoo.make_task(name, arguments.device, kimg, share)
    schedule = Schedule(kimg, checkpoint_kimg=arguments.checkpoint_kimg,
                        seed=zoo.entry(name).get("seed", 0), minutes=arguments.budget_minutes)
    start = zoo.adopt(name, task, writes=share.first)
    finished = train(task, zoo.run_folder(name), schedule, share.first, start, writes=share.first)
    if share.first:
        card = zoo.publish(name, task)
        print(f"{name}: {card['kimg']:.0f} kimg, {card['parameters'] / 1e6:.2f} M parameters, "
              f"saved in {weights.folder()}")
    return finished


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in own.TASKS:
        return own.main(argv)
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.list:
            print("\n".join(map(state, zoo.zoo())))
            return 0
        names = arguments.names
        if arguments.all:
            names = [name for name in zoo.zoo() if not zoo.trained(name)]
        if not names:
            parser.error("name at least one model, or use --all or --list")
        for name in names:
            zoo.entry(name)
        share = processes.share()
        arguments.device = share.device(arguments.device)
        processes.connect(share, arguments.device)
        for name in names:
            finished = train_one(name, arguments, share)
            processes.wait()  # the next model may need this one
            if not finished:
                print("Stopped; the same command continues.", file=sys.stderr)
                return 130
    except KeyboardInterrupt:
        print("Stopped; the same command continues.", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"idinvert.training: error: {error}", file=sys.stderr)
        return 1
    finally:
        processes.disconnect()
    return 0


if __name__ == "__main__":
    sys.exit(main())
