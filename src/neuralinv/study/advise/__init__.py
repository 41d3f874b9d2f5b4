"""Advice on the inverses of given matrices: measured on a sample, predicted from measurements, before any training."""

from neuralinv.study.advise.advice import Advice, advise
from neuralinv.study.advise.calibration import calibrate
from neuralinv.study.advise.honesty import judge
from neuralinv.study.advise.prediction import Calibration, read_calibration

__all__ = ["Advice", "Calibration", "advise", "calibrate", "judge", "read_calibration"]
