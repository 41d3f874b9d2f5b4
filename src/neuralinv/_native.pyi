from collections.abc import Sequence

LARGEST_SIZE: int

def invert_f32(
    source: int, shape: Sequence[int], strides: Sequence[int], target: int, info: int, threads: int
) -> int: ...
def invert_f64(
    source: int, shape: Sequence[int], strides: Sequence[int], target: int, info: int, threads: int
) -> int: ...
def instruction_set() -> str: ...
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
    def log_diagonal(sequences: int, steps: int, n: int, threads: int, L: int, result: int, /) -> None: ...
    @staticmethod
    def log_diagonal_rev(
        sequences: int, steps: int, n: int, threads: int, L: int, result_bar: int, L_bar: int, /
    ) -> None: ...

class block_tridiagonal_f64(block_tridiagonal_f32): ...  # noqa: N801
