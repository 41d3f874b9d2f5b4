"""Where matrices come from: one registry of families."""

from neuralinv.families.registry import Family
from neuralinv.families.spectrum import CONDITIONED, DIAGONALLY_DOMINANT
from neuralinv.families.uniform import GAUSSIAN, UNIFORM

__all__ = ["FAMILIES", "Family", "get_family"]

FAMILIES = {family.name: family for family in (UNIFORM, GAUSSIAN, CONDITIONED, DIAGONALLY_DOMINANT)}


def get_family(name: str) -> Family:
    """Return a family by name.

    Raises
    ------
    ValueError
        If there is no such family.
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown family {name!r}; known are {', '.join(FAMILIES)}")
    return FAMILIES[name]
