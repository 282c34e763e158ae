import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from idinvert import boundaries
from idinvert.boundaries import Boundary, condition, svm
from idinvert.boundaries.svm import fit
from idinvert.codes import sample_codes
from idinvert.nn.classifier import Classifier
from idinvert.nn.stylegan import Generator
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC


def planted(count=3000, layers=4, size=8, seed=0, offset=0.5):
    """Gaussian codes, a unit normal, and their true distances to its hyperplane."""
    rng = torch.Generator().manual_seed(seed)
    codes = torch.randn(count, layers, size, generator=rng)
    normal = torch.randn(layers, size, generator=rng)
    normal /= normal.norm()
    return codes, normal, (codes * normal).sum((1, 2)) + offset


def random_boundary(name, seed, space="whole", layers=(0, 1, 2, 3)):
    normal = torch.randn(4, 8, generator=torch.Generator().manual_seed(seed))
    normal /= normal.norm() if space == "whole" else normal.norm(dim=1, keepdim=True)
    return Boundary(name, normal, 0.1 * seed, layers, 0.9, space)


def test_a_planted_direction_is_recovered():
    codes, normal, truth = planted()
    boundary = fit(codes, truth, share=0.3)
    assert (boundary.normal * normal).sum() > 0.98
    assert boundary.normal.norm() == pytest.approx(1, abs=1e-6)
    assert boundary.accuracy > 0.97 and boundary.layers == (0, 1, 2, 3)


def test_gradients_and_layers_of_numpy_change_no_boundary(tmp_path):
    codes, _, truth = planted()
    plain = fit(codes, truth, 0.3, layers=(1, 2))
    found = fit(codes.requires_grad_(), truth.requires_grad_(), 0.3, layers=np.arange(1, 3))
    assert torch.equal(found.normal, plain.normal) and not found.normal.requires_grad
    assert json.dumps(found.layers) == "[1, 2]"


def test_noisy_scores_still_give_the_direction():
    codes, normal, truth = planted()
    noise = torch.randn(len(codes), generator=torch.Generator().manual_seed(1))
    assert (fit(codes, truth + 0.5 * noise, share=0.2).normal * normal).sum() > 0.95


def test_distances_are_those_to_the_planted_hyperplane():
    """Equal ends of the scores lie around their median, so the hyperplane is found there."""
    codes, _, truth = planted(count=20_000)
    distance = fit(codes, truth, share=0.1, cost=1.0).distance(codes)
    error = distance - (truth - truth.median())
    assert error.abs().mean() < 0.1 and error.mean().abs() < 0.05


def test_distance_in_closed_form():
    normal = torch.zeros(2, 3)
    normal[0, 0], normal[1, 2] = 1, 1  # one unit vector a layer
    boundary = Boundary("a", normal, 2.0, (0, 1), space="layer")
    codes = torch.zeros(2, 2, 3)
    codes[1, 0, 0] = 4
    torch.testing.assert_close(boundary.distance(codes), torch.tensor([2.0, 6.0]) / math.sqrt(2))


def test_agrees_with_sklearn_on_the_same_samples():
    codes, _, truth = planted(count=400)
    boundary = fit(codes, truth, share=0.5, cost=0.1, seed=3)
    train, _ = svm.extremes(truth, 0.5, 3)
    x = torch.cat([codes[i] for i in train]).flatten(1).double()
    scale = x.square().mean().sqrt()
    y = np.repeat([1, 0], [len(i) for i in train])
    reference = SVC(kernel="linear", C=0.1).fit(x / scale, y)
    expected = reference.decision_function(codes.flatten(1).double() / scale)
    expected *= float(scale) / np.linalg.norm(reference.coef_)
    np.testing.assert_allclose(boundary.distance(codes), expected, atol=1e-5)


def test_resembles_logistic_regression():
    codes, _, truth = planted()
    other = LogisticRegression().fit(codes.flatten(1), truth > truth.median()).coef_[0]
    normal = fit(codes, truth, share=0.3).normal.flatten().numpy()
    assert normal @ other / np.linalg.norm(other) > 0.98


