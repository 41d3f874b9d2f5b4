// One large general matrix by several threads: the elimination of columns.hpp with its columns dealt out.
//
// In a pass every member applies the same multipliers to its own columns. Whoever owns the next pivot columns does these first and
// makes the multipliers of the next pass of them before it goes on with the others, so that these lie ready when all have met: one
// meeting for each pass, and nobody waits for the chain of operations that finds pivots. Of an inverse every member keeps about the
// same columns; where solutions are wanted those from the pivots on are dealt out anew as they become fewer.
#pragma once

#include "columns_range.hpp"
#include "team.hpp"

namespace neuralinv::NEURALINV_TARGET {

// The pivots of a pass that begins at step k, all its multipliers, and its own columns at the end of the pass.
template <class T, Wanted wanted, int steps>
NEURALINV_INLINE void prepare_pass(Elimination<T>& e, int height, int k) {
    T cross[rank][rank];
    static_for<0, steps>([&](auto r) NEURALINV_LAMBDA { step<T, 0, wanted, Pivots::largest, Rounding::fused, decltype(r)::value>(e, height, k, cross); });
    join<T, steps>(e.multipliers, height, cross);
    if constexpr (wanted == Wanted::inverse)
        static_for<0, steps - 1>([&](auto r_) NEURALINV_LAMBDA {
            constexpr int r = decltype(r_)::value;
            apply<T, 0, Rounding::fused, r + 1, steps, true>(e.columns + (k + r) * height, height, e.multipliers, e.rows + k, cross);
        });
}

// A pass that began at step k, applied to the columns of one group that it is not made of and that are not done with.
template <class T, Wanted wanted, int steps>
NEURALINV_INLINE void pass_over_group(const Elimination<T>& e, int height, int count, int k, int group, Ahead& ahead) {
    const auto over = [&](int begin, int end) NEURALINV_LAMBDA {
        apply_pass<T, 0, Rounding::fused, steps>(e.columns, height, e.multipliers, e.rows + k, nullptr, begin, end, ahead);
    };
    const int begin = group * rank, end = begin + rank < count ? begin + rank : count;
    if (group != k / rank) return over(begin, end);
    if (wanted == Wanted::inverse) over(begin, k);
    over(k + steps, end);
}

// Calls with<steps>() for the number of steps in the pass that begins at step k, as in `eliminate`.
template <class With>
NEURALINV_INLINE int pass_of(int n, int k, const With& with) {
    if (k + rank <= n) return with(Index<rank>{}), rank;
    if (k + 2 <= n) return with(Index<2>{}), 2;
    return with(Index<1>{}), 1;
}

// Looking for pivots takes about as long as a pass over so many groups.
inline constexpr int groups_for_pivots = 6;

// Whose columns have the next pivots, and which of the groups [from, groups) are whose in this pass: the owner has fewer.
template <Wanted wanted>
struct Deal {
    int owner;
    Stretch mine;

