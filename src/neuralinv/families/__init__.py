"""Where matrices come from: one registry of families."""

from neuralinv.families.curvature import KFAC
from neuralinv.families.distance import at_distance
from neuralinv.families.ensembles import ORTHOGONAL_PLUS_NOISE, WISHART
from neuralinv.families.kernels import MATERN, RBF
from neuralinv.families.physical import HELMHOLTZ, POISSON
from neuralinv.families.registry import Family, MatrixFunction, Range
from neuralinv.families.regression import RIDGE
from neuralinv.families.spectrum import CONDITIONED, DIAGONALLY_DOMINANT
from neuralinv.families.state_space import STATE_SPACE
from neuralinv.families.structured import AUTOREGRESSIVE, LAPLACIAN
from neuralinv.families.uniform import GAUSSIAN, UNIFORM
from neuralinv.families.wireless import MIMO

__all__ = ["FAMILIES", "Family", "MatrixFunction", "Range", "at_distance", "get_family"]

FAMILIES = {
    family.name: family
    for family in (
        UNIFORM,
        GAUSSIAN,
        CONDITIONED,
        DIAGONALLY_DOMINANT,
        ORTHOGONAL_PLUS_NOISE,
        WISHART,
        AUTOREGRESSIVE,
        LAPLACIAN,
        RBF,
        MATERN,
        POISSON,
        HELMHOLTZ,
        MIMO,
        RIDGE,
        KFAC,
        STATE_SPACE,
    )
}


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