@pytest.mark.parametrize("space", boundaries.SPACES)
def test_scale_of_codes_does_not_matter(space):
    codes, _, truth = planted(count=600)
    a, b = (fit(scale * codes, truth, 0.2, space) for scale in (1, 50))
    torch.testing.assert_close(a.normal, b.normal, atol=1e-4, rtol=0)
    torch.testing.assert_close(50 * a.distance(codes), b.distance(50 * codes), atol=0.05, rtol=0)


def test_layer_space_has_a_unit_normal_in_every_layer():
    codes, normal, truth = planted()
    boundary = fit(codes, truth, 0.3, "layer")
    torch.testing.assert_close(boundary.normal.norm(dim=1), torch.ones(4))
    cosine = torch.cosine_similarity(boundary.normal, normal, dim=1)
    assert (cosine > 0.9).all() and boundary.accuracy > 0.9
    alone = fit(codes, truth, 0.3, "layer", layers=[2])
    torch.testing.assert_close(alone.normal[2], boundary.normal[2])


@pytest.mark.parametrize("space", boundaries.SPACES)
def test_a_fit_can_be_restricted_to_layers(space):
    codes, _, truth = planted(count=600)
    boundary = fit(codes, truth, 0.2, space, layers=(1, 2))
    assert boundary.layers == (1, 2)
    assert (boundary.normal[[0, 3]] == 0).all() and (boundary.normal[[1, 2]] != 0).any(1).all()


