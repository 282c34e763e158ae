"""Profiles of one's own: generators, images and labels that are no embedded world."""

import pandas as pd
import pytest
import torch
import yaml
from idinvert import data, study
from idinvert import models as weights
from idinvert.boundaries import Boundary, save
from idinvert.models import importing
from idinvert.nn import classifier
from idinvert.study import networks
from idinvert.study.profiles import PROFILES, load
from idinvert.study.sections import generators


class Untrained:
    """Stands for the ImageNet networks, which these tests do not look at."""

    def __getattr__(self, name):
        return lambda *_: torch.nn.Identity()


@pytest.fixture
def own(tmp_path, own_registry, monkeypatch):
    """A profile of the generator "own", with twelve photographs of grey values 0, 20, 40, ..."""
    monkeypatch.setattr(networks, "pretrained", Untrained())
    for i in range(12):
        data.write_image(tmp_path / "photos" / f"{i}.png", torch.full((3, 8, 8), i / 6 - 1))
    entry = {"generator": "own", "images": "photos", "labels": "labels.csv"}
    rows = [f"{i},{i % 2},{i % 3 % 2}" for i in range(12) if i != 5]
    (tmp_path / "labels.csv").write_text("\n".join(["image,odd,other", *rows, "5,,1"]))
    save_boundary("odd")
    return write(tmp_path, {"subjects": {"grey": entry}, "06_tradeoff": {"iterations": 7}})


def save_boundary(name):
    boundary = Boundary(name, torch.ones(4, 4) / 4, 0.0, layers=(0, 1, 2, 3))
    save([boundary], weights.folder() / "own-boundaries.safetensors")


def write(folder, described):
    path = folder / "mine.yml"
    path.write_text(yaml.safe_dump(described))
    return str(path)


def test_a_profile_of_ones_own_adds_to_the_embedded_one(own):
    run = study.begin("06_tradeoff", own, "cpu")
    embedded = study.begin("06_tradeoff", "embedded", "cpu")
    assert run.settings.iterations == 7 != embedded.settings.iterations
    assert run.settings.num_images == embedded.settings.num_images
    assert list(run.subjects) == list(run.listed) == ["grey"] and run.folder.name == "mine"
    assert list(embedded.subjects) == list(data.DOMAINS)
    with pytest.raises(ValueError, match="'mine' has no subject 'face': expected one of grey"):
        run.subject("face")


def test_images_and_labels_belong_together(own):
    """The unlabelled image 5 is left out, the attribute without a boundary too."""
    run = study.begin("02_reconstruction", own, "cpu")
    m = networks.load_domains(run, None, needs=("boundaries",))["grey"]
    test = run.subject("grey").test(m, 8)
    expected = [0, 1, 2, 3, 4, 6, 7, 8]
    assert list(test.labels) == ["odd"]
    assert list(test.labels["odd"]) == [i % 2 for i in expected]
    greys = (test.floats()[:, 0, 0, 0] + 1) * 6
    torch.testing.assert_close(greys, torch.tensor(expected).float(), atol=0.03, rtol=0)
    assert len(run.subject("grey").photos(8)) == 12
    with pytest.raises(ValueError, match="grey has 11 test images, fewer than 12"):
        run.subject("grey").test(m, 12)


def test_what_is_inverted_is_not_among_what_it_is_compared_with(own):
    """The last images of a small set are among the first ones: distances would be too small."""
    run = study.begin("04_editing", own, "cpu")
    subject = run.subject("grey")
    assert len(subject.photos(8, start=-6)) == 6
    with pytest.raises(ValueError, match="grey has 12 test images, but 7 and 7 others are needed"):
        subject.photos(8, start=-7)
    test = subject.test(networks.load(subject, "cpu", ("boundaries",)))
    with pytest.raises(ValueError, match="There are 11 test images, but more than 11 are needed"):
        test.floats(11)


def test_other_images_take_the_place_of_damaged_ones(own, tmp_path, capsys):
    for name in ("0.png", "8.png"):
        (tmp_path / "photos" / name).write_bytes(b"no image")
    subject = study.begin("02_reconstruction", own, "cpu").subject("grey")
    test = subject.test(networks.load(subject, "cpu", ("boundaries",)), 8)
    assert list(test.labels["odd"]) == [i % 2 for i in (1, 2, 3, 4, 6, 7, 9, 10)]
    assert capsys.readouterr().out.count("left out: ") == 2


