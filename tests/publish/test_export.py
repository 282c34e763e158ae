"""Networks as ONNX files, the gradient of Eq. (4) included: onnxruntime and PyTorch agree."""

import json
import os
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from idinvert import models
from idinvert.boundaries import Boundary
from idinvert.cli import main
from idinvert.codes import encode, frozen, render
from idinvert.files import cache_folder, locked
from idinvert.inversion import Settings, optimise
from idinvert.inversion.model import Model
from idinvert.inversion.optimiser import Networks
from idinvert.nn import encoder, mobilestylegan, stylegan, stylegan2

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from idinvert.publish import compact, export, live, preview  # noqa: E402 (they import these packages)

# Each with the size of its images; those of 16 px are inverted at 8 px
FAMILIES = {"stylegan": (stylegan, 8), "stylegan2": (stylegan2, 8),
            "mobilestylegan": (mobilestylegan, 16)}


@pytest.fixture(scope="module", params=FAMILIES)
def exported(request, tmp_path_factory):
    """A small model with an encoder and boundaries, the folder it was exported to, and what the
    command printed."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDINVERT_MODELS", str(folder / "weights"))
        torch.manual_seed(0)
        size = {"w_dim": 8, "channel_base": 128, "channel_max": 16}
        family, resolution = FAMILIES[request.param]
        made = family.Generator(resolution, **size, z_dim=8)
        torch.nn.init.normal_(made.const)  # ones have no deviation to divide by
        models.save("own", made, inversion={"resolution": 8} if resolution > 8 else {})
        network = encoder.Encoder(8, **size, w_avg=made.w_avg)
        for layer in network.modules():  # statistics as after training
            if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                layer.running_var.uniform_(0.01, 2)
        models.save("own-base", network)
        normal = torch.randn(made.num_layers, 8)
        models.save_boundaries("own", [Boundary("age", normal / normal.norm(), 0.5, (0, 1))])
        model = Model("own", "cpu")
        with redirect_stdout(StringIO()) as printed:
            assert main(["export", "own", "--to", str(folder / "to"), "--storage", "float32",
                         "--codes", "3"]) == 0
        yield model, folder / "to", printed.getvalue()


def run(path, **inputs):
    """Outputs of a file by name."""
    session = export.session(path)
    arrays = {name: value.detach().numpy() for name, value in inputs.items()}
    names = [output.name for output in session.get_outputs()]
    return {k: torch.from_numpy(v) for k, v in zip(names, session.run(names, arrays))}


def test_files_give_what_pytorch_gives(exported):
    model, folder, _ = exported
    codes = model.sample(1, seed=7)
    image = render(model.generator, codes)
    assert torch.allclose(run(folder / "generator.onnx", codes=codes)["image"], image, atol=1e-4)
    found = run(folder / "encoder.onnx", image=image)["codes"]
    assert torch.allclose(found, encode(model.encoder, image), atol=1e-4)
    latent = torch.randn(1, 8)
    with torch.no_grad():
        wanted = model.generator.mapping(latent)
    assert torch.allclose(run(folder / "mapping.onnx", latent=latent)["codes"], wanted, atol=1e-5)


@pytest.mark.parametrize("masked", (False, True))
def test_adam_on_the_exported_gradient_is_in_domain_inversion(exported, masked):
    model, folder, _ = exported
    target, start = render(model.generator, model.sample(1, seed=3)), model.sample(1, seed=4)
    mask = torch.ones(1, 1, 8, 8)
    if masked:
        mask[..., 4:] = 0
    networks = Networks(model.generator, encoder=model.encoder)
    wanted = optimise(networks, target, start, Settings(iterations=5, lambda_vgg=0),
                      lambda_dom=3.0, mask=mask if masked else None)
    codes = start.clone().requires_grad_(True)
    adam = torch.optim.Adam([codes], lr=0.01)
    for i in range(5):
        found = run(folder / "equation4.onnx", codes=codes, target=target, mask=mask,
                    lambda_dom=torch.tensor([3.0]))
        assert torch.allclose(found["pixel"], wanted.losses["pixel"][:, i], rtol=1e-4)
        assert torch.allclose(found["code"], wanted.losses["code"][:, i], rtol=1e-4)
        codes.grad = found["gradient"]
        adam.step()
    assert torch.allclose(codes, wanted.codes, atol=1e-4)
    assert (wanted.codes - start).abs().max() > 0.02


@pytest.mark.parametrize("exported", ["mobilestylegan"], indirect=True)
def test_parts_of_the_generator_give_its_image_and_previews(exported, tmp_path, monkeypatch):
    model, _, _ = exported
    monkeypatch.setattr(preview, "EVERY", 1)  # there are few pixels
    code, other = model.sample(2, seed=3).split(1)
    image = render(model.generator, code)
    halves = preview.Halves(model)
    whole = export.exported(halves.generator()).SerializeToString()
    for name, (_, content) in preview.cut(whole).items():
        (tmp_path / f"{name}.onnx").write_bytes(content)
    features = run(tmp_path / "coarse.onnx", codes=code)["features"]
    found = run(tmp_path / "fine.onnx", features=features, codes=code)
    assert torch.allclose(found["image"], image, atol=1e-4)
    linear = preview.fitted(found["squares"], found["products"])

    def seen(codes):
        features = run(tmp_path / "coarse.onnx", codes=codes)["features"]
        return run(tmp_path / "preview.onnx", features=features, map=linear)["preview"]

    assert (seen(code) - image).square().mean() < 0.1 * image.var((0, 2, 3)).mean()
    assert not torch.allclose(seen(other), seen(code), atol=0.1)

    network = halves.equation4()
    given = {**network.inputs, "codes": code, "offset": found["offset"]}
    onnx.save(export.exported(network), tmp_path / "equation4.onnx")
    found, wanted = run(tmp_path / "equation4.onnx", **given), network(**given)
    assert torch.allclose(found["image"], image, rtol=1e-4, atol=1e-3)
    assert torch.allclose(found["gradient"], wanted["gradient"], rtol=1e-3, atol=1e-4)
    assert found["gradient"].abs().max() > 0.01


@pytest.mark.slow
@pytest.mark.skipif(not (cache_folder("fetched") / "ffhq.safetensors").exists(),
                    reason="ffhq is not in the cache")
def test_ffhq_gives_what_pytorch_gives(tmp_path, monkeypatch):
    monkeypatch.delenv("IDINVERT_MODELS", raising=False)  # of the model of the other tests
    model = Model("ffhq", "cpu")
    with frozen([model.network("generator")]):
        network = export.networks(model, gradient=False)["generator"]
        onnx.save(export.exported(network), tmp_path / "generator.onnx")
    codes = model.sample(1, seed=3)
    found = run(tmp_path / "generator.onnx", codes=codes)["image"]
    assert found.shape == (1, 3, 256, 256)
    image = render(model.generator, codes)
    assert torch.allclose(found, image, atol=1e-3)

    halves, turned = preview.Halves(model), model.edit(codes, pose=3)
    with torch.no_grad():
        seen = preview.preview(halves.features(turned), halves.map_of(codes))
    wanted = render(model.generator, turned)
    assert (seen - wanted).square().mean() < 0.1 * (image - wanted).square().mean()


def test_judged_images_that_are_the_same_have_no_distance(exported):
    model, folder, _ = exported
    network = export.networks(model, gradient=False)["generator"]
    inputs = [{"codes": code} for code in model.sample(5).split(1)]
    torch.manual_seed(0)
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 4))
    row, = export.compare("generator", network, export.session(folder / "generator.onnx"), inputs,
                          judge.requires_grad_(False))
    assert abs(row["KID x 1e3"]) < 0.1


@pytest.mark.parametrize("grid", (1, 2, 4))
def test_gradient_of_means_over_a_grid(grid):
    x = torch.randn(1, 2, 8, 4, requires_grad=True)
    gradient = torch.randn(1, 2, grid, grid)
    wanted, = torch.autograd.grad(F.adaptive_avg_pool2d(x, grid), x, gradient)
    assert torch.allclose(export.adaptive_avg_pool2d_backward(gradient, x), wanted)


def test_description_and_differences(exported):
    model, folder, _ = exported
    described = json.loads((folder / "model.json").read_text())
    assert described["resolution"] == 8 and described["layers"] == model.generator.num_layers
    assert np.allclose(described["boundaries"]["age"]["direction"],
                       model.boundaries["age"].direction)
    measured = pd.read_csv(folder / "differences.csv")
    assert set(measured["network"]) == {"mapping", "generator", "encoder", "equation4"}
    limits = 1e-4 * measured["deviation of values"].clip(1)
    assert (measured["largest difference"] <= limits).all()
    assert (measured["deviation of values"] > 1e-4).all()


def test_graphs_have_constant_weights_and_a_batch_of_one(exported):
    model, folder, _ = exported
    graph = onnx.load(folder / "generator.onnx").graph
    shape = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    assert len(graph.input) == 1 and shape == [1, model.generator.num_layers, 8]


@pytest.mark.parametrize("storage, share", [("float16", 0.65), ("int8", 0.5)])
def test_compact_files_are_smaller_and_close(exported, storage, share, tmp_path, monkeypatch):
    model, folder, _ = exported
    path = folder / "generator.onnx"
    monkeypatch.setattr(compact, "SMALLEST", 64)
    monkeypatch.setattr(compact, "SHORTEST", 1)
    small = compact.compact(onnx.load(path), storage)
    onnx.save(small, tmp_path / "small.onnx")
    codes = model.sample(1, seed=2)
    image = render(model.generator, codes)
    found = run(tmp_path / "small.onnx", codes=codes)["image"]
    assert 0 < (found - image).abs().mean() < 0.05 * image.std()
    weights = [sum(len(t.raw_data) for t in g.initializer) for g in
               (small.graph, onnx.load(path).graph)]
    assert weights[0] < share * weights[1]


def test_weights_on_whole_steps_lose_nothing():
    rng = np.random.default_rng(0)
    numbers = rng.integers(-10, 11, (6, 5, 3, 3))
    numbers[:, 0, 0, 0] = 10
    values = (numbers * rng.uniform(0.01, 0.1, (6, 1, 1, 1))).astype(np.float32)
    small, _ = compact.in_int8("w", values)
    whole, scales = map(onnx.numpy_helper.to_array, small)
    assert np.abs(whole * scales - values).max() < 1e-6 and whole.dtype == np.int8


def test_numbers_that_are_too_large_for_float16_are_kept():
    made = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [
        onnx.numpy_helper.from_array(np.full(5000, value, np.float32), name)
        for name, value in (("small", 1.5), ("large", 1e5))]))
    kept = {t.name: onnx.numpy_helper.to_array(t) for t in
            compact.compact(made, "float16").graph.initializer}
    assert kept["large"][0] == np.float32(1e5) and kept["small|half"].dtype == np.float16


def test_command_prints_the_table(exported):
    assert "largest difference" in exported[2]


def test_command_names_the_nearest_model(own_registry, tmp_path, capsys):
    assert main(["export", "owm", "--to", str(tmp_path / "to")]) == 1
    assert "own" in capsys.readouterr().err


def test_networks_of_another_model_do_not_stay_in_the_folder(own_registry, tmp_path):
    """An encoder beside a generator that is not its own would look like its own. What no export
    has described stays."""
    def mapping_alone(model):
        found = export.networks(model, gradient=False)
        return {name: found[name] for name in found if name == "mapping"}

    folder, model = tmp_path / "to", Model("own", "cpu")
    export.export(model, folder, count=2, choose=mapping_alone)
    (folder / "encoder.onnx").write_bytes(b"of an earlier export")
    (folder / "own.onnx").write_bytes(b"of the user")
    (tmp_path / "outside.onnx").write_bytes(b"of the user")
    told = {"networks": {"mapping": {}, "encoder": {}, "../outside": {}}}
    (folder / "model.json").write_text(json.dumps(told))
    export.export(model, folder, count=2, choose=mapping_alone)
    assert sorted(path.name for path in folder.glob("*.onnx")) == ["mapping.onnx", "own.onnx"]
    assert (tmp_path / "outside.onnx").exists()
    for damaged in ("[]", "3", '{"networks": [3]}', "{"):
        (folder / "model.json").write_text(damaged)
        assert export.told(folder) == set()


def test_what_export_cannot_write_or_read_is_told_before_the_work(own_registry, tmp_path,
                                                                  monkeypatch, capsys):
    monkeypatch.setattr(export, "exported", lambda _: pytest.fail("it worked"))
    to = tmp_path / "to"
    for name in ("encoder.onnx", "model.json"):
        (to / name).mkdir(parents=True)
        assert main(["export", "own", "--to", str(to)]) == 1
        assert f"Is a directory: {to / name}" in capsys.readouterr().err
        (to / name).rmdir()
    (tmp_path / "weights" / "own-boundaries.safetensors").write_bytes(b"damaged")
    assert main(["export", "own", "--to", str(to)]) == 1
    assert "own-boundaries.safetensors" in capsys.readouterr().err
    models.save("own-base", encoder.Encoder(resolution=8, w_dim=6, channel_base=4, channel_max=8))
    assert main(["export", "own", "--to", str(to)]) == 1
    assert "own-base is for (px, layers, dimensions) (8, 4, 6), own has (8, 4, 4)" in (
        capsys.readouterr().err)


@pytest.mark.parametrize("content", ["{}", "[1]", "{", '{"format": "layers-model"}'])
def test_export_replaces_nothing_that_is_not_its_own(own_registry, tmp_path, monkeypatch, capsys,
                                                       content):
    """TensorFlow.js has a model.json too; and in the folder of models it would be a card."""
    (tmp_path / "model.json").write_text(content)
    assert main(["export", "own", "--to", str(tmp_path)]) == 2
    assert f"{tmp_path / 'model.json'} was not written by an export" in capsys.readouterr().err
    assert (tmp_path / "model.json").read_text() == content
    assert main(["export", "own", "--to", str(tmp_path / "weights")]) == 2
    assert "is the folder of models" in capsys.readouterr().err
    assert models.names() == ["own", "own-base"]
    (tmp_path / "link").symlink_to(tmp_path / "weights")
    monkeypatch.setattr(models, "folders", lambda: [tmp_path / "link"])  # as ~/.cache may be
    assert main(["export", "own", "--to", str(tmp_path / "weights")]) == 2


def test_a_folder_never_describes_networks_of_two_models(own_registry, tmp_path, monkeypatch,
                                                         capsys):
    """Neither where an export is stopped, nor of two exports at once."""
    folder, model = tmp_path / "to", Model("own", "cpu")
    folder.mkdir()
    (folder / "encoder.onnx").write_bytes(b"of an earlier export")
    before = {"networks": {"encoder": {}, "mapping": {}}, "resolution": 4}
    (folder / "model.json").write_text(json.dumps(before))
    with locked(folder):
        assert main(["export", "own", "--to", str(folder)]) == 1
    assert "in use by another command" in capsys.readouterr().err
    assert json.loads((folder / "model.json").read_text()) == before

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "session", stopped)
    with pytest.raises(KeyboardInterrupt):
        export.export(model, folder, count=2,
                      choose=lambda model: {"mapping": export.networks(model, False)["mapping"]})
    assert [path.name for path in folder.glob("*.onnx")] == ["mapping.onnx"]
    assert json.loads((folder / "model.json").read_text()).keys() == {"networks"}
    assert export.told(folder) == {"encoder", "mapping"}


def test_a_page_is_not_made_of_an_export_that_was_stopped(own_registry, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(live, "cache_folder", lambda name: tmp_path / name)
    monkeypatch.setattr(export, "export", lambda _, folder, *__: made.append(folder))
    folder = live.exported_files(Model("own", "cpu"), export.networks)
    folder.mkdir(parents=True)
    for described in ({"networks": {"generator": None}}, {"networks": {}, "resolution": 8}):
        (folder / "model.json").write_text(json.dumps(described))
        live.exported_files(Model("own", "cpu"), export.networks)
    assert made == [folder, folder]


def test_the_folder_may_have_any_name(own_registry, tmp_path, capsys):
    to = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(to)
    with open(os.path.join(to, b"other.onnx"), "wb"):  # is none of the networks
        pass
    assert main(["export", "own", "--to", os.fsdecode(to), "--codes", "2"]) == 0
    assert ": 4 networks" in capsys.readouterr().err
    assert b"model.json" in os.listdir(to)
