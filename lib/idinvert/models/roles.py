"""What models are to one another: roles, and the names of companions.

A generator's encoder, discriminator, classifier and boundaries are its companions. Their cards tell
role, generator and variant. Older cards lack them; then they follow from kind and name.
"""

from __future__ import annotations

DEFAULT = "base"  # variant
ENDINGS = {"discriminator": "-d", "conventional": "-conventional", "classifier": "-classifier",
           "boundaries": "-boundaries"}
ROLES = ("generator", "encoder", *ENDINGS)


def companion_name(generator: str, role: str, variant: str = DEFAULT) -> str:
    """The name under which a new companion of a generator is saved; ValueError: unknown role."""
    if role not in ROLES:
        raise ValueError(f"Unknown role {role!r}: expected one of {', '.join(ROLES)}.")
    if role == "encoder":
        return f"{generator}-{variant}"
    return generator + ENDINGS.get(role, "") + ("" if variant == DEFAULT else f"-{variant}")


def with_role(name: str, described: dict) -> dict:
    """The card with role, generator and variant, which kind and name tell where it lacks them."""
    found = dict(described)
    role = found.setdefault("role", role_of(name, described))
    ending = ENDINGS.get(role, "")
    if role == "encoder":
        generator = found.setdefault("generator", name.rpartition("-")[0])
        found.setdefault("variant", name.removeprefix(f"{generator}-"))
    elif ending and name.endswith(ending) and not (role == "classifier" and "domain" in found):
        found.setdefault("generator", name.removesuffix(ending))
    return found


def role_of(name: str, described: dict) -> str:
    """Role of a model whose card does not tell it."""
    if described.get("kind") in ("conventional", "discriminator", "classifier"):
        return described["kind"]
    kinds = {"Generator": "generator", "Discriminator": "discriminator", "Classifier": "classifier"}
    role = kinds.get(described.get("architecture", "").rpartition(".")[2], "encoder")
    return "conventional" if role == "encoder" and name.endswith("-conventional") else role
