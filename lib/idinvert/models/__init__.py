"""The registry of trained models: name -> network, hash, and how it came about.

`cards` finds models and reads their cards; `store` loads and saves them; `roles` tells the
companions of a generator (its encoder, discriminator, classifier and boundaries); `codec` is the
form of weights in few bits; `importing` makes models of other projects' files; `pretrained` has the
feature networks.
"""

from .cards import (
    ModelsError,
    advice,
    card,
    check_name,
    check_new_name,
    companion,
    companions,
    digest,
    exists,
    file_sha256,
    folder,
    folders,
    names,
    sound,
)
from .roles import DEFAULT, ROLES, companion_name
from .store import (
    check_generator,
    load,
    load_boundaries,
    load_working,
    loaded,
    read,
    save,
    save_boundaries,
    state,
)

__all__ = ["DEFAULT", "ROLES", "ModelsError", "advice", "card", "check_generator", "check_name",
           "check_new_name", "companion", "companion_name", "companions", "digest", "exists",
           "file_sha256", "folder", "folders", "load", "load_boundaries", "load_working", "loaded",
           "names", "read", "save", "save_boundaries", "sound", "state"]
