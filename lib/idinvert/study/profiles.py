"""Profiles: the settings of every notebook, and the subjects that the notebooks work on.

A profile is a file in `notebooks/profiles`, or a user's .yml file. It holds the settings of each
notebook under the notebook's name, and a list of `subjects.Subject` under `subjects`. Settings that
a user's profile omits are those of "embedded". Each notebook has a class of settings below, which
is registered by the notebook's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field

from idinvert.inversion import METHODS, Method
from idinvert.registry import Registry, nearest
from idinvert.settings import Count, NotNegative, SettingsError, names, read, settings

from . import subjects
from .subjects import Subject

ROOT = Path(__file__).resolve().parents[3]  # of the checkout
PROFILES = ROOT / "notebooks" / "profiles"
NOTEBOOKS: Registry[type] = Registry("notebook", package="")


def read_methods(given: Any) -> dict[str, Method]:
    """Every inversion method by name, with the settings that a profile gives, else its defaults.

    Notebooks run convolutions in bfloat16 if a method has this setting.
    """
    if not isinstance(given, Mapping):
        raise SettingsError(f"methods should be settings by method, not {given!r:.40}.")
    for name in given:
        METHODS[name]
    found = {}
    for name, kind in METHODS.items():
        usual = {"bf16": True} if "bf16" in names(kind) else {}
        found[name] = read(kind, usual | dict(given.get(name) or {}), name)
    return found


Methods = Annotated[dict[str, Any], BeforeValidator(read_methods)]
Images = Annotated[Count, Field(ge=4)]  # as many as distances between sets need, for an interval
Lambdas = Annotated[list[NotNegative], Field(min_length=2)]  # two or more show a trend


@NOTEBOOKS.register("01_generators")
@settings
class Generators:
    """Samples of the generators beside test images."""

    num_images: Images  # samples, and test images, behind each distance


@settings
class MethodsCompared:
    """Every inversion method on the same test images."""

    num_images: Count  # test images of each domain
    methods: Methods


@NOTEBOOKS.register("02_reconstruction")
@settings
class Reconstruction(MethodsCompared):
    """Every inversion method on the same test images, and Image2StyleGAN with many steps on some.
    """

    num_images: Images  # test images of each domain
    long_iterations: list[Count]  # steps after which Image2StyleGAN is measured on some images
    num_long: Count  # these images of each domain


@NOTEBOOKS.register("03_attributes")
@settings
class Attributes(MethodsCompared):
    """On which side of the boundaries the codes of the same methods lie."""


@NOTEBOOKS.register("04_editing")
@settings
class Editing(MethodsCompared):
    """Interpolation, manipulation and semantic diffusion of inverted images."""

    num_images: Annotated[int, Field(ge=8)]  # test images of each domain; eight are mixed
    num_diffused: Images  # pairs of images in the semantic diffusion
    num_real: Images  # real test images that edited ones are compared with
    num_sampled: Count  # sampled codes on which the size of a step is set


@NOTEBOOKS.register("05_encoders")
@settings
class Encoders:
    """Backbones, and the average code of StyleGAN2."""

    num_images: Images  # test images of each domain
    stylegan2: str  # the generator of Table 4


@NOTEBOOKS.register("06_tradeoff")
@settings
class Tradeoff:
    """In-domain inversion for several values of lambda_dom."""

    num_images: Images  # test images to invert
    iterations: Count  # Adam steps
    lambdas: Lambdas  # values of lambda_dom
    fast: bool = False  # gradients by networks made ready for it: see `Model.invert`


@NOTEBOOKS.register("07_retraining")
@settings
class Retraining:
    """Generators of one code, layer-wise ones, and StyleGAN2."""

    num_images: Images  # test images of each domain
    # {domain: {one of `retraining.GENERATORS`: generator}}; that of the notebook's `domain` is of
    # Table 5, the others of Table 7
    generators: dict[str, dict[str, str]]


@NOTEBOOKS.register("08_noise")
@settings
class Noise:
    """Encoders that predict noise maps as well as codes."""

    num_images: Images  # test images


@NOTEBOOKS.register("09_limits")
@settings
class Limits:
    """Images from outside the domain, and unusual ones within it."""

    num_foreign: Count  # images of each other domain
    num_images: Count  # test images whose errors are compared by what is unusual in them
    iterations: Count  # Adam steps of in-domain inversion
    image2stylegan: Count  # Adam steps of Image2StyleGAN


@NOTEBOOKS.register("10_beyond")
@settings
class Beyond:
    """Every method at several settings: reconstruction against editability."""

    num_images: Count  # test images to invert and edit
    num_returned: Count  # of these, how many are edited, inverted again and edited back
    num_real: Count  # real test images that edited ones are compared with
    num_sampled: Count  # sampled codes on which the size of a step is set
    image2stylegan: list[Count]  # Adam steps at which Image2StyleGAN is measured
    in_domain: list[Count]  # the same of in-domain inversion, whose lambda_dom is 2
    quick: list[Count]  # the same with steps five times as long
    lambdas: list[NotNegative]  # other weights of the code term
    iterations: Count  # Adam steps with these, and of the pivots of pivotal tuning
    pivotal_tuning: list[Count]  # steps of tuning at which it is measured


@NOTEBOOKS.register("11_photographs")
@settings
class Photographs(MethodsCompared):
    """Photographs of faces, or stand-ins for them, through a generator of photographs."""

    num_real: Count  # other faces that edited ones are compared with
    lambdas: Lambdas  # values of lambda_dom


@NOTEBOOKS.register("explore")
@settings
class Explore:
    """The pictures of the explorer's page."""

    num_images: Count  # test images to invert
    iterations: Count  # Adam steps


