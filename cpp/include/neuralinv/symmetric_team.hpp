// One large symmetric positive definite matrix by several threads: symmetric_columns.hpp and symmetric_pivots.hpp with their groups
// of columns dealt out.
//
// An inverse reads rows of all columns for its next pivots: these and what is made of them take one meeting, the update of all
// columns another. A factorisation has what it needs in the columns of the pivots, and works as columns_team.hpp does: the first
// member does these first, and one meeting is enough.
#pragma once

#include "columns_team.hpp"
#include "ranges.hpp"
#include "symmetric_solution.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Groups [from, groups) of columns, dealt out so that everybody has as many entries below the diagonal.
NEURALINV_INLINE Stretch share_of_triangle(int from, int groups, Part me) {
    const auto bound = [&](int number) NEURALINV_LAMBDA {
        return from + int((groups - from) * (1 - __builtin_sqrt(1 - double(number) / me.of)) + 0.5);
    };
    return {bound(me.number), bound(me.number + 1)};
}

// The first column behind so many groups.
template <class T>
NEURALINV_INLINE Stretch columns_of(Stretch groups) {
    return {groups.begin * column_group<T>, groups.end * column_group<T>};
}

// Four steps from k on. mine: the groups of columns that this member has.
template <class T>
NEURALINV_INLINE void exchange_in_a_team(const Symmetric<T>& a, int height, int n, int k, const Member& member, Stretch mine) {
    constexpr int each = group_vectors<T>;
    const Part me{member.number, member.size};
    const int own = k / column_group<T>, behind = height - own * each;
    const PivotBlock<T> block = factor_block(a, height, k);
    // Rows k.. of columns before them lie in the cache of whoever has these columns.
    form_panel(a, height, k, block, mine.begin * each, (mine.end < own ? mine.end : own) * each);
    form_panel(a, height, k, block, own * each + me.begin(behind), own * each + me.end(behind));
    member.meet();
    if (me.number == 0)
        for (int s = 0; s < steps_together; ++s) a.pivots[k + s] = block.pivots[s];
    Ahead nothing;
    mine.each(me, [&](int group) NEURALINV_LAMBDA {
        update_group<T, 0>(a, height, n, group * column_group<T>, group * each, nothing);
        if (group <= own)
            for (int v = 0; v < each; ++v) place_across(a, height, k, group * each + v);
        if (group == own) place_columns(a, height, k);
    });
    member.meet();
}

// D to a.pivots, and with `keep` L below the diagonal of the columns. a.y: four panels.
template <bool keep, class T>
NEURALINV_INLINE void factor_in_a_team(const Symmetric<T>& a, int height, int n, const Member& member) {
    const Part me{member.number, member.size};
    const int groups = (n + column_group<T> - 1) / column_group<T>;
    Symmetric<T> turns[2] = {a, a};  // Y and Z of a pass, and of the next
    turns[1].y += 2 * steps_together * height;
    const auto prepare = [&](int turn, int k) NEURALINV_LAMBDA { form_columns<keep>(turns[turn], height, k, factor_pivots(a, height, k)); };
    NothingAhead nothing;
    if (me.number == 0) prepare(0, 0);
    member.meet();
    for (int k = 0, turn = 0; k < n; k += steps_together, turn ^= 1) {
        const int next = k + steps_together, first = next / column_group<T>;
        const auto update = [&](int j) NEURALINV_LAMBDA { update_group<T, 0>(turns[turn], height, n, j, first_vector<T>(j), nothing); };
        if (next < n && me.number == 0) {
            update(next);
            prepare(turn ^ 1, next);
        }
        share_of_triangle(first, groups, me).each(me, [&](int group) NEURALINV_LAMBDA {
            if (group != first) update(group * column_group<T>);
        });
        member.meet();
    }
}

// Y and Z of a pass and of the next; behind them a panel for each member.
inline constexpr int panels_of_passes = 4;
static_assert(sides_together == steps_together, "right-hand sides fill a panel");

