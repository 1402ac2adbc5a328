// The arithmetic of one tile of elements. rational.cpp includes this file once for each instruction set, with
//   RAFT_ISA      the namespace,
//   RAFT_TARGET   the function attribute that allows the instructions,
//   RAFT_BYTES    the width of its vectors,
//   RAFT_ANY_SIGN whether one of a vector's 32-bit numbers is negative.
// There is no include guard for that reason.
//
// Written with the vector extensions of GCC and Clang: scalars are broadcast, comparisons give masks of all ones,
// `mask ? a : b` selects lane by lane, and `a * x + b` is contracted to one multiply-add.

namespace RAFT_ISA {

#define RAFT_INLINE RAFT_TARGET inline __attribute__((always_inline))

template <class T>
struct Vector;

template <>
struct Vector<float> {
    typedef float Values __attribute__((vector_size(RAFT_BYTES)));
    typedef int32_t Mask __attribute__((vector_size(RAFT_BYTES)));
    typedef uint32_t Bits __attribute__((vector_size(RAFT_BYTES)));
    static constexpr uint32_t kSign = uint32_t(1) << 31;
};

template <>
struct Vector<double> {
    typedef double Values __attribute__((vector_size(RAFT_BYTES)));
    typedef int64_t Mask __attribute__((vector_size(RAFT_BYTES)));
    typedef uint64_t Bits __attribute__((vector_size(RAFT_BYTES)));
    static constexpr uint64_t kSign = uint64_t(1) << 63;
};

template <class T>
struct Lanes {
    using V = typename Vector<T>::Values;
    using Mask = typename Vector<T>::Mask;
    using Bits = typename Vector<T>::Bits;
    static constexpr int kCount = RAFT_BYTES / sizeof(T);

    static RAFT_INLINE V splat(T value) { return value - V{}; }
    static RAFT_INLINE Bits bits(T value) { return (Bits)splat(value); }
    static RAFT_INLINE V magnitude(V value) { return (V)((Bits)value & ~Vector<T>::kSign); }
    static RAFT_INLINE V flip_where_negative(V value, V sign) {
        return (V)((Bits)value ^ ((Bits)sign & Vector<T>::kSign));
    }
    // The larger magnitudes; those of NaNs are above infinity.
    static RAFT_INLINE Bits larger(Bits largest, V magnitude) {
        return (Bits)magnitude > largest ? (Bits)magnitude : largest;
    }
    static RAFT_INLINE bool any_sign(Bits bits) { return RAFT_ANY_SIGN(bits); }
    static RAFT_INLINE bool any(Mask mask) {
        uint64_t words[RAFT_BYTES / 8], found = 0;
        __builtin_memcpy(words, &mask, sizeof mask);
        for (uint64_t word : words) found |= word;
        return found != 0;
    }
};

// Numbers stored as S, some vectors at once. Half-precision numbers come in pairs, those at even places in the first
// vector and those at odd places in the second: which lane computes a number does not matter, and no shuffle is needed.
template <class T, class S>
struct Pack {
    using V = typename Lanes<T>::V;
    static constexpr bool kIsHalf = false;
    static constexpr int kVectors = 1, kCount = Lanes<T>::kCount;

    static RAFT_INLINE void load(const T* from, V* to) { __builtin_memcpy(to, from, sizeof(V)); }
    static RAFT_INLINE void store(const V* from, T* to) { __builtin_memcpy(to, from, sizeof(V)); }
};

template <class Half>
struct Halves {
    using V = Lanes<float>::V;
    using Bits = Lanes<float>::Bits;
    static constexpr bool kIsHalf = true;
    static constexpr int kVectors = 2, kCount = 2 * Lanes<float>::kCount;

    static RAFT_INLINE void load(const Half* from, V* to) {
        Bits bits;
        __builtin_memcpy(&bits, from, sizeof bits);
        to[0] = widened(bits << 16, from);
        to[1] = widened(bits & 0xffff0000u, from);
    }
    static RAFT_INLINE void store(const V* from, Half* to) {
        const Bits bits = narrowed(from[0], to) >> 16 | (narrowed(from[1], to) & 0xffff0000u);
        __builtin_memcpy(to, &bits, sizeof bits);
    }

  private:
    // between a float and sixteen bits at the upper half of its place
    static RAFT_INLINE V widened(Bits bits, const BFloat16*) { return (V)bits; }