@dataclass(frozen=True)
class Profile:
    """A checked profile: subjects by domain, settings by notebook."""

    name: str
    subjects: dict[str, Subject]
    notebooks: dict[str, Mapping]

    def settings(self, notebook: str, **overrides: Any) -> Any:
        """Settings of a notebook; overrides that are not None replace them. An override of a
        setting with several named values replaces only the values that it names.

        RegistryError: no such notebook. SettingsError: the profile lacks it, or a value is wrong.
        """
        kind, where = NOTEBOOKS[notebook], f"Profile {self.name!r}, {notebook}"
        if notebook not in self.notebooks:
            raise SettingsError(f"The profile {self.name!r} has no settings for {notebook!r}.")
        if not isinstance(self.notebooks[notebook], Mapping):
            raise SettingsError(f"{where} has no settings: list some, or leave it out.")
        given = {name: value for name, value in overrides.items() if value is not None}
        values = merged(self.notebooks[notebook], given)
        if isinstance(old := values.get("iterations"), Mapping):
            now = {name.replace("_", "-"): {"iterations": steps} for name, steps in old.items()}
            raise SettingsError(f"{where} is of an older version: in place of `iterations: "
                                f"{flow(old)}` write `methods: {flow(now)}`.")
        return read(kind, values, where)


def load(profile: str) -> Profile:
    """Read and check a profile: a name in `notebooks/profiles`, or the path of a user's .yml file.

    SettingsError, one sentence: there is no such profile, it is not a list of settings, or
    something in it is unknown or out of range.
    """
    path = profile_path(profile)
    values = read_file(path)
    if path.parent != PROFILES:
        values = merged({k: v for k, v in read_file(PROFILES / "embedded.yml").items()
                         if k != "subjects"}, values)
    listed = values.pop("subjects", None)
    for notebook in values:
        if notebook not in NOTEBOOKS:
            known = nearest(notebook, [*NOTEBOOKS, "subjects"])
            raise SettingsError(f"{path.name} has settings for {notebook!r}, which is no notebook: "
                                f"{known}")
    found = Profile(path.stem, subjects.of_profile(listed, path.parent), values)
    for notebook in values:
        found.settings(notebook)
    return found


def profile_path(profile: str) -> Path:
    """The file of a profile; SettingsError names the nearest ones, or says that a user's has the
    name, and so would have the results, of one in `notebooks/profiles`."""
    if profile.endswith((".yml", ".yaml")):
        if not Path(profile).is_file():
            raise SettingsError(f"There is no profile {profile}.")
        path = Path(profile).resolve()
        if path.parent != PROFILES and (PROFILES / f"{path.stem}.yml").exists():
            raise SettingsError(f"{profile} would write over the results of the profile "
                                f"{path.stem!r}: give the file another name.")
        return path
    known = sorted(path.stem for path in PROFILES.glob("*.yml"))
    if profile not in known:
        raise SettingsError(f"Unknown profile {profile!r}: {nearest(profile, known)}")
    return PROFILES / f"{profile}.yml"


class Loader(yaml.SafeLoader):
    """Reads YAML whose aliases are few: merges of merges grow without bound; SettingsError: it
    lists a name twice, of which YAML would take the last one."""

    aliases = 20

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            self.aliases -= 1
            if self.aliases < 0:
                raise yaml.YAMLError("too many aliases")
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in names.most_common(1):
            if count > 1:
                raise SettingsError(f"lists {name!r:.40} twice: leave one of them out.")
        return node


def read_file(path: Path) -> dict[str, Any]:
    """The settings in a profile's file; SettingsError if it is not a list of settings."""
    try:
        values = yaml.load(path.read_text("utf-8"), Loader)
    except OSError:
        raise
    except SettingsError as error:
        raise SettingsError(f"{path} {error}") from None
    except Exception as error:  # odd values raise many types
        raise SettingsError(f"{path} is no readable YAML file.") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path} is no profile: it lists no settings.")
    return {str(name): value for name, value in values.items()}


def flow(values: Mapping) -> str:
    """Settings as one line of YAML."""
    text = yaml.safe_dump(dict(values), default_flow_style=True, sort_keys=False, width=1000)
    return text.strip()


def merged(values: Mapping, over: Mapping) -> dict[str, Any]:
    """`values`, replaced by those of `over`; mappings in them are merged in the same way."""
    both = dict(values)
    for name, value in over.items():
        deeper = isinstance(value, Mapping) and isinstance(both.get(name), Mapping)
        both[name] = merged(both[name], value) if deeper else value
    return both
