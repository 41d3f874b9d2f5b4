// Tiles of positive definite matrices, lower triangles from the caller's memory and inverses back: in registers where n is
// known to the compiler, otherwise in memory.
#pragma once

#include "cholesky.hpp"
#include "entries.hpp"
#include "room.hpp"
#include "streaming.hpp"
#include "whole_vectors.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Vectors from a row of a tile in memory to the next: an odd number, since powers of two would compete for a few lines of
// the cache. Of the smallest, which have no room for a piece of 16 bytes to a row, rows follow each other.
NEURALINV_INLINE int tile_pitch(int n) { return n < 4 ? n : n | 1; }

template <int n>
NEURALINV_INLINE Fixed<n> tile_pitch(Fixed<n>) {
    return {};
}

// What tiles of a range lie in. buffers: for matrices that kernels cannot read or write where they are.
template <class T, class N>
struct PositiveMemory;

template <class T, int n>
struct PositiveMemory<T, Fixed<n>> {
    static constexpr bool available = true;

    PositiveMemory(Fixed<n>, int) {}

    struct Tile {
        Vector<T> a[n * n];
        Vector<T> diagonal[n];
        Pivot<T> pivot[n];
        T in[n * n * tile<T>], out[n * n * tile<T>];

        explicit Tile(const PositiveMemory&) {}
    };
};

template <class T>
struct PositiveMemory<T, int> {
    bool available;

    struct Tile {
        Vector<T>* a;
        Vector<T>* diagonal;
        Pivot<T>* pivot;
        T *in, *out;

        Tile() = default;
        explicit Tile(const PositiveMemory& memory) : Tile(memory.tile_) {}
    };

    PositiveMemory(int n, int buffers) {
        const std::int64_t vectors = std::int64_t(n) * tile_pitch(n), buffered = std::int64_t(n) * n * tile<T>;
        void* const memory = room_.take((vectors + 3 * n) * NEURALINV_VECTOR_BYTES + buffers * buffered * std::int64_t(sizeof(T)));
        available = memory != nullptr;
        if (!available) return;
        tile_.a = static_cast<Vector<T>*>(memory);
        tile_.diagonal = tile_.a + vectors;
        tile_.pivot = reinterpret_cast<Pivot<T>*>(tile_.diagonal + n);
        tile_.in = reinterpret_cast<T*>(tile_.pivot + n);
        tile_.out = tile_.in + buffered;
    }

   private:
    Room room_;
    Tile tile_;
};

// Columns 0..count-1 of a row of n entries, `size` at a time: body(start). The last overlap others, within the row.
template <int size, class Body>
NEURALINV_INLINE void for_each_stretch(int n, int count, const Body& body) {
    for (int c = 0; c < count; c += size) body(c + size <= n ? c : n - size);
}

// The lower triangles, and what comes with them.
template <class T>
NEURALINV_INLINE void load_lower(Rows<const T> from, int n, Vector<T>* a) {
    const int pitch = tile_pitch(n);
    if (n < piece<T>) return load_entries<T>(from, n * n, a);
    for (int i = 0; i < n; ++i) {
        const T* const row = from.data + std::int64_t(i) * n;
        Vector<T>* const target = a + std::int64_t(i) * pitch;
        if (n >= lanes<T>)
            for_each_stretch<lanes<T>>(n, i + 1, [&](int at) NEURALINV_LAMBDA { load_vectors(row + at, from.stride, target + at); });
        else
            for_each_stretch<piece<T>>(n, i + 1, [&](int at) NEURALINV_LAMBDA { load_chunk<T>(row + at, from.stride, target + at); });
    }
}

// The same in registers.
template <class T, int n>
NEURALINV_INLINE void load_lower(Rows<const T> from, Fixed<n> size, Vector<T>* a) {
    constexpr Fixed<piece<T>> chunk{};
    constexpr Fixed<n * n> entries{};
    if constexpr (n * n < piece<T>) {
        load_entries<T>(from, entries, a);
    } else {
        loop(zero, size, [&](auto i) NEURALINV_LAMBDA {
            loop(zero, (i + chunk) / chunk, [&](auto c) NEURALINV_LAMBDA {
                const int at = i * size + c * chunk, last = entries - chunk, start = at < last ? at : last;
                load_chunk<T>(from.data + start, from.stride, a + start);
            });
        });
    }
}

// Copy the strict lower triangle to the upper one.
template <class T, class N>
NEURALINV_INLINE void mirror(N n, Vector<T>* a) {
    const auto pitch = tile_pitch(n);
    loop(one, n, [&](auto i) NEURALINV_LAMBDA {
        loop(zero, i, [&](auto j) NEURALINV_LAMBDA { a[j * pitch + i] = a[i * pitch + j]; });
    });
}

template <class T, int n>
NEURALINV_INLINE void store_matrices(const Vector<T>* a, Fixed<n>, Rows<T> to, bool) {
    store_entries<T>(a, Fixed<n * n>{}, to);
}

// Some rows of a tile.
template <class T>
NEURALINV_INLINE void store_rows(const Vector<T>* a, int n, int count, Rows<T> to) {
    for (int i = 0; i < count; ++i) {
        T* const row = to.data + std::int64_t(i) * n;
        const Vector<T>* const source = a + std::int64_t(i) * tile_pitch(n);
        if (n >= lanes<T>)
            for_each_stretch<lanes<T>>(n, n, [&](int at) NEURALINV_LAMBDA { store_vectors(source + at, row + at, to.stride); });
        else
            for_each_stretch<piece<T>>(n, n, [&](int at) NEURALINV_LAMBDA { store_chunk<T>(source + at, row + at, to.stride); });
    }
}

// In bytes: matrices a multiple of it apart compete for a few lines of the cache, also where they are written.
inline constexpr std::int64_t competing_distance = 2048;

// Entries of a few rows of a matrix, which are put together elsewhere then.
inline constexpr int entries_together = 256;

// streaming: as streaming.hpp has it.
template <class T>
NEURALINV_INLINE void store_matrices(const Vector<T>* a, int n, Rows<T> to, bool streaming = false) {
    if (n < piece<T>) return store_entries<T>(a, n * n, to);
    const int together = entries_together / n;
    if (together == 0 || (!streaming && to.stride * std::int64_t(sizeof(T)) % competing_distance != 0)) return store_rows(a, n, n, to);
    constexpr int apart = entries_together + 64 / int(sizeof(T));
    alignas(64) T rows[lanes<T> * apart];
    for (int i = 0; i < n; i += together) {
        const int count = n - i < together ? n - i : together;
        store_rows(a + std::int64_t(i) * tile_pitch(n), n, count, Rows<T>{rows, apart});
        for (int lane = 0; lane < lanes<T>; ++lane) {
            T* const target = to.data + lane * to.stride + std::int64_t(i) * n;
            if (streaming)
                stream_entries(rows + lane * apart, count * n, target);
            else
                __builtin_memcpy(target, rows + lane * apart, std::size_t(count * n) * sizeof(T));
        }
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