    // Round to nearest, ties to even; the carry may run into the exponent, as it should. It cannot leave a NaN: those
    // of the hardware and of half-precision numbers have zeros in the lower half, and coefficients are given the same.
    static RAFT_INLINE Bits narrowed(V value, const BFloat16*) {
        const Bits bits = (Bits)value;
        return bits + 0x7fffu + (bits >> 16 & 1u);
    }

    // The exponents' biases differ by 112; the multiplication also makes subnormal numbers normal.
    static RAFT_INLINE V widened(Bits bits, const Float16*) {
        const Bits magnitude = (bits & 0x7fff0000u) >> 3;
        const Bits finite = (Bits)((V)magnitude * std::ldexp(1.0f, 112));
        return (V)((magnitude >= 0x7c000000u >> 3 ? magnitude | 0x7f800000u : finite) | (bits & 0x80000000u));
    }

    // Adding the power of two whose last place is the result's lets the adder round. From 65520 on it is infinity.
    static RAFT_INLINE Bits narrowed(V value, const Float16*) {
        const Bits magnitude = (Bits)Lanes<float>::magnitude(value), exponent = magnitude >> 23;
        const Bits lowest = exponent < 113u ? Bits{} + 113u : exponent;
        const V rounder = (V)((lowest + 13u) << 23);
        const Bits units = (Bits)((V)magnitude + rounder) - (Bits)rounder;
        const Bits finite = units + ((lowest - 113u) << 10);
        const Bits clipped = magnitude >= 0x477ff000u ? Bits{} + 0x7c00u : finite;
        const Bits half = value == value ? clipped : Bits{} + 0x7e00u;
        return half << 16 | ((Bits)value & 0x80000000u);
    }
};

template <>
struct Pack<float, BFloat16> : Halves<BFloat16> {};
template <>
struct Pack<float, Float16> : Halves<Float16> {};

// sum_k coefficients[k] x^k for k = 0 … degree; DEGREE is the degree, or −1 where it is not known here
template <class T, int DEGREE>
RAFT_INLINE typename Lanes<T>::V horner(const T* coefficients, int degree, typename Lanes<T>::V x) {
    const int top = DEGREE >= 0 ? DEGREE : degree;
    auto value = Lanes<T>::splat(coefficients[top]);
#pragma GCC unroll 16
    for (int k = top - 1; k >= 0; --k) value = value * x + coefficients[k];
    return value;
}

// sum_k coefficients[k] x^k, in float64 and rounded to float.
template <int DEGREE>
RAFT_INLINE Lanes<float>::V wide_horner(const float* coefficients, int degree, Lanes<float>::V x) {
    typedef float Half __attribute__((vector_size(RAFT_BYTES / 2)));
    Half halves[2];
    __builtin_memcpy(halves, &x, sizeof x);
    double wide[kMaxDegree + 1];
    for (int k = 0; k <= (DEGREE >= 0 ? DEGREE : degree); ++k) wide[k] = coefficients[k];
    for (auto& half : halves) {
        const auto value = __builtin_convertvector(half, Lanes<double>::V);
        half = __builtin_convertvector((horner<double, DEGREE>(wide, degree, value)), Half);
    }
    __builtin_memcpy(&x, halves, sizeof x);
    return x;
}
template <int DEGREE>
RAFT_INLINE Lanes<double>::V wide_horner(const double* coefficients, int degree, Lanes<double>::V x) {
    return horner<double, DEGREE>(coefficients, degree, x);
}

// The sum in Q, s = sum_k b_k x^k for k = 1 … n, and Q; in version A with |b_k| and |x|. Where the terms may cancel
// each other but P does not, s needs more digits than it keeps.
template <class T, int KIND, int N>
struct Denominator {
    typename Lanes<T>::V q;
    typename Lanes<T>::V sign;  // of s where Q has its absolute value: s itself can underflow to zero

