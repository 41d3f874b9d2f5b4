import pytest

from neuralinv.measuring.machine import Ceilings, describe_machine, measure_ceilings, usable_cores


def test_the_machine_is_described() -> None:
    machine = describe_machine(1)
    assert machine.processor
    assert 1 <= machine.cores == usable_cores()
    assert {"neuralinv", "torch", "numpy", "scipy"} <= machine.versions.keys()


def test_ceilings_are_positive() -> None:
    ceilings = measure_ceilings(1, 0.002, copies=(1 << 16, 1 << 18))
    assert list(ceilings.copy) == [1 << 16, 1 << 18]
    assert ceilings.flops.keys() == {"float32", "float64"}
    assert min(*ceilings.copy.values(), *ceilings.flops.values()) > 0


@pytest.mark.parametrize(("moved", "rate"), [(1, 7.0), (100, 7.0), (450, 7.0), (550, 5.0), (10_000, 5.0)])
def test_the_copy_nearest_in_ratio_is_the_ceiling(moved: float, rate: float) -> None:
    assert Ceilings({100: 7.0, 2500: 5.0}, {}).copy_rate(moved) == rate
