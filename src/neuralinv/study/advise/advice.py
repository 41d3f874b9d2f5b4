"""`advise`: what to do about the inverses of given matrices, before anything is trained."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from neuralinv.dense.certified import DEFAULT_RTOL, check_arguments
from neuralinv.families.settings import is_whole
from neuralinv.study.advise.certificate_reach import beyond_certificate
from neuralinv.study.advise.prediction import Calibration, Predictor, read_calibration
from neuralinv.study.advise.properties import Properties, features, measure_properties
from neuralinv.study.advise.ranking import Option, rank_options
from neuralinv.study.advise.record import Record
from neuralinv.study.advise.sample import COUNT, draw_sample
from neuralinv.study.advise.source import Matrices, Source, open_source
from neuralinv.study.advise.trial import Trial, try_options
from neuralinv.study.advise.warning_texts import warnings_for


class Advice(Record):
    """What to do about the inverses of given matrices; ``print`` shows it. Attributes are those of
    :class:`~neuralinv.study.advise.record.Record`.
    """

    def __str__(self) -> str:
        from neuralinv.study.advise.text import as_text

        return as_text(self)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write a page with tables and plots, in one file that needs no other, whole or not at all.

        Raises
        ------
        FileError
            If the file cannot be written.
        """
        from neuralinv.study.advise.report import write_advice

        write_advice(Path(path), self)


def advise(
    matrices_or_fn: Matrices,
    parameters: Any = None,
    *,
    rtol: float | None = None,
    proof: bool = False,
    budget: float | None = None,
    count: int = COUNT,
    seed: int = 0,
    calibration: Calibration | None = None,
) -> Advice:
    """Say which way to the inverses of these matrices is worth taking, before anything is trained.

    A sample is drawn and measured; models fitted to measurements on the registry's families predict for each option
    its error, its time and its training cost. Nothing is trained unless ``budget`` is given.

    Parameters
    ----------
    matrices_or_fn
        ``(*batch, n, n)``, at least one: NumPy array (memory-mapped ones are not loaded), torch tensor, JAX array or
        list; the path of a file, of which ``.npy`` is mapped into memory; or a function from parameters ``(k, p)``,
        a float64 tensor, to matrices ``(k, n, n)``. The first axis of the batch is what a sequence would run along.
    parameters
        One row for each matrix, ``(count, p)`` or ``(count,)``, or the path of a ``.npy`` or ``.csv`` file; needed with
        a function.
    rtol
        The relative error to reach; by default 1e-5 for single precision, 1e-10 for double.
    proof
        Whether every answer must carry a proved bound: then only options that prove are recommended.
    budget
        Seconds to try the recommended option, and the best one that is trained, and to report what they reach.
    count
        Matrices to look at, fewer if they are large.
    seed
        The same seed gives the same advice.
    calibration
        Another machine's, or your own, from :func:`neuralinv.study.advise.calibrate`.

    Returns
    -------
    Advice

    Raises
    ------
    ValueError
        If shapes do not fit, sizes are mixed, every matrix holds NaN, a function raises, or an argument is out of
        range.
    TypeError
        If these are no numbers that can be inverted, or ``calibration`` is something else.
    FileError
        If a file cannot be read.

    Notes
    -----
    A second or so up to n = 64; about 30 n³ operations for each matrix that is looked at.

    Examples
    --------
    >>> import numpy as np, neuralinv as ni
    >>> random = np.random.default_rng(0)
    >>> G = random.normal(size=(500, 8, 8))
    >>> advice = ni.advise(G @ G.transpose(0, 2, 1) + np.eye(8))
    >>> advice.properties.symmetry, advice.train
    ('positive', False)
    """
    if not is_whole(count, 1):
        raise ValueError(f"count={count!r}: expected at least one matrix to look at")
    if not is_whole(seed, 0):
        raise ValueError(f"seed={seed!r}: expected a whole number of at least 0")
    if not isinstance(calibration, Calibration | None):
        raise TypeError(
            f"calibration is {type(calibration).__name__}; expected what neuralinv.study.advise.read_calibration() "
            "returns"
        )
    source = open_source(matrices_or_fn, parameters)
    tolerance = DEFAULT_RTOL[source.dtype] if rtol is None else rtol
    check_arguments(tolerance, "raise")
    calibration = read_calibration() if calibration is None else calibration
    with torch.no_grad():
        sample = draw_sample(source, count=count, seed=seed)
        properties = measure_properties(source, sample)
        values = features(properties)
        options = rank_options(properties, values, Predictor(calibration), rtol=tolerance, proof=proof)
        missed = beyond_certificate(sample, properties, tolerance)
    warnings = warnings_for(properties, options, missed, tolerance)
    trials = () if budget is None else _try(source, properties, options, tolerance, budget, seed)
    return Advice(properties, tolerance, proof, options, warnings, calibration.machine, trials)


def _try(
    source: Source, properties: Properties, options: tuple[Option, ...], rtol: float, budget: float, seed: int
) -> tuple[Trial, ...]:
    if not budget > 0:
        raise ValueError(f"budget={budget}: expected a positive number of seconds")
    chosen = [option for option in options[:1] if option.possible]
    chosen += [o for o in options if o.trained and o.possible and o.prediction is not None and o not in chosen][:1]
    return try_options(source, properties, chosen, rtol=rtol, budget=budget, seed=seed)