def test_labels_without_a_boundary_leave_out_no_images(own, tmp_path):
    rows = [f"{i},{i % 2}," for i in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,odd,other", *rows]))
    subject = study.begin("02_reconstruction", own, "cpu").subject("grey")
    assert len(subject.test(networks.load(subject, "cpu", ("boundaries",)))) == 12


def test_without_a_table_the_classifier_tells_the_labels(own, tmp_path):
    described = yaml.safe_load((tmp_path / "mine.yml").read_text())
    del described["subjects"]["grey"]["labels"]
    run = study.begin("03_attributes", write(tmp_path, described), "cpu")
    with pytest.raises(ValueError, match="have no labels"):
        run.subject("grey").test(networks.load(run.subject("grey"), "cpu", ("boundaries",)))
    settings = {"resolution": 16, "attributes": 1, "channels": (4, 6)}
    network = classifier.Classifier(**settings).eval()
    with torch.no_grad():
        network.output.bias.fill_(100.0)
    weights.save("own-classifier", network, kind="classifier",
                 attributes=["odd"])
    m = networks.load(run.subject("grey"), "cpu")
    assert list(run.subject("grey").test(m).labels["odd"]) == [1] * 12


def test_methods_without_their_network_are_left_out(own):
    run = study.begin("02_reconstruction", own, "cpu", methods={"in-domain": {"iterations": 3}})
    m = networks.load(run.subject("grey"), "cpu", ())
    found = networks.methods(m, run.settings.methods)
    assert list(found) == ["domain-guided", "image2stylegan", "in-domain"]
    assert (found["in-domain"].iterations, found["in-domain"].bf16) == (3, True)
    assert found["image2stylegan"].iterations == 150  # as in the embedded profile


def test_generators_of_a_profile_are_shown(own):
    run = study.begin("01_generators", own, "cpu")
    assert {name: s.domain for name, s in generators.generators_of(run).items()} == {"own": "grey"}
    assert generators.contact_sheet(run.subject("grey"), 3, 1)[0].shape == (3, 3, 64, 64)
    assert not generators.generators_of(study.begin("01_generators", "smoke"))


@pytest.mark.parametrize("change, message", [
    ({"generator": "other"}, "Not trained: other, other-base, .*train gan other --images"),
    ({"classifier": "judge"}, "Not trained: judge. .*idinvert train classifier judge --images"),
    ({"images": "nowhere"}, "no test images of grey at .*nowhere: put them there"),
    ({"images": "$IDINVERT_UNSET/x"}, "set IDINVERT_UNSET to the folder they are in"),
    ({"files": ["g.pth"]}, "published weights at .*g.pth"),
    ({"photos": "x"}, "Subject 'grey': unknown setting 'photos': expected one of generator"),
    ({"image": "x"}, "Subject 'grey': unknown setting 'image': did you mean 'images'"),
    ({"split": "al"}, "Subject 'grey': split is 'al', but should be 'ffhq', 'lsun' or 'all'"),
    ({"images": None}, "Subject 'grey': its test images are missing"),
])  # fmt: skip
def test_what_is_missing_is_told_in_a_sentence(own, tmp_path, change, message):
    described = yaml.safe_load((tmp_path / "mine.yml").read_text())
    described["subjects"]["grey"] |= change
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        networks.load_domains(study.begin("04_editing", write(tmp_path, described), "cpu"), None)


def test_a_subject_that_lacks_something_does_not_stop_the_others(own, tmp_path, capsys):
    described = yaml.safe_load((tmp_path / "mine.yml").read_text())
    described["subjects"]["white"] = {"generator": "own", "images": "nowhere"}
    run = study.begin("02_reconstruction", write(tmp_path, described), "cpu")
    assert list(networks.load_domains(run, ["face", "grey"], ())) == ["grey"]
    assert "face is left out: The profile 'mine' has no subject 'face'" in capsys.readouterr().out
    assert list(networks.load_domains(run, None, ())) == ["grey"]
    assert "white is left out: There are no test images of white at" in capsys.readouterr().out
    assert list(run.subjects) == ["grey"] and set(generators.generators_of(run)) == {"own"}
    assert "white is left out" in capsys.readouterr().out


def test_published_files_are_imported_once(tmp_path, monkeypatch, own_registry):
    paths = [tmp_path / "g.pth", tmp_path / "age.npy"]
    for path in paths:
        path.touch()
    imported = []
    monkeypatch.setattr(importing, "import_file", lambda path, name: imported.append(path.name))
    importing.import_missing(paths, "own")
    assert imported == ["g.pth", "age.npy"]
    weights.save("own", weights.load("own"), imported="g.pth")
    save_boundary("age")
    importing.import_missing(paths, "own")
    assert imported == ["g.pth", "age.npy"]


def test_the_profile_of_the_paper_names_its_data():
    run = study.begin("02_reconstruction", "paper", "cpu")
    assert {d: (s.split, len(s.files)) for d, s in run.listed.items()} == {
        "face": ("ffhq", 7), "ffhq": ("ffhq", 0), "tower": ("lsun", 5), "bedroom": ("lsun", 5)}
    assert "paper" in {path.stem for path in PROFILES.glob("*.yml")}
    with pytest.raises(FileNotFoundError, match="face_generator.pth|ffhq256_generator.pth.*IDINV"):
        networks.load_domains(run, None, ())


def test_a_profile_of_ones_own_has_a_name_of_its_own(tmp_path):
    """A copy to try other settings would take the place of the published results."""
    path = tmp_path / "reference.yml"
    path.write_text("08_noise: {num_images: 5}")
    with pytest.raises(ValueError, match="write over the results of the profile 'reference'"):
        load(str(path))
    load(str(path.rename(tmp_path / "mine.yml")))
    assert load(str(PROFILES / "reference.yml")).name == "reference"


def test_damaged_profiles_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTHING", "")
    path = tmp_path / "mine.yml"
    merges = "".join(f"a{i + 1}: &a{i + 1} {{<<: [*a{i}, *a{i}, *a{i}]}}\n" for i in range(30))
    for text, message in (("a: [", "no readable YAML"), ("[" * 2000, "no readable YAML"),
                          ("a: 2020-99-99", "no readable YAML"), ("a: !!python/x 1", "no readable"),
                          (f"a0: &a0 {{x: 1}}\n{merges}", "no readable YAML"),
                          ("08_noise: {num_images: 3}\n08_noise: {}", "lists '08_noise' twice"),
                          ("08_noise: {num_images: 3, num_images: 4}", "lists 'num_images' twice"),
                          ("subjects: {1: {generator: a}, '1': {generator: b}}", "'1' twice"),
                          ("- a", "lists no settings"),
                          ("06_tradeof: {}", "'06_tradeof', which is no notebook: did you mean"),
                          ("subjects: [a]", "subjects should be listed by domain"),
                          ("subjects: {a: {generator: b, images: ''}}",
                           "Subject 'a': images is '', but should name a file or folder."),
                          ("subjects: {a: {generator: b, labels: $NOTHING}}",
                           "labels is '\\$NOTHING', but should name a file or folder."),
                          ("subjects: {a: {generator: b, files: [~no-such-user/x]}}",
                           "files.0 is '~no-such-user/x', but should be of a user that there is"),
                          ("06_tradeoff:", "'mine', 06_tradeoff has no settings: list some"),
                          ("06_tradeoff: !!set {a}", "06_tradeoff has no settings: list some"),
                          ("02_reconstruction: {num_images: -1}", "mine.*num_images is -1"),
                          ("06_tradeoff: {iterations: yes}",
                           "iterations is True, but should be a number, not true or false"),
                          ("02_reconstruction: {methods: {in_domain: {}}}", "did you mean 'in-dom"),
                          ("02_reconstruction: {methods: {in-domain: {steps: 3}}}",
                           "in-domain: unknown setting 'steps'"),
                          ("02_reconstruction: {iterations: {in_domain: 60}}",
                           "'mine', 02_reconstruction is of an older version: in place of "
                           "`iterations: {in_domain: 60}` write "
                           "`methods: {in-domain: {iterations: 60}}`.")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            study.begin("06_tradeoff", str(path), "cpu")


def test_labels_of_a_world_are_exact():
    run = study.begin("03_attributes", "embedded", "cpu")
    m = type("M", (), {"generator": type("G", (), {"resolution": 64})})
    test = run.subject("tower").test(m, 5)
    exact = data.load("tower", "test", 5)
    pd.testing.assert_frame_equal(test.labels, data.binary_labels(exact.labels, "tower"))
    assert torch.equal(test.images, exact.images)
