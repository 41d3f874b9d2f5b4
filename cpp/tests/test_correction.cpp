// A guess is corrected with the lowest order that suffices, its bound is never below the error, and nothing is proved of a
// guess that is none.
#include <limits>

#include "neuralinv/correction_dispatch.hpp"
#include "oracle.hpp"

using namespace neuralinv;

namespace {

// ‖X − inverse‖_F / ‖inverse‖_F.
template <class S>
long double error(const std::vector<test::Wide<S>>& inverse, const S* X) {
    std::vector<test::Wide<S>> difference(inverse);
    for (std::size_t e = 0; e < inverse.size(); ++e) difference[e] -= test::widen(X[e]);
    return test::frobenius(difference) / test::frobenius(inverse);
}

template <class S>
void check_size(int n, int past, bool transposed) {
    using Wide = test::Wide<S>;
    // Residuals that orders 1 to 4 bring to the tolerance; one that none does; not a number.
    constexpr bool single = sizeof(RealOf<S>) == sizeof(float);
    const double tolerance = single ? 1e-5 : 1e-8;
    // Of a residual E, ‖A⁻¹E‖ is about ‖A⁻¹‖ ‖E‖ / √n.
    const auto brought_by = [&](int order) { return std::pow(0.4 * tolerance * std::sqrt(double(n)), 1.0 / order); };
    const double sizes[] = {0.1 * tolerance, brought_by(2), brought_by(3), brought_by(4), 0.9, std::numeric_limits<double>::quiet_NaN()};
    const std::int64_t count = 6;
    const std::size_t entries = std::size_t(n * n);
    std::vector<S> A = test::random_matrices<S>(count, n, n, unsigned(n)), X(A.size(), test::narrow<S>(-1));
    const std::vector<S> errors = test::random_matrices<S>(count, n, n, unsigned(n + 1));
    std::vector<std::vector<S>> guesses(most_guesses, std::vector<S>(A.size()));
    std::vector<std::vector<Wide>> inverses;
    for (std::size_t b = 0; b < std::size_t(count); ++b) {
        S* const a = A.data() + b * entries;
        std::vector<Wide> identity(entries), E = test::widen(errors.data() + b * entries, entries);
        for (int i = 0; i < n; ++i) {
            identity[i * n + i] = 1;
            a[i * n + i] = test::narrow<S>(test::widen(a[i * n + i]) + Wide(n));
        }
        inverses.push_back(test::eliminate(test::widen(a, entries), n, identity, n).x);
        const long double scale = sizes[b] / test::frobenius(E);
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) {
                Wide sum = 0;  // of A⁻¹ (I + E)
                for (int k = 0; k < n; ++k) sum += inverses[b][i * n + k] * (identity[k * n + j] + scale * E[k * n + j]);
                // Linear in time, so that every polynomial through the past goes on to the guess.
                for (int t = 0; t < most_guesses; ++t)
                    guesses[t][b * entries + std::size_t(i * n + j)] =
                        test::narrow<S>(past > 1 ? sum * (1 - (t + 1) * 0.0078125L) : sum);
            }
        if (transposed)
            for (int i = 0; i < n; ++i)
                for (int j = 0; j < i; ++j) std::swap(a[i * n + j], a[j * n + i]);
    }
    std::vector<double> bounds(std::size_t(count), -1);
    std::vector<std::int8_t> orders(std::size_t(count), -1);
    const Guesses<S> all{{A.data(), count, n, std::int64_t(entries), transposed ? 1 : n, transposed ? n : 1},
                         {guesses[0].data(), guesses[1].data(), guesses[2].data(), guesses[3].data()},
                         past};
    correct(all, tolerance, highest_order, Corrected<S>{X.data(), bounds.data(), orders.data()}, 2);
    for (std::size_t b = 0; b < std::size_t(count); ++b) {
        CHECK(orders[b] == (b < 4 ? int(b) + 1 : 1), "n = %d, %d of the past, matrix %zu: order %d", n, past, b, orders[b]);
        CHECK((bounds[b] <= tolerance) == (b < 4), "n = %d, %d of the past, matrix %zu: bound %g", n, past, b, bounds[b]);
        if (b == 5)
            CHECK(std::isinf(bounds[b]), "n = %d: bound %g", n, bounds[b]);
        else
            CHECK(bounds[b] >= error<S>(inverses[b], X.data() + b * entries) * (1 - 1e-3L), "n = %d, matrix %zu: bound %g", n,
                  b, bounds[b]);
    }
}

}  // namespace

int main() {
    if (!test::has_instruction_set()) return 77;
    for (int n : {1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 23, 32, 33, 48, 65})
        for (int past = 1; past <= most_guesses; ++past)
            for (bool transposed : {false, true}) {
                check_size<float>(n, past, transposed);
                check_size<double>(n, past, transposed);
                check_size<Complex<float>>(n, past, transposed);
                check_size<Complex<double>>(n, past, transposed);
            }
    return test::report("correction");
}
