"""Advice before training: the covariances of a Gaussian process, for single inverses and for inverses with a proof.

Covariances of 64 points move with two hyper-parameters. Is it worth fitting their inverses, or training a network on
them? The advice is asked twice, without and with the wish that every answer carry a bound.

Run it with ``python examples/advise.py [REPORT]``; REPORT is an HTML page to write.
"""

from __future__ import annotations

import sys

import torch

import neuralinv as ni
from neuralinv.families import get_family


def main(report: str | None = None) -> None:
    """Print the advice, and what it rests on."""
    family = get_family("matern")
    random = torch.Generator().manual_seed(0)
    covariances = family.matrix_function(64, generator=random, dtype=torch.float32)
    hyper_parameters = family.thetas(256, generator=random)

    advice = ni.advise(covariances, hyper_parameters)
    print(advice)

    proved = ni.advise(covariances, hyper_parameters, proof=True)
    print(f"\nwith a proof of every answer: {proved.recommended.call}\n{proved.recommended.reason}")
    if report is not None:
        advice.to_html(report)
        print(f"report in {report}")


if __name__ == "__main__":
    main(*sys.argv[1:])