    RAFT_INLINE Denominator(const Coefficients<T>& c, typename Lanes<T>::V base) {
        using L = Lanes<T>;
        const int n = N >= 0 ? N : c.n;
        sign = base;
        if (n == 0) {
            q = L::splat(c.constant);
        } else if (KIND == kSumAbsolute) {
            const auto s_over_base = wide_horner<(N > 0 ? N - 1 : -1)>(c.b, n - 1, base);
            sign = base == T(0) ? base : L::flip_where_negative(s_over_base, base);
            q = L::magnitude(base * s_over_base) + c.constant;
        } else {
            q = base * horner<T, (N > 0 ? N - 1 : -1)>(c.b, n - 1, base) + c.constant;
        }
    }
};

// Replaces the quotients whose P cancelled, those with a sign in `cancelled`.
template <class T, int KIND, int VECTORS>
RAFT_TARGET __attribute__((noinline, cold)) void mend(const Coefficients<T>& c, const typename Lanes<T>::Bits* cancelled,
                                                      const typename Lanes<T>::V* values,
                                                      typename Lanes<T>::V* quotients) {
    for (int vector = 0; vector < VECTORS; ++vector)
        for (int lane = 0; lane < Lanes<T>::kCount; ++lane)
            if (cancelled[vector][lane] & Vector<T>::kSign)
                quotients[vector][lane] = near_value(c, KIND, values[vector][lane]);
}

// One tile: `count` is a multiple of a pack's. Returns whether some |x| was above the limit; those elements are left
// to the caller.
template <class T, class S, int KIND, int M, int N>
RAFT_TARGET bool forward_tile(const Coefficients<T>& coefficients, const S* x, const S* up, S* y, int64_t count) {
    using L = Lanes<T>;
    using P = Pack<T, S>;
    const Coefficients<T> c = coefficients;  // where no store can change them
    typename L::Bits largest = {};
    for (int64_t i = 0; i < count; i += P::kCount) {
        typename L::V values[P::kVectors], quotients[P::kVectors];
        typename L::Bits cancelled[P::kVectors], any = {};
        P::load(x + i, values);
        for (int vector = 0; vector < P::kVectors; ++vector) {
            const auto value = values[vector], magnitude = L::magnitude(value);
            largest = L::larger(largest, magnitude);
            const Denominator<T, KIND, N> denominator(c, KIND == kTermsAbsolute ? magnitude : value);
            const auto p = horner<T, M>(c.a, c.m, value);
            quotients[vector] = p / denominator.q;
            if (P::kIsHalf) {
                const auto margin = L::magnitude(p) - horner<T, M>(c.a_cancelled, c.m, magnitude);
                any |= cancelled[vector] = (typename L::Bits)margin;
            }
        }
        if (P::kIsHalf && L::any_sign(any)) mend<T, KIND, P::kVectors>(c, cancelled, values, quotients);
        if (up) {
            P::load(up + i, values);
            for (int vector = 0; vector < P::kVectors; ++vector) quotients[vector] *= values[vector];
        }
        P::store(quotients, y + i);
    }
    return L::any(largest > L::bits(c.limit));
}

// Packs of a tile that are summed apart, before their sums are added to the tile's: few terms lose few digits. A tile
// has more packs where there are fewer lanes.
constexpr int kStretch = RAFT_BYTES > 16 ? 32 : 16;

// Adds to totals[k][lane], k = 0 … m for the numerator and m + 1 … m + n for the denominator, whose sign(b_k) in
// version A is left to the caller. GUARDED keeps elements beyond the limit out of the sums; a tile that turns out to
// hold one is computed again with it.
template <class T, class S, int KIND, int M, int N, bool SUMS, bool GUARDED>
RAFT_TARGET bool backward_tile(const Coefficients<T>& coefficients, const S* grad, const S* x, const S* up, S* grad_x,
                               S* grad_up, int64_t count, double* totals) {
    using L = Lanes<T>;
    using V = typename L::V;
    using P = Pack<T, S>;
    const Coefficients<T> c = coefficients;  // where no store can change them
    const int m = M >= 0 ? M : c.m, n = N >= 0 ? N : c.n;
    V sums[2 * kMaxDegree + 1];  // of all stretches
    for (int k = 0; SUMS && k <= m + n; ++k) sums[k] = V{};
    typename L::Bits largest = {};
    for (int64_t done = 0; done < count; done += kStretch * P::kCount) {
        V sums_a[(M >= 0 ? M : kMaxDegree) + 1], sums_b[(N >= 0 ? N : kMaxDegree) + 1];
        if (SUMS) {
            for (int k = 0; k <= m; ++k) sums_a[k] = V{};
            for (int k = 0; k <= n; ++k) sums_b[k] = V{};
        }
        const int64_t end = count - done < kStretch * P::kCount ? count : done + kStretch * P::kCount;
        for (int64_t i = done; i < end; i += P::kCount) {
            V values[P::kVectors], grads[P::kVectors], ups[P::kVectors] = {};
            P::load(x + i, values);
            P::load(grad + i, grads);
            if (up) P::load(up + i, ups);
            for (int vector = 0; vector < P::kVectors; ++vector) {
                V value = values[vector], g = up ? grads[vector] * ups[vector] : grads[vector];
                V magnitude = L::magnitude(value);
                if (GUARDED) {
                    const auto far = magnitude > c.limit;
                    value = far ? V{} : value, magnitude = far ? V{} : magnitude, g = far ? V{} : g;
                } else {
                    largest = L::larger(largest, magnitude);
                }
                const V base = KIND == kTermsAbsolute ? magnitude : value;
                const Denominator<T, KIND, N> denominator(c, base);
                const V reciprocal = T(1) / denominator.q;
                const V y = horner<T, M>(c.a, m, value) * reciprocal;
                if (up) ups[vector] = grads[vector] * y;
                V power = g * reciprocal;

                // dy/dx = (P' - y Q') / Q; at a kink Q' is the mean of both sides
                V slope = m > 0 ? horner<T, (M > 0 ? M - 1 : -1)>(c.a_slope, m - 1, value) : V{};
                if (n > 0) {
                    V q_slope = horner<T, (N > 0 ? N - 1 : -1)>(c.b_slope, n - 1, base);
                    if (KIND != kPlain) {
                        const V sign = KIND == kTermsAbsolute ? value : denominator.sign;
                        q_slope = sign == T(0) ? V{} : L::flip_where_negative(q_slope, sign);
                    }
                    slope -= y * q_slope;
                }
                values[vector] = power * slope;

                if (SUMS) {
                    // dy/da_k = x^k / Q; dy/db_k = -y dQ/db_k / Q, at a kink of the sum from above
                    V even = -y, odd = even;
                    if (KIND == kTermsAbsolute) odd = L::flip_where_negative(even, value);
                    if (KIND == kSumAbsolute) even = odd = denominator.sign < T(0) ? y : even;
                    sums_a[0] += power;
                    const int most = m > n ? m : n;
#pragma GCC unroll 16
                    for (int k = 1; k <= most; ++k) {
                        power *= value;
                        if (k <= m) sums_a[k] += power;
                        if (k <= n) sums_b[k] += (k % 2 ? odd : even) * power;
                    }
                }
            }
            P::store(values, grad_x + i);
            if (up) P::store(ups, grad_up + i);
        }
        for (int k = 0; SUMS && k <= m + n; ++k) sums[k] += k <= m ? sums_a[k] : sums_b[k - m];
    }
    const bool is_any_far = GUARDED || L::any(largest > L::bits(c.limit));
    if (!GUARDED && is_any_far)
        return backward_tile<T, S, KIND, -1, -1, SUMS, true>(c, grad, x, up, grad_x, grad_up, count, totals);
    for (int k = 0; SUMS && k <= m + n; ++k) {
        T lanes[L::kCount];
        __builtin_memcpy(lanes, &sums[k], sizeof lanes);
        for (int lane = 0; lane < L::kCount; ++lane) totals[k * kMaxLanes + lane] += double(lanes[lane]);
    }
    return is_any_far;
}

// One number, rounded as the vectors are.
template <class S>
RAFT_TARGET void put(S* to, float value) {
    using P = Pack<float, S>;
    typename P::V lanes[P::kVectors] = {};
    lanes[0][0] = value;
    S stored[P::kCount];
    P::store(lanes, stored);
    *to = stored[0];
}

template <class T, class S, int KIND, int M, int N>
Tiles<T, S> tiles_of() {
    return {forward_tile<T, S, KIND, M, N>, backward_tile<T, S, KIND, M, N, true, false>,
            backward_tile<T, S, KIND, M, N, false, false>};
}

template <class T, class S, int M, int N>
Tiles<T, S> tiles_of(int kind) {
    if (kind == kTermsAbsolute) return tiles_of<T, S, kTermsAbsolute, M, N>();
    if (kind == kSumAbsolute) return tiles_of<T, S, kSumAbsolute, M, N>();
    return tiles_of<T, S, kPlain, M, N>();
}

template <class S>
void choose(Tiles<float, S>& tiles, int kind, int m, int n) {
    // the usual degrees, and those of squared rectifiers
    tiles = m == 5 && n == 4   ? tiles_of<float, S, 5, 4>(kind)
            : m == 6 && n == 4 ? tiles_of<float, S, 6, 4>(kind)
                               : tiles_of<float, S, -1, -1>(kind);
}

inline void choose(Tiles<double, double>& tiles, int kind, int, int) {
    tiles = tiles_of<double, double, -1, -1>(kind);
}

#undef RAFT_INLINE
}  // namespace RAFT_ISA
