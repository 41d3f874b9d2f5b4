"""A matrix in each thread: between memory, read and written without gaps, and one vector for each entry.

A warp reads its matrices as a tile ``(BLOCK, width)``, a row for each, neighbouring threads neighbouring entries;
splitting the tile by halves leaves in each thread the entries of its own matrices. All of that happens within a warp,
so that nobody waits at a barrier.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tile_offsets(entries: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, VECTOR: tl.constexpr):
    """Offsets, rows and what of the columns are entries, in the order in which :func:`split_tile` takes a tile.

    The first dimensions are those that threads are spread over after the last one, in which memory is contiguous.
    """
    ACROSS: tl.constexpr = min(32, WIDTH // VECTOR)
    DOWN: tl.constexpr = 32 // ACROSS
    row = (
        tl.arange(0, DOWN)[:, None, None, None]
        + tl.arange(0, ACROSS)[None, None, :, None] * DOWN
        + tl.arange(0, BLOCK // 32)[None, :, None, None] * 32
    )
    column = tl.arange(0, WIDTH)[None, None, None, :]
    return row * entries + column, row, column < entries


@triton.jit
def own_entries(A, lane, inside, entries: tl.constexpr):
    """Read the entries of its own matrix in each thread, a tuple of vectors: of neighbouring threads far apart."""
    vectors = ()
    for q in tl.static_range(entries):
        vectors = vectors + (tl.load(A + lane * entries + q, mask=inside, other=0.0),)
    return vectors


@triton.jit
def split_tile(tile, LEVELS: tl.constexpr):
    """Turn a tile of ``BLOCK`` rows of ``2**LEVELS`` entries into a tuple of so many vectors ``(BLOCK,)``."""
    BLOCK: tl.constexpr = tile.shape[0] * tile.shape[1] * tile.shape[2]
    parts = (tl.reshape(tl.trans(tile, 1, 2, 0, 3), (BLOCK, 2**LEVELS)),)
    for level in tl.static_range(LEVELS):
        halves = ()
        for q in tl.static_range(2**level):
            # The upper and the lower half of the entries: their number must come last.
            pair = tl.trans(tl.reshape(parts[q], (BLOCK, 2, 2 ** (LEVELS - level - 1))), 0, 2, 1)
            first, second = tl.split(pair)
            halves = halves + (first, second)
        parts = halves
    vectors = ()
    for q in tl.static_range(2**LEVELS):
        vectors = vectors + (tl.reshape(parts[q], (BLOCK,)),)
    return vectors


@triton.jit
def join_tile(vectors, LEVELS: tl.constexpr, BLOCK: tl.constexpr, VECTOR: tl.constexpr):
    """Undo :func:`split_tile`."""
    ACROSS: tl.constexpr = min(32, 2**LEVELS // VECTOR)
    parts = vectors
    for level in tl.static_range(LEVELS):
        pairs = ()
        for q in tl.static_range(2 ** (LEVELS - level - 1)):
            pairs = pairs + (tl.join(parts[q], parts[q + 2 ** (LEVELS - level - 1)]),)
        parts = pairs
    tile = tl.reshape(parts[0], (BLOCK // 32, ACROSS, 32 // ACROSS, 2**LEVELS))
    return tl.trans(tile, 2, 0, 1, 3)


@triton.jit
def choose_pivot(column, k: tl.constexpr, n: tl.constexpr):
    """Return the first row ≥ k of largest modulus in a tuple of n vectors; NaN counts in row k alone, as for LAPACK."""
    best = tl.abs(column[k])
    row = tl.full(best.shape, k, tl.int32)
    for i in tl.static_range(k + 1, n):
        size = tl.abs(column[i])
        row = tl.where(size > best, i, row)
        best = tl.where(size > best, size, best)
    return row


@triton.jit
def exchange_rows(a, row, k: tl.constexpr, n: tl.constexpr):
    """Swap row k and row ``row`` ≥ k of n×n entries: a select in every thread."""
    chosen = a[k * n : k * n + n]
    rest = ()
    for i in tl.static_range(k + 1, n):
        take = row == i
        better = ()
        for j in tl.static_range(n):
            better = better + (tl.where(take, a[i * n + j], chosen[j]),)
            rest = rest + (tl.where(take, a[k * n + j], a[i * n + j]),)
        chosen = better
    return a[: k * n] + chosen + rest


@triton.jit
def exchange_columns(a, column, k: tl.constexpr, n: tl.constexpr):
    """Swap column k and column ``column`` ≥ k of n×n entries."""
    result = ()
    for i in tl.static_range(n):
        chosen = a[i * n + k]
        rest = ()
        for j in tl.static_range(k + 1, n):
            take = column == j
            rest = rest + (tl.where(take, a[i * n + k], a[i * n + j]),)
            chosen = tl.where(take, a[i * n + j], chosen)
        result = result + a[i * n : i * n + k] + (chosen,) + rest
    return result
