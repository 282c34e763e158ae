"""The registry of trained models: name -> network, hash, and how it came about.

`store` reads and writes models, their cards and their companions (the encoder, discriminator,
classifier and boundaries of a generator); `codec` is the form of their weights in few bits;
`importing` makes models of other projects' files; `pretrained` has the feature networks.
"""

from idinvert.nn.architecture import build

from .store import (
    DEFAULT,
    ROLES,
    ModelsError,
    card,
    check_name,
    companion,
    companion_name,
    companions,
    digest,
    exists,
    file_sha256,
    folder,
    folders,
    load,
    load_boundaries,
    loaded,
    names,
    read,
    save,
    save_boundaries,
    state,
)

__all__ = ["DEFAULT", "ROLES", "ModelsError", "build", "card", "check_name",
           "companion", "companion_name", "companions", "digest", "exists", "file_sha256",
           "folder", "folders", "load", "load_boundaries", "loaded", "names", "read", "save",
           "save_boundaries", "state"]