// Matrices begin..end-1 of A, each by a team of at most `threads`: all members call work(a, height, member), and, if all pivots can be
// used, finish(b, a, height, member); the caller alone otherwise(b).
template <class T, class Work, class Finish, class Otherwise>
NEURALINV_INLINE FirstFailure work_on_large(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, Status* info, int threads, const Work& work,
                                            const Finish& finish, const Otherwise& otherwise) {
    const int n = int(A.n), height = symmetric_height<T>(n), groups = height / group_vectors<T>;
    const SymmetricWorkspace<T, 1> workspace(height, panels_of_passes + threads);
    const Symmetric<T>& a = workspace.matrices[0];
    Report report{{-1, success}, info};
    for (std::int64_t b = begin; b < end; ++b) {
        bool done = false;
        const auto body = [&](const Member& member) {
            load_columns(A, b, height, a, columns_of<T>(share_of_triangle(0, groups, {member.number, member.size})));
            member.meet();
            work(a, height, member);
            const bool fine = has_usable_pivots(a, n);
            if (member.number == 0) done = fine;
            if (fine) finish(b, a, height, member);
        };
        if (workspace.available) in_a_team(threads, body);
        report(b, done ? success : otherwise(b));
    }
    return report.first;
}

// Invert positive definite matrices [begin, end) of A, n ≥ 8, of which only lower triangles have an effect. info: (count) or null.
template <class T>
FirstFailure invert_symmetric_in_teams(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* X, Status* info, int threads) {
    const int n = int(A.n);
    const auto share = [](int height, const Member& member) { return share_of_triangle(0, height / group_vectors<T>, {member.number, member.size}); };
    return work_on_large(
        A, begin, end, info, threads,
        [&](const Symmetric<T>& a, int height, const Member& member) {
            for (int k = 0; k < n; k += steps_together) exchange_in_a_team(a, height, n, k, member, share(height, member));
        },
        [&](std::int64_t b, const Symmetric<T>& a, int height, const Member& member) {
            store_symmetric(a, n, height, X + b * n * n, columns_of<T>(share(height, member)));
        },
        [&](std::int64_t b) { return invert_symmetric(A, b, b + 1, X, nullptr).status; });
}

// Solve positive definite systems [begin, end), n ≥ 8. X: (count, n, B.columns), info: (count) or null.
template <class T>
FirstFailure solve_symmetric_in_teams(const MatrixBatch<T>& A, const RightSides<T>& B, std::int64_t begin, std::int64_t end, T* X, Status* info, int threads) {
    const int n = int(A.n);
    return work_on_large(
        A, begin, end, info, threads, [&](const Symmetric<T>& a, int height, const Member& me) { factor_in_a_team<true>(a, height, n, me); },
        [&](std::int64_t b, const Symmetric<T>& a, int height, const Member& member) {
            Vector<T>* const sides = a.y + (panels_of_passes + member.number) * sides_together * height;
            solve_all_sides(a, n, height, B, b, sides, X + b * n * B.columns, {member.number, member.size});
        },
        [&](std::int64_t b) { return solve_positive(A, B, b, b + 1, X, nullptr).status; });
}

// Signs and logarithms of the determinants of positive definite matrices [begin, end) of A, n ≥ 8.
template <class T>
FirstFailure slogdet_symmetric_in_teams(const MatrixBatch<T>& A, std::int64_t begin, std::int64_t end, T* sign, T* logabsdet, int threads) {
    const int n = int(A.n);
    return work_on_large(
        A, begin, end, nullptr, threads, [&](const Symmetric<T>& a, int height, const Member& me) { factor_in_a_team<false>(a, height, n, me); },
        [&](std::int64_t b, const Symmetric<T>& a, int, const Member& member) {
            if (member.number == 0) slogdet_of_pivots(a.pivots, n, false, sign + b, logabsdet + b);
        },
        [&](std::int64_t b) { return slogdet_symmetric(A, b, b + 1, sign, logabsdet, nullptr).status; });
}

}  // namespace neuralinv::NEURALINV_TARGET
