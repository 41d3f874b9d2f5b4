"""What advice consists of, for those who write it down."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from neuralinv.io.plain_json import finite
from neuralinv.study.advise.properties import Properties
from neuralinv.study.advise.ranking import Option
from neuralinv.study.advise.trial import Trial


@dataclass(frozen=True)
class Record:
    """What to do about the inverses of given matrices.

    Attributes
    ----------
    properties
        What the sample is like.
    rtol, proof
        The relative error asked for, and whether every answer must carry a bound.
    options
        The recommended one first; see :func:`~neuralinv.study.advise.ranking.rank_options`.
    warnings
        What the reader should know, a sentence each.
    machine
        Where the calibration was measured.
    trials
        Predicted against reached, if something was tried.
    """

    properties: Properties
    rtol: float
    proof: bool
    options: tuple[Option, ...]
    warnings: tuple[str, ...]
    machine: str
    trials: tuple[Trial, ...] = ()

    @property
    def recommended(self) -> Option:
        """The option to take."""
        return self.options[0]

    @property
    def train(self) -> bool:
        """Whether anything should be trained."""
        return self.recommended.trained

    def to_json(self) -> str:
        """Return everything as JSON; what is not finite becomes null."""
        document = {
            "version": 1,
            "recommended": self.recommended.name,
            "train": self.train,
            **{name: value for name, value in asdict(self).items() if name != "options"},
            "options": [
                {**asdict(option), "break_even": option.prediction.break_even if option.prediction else math.nan}
                for option in self.options
            ],
        }
        return json.dumps(finite(document), indent=2, ensure_ascii=False)
