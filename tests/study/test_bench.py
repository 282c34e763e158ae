"""The bench compares ways that do the same, and counts products rightly."""

import os
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch
from idinvert import cli
from idinvert.inversion import InDomain, Networks
from idinvert.nn import encoder, stylegan, vgg
from idinvert.publish import book
from idinvert.study import bench


@pytest.fixture
def networks():
    torch.manual_seed(0)
    made = stylegan.Generator(16, 8, 8, 64, 8), vgg.VGG16Features(), encoder.Encoder(16, 8, 4, 4)
    return Networks(*(network.eval().requires_grad_(False) for network in made))


def test_published_loop_takes_the_steps_of_ours(networks):
    image, seen = torch.rand(1, 3, 16, 16) * 2 - 1, []
    codes = bench.published_loop(networks, image, lambda *step: seen.append(step[1].clone()), 5)
    ours = InDomain(iterations=5).invert(networks, image)
    assert torch.allclose(codes, ours.codes, atol=1e-4) and len(seen) == 5
    assert (codes - seen[0]).abs().max() > 0.02  # five steps of 0.01
    assert all(p.grad is None and not p.requires_grad for p in networks.generator.parameters())


def test_a_step_is_timed_between_readings_of_the_clock(monkeypatch):
    """Steps of one second, whatever comes before the first; the clock is read seldom."""
    begun, read = [], []
    monkeypatch.setattr(bench, "now", lambda: read.append(len(begun)) or 100 + len(begun))
    monkeypatch.setattr(bench, "LEAST", 7)

    def invert(networks, images, on_step):
        for step in range(100):
            begun.append(step)
            on_step(step, None, None)
    assert bench.step_cost(bench.Way("any", 1, invert), None, None).seconds == 1
    assert read == [1, 2, 3, 5, 9]  # it stopped after eight steps


def test_products_of_a_convolution():
    conv = torch.nn.Conv2d(4, 8, 3, padding=1).requires_grad_(False)
    there = 2 * 8 * 4 * 9 * 16 * 16
    assert bench.products(conv, torch.zeros(1, 4, 16, 16)) == pytest.approx(2 * there / 1e9)


def test_memory_that_a_pass_keeps():
    """The way back through a ReLU needs its output, of 4 bytes a number; a sum needs nothing."""
    image = torch.rand(2, 3, 8, 8)
    assert bench.kept(torch.relu, image) == pytest.approx(4 * 3 * 8 * 8 / 1e6)
    assert bench.kept(lambda x: torch.relu(x) + 1, image) == bench.kept(torch.relu, image)


def test_table_and_page(networks, monkeypatch, tmp_path, capsys):
    for name in ("networks_of", "kept_networks"):
        monkeypatch.setattr(bench, name, lambda *_: networks)
    monkeypatch.setattr(bench, "apart", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(bench, "MATRIX", 64)
    monkeypatch.setattr(bench, "LEAST", 0.001)
    for _ in range(2):  # the second takes the place of the first
        assert cli.main(["bench", "tiny", "--minutes", "0.001", "--device", "cpu",
                         "--out", str(tmp_path / "bench.csv")]) == 0
    table = pd.read_csv(tmp_path / "bench.csv")
    steps = table[table["part"] == "step of inversion"]
    assert len(steps) == len(bench.ways()) and steps["factor"].iloc[0] == 1
    assert (table["seconds_low"] <= table["seconds"]).all()
    trained = table[table["part"].str.startswith("training of")]
    assert set(trained["part"]) == {"training of the generator", "training of the encoder"}
    assert (trained["batch"] == 16).all() and (trained["seconds"] > 0).all()
    assert "## tiny" in book.speed_page(tmp_path)
    assert book.NOT_MEASURED.capitalize() in book.speed_page(tmp_path / "none")
    assert "## Less time" not in book.speed_page(tmp_path)
    (tmp_path / "steps.csv").write_text("model,way\ntiny,a large step\n")
    assert "a large step" in book.speed_page(tmp_path).split("## Less time to the same quality")[1]


@pytest.mark.parametrize("content, message", [
    ("image,smile\n1.png,1\n", "is a table of something else"), ("", "is no readable CSV file")])
def test_a_table_of_something_else_is_kept(tmp_path, capsys, content, message):
    (tmp_path / "labels.csv").write_text(content)
    assert cli.main(["bench", "face-stylegan", "--out", str(tmp_path / "labels.csv")]) == 1
    assert message in capsys.readouterr().err
    assert (tmp_path / "labels.csv").read_text() == content


def test_published_loop_is_timed_in_another_process():
    with bench.apart() as other:
        assert other.submit(os.getpid).result() == other.submit(os.getpid).result() != os.getpid()


def test_a_table_is_no_archive_whatever_its_name(tmp_path):
    table = pd.DataFrame({"network": ["tiny"], "machine": ["this"], "threads": [1]})
    for _ in range(2):
        bench.add(table, tmp_path / "bench.csv.gz")
    pd.testing.assert_frame_equal(bench.measured(tmp_path / "bench.csv.gz"), table)


def test_what_cannot_be_measured_is_refused(capsys):
    assert cli.main(["bench", "published", "--minutes", "0"]) == 2
    assert cli.main(["bench", "no-such"]) == 1
    assert "no-such" in capsys.readouterr().err