def test_equal_seeds_give_equal_boundaries():
    codes, _, truth = planted(count=600)
    truth = truth + torch.randn(600)
    a, b, c = (fit(codes, truth, 0.2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(a.normal, b.normal) and a.intercept == b.intercept
    assert not torch.equal(a.normal, c.normal)


def test_binary_scores_are_enough_if_each_class_fills_its_end():
    codes, normal, truth = planted()
    labels = (truth > 0.5).float()
    assert (fit(codes, labels, 0.3).normal * normal).sum() > 0.9
    with pytest.raises(ValueError, match="only one class"):
        fit(codes, (truth > 2).float(), 0.3)


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_equal_codes_cannot_be_separated(value):
    with pytest.raises(ValueError, match="All codes are the same: there is nothing to separate"):
        fit(torch.full((100, 4, 8), value), torch.arange(100).float(), 0.3)


def test_fit_names_what_is_wrong():
    codes, _, truth = planted(count=100)
    with pytest.raises(ValueError, match=r"not \[100, 32\] and \[100\]"):
        fit(codes.flatten(1), truth)
    with pytest.raises(ValueError, match=r"\[100, 4, 8\] and \[99\]"):
        fit(codes, truth[1:])
    with pytest.raises(ValueError, match="0.02 of 100 samples is 2, but at least 4"):
        fit(codes, truth)
    with pytest.raises(ValueError, match="at most 0.5, not 0.7"):
        fit(codes, truth, 0.7)
    with pytest.raises(ValueError, match="only one class"):
        fit(codes, torch.ones(100), 0.2)
    with pytest.raises(ValueError, match="not finite"):
        fit(codes, truth / 0, 0.2)
    with pytest.raises(ValueError, match="Unknown space 'all': expected one of whole, layer"):
        fit(codes, truth, 0.2, "all")


def test_distance_names_both_shapes():
    with pytest.raises(ValueError, match=r"'age' is for codes \[N, 4, 8\], not \[3, 14, 512\]"):
        random_boundary("age", 1).distance(torch.zeros(3, 14, 512))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_conditional_boundary_leaves_the_others_alone(count):
    primary = random_boundary("age", 1)
    others = [random_boundary(f"other{i}", 2 + i) for i in range(count)]
    result = condition(primary, others)
    assert result.normal.norm() == pytest.approx(1, abs=1e-6)
    codes = torch.randn(5, 4, 8)
    for other in others:
        moved = other.distance(codes + 3 * result.normal)
        torch.testing.assert_close(moved, other.distance(codes), atol=1e-5, rtol=0)
    assert (result.normal * primary.normal).sum() > 0.5


def test_one_condition_in_closed_form():
    a, b = random_boundary("a", 1), random_boundary("b", 2)
    cosine = (a.normal * b.normal).sum()
    expected = (a.normal - cosine * b.normal) / (1 - cosine**2).sqrt()
    result = condition(a, b)
    torch.testing.assert_close(result.normal, expected)
    codes = torch.randn(5, 4, 8)
    distance = (a.distance(codes) - cosine * b.distance(codes)) / (1 - cosine**2).sqrt()
    torch.testing.assert_close(result.distance(codes), distance, atol=1e-5, rtol=0)
    assert result.name == "a | b" and math.isnan(result.accuracy)


def test_conditions_apply_layer_by_layer():
    a, b = (random_boundary(name, seed, "layer") for name, seed in (("a", 1), ("b", 2)))
    result = condition(a, b)
    torch.testing.assert_close(result.normal.norm(dim=1), torch.ones(4))
    torch.testing.assert_close((result.normal * b.normal).sum(1), torch.zeros(4),
                               atol=1e-6, rtol=0)


def test_conditions_keep_to_the_layers_of_the_primary():
    a, b = random_boundary("a", 1, layers=(1, 2)), random_boundary("b", 2)
    result = condition(a, b)
    assert (result.normal[[0, 3]] == 0).all()
    assert (result.normal * b.normal).sum().abs() < 1e-6


def test_dependent_conditions_are_no_obstacle():
    a, b = random_boundary("a", 1), random_boundary("b", 2)
    torch.testing.assert_close(condition(a, [b, b]).normal, condition(a, b).normal)


def test_conditions_that_leave_nothing_are_refused():
    a = random_boundary("a", 1)
    with pytest.raises(ValueError, match="Nothing of boundary 'a' is left without b"):
        condition(a, Boundary("b", -a.normal, 0.0, a.layers))
    with pytest.raises(ValueError, match=r"'a' \[4, 8\] and 'c' \[2, 8\] differ"):
        condition(a, Boundary("c", torch.ones(2, 8), 0.0, (0, 1)))
    for pair in ((a, "age"), ("age", a)):
        with pytest.raises(ValueError, match="Expected boundaries, not 'a"):
            condition(*pair)


@pytest.mark.parametrize("name", ["b.safetensors", os.fsdecode(b"\xff.safetensors")], ids=ascii)
def test_saved_boundaries_come_back_exactly(tmp_path, name):
    originals = [
        random_boundary("smile", 3, "layer", (1, 2)),
        condition(random_boundary("age", 1), random_boundary("pose", 2)),
    ]
    boundaries.save(originals, tmp_path / name)
    loaded = boundaries.load(tmp_path / name)
    assert list(loaded) == ["smile", "age | pose"]
    for old, new in zip(originals, loaded.values(), strict=True):
        assert torch.equal(old.normal, new.normal) and old.intercept == new.intercept
        assert (old.name, old.layers, old.space) == (new.name, new.layers, new.space)
        np.testing.assert_equal(old.accuracy, new.accuracy)


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "b.safetensors"
    with pytest.raises(FileNotFoundError):
        boundaries.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="is not a file of boundaries, or damaged: remove it"):
        boundaries.load(path)
    with pytest.raises(ValueError, match="different names"):
        boundaries.save([random_boundary("a", 1)] * 2, path)


@pytest.mark.parametrize("layers", [(), 3, None, iter([1]), (4,), (1, 1), ("1",)])
def test_a_boundary_moves_layers_that_there_are(layers):
    with pytest.raises(ValueError, match="layers are|zero in all layers"):
        random_boundary("a", 1, layers=layers)


def test_numbers_of_numpy_are_numbers(tmp_path):
    """A file that they made could not be written, or not be read again with all that is in it."""
    normal = torch.ones(2, 3, requires_grad=True)
    first = Boundary("a", normal, np.float32(0.5), (np.int64(0),), np.float32(0.75))
    boundaries.save([first, dataclasses.replace(first, name="b")], tmp_path / "b.safetensors")
    for found in boundaries.load(tmp_path / "b.safetensors").values():  # they share a normal
        assert (found.intercept, found.accuracy, found.layers) == (0.5, 0.75, (0,))
        assert torch.equal(found.normal, normal.detach())
    for accuracy in (None, "0.9", 1.5, -0.1):
        with pytest.raises(ValueError, match="'a': the accuracy is .* a share from 0 to 1, or NaN"):
            dataclasses.replace(first, accuracy=accuracy)
    with pytest.raises(ValueError, match="No boundary in a file can be called '__metadata__'"):
        boundaries.save([dataclasses.replace(first, name="__metadata__")], tmp_path / "b")


def test_files_note_the_generator(tmp_path):
    noted = dataclasses.replace(random_boundary("a", 1), generator="12ab")
    both = condition(noted, random_boundary("b", 2))
    boundaries.save([noted, both, random_boundary("b", 2)], tmp_path / "b.safetensors")
    found = boundaries.load(tmp_path / "b.safetensors").values()
    assert [boundary.generator for boundary in found] == ["12ab", "12ab", None]
    with pytest.raises(ValueError, match="the generator is noted by its SHA-256, not by 3"):
        dataclasses.replace(noted, generator=3)


def test_a_file_that_is_replaced_while_it_is_read_is_not_damaged(tmp_path, monkeypatch):
    """Notes and normals are of one file."""
    path, plain = tmp_path / "b.safetensors", Path.read_bytes
    boundaries.save([random_boundary("old", 1), random_boundary("b", 2)], path)

    def of_a_newer_file(self):
        monkeypatch.setattr(Path, "read_bytes", plain)
        boundaries.save([random_boundary("b", 3)], path)
        return plain(self)

    monkeypatch.setattr(Path, "read_bytes", of_a_newer_file)
    found = boundaries.load(path)
    assert list(found) == ["b"] and found["b"].intercept == random_boundary("b", 3).intercept


SOUND = {"intercept": 0.0, "layers": [0], "accuracy": 1.0, "space": "whole"}


@pytest.mark.parametrize("notes, normal", [
    ([], None), ({"age": None}, None), ({"age": {}}, None), ({"age": 3}, None), ("age", None),
    ({"age": SOUND | {"layers": [float("inf")]}}, None), ({"age": SOUND | {"layers": 3}}, None),
    ({"age": SOUND | {"layers": [7]}}, None), ({"age": SOUND | {"intercept": "x"}}, None),
    ({"age": SOUND | {"more": 1}, "other": SOUND}, None), ({"age": SOUND}, torch.tensor(1.0)),
    ({"age": SOUND}, torch.full((2, 3), torch.nan)), ({"age": SOUND | {"space": []}}, None),
], ids=str)  # fmt: skip
def test_damaged_notes_are_refused(tmp_path, notes, normal):
    """Each in the one sentence, whatever it would raise."""
    normal = torch.ones(2, 3) if normal is None else normal
    save_file({"age": normal}, tmp_path / "b.safetensors", {"boundaries": json.dumps(notes)})
    with pytest.raises(ValueError, match="is not a file of boundaries"):
        boundaries.load(tmp_path / "b.safetensors")
    save_file({"age": torch.ones(2, 3)}, tmp_path / "b.safetensors",
              {"boundaries": json.dumps({"age": SOUND})})
    assert list(boundaries.load(tmp_path / "b.safetensors")) == ["age"]


def small_generator(layerwise):
    torch.manual_seed(0)
    return Generator(16, 8, 8, channel_base=64, channel_max=8, layerwise=layerwise).eval()


@pytest.mark.parametrize("layerwise", [False, True])
def test_sampled_codes_depend_on_the_seed_alone(layerwise):
    generator = small_generator(layerwise)
    codes = sample_codes(generator, 10, seed=1)
    assert codes.shape == (10, 6, 8)
    in_parts = sample_codes(generator, 10, seed=1, batch=3)
    torch.testing.assert_close(codes, in_parts, atol=1e-6, rtol=1e-5)
    assert not torch.equal(codes, sample_codes(generator, 10, seed=2))
    (codes * torch.ones(1, requires_grad=True)).sum().backward()  # usable where gradients are


def test_scores_are_the_logits_of_rendered_images():
    generator, classifier = small_generator(True), Classifier(16, 3, channels=(4, 6)).eval()
    codes = sample_codes(generator, 7)
    scores = svm.score(generator, classifier, codes, batch=3, bfloat16=False)
    expected = classifier(generator.synthesis(codes))
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)
    fast = svm.score(generator, classifier, codes)
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast, expected, atol=0.05, rtol=0.05)
