"""Inversion: from images to codes.

`methods` holds the inversion methods, one file each, found in `METHODS` by name; `optimiser` what
they share; `graphs` its steps as CUDA graphs; `diffusion` masked inversion; `model` a generator
with its companions, loaded when used; `cache` codes that are kept image by image; `files` inversion
of many image files.
"""

from .diffusion import diffuse, stitch
from .methods import METHODS, Method, name_of
from .methods.conventional import Conventional
from .methods.domain_guided import DomainGuided
from .methods.image2stylegan import Image2StyleGAN
from .methods.in_domain import InDomain
from .methods.pivotal_tuning import PivotalTuning, Tuned
from .optimiser import Inversion, Networks, OnStep, Settings, in_batches, joined, optimise

__all__ = [
    "METHODS",
    "Conventional",
    "DomainGuided",
    "Image2StyleGAN",
    "InDomain",
    "Inversion",
    "Method",
    "Networks",
    "OnStep",
    "PivotalTuning",
    "Settings",
    "Tuned",
    "diffuse",
    "in_batches",
    "joined",
    "name_of",
    "optimise",
    "stitch",
]
