from collections.abc import Sequence
from typing import Any, Protocol

class ResultMemory:
    def __init__(self, bytes: int) -> None: ...

def spare_memory() -> int: ...

class _Invert(Protocol):
    def __call__(
        self,
        source: int,
        shape: Sequence[int],
        strides: Sequence[int],
        target: int,
        info: int,
        threads: int,
        positive: bool,
    ) -> int: ...

class _CertifiedInvert(Protocol):
    def __call__(
        self,
        source: int,
        count: int,
        n: int,
        target: int,
        status: int,
        origin: int,
        tolerance: float,
        bounds: int,
        threads: int,
    ) -> bool: ...

class _Correct(Protocol):
    def __call__(
        self,
        A: int,
        count: int,
        n: int,
        batch_stride: int,
        row_stride: int,
        column_stride: int,
        latest: int,
        second: int,
        third: int,
        fourth: int,
        tolerance: float,
        highest: int,
        X: int,
        bounds: int,
        orders: int,
        threads: int,
        /,
    ) -> None: ...

class _Combine(Protocol):
    def __call__(self, C: int, B: int, X: int, count: int, terms: int, length: int, threads: int, /) -> None: ...

class _Deviate(Protocol):
    def __call__(
        self, A: int, C: int, B: int, squares: int, count: int, terms: int, length: int, threads: int, /
    ) -> None: ...

class _RowSums(Protocol):
    def __call__(self, X: int, rows: int, columns: int, count: int, n: int, threads: int, /) -> None: ...

class _Probe(Protocol):
    def __call__(
        self,
        A: int,
        count: int,
        n: int,
        batch_stride: int,
        row_stride: int,
        column_stride: int,
        X: int,
        omega: int,
        columns: int,
        squares: int,
        norms: int,
        roots: bool,
        threads: int,
        /,
    ) -> None: ...

class _Survey(Protocol):
    def __call__(self, A: int, count: int, n: int, start: int, sizes: int, symmetric: int, threads: int, /) -> None: ...

class _SumInverses(Protocol):
    def __call__(
        self,
        A: int,
        count: int,
        n: int,
        scales: int,
        shifts: int,
        weights: int,
        terms: int,
        X: int,
        threads: int,
        /,
    ) -> None: ...

class _CorrectRoots(Protocol):
    def __call__(self, A: int, count: int, n: int, X: int, squares: int, threads: int, /) -> None: ...

class _PivotSigns(Protocol):
    def __call__(self, X: int, count: int, n: int, positive: int, threads: int, /) -> None: ...

class _Solve(Protocol):
    def __call__(
        self,
        source: int,
        shape: Sequence[int],
        strides: Sequence[int],
        right_sides: int,
        right_strides: Sequence[int],
        columns: int,
        target: int,
        info: int,
        threads: int,
        positive: bool,
    ) -> int: ...

class _Slogdet(Protocol):
    def __call__(
        self,
        source: int,
        shape: Sequence[int],
        strides: Sequence[int],
        sign: int,
        logabsdet: int,
        threads: int,
        positive: bool,
    ) -> int: ...

LARGEST_CERTIFIED: int
LARGEST_CORRECTED: int
MOST_TERMS: int
LARGEST_PROBED: int
MOST_PROBED_COLUMNS: int
LARGEST_ROOT: int

invert_f32: _Invert
invert_f64: _Invert
invert_c64: _Invert
invert_c128: _Invert
certified_invert_f32: _CertifiedInvert
certified_invert_f64: _CertifiedInvert
correct_f32: _Correct
correct_f64: _Correct
correct_c64: _Correct
correct_c128: _Correct
combine_f32: _Combine
combine_f64: _Combine
deviate_f32: _Deviate
deviate_f64: _Deviate
row_sums_f32: _RowSums
row_sums_f64: _RowSums
row_sums_c64: _RowSums
row_sums_c128: _RowSums
probe_f32: _Probe
probe_f64: _Probe
probe_c64: _Probe
probe_c128: _Probe
survey_f32: _Survey
survey_f64: _Survey
sum_inverses_f32: _SumInverses
sum_inverses_f64: _SumInverses
correct_roots_f32: _CorrectRoots
correct_roots_f64: _CorrectRoots
pivot_signs_f32: _PivotSigns
pivot_signs_f64: _PivotSigns
solve_f32: _Solve
solve_f64: _Solve
solve_c64: _Solve
solve_c128: _Solve
slogdet_f32: _Slogdet
slogdet_f64: _Slogdet
slogdet_c64: _Slogdet
slogdet_c128: _Slogdet

def largest_size(operation: str, suffix: str, positive: bool) -> int: ...
def usable_processors() -> int: ...
def smallest_for_teams(operation: str, suffix: str, positive: bool) -> int: ...
def array_layout(array: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]: ...
def array_address(array: Any) -> int: ...
def instruction_set() -> str: ...
def borrow_threads(runtime: str) -> bool: ...
def borrows_threads() -> bool: ...
def available_instruction_sets() -> list[str]: ...

class block_tridiagonal_f32:  # noqa: N801 - a submodule, and so is the one below
    @staticmethod
    def factor(
        sequences: int, steps: int, n: int, threads: int, D: int, B: int, L: int, C: int, info: int, /
    ) -> int: ...
    @staticmethod
    def factor_rev(
        sequences: int,
        steps: int,
        n: int,
        threads: int,
        L: int,
        C: int,
        L_bar: int,
        C_bar: int,
        D_bar: int,
        B_bar: int,
        /,
    ) -> None: ...
    @staticmethod
    def solve(
        sequences: int,
        steps: int,
        n: int,
        threads: int,
        k: int,
        transposed: bool,
        L: int,
        C: int,
        b: int,
        x: int,
        /,
    ) -> None: ...
    @staticmethod
    def solve_rev(
        sequences: int,
        steps: int,
        n: int,
        threads: int,
        k: int,
        transposed: bool,
        L: int,
        C: int,
        x: int,
        x_bar: int,
        L_bar: int,
        C_bar: int,
        b_bar: int,
        /,
    ) -> None: ...
    @staticmethod
    def inverse_blocks(
        sequences: int, steps: int, n: int, threads: int, L: int, C: int, diagonal: int, below: int, /
    ) -> None: ...
    @staticmethod
    def inverse_blocks_rev(
        sequences: int,
        steps: int,
        n: int,
        threads: int,
        L: int,
        C: int,
        diagonal: int,
        below: int,
        diagonal_bar: int,
        below_bar: int,
        L_bar: int,
        C_bar: int,
        /,
    ) -> None: ...
    @staticmethod
    def factor_entries(sequences: int, steps: int, n: int, threads: int, /) -> int: ...
    @staticmethod
    def solve_system(
        sequences: int,
        steps: int,
        n: int,
        threads: int,
        k: int,
        D: int,
        B: int,
        b: int,
        x: int,
        logs: int,
        info: int,
        factors: int,
        /,
    ) -> int: ...
    @staticmethod
    def solve_system_rev(
        sequences: int,
        steps: int,
        n: int,
        threads: int,
        k: int,
        factors: int,
        x: int,
        x_bar: int,
        logs_bar: int,
        D_bar: int,
        B_bar: int,
        b_bar: int,
        /,
    ) -> None: ...
    @staticmethod
    def log_diagonal(sequences: int, steps: int, n: int, threads: int, L: int, result: int, /) -> None: ...
    @staticmethod
    def log_diagonal_rev(
        sequences: int, steps: int, n: int, threads: int, L: int, result_bar: int, L_bar: int, /
    ) -> None: ...

class block_tridiagonal_f64(block_tridiagonal_f32): ...  # noqa: N801
