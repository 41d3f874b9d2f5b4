// Pieces of a batch for several threads, each with scratch memory.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>

#include "scratch.hpp"
#include "thread_pool.hpp"

namespace neuralinv {

// Scratch memory that a calling thread keeps: fresh pages would take longer to come than few matrices to correct.
inline Scratch<std::byte>& scratch(std::int64_t slots, std::int64_t bytes) {
    thread_local std::unique_ptr<Scratch<std::byte>> kept;
    thread_local std::int64_t kept_slots = 0, kept_bytes = 0;
    constexpr std::int64_t most = std::int64_t(64) << 20;
    // What was asked for once and is too much to keep goes with the next call.
    if (!kept || slots > kept_slots || bytes > kept_bytes || kept_slots * kept_bytes > most) {
        const std::int64_t more_slots = std::max(slots, kept_slots), more_bytes = std::max(bytes, kept_bytes);
        if (more_slots * more_bytes <= most) slots = more_slots, bytes = more_bytes;
        kept.reset();
        kept = std::make_unique<Scratch<std::byte>>(slots, bytes);
        kept_slots = slots, kept_bytes = bytes;
    }
    return *kept;
}

// Waking a thread costs some microseconds: below this many multiplications one thread does the work.
inline int threads_for(double multiplications, int threads) {
    return multiplications < 1 << 18 || threads < 1 ? 1 : threads;
}

// Stretches of columns: whole cache lines, and as many as a kernel takes at once; a few pieces of them for each thread.
inline constexpr std::int64_t stretch = 512;

inline std::int64_t column_pieces(std::int64_t length, int threads) {
    return std::min((length + stretch - 1) / stretch, threads == 1 ? 1 : std::int64_t(threads) * 4);
}

// body(piece, begin, end, slot).
template <class Body>
void over_columns(std::int64_t length, std::int64_t bytes, int threads, const Body& body) {
    const std::int64_t stretches = (length + stretch - 1) / stretch, pieces = column_pieces(length, threads);
    Scratch<std::byte>& memory = scratch(std::min<std::int64_t>(pieces, threads), bytes);
    auto run_piece = [&](std::int64_t piece) {
        const std::int64_t begin = stretches * piece / pieces * stretch, end = stretches * (piece + 1) / pieces * stretch;
        const std::int64_t slot = memory.take();
        body(piece, begin, end < length ? end : length, memory.at(slot));
        memory.give_back(slot);
    };
    parallel_for(threads, pieces, run_piece);
}

// body(begin, end, slot) for matrices: several pieces for each thread, so that an interrupted one holds up nobody.
template <class Body>
void over_matrices(std::int64_t count, std::int64_t bytes, int threads, int pieces_each, const Body& body) {
    const std::int64_t pieces = std::min(count, threads == 1 ? 1 : std::int64_t(threads) * pieces_each);
    Scratch<std::byte>& memory = scratch(std::min<std::int64_t>(pieces, threads), bytes);
    auto run_piece = [&](std::int64_t piece) {
        const std::int64_t slot = memory.take();
        body(count * piece / pieces, count * (piece + 1) / pieces, memory.at(slot));
        memory.give_back(slot);
    };
    parallel_for(threads, pieces, run_piece);
}

}  // namespace neuralinv