    NEURALINV_INLINE Deal(int from, int groups, int next, Part me) : owner(wanted == Wanted::inverse ? int(std::int64_t(next) * me.of / groups) : 0) {
        const Part bounds[2] = {{me.number, me.of}, {me.number + 1, me.of}};
        int* const ends[2] = {&mine.begin, &mine.end};
        for (int side = 0; side < 2; ++side) {
            const int at = bounds[side].begin(groups - from + groups_for_pivots) - (bounds[side].number > owner ? groups_for_pivots : 0);
            *ends[side] = from + (at < 0 ? 0 : at > groups - from ? groups - from : at);
        }
    }
};

// The multipliers of the next pass, for those who did not make them: while half of a pass is left they are likely to be there.
template <class T>
NEURALINV_INLINE Ahead next_multipliers(const Elimination<T>& next, int height, int groups_left) {
    const char* const from = reinterpret_cast<const char*>(next.multipliers);
    const std::int64_t bytes = std::int64_t(rank) * height * NEURALINV_VECTOR_BYTES;
    return {from, from + bytes, from, from + bytes, int(bytes / 64 / (groups_left + 1)) + 1};
}

// All steps. count: columns in all, right-hand sides included. turns: one matrix, the multipliers of a pass and those of the next.
template <class T, Wanted wanted>
NEURALINV_INLINE void eliminate_in_a_team(Elimination<T>* turns, int height, int n, int count, const Member& member) {
    const Part me{member.number, member.size};
    const int groups = (count + rank - 1) / rank;
    const auto prepare = [&](Elimination<T>& e, int k) NEURALINV_LAMBDA {
        pass_of(n, k, [&](auto steps) NEURALINV_LAMBDA { prepare_pass<T, wanted, decltype(steps)::value>(e, height, k); });
    };
    if (me.number == 0) prepare(turns[0], 0);
    member.meet();
    for (int k = 0, turn = 0; k < n; turn ^= 1) {
        const Elimination<T>& e = turns[turn];
        k += pass_of(n, k, [&](auto steps_) NEURALINV_LAMBDA {
            constexpr int steps = decltype(steps_)::value;
            const int next = k + steps, first = next < n ? next / rank : groups;
            const Deal<wanted> deal(wanted == Wanted::inverse ? 0 : next / rank, groups, first, me);
            Ahead ahead;
            if (first < groups && deal.owner == me.number) {
                pass_over_group<T, wanted, steps>(e, height, count, k, first, ahead);
                prepare(turns[turn ^ 1], next);
            }
            int left = deal.mine.size();
            deal.mine.each(me, [&](int group) NEURALINV_LAMBDA {
                if (--left == deal.mine.size() / 2 && deal.owner != me.number) ahead = next_multipliers(turns[turn ^ 1], height, left);
                if (group != first) pass_over_group<T, wanted, steps>(e, height, count, k, group, ahead);
            });
        });
        member.meet();
    }
}

// Columns begin..end-1 of matrix b, and with them the rows of `part` of what else an elimination begins with.
template <class T>
NEURALINV_INLINE void load_part(const MatrixBatch<T>& A, std::int64_t b, int height, const Elimination<T>& e, T* sizes, Part part) {
    const int n = int(A.n), blocks = n / block<T>, begin = part.begin(blocks) * block<T>;
    const int count = (part.number + 1 == part.of ? n : part.end(blocks) * block<T>) - begin;
    const T* const source = A.data + b * A.batch_stride + begin * A.column_stride;
    T* const columns = reinterpret_cast<T*>(e.columns + std::int64_t(begin) * height);
    if (A.column_stride == 1 && count >= block<T>)
        load_rows(source, A.row_stride, n, count, height, columns, sizes + begin);
    else
        load_entries(source, A.row_stride, A.column_stride, n, count, height, columns, sizes + begin);
    for (int v = part.begin(height); v < part.end(height); ++v) {
        e.closed[v] = missing_lanes<T>(n, v);
        e.reciprocals[v] = Vector<T>{};
    }
}

// Matrices begin..end-1 of A, each by a team of at most `threads`, with `sides` columns beside those of A. Of each, load_sides(b, e, part)
// brings these, and finish(b, e, steps, part) writes the answer, both called by every member; otherwise(b), by the caller alone, where
// a pivot cannot be used.
template <class T, Wanted wanted, class LoadSides, class Finish, class Otherwise>
NEURALINV_INLINE FirstFailure eliminate_large(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, int sides, Status* info, int threads,
                                              const LoadSides& load_sides, const Finish& finish, const Otherwise& otherwise) {
    const int n = int(A.n), count = n + sides, height = height_of<T>(n);
    const int gap = (4096 + height * NEURALINV_VECTOR_BYTES - 1) / (height * NEURALINV_VECTOR_BYTES);
    Workspace<T, 1> workspace(count + gap + rank + gap, height);  // the second multipliers, pages away from what else is written
    Report report{{-1, success}, info};
    Elimination<T> turns[2] = {};
    T* sizes = nullptr;
    int* steps = nullptr;
    if (workspace.available) {
        turns[0] = turns[1] = workspace.eliminations[0];
        turns[1].multipliers = turns[0].columns + std::int64_t(count + gap) * height;
        sizes = workspace.sizes[0];
        steps = workspace.steps[0];
    }
    for (std::int64_t b = begin; b < end; ++b) {
        bool done = false;
        const auto body = [&](const Member& me) {
            const Part part{me.number, me.size};
            load_part(A, b, height, turns[0], sizes, part);
            load_sides(b, turns[0], part);
            me.meet();
            eliminate_in_a_team<T, wanted>(turns, height, n, count, me);
            const bool fine = usable<T, Rounding::fused>(turns[0], Structure::general, sizes, n);
            if (part.number == 0) {
                for (int k = 0; k < n; ++k) steps[turns[0].rows[k]] = k;
                done = fine;
            }
            me.meet();
            if (fine) finish(b, turns[0], steps, part);
        };
        if (workspace.available) in_a_team(threads, body);
        report(b, done ? success : otherwise(b));
    }
    return report.first;
}

// Invert general matrices [begin, end) of A, n ≥ 8. info: (count) or null.
template <class T>
FirstFailure invert_columns_in_teams(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info, int threads) {
    const int n = int(A.n), height = height_of<T>(n);
    return eliminate_large<T, Wanted::inverse>(
        A, begin, end, 0, info, threads, [](std::int64_t, const Elimination<T>&, Part) {},
        [&](std::int64_t b, const Elimination<T>& e, int* steps, Part part) { store_rows<T, Wanted::inverse>(e, n, height, 0, n, steps, X + b * n * n, part); },
        [&](std::int64_t b) { return invert_columns(A, b, b + 1, X, nullptr).status; });
}

// Solve systems [begin, end), n ≥ 8. X: (count, n, columns), info: (count) or null.
template <class T>
FirstFailure solve_columns_in_teams(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t begin, std::int64_t end, T* X, Status* info, int threads) {
    const int n = int(A.n), sides = int(B.columns), height = height_of<T>(n);
    return eliminate_large<T, Wanted::solution>(
        A, begin, end, sides, info, threads,
        [&](std::int64_t b, const Elimination<T>& e, Part part) {
            const int begin = part.begin(sides), count = part.end(sides) - begin;
            const RightSides<T> mine{B.data + begin * B.column_stride, count, B.batch_stride, B.row_stride, B.column_stride};
            load_right_sides(mine, b, n, height, e.columns + std::int64_t(n + begin) * height);
        },
        [&](std::int64_t b, const Elimination<T>& e, int* steps, Part part) {
            store_rows<T, Wanted::solution>(e, n, height, n, sides, steps, X + b * n * sides, part);
        },
        [&](std::int64_t b) { return solve_columns(A, B, Structure::general, b, b + 1, X, nullptr).status; });
}

// Determinants of general matrices [begin, end) of A, n ≥ 8: none fails, a singular one has determinant 0.
template <class T>
FirstFailure slogdet_columns_in_teams(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* sign, T* logabsdet, int threads) {
    const int n = int(A.n);
    return eliminate_large<T, Wanted::solution>(
        A, begin, end, 0, nullptr, threads, [](std::int64_t, const Elimination<T>&, Part) {},
        [&](std::int64_t b, const Elimination<T>& e, int* steps, Part part) {
            if (part.number == 0) slogdet_of_pivots(e.pivots, n, is_odd(e.rows, n, steps), sign + b, logabsdet + b);
        },
        [&](std::int64_t b) { return slogdet_columns(A, Structure::general, b, b + 1, sign, logabsdet, nullptr).status; });
}

}  // namespace neuralinv::NEURALINV_TARGET
