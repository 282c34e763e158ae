"""A model: a generator of the registry with its companions, each loaded when it is first used."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import fields
from functools import cached_property, partial
from typing import Annotated, Any, TypeVar

import torch
import torch.nn.functional as F
from pydantic import BeforeValidator
from torch import Tensor, nn

from idinvert import devices, models
from idinvert.boundaries import Boundary
from idinvert.codes import check_images, encode, finite, manipulate, render, sample_codes
from idinvert.data.images import looks_like_bytes
from idinvert.models import pretrained
from idinvert.nn.protocols import Classifier, Discriminator, Encoder, FeatureNetwork, Generator
from idinvert.nn.reduced import PIXELS, ReducedFeatures, ReducedGenerator
from idinvert.registry import nearest
from idinvert.settings import Count, Seed, Whole, check_dense, checked

from .fast import FastNetworks, check_fast
from .methods import METHODS, Method
from .methods.pivotal_tuning import Tuned, tuned_together
from .optimiser import Inversion, OnStep, in_batches, joined

Made = TypeVar("Made")
Device = Annotated[str, BeforeValidator(str)]

ENCODERS = ("encoder", "conventional")  # roles that an encoder can have
NAMED = 9  # boundaries of another generator
LARGEST = 1.5  # beyond this, images are not in [-1, 1]; rendered ones go a little beyond 1


class Model:
    """A generator with its encoders, boundaries, classifier and discriminator.

    Args:
        name: of a generator of the registry: see `idinvert.models.names`.
        device: "cuda", "cpu", ..; by default CUDA if there is one.
        companions: names of other networks than the generator's own, by role:
            `Model("face-stylegan-layerwise", encoder="face-stylegan-layerwise-resnet18")`.

    Images are [N, 3, r, r] in [-1, 1], codes [N, L, D], on the model's device. A generator of large
    images is worked with at a smaller size, `generator.resolution`, if its card says so under
    "inversion": it takes images of either size; only `render` gives whole ones.
    ValueError: an unknown model (the nearest are named), a device that there is not. What a model
    lacks is an error, in one sentence, when it is first used. Where memory runs out, a batch is
    done in two halves, and so are all that follow: a warning says so once.

    >>> model = Model("face-stylegan-layerwise", "cpu")
    >>> model.available()
    ['conventional', 'domain-guided', 'image2stylegan', 'in-domain', 'pivotal-tuning']
    >>> codes = model.sample(2, seed=1)
    >>> model.render(codes).shape
    torch.Size([2, 3, 64, 64])
    """

    short_of_memory = False  # whether it ran out, so that batches are halved

    @checked
    def __init__(self, name: str, device: Device = "auto", **companions: str):
        models.card(name)
        for role, other in companions.items():
            models.companion_name(name, role)  # refuses unknown roles
            if role == "generator":
                raise ValueError(f"the generator is {name}: to take {other!r:.60}, load that.")
            alike = ENCODERS if role in ENCODERS else (role,)
            if not isinstance(other, str) or models.card(other)["role"] not in alike:
                raise ValueError(f"{other!r:.60} is no {role}, and cannot be that of {name}.")
        self.name, self.device = name, devices.pick(device)
        self.chosen = {"generator": name, **companions}

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.device!r})"

    # --- networks ---------------------------------------------------------------------------------

    def name_of(self, role: str) -> str:
        """The registry's name of the network in a role; ValueError if the model has none."""
        return self.chosen.get(role) or models.companion(self.name, role)

    def has(self, role: str) -> bool:
        """Whether there is something in a role."""
        return role in ("features", *self.chosen) or \
            models.DEFAULT in models.companions(self.name, role)

    def digest(self, role: str) -> str:
        """SHA-256 of the weights in a role."""
        if role != "features":
            return models.digest(self.name_of(role))
        if pretrained.user_file("IDINVERT_VGG16") is None:
            return pretrained.PACKAGES["vgg16"].sha256
        return pretrained.tensors_sha256(self.features.state_dict())

    def network(self, role: str) -> nn.Module:
        """The frozen network in a role, in eval mode."""
        return models.load(self.name_of(role), self.device)

    @cached_property
    def whole(self) -> Generator:
        """G, whose images have their full size."""
        return models.check_generator(self.name, self.network("generator"))

    @cached_property
    def generator(self) -> Generator:
        """G, at the size at which images are inverted."""
        size = self.advice.get("resolution")
        return ReducedGenerator(self.whole, size) if size else self.whole

    @cached_property
    def advice(self) -> dict[str, Any]:
        """How images are inverted with this generator, where its card says so: `resolution`, to
        which images are reduced; `feature_resolution`, to which they are for the perceptual term;
        `batch`; and settings of methods in place of their defaults."""
        return models.advice(self.name)

    @cached_property
    def encoder(self) -> Encoder:
        """E, the domain-guided encoder of Eq. (2)."""
        return self.fitting("encoder")

    @cached_property
    def conventional(self) -> Encoder:
        """The conventional encoder of Eq. (1)."""
        return self.fitting("conventional")

    def fitting(self, role: str) -> Encoder:
        """The encoder in a role; ValueError: it is of another size than the generator."""
        found = self.network(role)
        theirs, own = ((x.resolution, x.num_layers, x.w_dim) for x in (found, self.generator))
        if theirs != own:
            raise ValueError(f"{self.name_of(role)} is for (px, layers, dimensions) {theirs}, "
                             f"{self.name} has {own}: take another encoder, or another method.")
        return found

    @cached_property
    def discriminator(self) -> Discriminator:
        """D."""
        return self.network("discriminator")

    @cached_property
    def classifier(self) -> Classifier:
        """The network that judges attributes."""
        return self.network("classifier")

    @cached_property
    def attributes(self) -> list[str]:
        """The attributes that the classifier judges, in the order of `probabilities`."""
        return models.card(self.name_of("classifier"))["attributes"]

    @cached_property
    def boundaries(self) -> dict[str, Boundary]:
        """The boundaries of attributes in the space of codes; empty if none are known. A warning
        names those that were fitted to another generator, where that is noted."""
        fitted = models.load_boundaries(self.name) if self.has("boundaries") else {}
        others = [name for name, boundary in fitted.items()
                  if boundary.generator not in (None, self.digest("generator"))]
        if others:
            more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
            warnings.warn(f"{', '.join(others[:NAMED])}{more}: boundaries of another generator "
                          f"than {self.name} is now, where they mean something else: fit or import "
                          "them again.", stacklevel=3)
        return fitted

    @cached_property
    def features(self) -> FeatureNetwork:
        """F, the VGG-16 up to conv4_3 of the perceptual term."""
        vgg, size = pretrained.load_vgg16(self.device), self.advice.get("feature_resolution")
        return ReducedFeatures(vgg, self.generator.resolution // size) if size else vgg

    @cached_property
    def fast(self) -> FastNetworks:
        """The networks that invert fast."""
        return FastNetworks(self)

    # --- what it does -----------------------------------------------------------------------------

    def available(self) -> list[str]:
        """Names of the inversion methods whose networks there are.

        >>> "in-domain" in Model("face-stylegan-layerwise", "cpu").available()
        True
        """
        return [name for name, method in METHODS.items() if all(map(self.has, method.needs))]

    @checked
    def invert(self, images: Any, method: str | Method = "in-domain", *,
               batch: Count | None = None, fast: bool = False, on_step: OnStep | None = None,
               progress: bool = False, **settings: Any) -> Inversion:
        """Invert images [N, 3, r, r] in [-1, 1], `batch` at a time: 16 unless `advice` says less.

        Args:
            method: a name of `available`, or a method with its settings.
            settings: of the method: `iterations`, `lambda_dom`, ..
            fast: compute gradients in bfloat16, by networks made ready for it: see `nn.fast`.
            on_step: called with (iteration, codes, images) of a batch before every step.
            progress: show a bar.

        ValueError: an unknown method or setting (the nearest are named), no image, images of
        another size, type or range; `fast` with a method that tunes the generator.

        >>> model = Model("face-stylegan-layerwise", "cpu")
        >>> images = model.render(model.sample(1)).clamp(-1, 1)
        >>> result = model.invert(images, "in-domain", iterations=2, lambda_vgg=0)
        >>> result.codes.shape, result.losses["total"].shape
        (torch.Size([1, 10, 64]), torch.Size([1, 2]))
        >>> model.invert(images, "in-domian")
        Traceback (most recent call last):
        ...
        idinvert.registry.RegistryError: Unknown inversion method 'in-domian': did you mean ...
        """
        if isinstance(method, str):
            method = self.method(method, **settings)
        elif isinstance(method, type) or not hasattr(method, "invert") or settings:
            raise ValueError("the method must be a name with its settings, or an object that has "
                             "them, as InDomain(iterations=100).")
        images = self.checked(images)
        if not len(images):
            raise ValueError("there is no image to invert: images has the length 0.")
        parts: list[Inversion] = []

        def inverted(part: Tensor, progress: bool) -> Inversion:
            parts.append(self.inverted(part, method, fast=fast, on_step=on_step,
                                       progress=progress))
            return parts[-1]
        return tuned_together(in_batches(inverted, images, progress=progress,
                                         size=batch or self.advice.get("batch", 16)), parts)

    @torch.inference_mode(False)
    @torch.enable_grad()
    def inverted(self, images: Tensor, method: Method, fast: bool = False, **options: Any
                 ) -> Inversion:
        """A batch of images by a method, in two halves where memory is short, with gradients even
        where the caller wants none; `fast` as for `invert`, the other options as for
        `Method.invert`. ValueError: `fast` as there."""
        if fast:
            check_fast(method)
        networks = self.fast if fast else self
        parts = self.sparing(lambda part: method.invert(networks, part, **options), images)
        return parts[0] if len(parts) == 1 else tuned_together(joined(parts), parts)

    def sparing(self, work: Callable[..., Made], *batch: Tensor) -> list[Made]:
        """What `work` makes of a batch, one tensor or several of the same length: in a list of one,
        or where memory runs out, once, of each half of it and of every later batch, which a warning
        says. Errors as `work` raises them."""
        size = len(batch[0])
        half = max(1, -(-size // 2))
        if not self.short_of_memory:
            try:
                return [work(*batch)]
            except (MemoryError, RuntimeError) as error:
                if size < 2 or not devices.is_out_of_memory(error):
                    raise
            self.short_of_memory = True
            warnings.warn(f"out of memory: going on with a batch of {half} instead of {size}.",
                          stacklevel=2)
        return [work(*part) for part in zip(*(values.split(half) for values in batch), strict=True)]

    def method(self, name: str, **settings: Any) -> Method:
        """An inversion method of `available` with its settings: those that are given, those of
        `advice`, and defaults. ValueError: an unknown method or setting."""
        kind = METHODS[name]
        own = {field.name for field in fields(kind)}
        return kind(**{k: v for k, v in self.advice.items() if k in own} | settings)

    def edit(self, codes: Tensor, /, **strengths: float) -> Tensor:
        """Codes [N, L, D] moved along the boundaries of attributes (Eq. 5), each by its strength.

        A strength is a number or one for each code [N]; positive adds the attribute. Its unit is
        that of `codes.manipulate`. ValueError: an attribute without a boundary (the nearest are
        named), or with one for codes of another size.

        >>> model = Model("face-stylegan-layerwise", "cpu")
        >>> codes = model.sample(1)
        >>> older = model.edit(codes, age=3, smile=-1)
        >>> bool(model.boundaries["age"].distance(older) > model.boundaries["age"].distance(codes))
        True
        >>> model.edit(codes, beard=1)
        Traceback (most recent call last):
        ...
        ValueError: face-stylegan-layerwise has no boundary 'beard': expected one of ...
        """
        codes = self.checked_codes(codes)
        for attribute, strength in strengths.items():
            if attribute not in self.boundaries:
                raise ValueError(f"{self.name} has no boundary {attribute!r}: "
                                 f"{nearest(attribute, self.boundaries)}")
            boundary = self.boundaries[attribute]
            if boundary.normal.shape != codes.shape[1:]:
                raise ValueError(f"the boundary {attribute!r} is for codes of "
                                 f"{tuple(boundary.normal.shape)} layers and dimensions, but "
                                 f"{self.name} takes {tuple(codes.shape[1:])}: fit or import it "
                                 "again.")
            codes = manipulate(codes, boundary.direction,
                               finite(f"the strength of {attribute}", strength, codes))
        return codes

    def render(self, codes: Tensor, of: Inversion | None = None) -> Tensor:
        """Images G(w), [N, 3, r, r], of codes [N, L, D], in their full size.

        of: the inversion from which the codes are, edited or not. If its method tuned the generator
        to each image, as pivotal tuning does, this generator renders the codes of the image.
        """
        codes = self.checked_codes(codes)
        if not isinstance(of, Inversion | None):
            raise ValueError(f"of must be an inversion, not a {type(of).__name__}.")
        if isinstance(of, Tuned):
            return of.render(codes)
        at_once = min(64, max(1, PIXELS // self.whole.resolution**2))
        parts = [part for some in codes.split(at_once)
                 for part in self.sparing(partial(render, self.whole), some)]
        return torch.cat(parts)

    @checked
    def encode(self, images: Any) -> Tensor:
        """Codes E(x), [N, L, D], of images [N, 3, r, r] in [-1, 1]; errors as `invert`."""
        parts = [part for some in self.checked(images).split(64)
                 for part in self.sparing(partial(encode, self.encoder), some)]
        return torch.cat(parts)

    @checked
    def sample(self, count: Whole, seed: Seed = 0) -> Tensor:
        """Codes [count, L, D] of random latents; only the seed chooses them."""
        return sample_codes(self.generator, count, seed)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities [N, A] of `attributes` in images [N, 3, r, r] in about [-1, 1], by the
        classifier, in whose size it sees them; errors as `invert`."""
        images, size = self.floats(images), self.classifier.resolution
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"images must have shape [N, 3, r, r], not {list(images.shape)}.")
        if images.numel() and looks_like_bytes(images):
            raise ValueError("images must be in [-1, 1]: see idinvert.data.to_float.")
        if images.shape[-1] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        parts = [part for some in images.split(64) for part in self.sparing(self.classifier, some)]
        return torch.cat(parts).sigmoid()

    def checked(self, images: Tensor) -> Tensor:
        """The images on the model's device, reduced to the size at which they are inverted;
        ValueError unless they are finite floats in [-1, 1]."""
        images, size = self.floats(images), self.generator.resolution
        if size < self.whole.resolution and images.shape[2:] == (self.whole.resolution,) * 2:
            images = F.adaptive_avg_pool2d(images, size)
        check_images(images, self.generator)
        if images.numel() and images.abs().max() > LARGEST:
            raise ValueError(f"images must be in [-1, 1], but reach {images.abs().max():.4g}: see "
                             "idinvert.read_image and idinvert.data.to_float, and clamp rendered "
                             "images.")
        if images.numel() and images.min() >= 0:
            warnings.warn("no image has a value below 0: images are in [-1, 1], and those in "
                          "[0, 1] become so by 2 * images - 1.", stacklevel=4)
        return images

    def floats(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] as float32 on the model's device; ValueError: they are no finite
        floats."""
        if not isinstance(images, Tensor):
            raise ValueError(f"images must be a tensor [N, 3, r, r] in [-1, 1], not a "
                             f"{type(images).__name__}: see idinvert.read_image; "
                             "idinvert.data.to_float(torch.from_numpy(array).permute(0, 3, 1, 2)) "
                             "converts an array [N, r, r, 3] of bytes.")
        if not images.is_floating_point():
            raise ValueError(f"images must be floats in [-1, 1], not {images.dtype}: see "
                             "idinvert.data.to_float.")
        return self.dense("images", images)

    def checked_codes(self, codes: Tensor) -> Tensor:
        """Codes [N, L, D] as float32 on the model's device; ValueError: they are no finite floats,
        or not those of the generator."""
        if not isinstance(codes, Tensor) or not codes.is_floating_point():
            raise ValueError(f"codes must be a tensor of floats [N, L, D], not "
                             f"{getattr(codes, 'dtype', type(codes).__name__)}.")
        codes = self.dense("codes", codes)
        layers, size = self.whole.num_layers, self.whole.w_dim
        if codes.ndim != 3 or codes.shape[1:] != (layers, size):
            raise ValueError(f"codes of {self.name} must be [N, {layers}, {size}], not "
                             f"{list(codes.shape)}.")
        return codes

    def dense(self, name: str, values: Tensor) -> Tensor:
        """Values as float32 on the model's device; ValueError: they are sparse, nested or without
        data, or not finite."""
        check_dense(name, values)
        values = values.to(self.device).float()
        if not values.isfinite().all():
            raise ValueError(f"{name} have values that are not finite.")
        return values
