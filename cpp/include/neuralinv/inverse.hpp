// Inverses of many small matrices: Gauss–Jordan elimination in place with partial pivoting, one matrix in each lane.
//
// Step k takes, of rows k.. of column k, the entry of largest modulus as pivot p and swaps its row into row k. Then, with
// l(i) = a(i,k) / p, every other row loses l(i) times row k, and in place of the column that became a unit vector stands
// that column of the inverse: −l(i), and 1/p in row k. What rows k.. see is LU with partial pivoting. Swapped rows of A are
// swapped columns of the inverse, undone in the end.
//
// The lanes choose different rows: a swap is a select in every lane.
//
// The kernels multiply by 1/p. Where 1/p over- or underflows, or p is zero or not a number, single.hpp computes the tile's
// matrices again: it divides, and alone knows failure.
#pragma once

#include "batch.hpp"
#include "simd.hpp"
#include "status.hpp"

namespace neuralinv::NEURALINV_TARGET {

// Sizes up to this one go to unrolled.hpp; beyond, the code would outgrow the instruction cache.
inline constexpr int largest_unrolled = 8;
inline constexpr int largest = int(largest_size);

template <class T>
NEURALINV_INLINE Mask<T> safe_pivot(Vector<T> p) {
    const Vector<T> size = absolute<T>(p);
    return Mask<T>(size >= broadcast<T>(Traits<T>::smallest_normal)) &
           Mask<T>(size <= broadcast<T>(T(1) / Traits<T>::smallest_normal));
}

// Exchange x[0] with x[r] wherever take[r], r = 1..count-1; at most one r is taken in a lane. x[r] lies at `step` · r.
template <class T, int count, int step>
NEURALINV_INLINE void exchange(Vector<T>* x, const Mask<T>* take) {
    const Vector<T> first = x[0];
    Vector<T> chosen = first;
    static_for<1, count>([&](auto r_) NEURALINV_LAMBDA {
        constexpr int r = decltype(r_)::value;
        const Vector<T> other = x[r * step];
        chosen = take[r] ? other : chosen;
        x[r * step] = take[r] ? first : other;
    });
    x[0] = chosen;
}

// Row number of the largest modulus in rows k.. of column k.
template <class T>
NEURALINV_INLINE Mask<T> find_pivot(const Vector<T>* a, int n, int k) {
    Vector<T> best = absolute<T>(a[k * n + k]);
    Mask<T> row = broadcast_mask<T>(k);
    for (int i = k + 1; i < n; ++i) {
        const Vector<T> size = absolute<T>(a[i * n + k]);
        const Mask<T> larger = Mask<T>(size > best);
        best = larger ? size : best;
        row = larger ? broadcast_mask<T>(i) : row;
    }
    return row;
}

// Exchange `width` vectors at x, in row k, with those below them in the row that each lane names.
template <class T, int width>
NEURALINV_INLINE void swap_lanes(Vector<T>* x, int n, int k, Mask<T> row) {
    Vector<T> kept[width], chosen[width];
    static_for<0, width>([&](auto j_) NEURALINV_LAMBDA {
        constexpr int j = decltype(j_)::value;
        kept[j] = chosen[j] = x[j];
    });
    for (int r = k + 1; r < n; ++r) {
        Vector<T>* other = x + (r - k) * n;
        const Mask<T> here = Mask<T>(row == broadcast_mask<T>(r));
        static_for<0, width>([&](auto j_) NEURALINV_LAMBDA {
            constexpr int j = decltype(j_)::value;
            const Vector<T> y = other[j];
            chosen[j] = here ? y : chosen[j];
            other[j] = here ? kept[j] : y;
        });
    }
    static_for<0, width>([&](auto j_) NEURALINV_LAMBDA {
        constexpr int j = decltype(j_)::value;
        x[j] = chosen[j];
    });
}

// Swap row k with row `row`, which differs from lane to lane, without a branch: either every row below gives up the
// lanes that chose it, or every lane fetches its row, whichever is less. A row that several lanes chose is fetched
// several times.
template <class T>
NEURALINV_INLINE void swap_rows(Vector<T>* a, int n, int k, Mask<T> row) {
    Vector<T>* first = a + k * n;
    if (n - 1 - k <= lanes<T>) {
        int j = 0;
        for (; j + 4 <= n; j += 4) swap_lanes<T, 4>(first + j, n, k, row);
        for (; j < n; ++j) swap_lanes<T, 1>(first + j, n, k, row);
        return;
    }
    Vector<T>* other[lanes<T>];
    static_for<0, lanes<T>>([&](auto l_) NEURALINV_LAMBDA {
        constexpr int l = decltype(l_)::value;
        other[l] = a + int(row[l]) * n;
    });
    for (int j = 0; j < n; ++j) {
        const Vector<T> kept = first[j];
        Vector<T> chosen = kept;
        static_for<0, lanes<T>>([&](auto l_) NEURALINV_LAMBDA {
            constexpr int l = decltype(l_)::value;
            const Mask<T> here = lane_mask<T, l>();
            const Vector<T> y = other[l][j];
            chosen = here ? y : chosen;
            other[l][j] = here ? kept : y;
        });
        first[j] = chosen;
    }
}

// a: (n·n) vectors, replaced by the inverses with permuted columns; pivot_row: (n). Returns where all pivots were safe.
//
// Two steps at a time: rows k and k+1 are made ready, then one pass over all other rows applies both, which halves the
// loads and stores that would otherwise bound the speed. Two rows share the pivot rows' loads.
//
// fixed_n: the size where the compiler may know it, else 0.
template <class T, int fixed_n>
inline Mask<T> invert_in_memory(Vector<T>* a, int any_n, Mask<T>* pivot_row) {
    const int n = fixed_n > 0 ? fixed_n : any_n;
    Vector<T> u[largest], v[largest];  // the pivot rows as the other rows see them
    Mask<T> safe = ~Mask<T>{};
    int k = 0;
    for (; k + 1 < n; k += 2) {
        pivot_row[k] = find_pivot<T>(a, n, k);
        swap_rows<T>(a, n, k, pivot_row[k]);
        const Vector<T> p = a[k * n + k];
        safe &= safe_pivot<T>(p);
        const Vector<T> rp = broadcast<T>(1) / p;
        const Vector<T> next = a[k * n + k + 1];
        for (int i = 0; i < n; ++i) {  // column k becomes l, column k + 1 is brought up to date
            if (i == k) continue;
            const Vector<T> l = a[i * n + k] * rp;
            a[i * n + k] = l;
            a[i * n + k + 1] = a[i * n + k + 1] - l * next;
        }
        pivot_row[k + 1] = find_pivot<T>(a, n, k + 1);
        swap_rows<T>(a, n, k + 1, pivot_row[k + 1]);
        const Vector<T> q = a[(k + 1) * n + k + 1];
        safe &= safe_pivot<T>(q);
        const Vector<T> rq = broadcast<T>(1) / q;
        const Vector<T> l = a[(k + 1) * n + k];
        const Vector<T> m = next * rp * rq;  // what row k, scaled, loses of row k + 1
        for (int j = 0; j < n; ++j) {
            u[j] = a[k * n + j];
            v[j] = a[(k + 1) * n + j] - l * u[j];
        }
        u[k] = Vector<T>{};
        u[k + 1] = Vector<T>{};
        v[k] = -l;
        v[k + 1] = Vector<T>{};
        for (int j = 0; j < n; ++j) {
            a[k * n + j] = u[j] * rp - m * v[j];
            a[(k + 1) * n + j] = v[j] * rq;
        }
        a[k * n + k] = rp + m * l;
        a[k * n + k + 1] = -m;
        a[(k + 1) * n + k + 1] = rq;
        for (int i = 0; i < n; i += 2) {
            if (i == k) continue;  // k is even
            Vector<T>* x = a + i * n;
            const Vector<T> lx = x[k], mx = x[k + 1] * rq;
            x[k] = -lx;
            x[k + 1] = -mx;
            if (i + 1 == n) {
                for (int j = 0; j < n; ++j) x[j] = x[j] - lx * u[j] - mx * v[j];
                break;
            }
            Vector<T>* y = x + n;
            const Vector<T> ly = y[k], my = y[k + 1] * rq;
            y[k] = -ly;
            y[k + 1] = -my;
            for (int j = 0; j < n; ++j) {
                const Vector<T> uj = u[j], vj = v[j];
                x[j] = x[j] - lx * uj - mx * vj;
                y[j] = y[j] - ly * uj - my * vj;
            }
        }
    }
    if (k < n) {  // n is odd: the last step has nothing to choose
        pivot_row[k] = broadcast_mask<T>(k);
        const Vector<T> p = a[k * n + k];
        safe &= safe_pivot<T>(p);
        const Vector<T> rp = broadcast<T>(1) / p;
        for (int j = 0; j < k; ++j) u[j] = a[k * n + j];
        for (int i = 0; i < k; ++i) {
            const Vector<T> l = a[i * n + k] * rp;
            for (int j = 0; j < k; ++j) a[i * n + j] = a[i * n + j] - l * u[j];
            a[i * n + k] = -l;
        }
        for (int j = 0; j < k; ++j) a[k * n + j] = u[j] * rp;
        a[k * n + k] = rp;
    }
    return safe;
}

// Put the columns in order, a row at a time so that it fits the registers. a: (n·n); pivot_row: (n).
template <class T, int n>
inline void restore_columns(Vector<T>* a, const Mask<T>* pivot_row) {
    Mask<T> take[n * n];  // take[k·n + r]: where columns k and k + r trade places
    for (int k = 0; k < n; ++k)
        for (int r = 1; r < n - k; ++r) take[k * n + r] = Mask<T>(pivot_row[k] == broadcast_mask<T>(k + r));
    for (int i = 0; i < n; ++i) {
        Vector<T> x[n];
        static_for<0, n>([&](auto j_) NEURALINV_LAMBDA {
            constexpr int j = decltype(j_)::value;
            x[j] = a[i * n + j];
        });
        static_for<1, n>([&](auto step_) NEURALINV_LAMBDA {
            constexpr int k = n - 1 - decltype(step_)::value;
            exchange<T, n - k, 1>(x + k, take + k * n);
        });
        static_for<0, n>([&](auto j_) NEURALINV_LAMBDA {
            constexpr int j = decltype(j_)::value;
            a[i * n + j] = x[j];
        });
    }
}

// Write one lane's matrix with its columns in order.
template <class T>
NEURALINV_INLINE void store_lane(const Vector<T>* a, int n, const Mask<T>* pivot_row, int lane, T* target) {
    int source[largest];
    for (int j = 0; j < n; ++j) source[j] = j;
    for (int k = n - 1; k >= 0; --k) {
        const int r = int(pivot_row[k][lane]);
        const int kept = source[k];
        source[k] = source[r];
        source[r] = kept;
    }
    const T* entries = reinterpret_cast<const T*>(a) + lane;
    for (int j = 0; j < n; ++j) {
        const T* column = entries + source[j] * lanes<T>;
        for (int i = 0; i < n; ++i) target[i * n + j] = column[i * n * lanes<T>];
    }
}

}  // namespace neuralinv::NEURALINV_TARGET
