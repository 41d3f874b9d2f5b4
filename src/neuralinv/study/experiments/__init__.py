"""The study: where networks can invert matrices, and where they cannot. One module for each experiment.

``EXPERIMENTS`` is the one registry; :mod:`neuralinv.study.experiments.experiment` says what an experiment is.
"""

from __future__ import annotations

from typing import Any

from neuralinv.study.experiments.break_even import BREAK_EVEN
from neuralinv.study.experiments.certification import CERTIFICATION
from neuralinv.study.experiments.compact_sets import COMPACT_SETS
from neuralinv.study.experiments.experiment import SETTINGS, Experiment, Outcome, Result, Setting
from neuralinv.study.experiments.families import FAMILIES_EXPERIMENT
from neuralinv.study.experiments.generalisation import GENERALISATION
from neuralinv.study.experiments.near_singular import NEAR_SINGULAR
from neuralinv.study.experiments.singular_set import SINGULAR_SET
from neuralinv.study.experiments.size import SIZE

__all__ = ["EXPERIMENTS", "SETTINGS", "Experiment", "Outcome", "Result", "Setting"]

EXPERIMENTS: dict[str, Experiment[Any]] = {
    experiment.name: experiment
    for experiment in (
        NEAR_SINGULAR,
        SINGULAR_SET,
        SIZE,
        COMPACT_SETS,
        FAMILIES_EXPERIMENT,
        GENERALISATION,
        BREAK_EVEN,
        CERTIFICATION,
    )
}
