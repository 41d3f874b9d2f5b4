"""What an experiment of the study is: a hypothesis, settings, measurements, and a verdict computed from them.

Measurements are tables of plain numbers. Verdict, findings and figure are functions of those tables alone, so that a
page can be made again from a file of results, and nothing that is said about the numbers can differ from them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from matplotlib.figure import Figure

Setting: TypeAlias = Literal["small", "full"]
SETTINGS: tuple[Setting, ...] = ("small", "full")
Row: TypeAlias = dict[str, Any]
"""One line of a table: text, whole numbers, floats, booleans; None where there is nothing."""
Tables: TypeAlias = dict[str, list[Row]]
Progress: TypeAlias = Callable[[float], object]
"""Called with the fraction that is done."""

S = TypeVar("S")


class Outcome(StrEnum):
    """What the numbers say of the hypothesis."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    INCONCLUSIVE = "inconclusive"


def decide(*, contradicted: bool, supported: bool) -> Outcome:
    """Return the outcome; what is neither contradicted nor supported is inconclusive."""
    if contradicted:
        return Outcome.NOT_SUPPORTED
    return Outcome.SUPPORTED if supported else Outcome.INCONCLUSIVE


@dataclass(frozen=True)
class Finding:
    """One sentence with numbers, and the table that they come from."""

    text: str
    table: str


@dataclass(frozen=True)
class Judgement:
    """The verdict, the figures that decided it, and what else a practitioner should know."""

    outcome: Outcome
    because: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Column:
    """How a number is shown: its key in the rows, a heading, and a format specification."""

    key: str
    heading: str
    spec: str = ""

    def text(self, row: Row) -> str:
        """Write the row's value; a dash where there is none."""
        value = row.get(self.key)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return "–"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return value if isinstance(value, str) else format(value, self.spec)


@dataclass(frozen=True)
class TableSpec:
    """What a table shows: its title, and its columns; ``where`` leaves rows out that only the figure needs."""

    title: str
    columns: Sequence[Column]
    where: Callable[[Row], bool] = lambda row: True


@dataclass(frozen=True)
class Result:
    """The outcome of one experiment.

    Attributes
    ----------
    experiment, setting, seed, settings
        What was run.
    tables
        All numbers.
    seconds, cpu_seconds, loaded
        How long it took, and of that on a processor; and whether other work kept the machine busy when it started: then
        times in the tables are no more than ratios.
    judgement
        Computed from ``tables``.
    """

    experiment: str
    setting: Setting
    seed: int
    settings: Mapping[str, Any]
    tables: Tables
    judgement: Judgement
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    loaded: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment(Generic[S]):
    """One experiment of the study.

    Attributes
    ----------
    name, title, hypothesis
        For the command, and for people; the hypothesis is a statement that the numbers can contradict.
    settings
        ``small`` runs in seconds, for tests; all ``full`` ones together in at most 20 minutes on two cores.
    measure
        ``(settings, seed, progress)`` to the tables.
    judge, draw
        Verdict and figure, functions of the tables alone.
    shown
        The tables that are shown, by name.
    alt
        What the figure shows, for those who cannot see it.
    """

    name: str
    title: str
    hypothesis: str
    settings: Mapping[Setting, S]
    measure: Callable[[S, int, Progress], Tables]
    judge: Callable[[Tables], Judgement]
    draw: Callable[[Tables], Figure]
    shown: Mapping[str, TableSpec]
    alt: str

    def run(self, setting: Setting, *, seed: int = 0, progress: Progress = lambda fraction: None) -> Result:
        """Measure and judge.

        Parameters
        ----------
        setting
            ``"small"`` or ``"full"``.
        seed
            Fixes weights, matrices and searches.
        progress
            Called with the fraction that is done.
        """
        from neuralinv.measuring.machine import describe_machine

        chosen = self.settings[setting]
        loaded, started, cpu_started = machine_is_loaded(), time.monotonic(), time.process_time()
        tables = self.measure(chosen, seed, progress)
        progress(1.0)
        return Result(
            self.name,
            setting,
            seed,
            asdict(chosen),  # type: ignore[call-overload]  # settings are dataclasses
            tables,
            self.judge(tables),
            time.monotonic() - started,
            time.process_time() - cpu_started,
            loaded,
            describe_machine(1).versions,
        )


class Counter:
    """Turns units of work that are done into fractions of the whole."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total, self.progress, self.finished = max(total, 1), progress, 0

    def done(self, units: int = 1) -> None:
        """Count ``units`` as done."""
        self.finished += units
        self.progress(min(1.0, self.finished / self.total))


_OWN_LOAD = 1.0
_TOLERATED_LOAD = 0.3


def machine_is_loaded() -> bool:
    """Tell whether more than this process has been running over the last minute."""
    import os

    try:
        return os.getloadavg()[0] > _OWN_LOAD + _TOLERATED_LOAD
    except OSError:  # Windows has no load average
        return False
