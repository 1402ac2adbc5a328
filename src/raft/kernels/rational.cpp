// The rational function P(x)/Q(x) and its gradient on CPUs, behind a plain C interface: it knows nothing of
// torch or Python, so one build serves all their versions.
//
//   P(x) = sum_k a_k x^k, k = 0 … m                     Q(x) = c + sum_k |b_k x^k|, k = 1 … n   (version A)
//                                                       Q(x) = c + |sum_k b_k x^k|              (versions B, C, D)
//                                                       Q(x) = c + sum_k b_k x^k                (version N)
//
//   dy/dx = (P' - y Q') / Q      dy/da_k = x^k / Q      dy/db_k = -y (dQ/db_k) / Q
//
// In the gated form, where there is an `up`, the output is up P(x)/Q(x).
//
// Elements are cut into blocks whose borders depend on the shape alone. Each block sums its coefficient gradients
// in one order, and the sums of blocks that share a group are added in order, so that any number of threads gives
// the same bits.
//
// Beyond a limit, where a power or a polynomial could overflow, or 1/Q lose digits, an element is evaluated in 1/x
// and in a wider type. So is a half-precision element beside a zero of P: float has few digits to spare there, and
// the result would miss its last place.

#include <dlfcn.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

namespace {

constexpr int kMaxDegree = 12;
constexpr int kMaxLanes = 16;
constexpr int kPadding = 32;       // numbers that a tile's size is a multiple of: two vectors
constexpr int kTile = 1024;        // elements between two flushes of float sums into double ones
constexpr int64_t kBlock = 8192;   // elements that a thread takes at once
constexpr int64_t kBlocks = 1024;  // most blocks, so that their sums stay small

enum Kind { kTermsAbsolute, kSumAbsolute, kPlain };
enum Type { kFloat32, kFloat64, kBfloat16, kFloat16 };

template <class T>
struct Coefficients {
    int m, n;
    T constant, limit;
    T a[kMaxDegree + 1], b[kMaxDegree + 1];              // b[k - 1] is b_k, its absolute value in version A
    T a_slope[kMaxDegree + 1], b_slope[kMaxDegree + 1];  // of the derivatives
    T a_cancelled[kMaxDegree + 1];                       // |a_k|, times the share below which P has cancelled
};

struct BFloat16 {
    uint16_t bits;
};
struct Float16 {
    uint16_t bits;
};

// What a tile of numbers, stored as S and computed as T, is passed to.
template <class T, class S>
struct Tiles {
    using Backward = bool (*)(const Coefficients<T>&, const S* grad, const S* x, const S* up, S* grad_x, S* grad_up,
                              int64_t count, double* totals);
    bool (*forward)(const Coefficients<T>&, const S* x, const S* up, S* y, int64_t count);
    Backward backward, backward_without_sums;
};

// Single numbers; the vectors' conversions are in rational_simd.h.
inline float get(const float* from) { return *from; }
inline double get(const double* from) { return *from; }
inline float get(const BFloat16* from) {
    const uint32_t bits = uint32_t(from->bits) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline float get(const Float16* from) {
    const int exponent = from->bits >> 10 & 31, fraction = from->bits & 1023;
    const float magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                            : exponent     ? std::ldexp(float(1024 + fraction), exponent - 25)
                                           : std::ldexp(float(fraction), -24);
    return from->bits >> 15 ? -magnitude : magnitude;
}

template <class T>
struct WiderOf;
template <>
struct WiderOf<float> {
    using Type = double;
};
template <>
struct WiderOf<double> {
    using Type = long double;
};

template <class T>
T near_value(const Coefficients<T>& c, int kind, T x) {
    using Wide = typename WiderOf<T>::Type;
    const Wide base = kind == kTermsAbsolute ? std::fabs(x) : x;
    Wide p = 0, s = 0;
    for (int k = c.m; k >= 0; --k) p = p * x + Wide(c.a[k]);
    for (int k = c.n; k > 0; --k) s = (s + Wide(c.b[k - 1])) * base;
    return T(p / (c.constant + (kind == kSumAbsolute ? std::fabs(s) : s)));
}

#define RAFT_ISA plain
#define RAFT_TARGET
#define RAFT_BYTES 16
#define RAFT_ANY_SIGN(bits) any((Mask)(bits >> 31 << 31))
#include "rational_simd.h"
#undef RAFT_ISA
#undef RAFT_TARGET
#undef RAFT_BYTES
#undef RAFT_ANY_SIGN

#if defined(__x86_64__)
#define RAFT_ISA avx2
#define RAFT_TARGET __attribute__((target("avx2,fma")))
#define RAFT_BYTES 32
#define RAFT_ANY_SIGN(bits) (_mm256_movemask_ps((__m256)bits) != 0)
#include "rational_simd.h"
#undef RAFT_ISA
#undef RAFT_TARGET
#undef RAFT_BYTES
#undef RAFT_ANY_SIGN

#define RAFT_ISA avx512
#define RAFT_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define RAFT_BYTES 64
#define RAFT_ANY_SIGN(bits) (_mm512_movepi32_mask((__m512i)bits) != 0)
#include "rational_simd.h"
#undef RAFT_ISA
#undef RAFT_TARGET
#undef RAFT_BYTES
#undef RAFT_ANY_SIGN
#endif

enum InstructionSet { kPlainSet, kAvx2, kAvx512 };

InstructionSet best_instruction_set() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return kAvx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kAvx2;
#endif
    return kPlainSet;
}

InstructionSet instruction_set = best_instruction_set();

template <class T, class S>
Tiles<T, S> choose(int kind, int m, int n) {
    Tiles<T, S> tiles;
    switch (instruction_set) {
#if defined(__x86_64__)
        case kAvx512: avx512::choose(tiles, kind, m, n); break;
        case kAvx2: avx2::choose(tiles, kind, m, n); break;
#endif
        default: plain::choose(tiles, kind, m, n);
    }
    return tiles;
}

template <class S>
void put(S* to, float value) { plain::put(to, value); }
inline void put(double* to, double value) { *to = value; }

// ---- single elements, with care --------------------------------------------------------------------------------

// With B(x) = |x| in version A and x elsewhere, P(x) = x^m p and Q(x) = B^n q, where p and q are polynomials in 1/x
// that are of moderate size where P and Q are not. m and n are the degrees without leading zeros: with them, powers
// of 1/x would underflow.
template <class T>
class Far {
  public:
    using Wide = typename WiderOf<T>::Type;

    Far(const Coefficients<T>& coefficients, int kind, Wide x)
        : c_(coefficients), absolute_(kind == kTermsAbsolute), x_(x), m_(c_.m), n_(c_.n) {
        while (m_ > 0 && c_.a[m_] == 0) --m_;
        while (n_ > 0 && c_.b[n_ - 1] == 0) --n_;
        const Wide z = 1 / x, w = absolute_ ? std::fabs(z) : z;
        p_ = c_.a[0];
        for (int k = 1; k <= m_; ++k) {
            p_ = p_ * z + Wide(c_.a[k]);
            p_slope_ = p_slope_ * z + k * Wide(c_.a[k]);
        }
        Wide sum = 0, w_to_n = 1;
        for (int k = 1; k <= n_; ++k) {
            sum = sum * w + Wide(c_.b[k - 1]);
            q_slope_ = q_slope_ * w + k * Wide(c_.b[k - 1]);
            w_to_n *= w;
        }
        const bool is_negative = (x < 0 && n_ % 2 != 0) != (sum < 0);  // w of -inf is -0.0
        sign_ = kind == kSumAbsolute && is_negative ? -1 : 1;
        q_ = Wide(c_.constant) * w_to_n + sign_ * sum;
    }

    // times `factor`
    Wide value(Wide factor) const { return times_powers(factor * p_ / q_, m_, -n_); }

    Wide slope(Wide factor) const {
        return times_powers(factor * (p_slope_ - p_ / q_ * sign_ * q_slope_) / q_, m_ - 1, -n_);
    }

    void add_to(double* totals, Wide grad) const {
        for (int k = 0; k <= c_.m; ++k) totals[k * kMaxLanes] += double(times_powers(grad / q_, k, -n_));
        const Wide h = -grad * sign_ * p_ / q_ / q_;
        for (int k = 1; k <= c_.n; ++k) totals[(c_.m + k) * kMaxLanes] += double(times_powers(h, m_, k - 2 * n_));
    }

  private:
    // value x^i B(x)^j, without either power alone; zero stays zero, whatever the powers
    Wide times_powers(Wide value, int i, int j) const {
        if (value == 0) return value;
        const Wide factor = absolute_ ? std::fabs(x_) : x_;
        if (absolute_ && x_ < 0 && i % 2 != 0) value = -value;
        for (int k = 0; k < i + j; ++k) value *= factor;
        for (int k = 0; k > i + j; --k) value /= factor;
        return value;
    }

    const Coefficients<T>& c_;
    bool absolute_;
    Wide x_;
    int m_, n_;
    Wide p_, q_, p_slope_ = 0, q_slope_ = 0, sign_;
};

// ---- one call -------------------------------------------------------------------------------------------------

// What a call is asked for; `spec` holds m, n, the kind, the type, whether the constant is 0.1, and whether sums are
// wanted, in that order from the lowest bit.
struct Call {
    const void *grad, *x, *up, *a, *b;
    void *out, *grad_up;   // out: y, or the gradient of x
    double* sums;          // [blocks with a part of each group, groups, m + 1 + n], null where none are wanted
    int m, n, kind;
    int64_t groups, channels, rows, blocks;
    bool shares_groups;    // blocks have groups of their own, and all rows; else rows of their own, and all groups
    // of the axes before the last, null where all is contiguous
    const int64_t *sizes, *x_strides, *up_strides, *grad_strides;
    int64_t axes;

    int64_t offset(int64_t row, const int64_t* strides) const {
        if (!strides) return row * channels;
        int64_t found = 0;
        for (int64_t axis = axes - 1; axis >= 0; --axis) {
            found += row % sizes[axis] * strides[axis];
            row /= sizes[axis];
        }
        return found;
    }
};

// The largest power of two up to which no polynomial passes 10^18 (10^150 in float64): products of two of them and
// the reciprocal of one keep all their digits there.
template <class T>
T limit_of(const Coefficients<T>& c) {
    const double most = sizeof(T) == 4 ? 1e18 : 1e150;
    const int degree = c.m > c.n ? c.m : c.n;
    for (double limit = std::ldexp(1.0, int(std::log2(most)) / (degree > 0 ? degree : 1)); limit > 1; limit /= 2) {
        double p = 0, q = 0, power = 1;
        for (int k = 0; k <= degree; ++k, power *= limit) {
            if (k <= c.m) p += std::fabs(double(c.a[k])) * power;
            if (k >= 1 && k <= c.n) q += std::fabs(double(c.b[k - 1])) * power;
        }
        if (p <= most && q <= most) return T(limit);
    }
    return T(1);
}

template <class T>
Coefficients<T> coefficients_of(const Call& call, int64_t group, double constant, int bits_kept) {
    Coefficients<T> c{};
    const T* a = static_cast<const T*>(call.a) + group * (call.m + 1);
    const T* b = static_cast<const T*>(call.b) + group * call.n;
    c.m = call.m, c.n = call.n, c.constant = T(constant);
    const auto plain_nan = [](T value) { return value == value ? value : std::numeric_limits<T>::quiet_NaN(); };
    for (int k = 0; k <= c.m; ++k) c.a[k] = plain_nan(a[k]);
    for (int k = 0; k < c.n; ++k) c.b[k] = plain_nan(call.kind == kTermsAbsolute ? std::fabs(b[k]) : b[k]);
    for (int k = 1; k <= c.m; ++k) c.a_slope[k - 1] = T(k) * c.a[k];
    for (int k = 1; k <= c.n; ++k) c.b_slope[k - 1] = T(k) * c.b[k - 1];
    c.limit = limit_of(c);
    // float's Horner sum errs by at most m 2^-24 of its terms; that is to stay below half a unit in the last place of
    // the result, which is at least 2^-bits_kept / 2 of it
    for (int k = 0; k <= c.m; ++k) c.a_cancelled[k] = std::ldexp(c.m * std::fabs(c.a[k]), bits_kept + 1 - 24);
    return c;
}

// Neighbouring elements of one group: inputs and outputs, null where a call has none.
template <class S>
struct Run {
    const S *grad, *x, *up;
    S *out, *grad_up;
    int64_t count;
};

template <class T, class S>
struct Segment {
    const Coefficients<T>& c;
    const Tiles<T, S>& tiles;
    int kind;
    double* totals;

    void compute(const Run<S>& run) const {
        for (int64_t done = 0; done < run.count; done += kTile) {
            const int64_t size = run.count - done < kTile ? run.count - done : kTile;
            const Run<S> tile{at(run.grad, done), run.x + done,          at(run.up, done),
                              run.out + done,     at(run.grad_up, done), size};
            size % kPadding == 0 ? compute_tile(tile, size) : compute_padded(tile);
        }
    }

  private:
    template <class Pointer>
    static Pointer at(Pointer base, int64_t offset) {
        return base ? base + offset : nullptr;
    }

    // with zeros, which add nothing to any sum
    void compute_padded(const Run<S>& tile) const {
        S buffers[5][kTile];
        const int64_t padded = (tile.count + kPadding - 1) / kPadding * kPadding;
        const auto copied = [&](const S* from, S* to) -> const S* {
            if (!from) return nullptr;
            std::memset(to + tile.count, 0, (padded - tile.count) * sizeof(S));
            return static_cast<const S*>(std::memcpy(to, from, tile.count * sizeof(S)));
        };
        compute_tile({copied(tile.grad, buffers[0]), copied(tile.x, buffers[1]), copied(tile.up, buffers[2]), buffers[3],
                      tile.grad_up ? buffers[4] : nullptr, tile.count},
                     padded);
        std::memcpy(tile.out, buffers[3], tile.count * sizeof(S));
        if (tile.grad_up) std::memcpy(tile.grad_up, buffers[4], tile.count * sizeof(S));
    }

    void compute_tile(const Run<S>& t, int64_t padded) const {
        const auto backward = totals ? tiles.backward : tiles.backward_without_sums;
        const bool is_any_far = t.grad ? backward(c, t.grad, t.x, t.up, t.out, t.grad_up, padded, totals)
                                       : tiles.forward(c, t.x, t.up, t.out, padded);
        for (int64_t i = 0; is_any_far && i < t.count; ++i) {
            using Wide = typename WiderOf<T>::Type;
            const T value = get(t.x + i);
            if (!(std::fabs(value) > c.limit)) continue;
            const Far<T> far(c, kind, value);
            const Wide up = t.up ? get(t.up + i) : T(1);
            if (!t.grad) {
                put(t.out + i, T(far.value(up)));
                continue;
            }
            const Wide grad = get(t.grad + i);
            put(t.out + i, T(far.slope(grad * up)));
            if (t.grad_up) put(t.grad_up + i, T(far.value(grad)));
            if (totals) far.add_to(totals, grad * up);
        }
    }
};

template <class T, class S>
struct Work {
    const Call& call;
    const Coefficients<T>* coefficients;  // [groups]
    Tiles<T, S> tiles;

    // A thread takes neighbouring blocks, as torch's own loops do: what it computed last is still in its cache.
    static void share(const void* data, int64_t thread, int64_t threads) {
        const auto& work = *static_cast<const Work*>(data);
        const int64_t blocks = work.call.blocks;
        for (int64_t i = blocks * thread / threads; i < blocks * (thread + 1) / threads; ++i) work.compute(i);
    }

    void compute(int64_t block) const {
        const auto share = [&](int64_t count, int64_t number) { return count * number / call.blocks; };
        const bool whole = call.shares_groups;
        const int64_t first = whole ? 0 : share(call.rows, block);
        const int64_t last = whole ? call.rows : share(call.rows, block + 1);
        const int64_t first_group = whole ? share(call.groups, block) : 0;
        const int64_t last_group = whole ? share(call.groups, block + 1) : call.groups;
        const int64_t length = call.channels / call.groups;
        double totals[(2 * kMaxDegree + 1) * kMaxLanes];
        for (int64_t group = first_group; group < last_group; ++group) {
            if (call.sums) std::memset(totals, 0, sizeof totals);
            const Segment<T, S> segment{coefficients[group], tiles, call.kind, call.sums ? totals : nullptr};
            if (!call.x_strides && call.groups == 1) {
                const int64_t at = first * length;
                segment.compute(run(at, at, at, at, (last - first) * length));
            } else {
                for (int64_t row = first; row < last; ++row) {
                    const int64_t at = group * length;
                    segment.compute(run(call.offset(row, call.grad_strides) + at, call.offset(row, call.x_strides) + at,
                                        call.offset(row, call.up_strides) + at, row * call.channels + at, length));
                }
            }
            if (!call.sums) continue;
            double* found = call.sums + ((whole ? 0 : block) * call.groups + group) * (call.m + 1 + call.n);
            for (int k = 0; k <= call.m + call.n; ++k) {
                found[k] = 0;
                for (int lane = 0; lane < kMaxLanes; ++lane) found[k] += totals[k * kMaxLanes + lane];
            }
        }
    }

    Run<S> run(int64_t grad, int64_t x, int64_t up, int64_t out, int64_t count) const {
        const auto input = [](const void* base, int64_t offset) {
            return base ? static_cast<const S*>(base) + offset : nullptr;
        };
        const auto output = [](void* base, int64_t offset) { return base ? static_cast<S*>(base) + offset : nullptr; };
        return {input(call.grad, grad), input(call.x, x), input(call.up, up), output(call.out, out),
                output(call.grad_up, out), count};
    }
};

// ---- threads --------------------------------------------------------------------------------------------------

// torch's own OpenMP runtime, found where the process has one loaded: linking to another would give the process two
// pools of threads. A forked child must not touch the pool of its parent, whose threads it lacks.
using Parallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);
using Number = int (*)();
const auto openmp_parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
const auto openmp_thread = reinterpret_cast<Number>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
const auto openmp_threads = reinterpret_cast<Number>(dlsym(RTLD_DEFAULT, "omp_get_num_threads"));
const pid_t loaded_in = getpid();

bool has_threads() { return openmp_parallel && openmp_thread && openmp_threads; }

struct Shared {
    void (*share)(const void* work, int64_t thread, int64_t threads);
    const void* work;

    static void run(void* shared) {
        const auto& self = *static_cast<const Shared*>(shared);
        self.share(self.work, openmp_thread(), openmp_threads());
    }
};

void run_in_threads(Shared shared, int64_t threads) {
    if (threads > 1 && has_threads() && getpid() == loaded_in) {
        openmp_parallel(Shared::run, &shared, unsigned(threads), 0);
    } else {
        shared.share(shared.work, 0, 1);
    }
}

// The first touch of a new page takes longer than computing what is written to it. Outputs so large that malloc may
// take their pages anew each time are asked for in huge pages, of which there are five hundred times fewer.
constexpr int64_t kHugeOutput = int64_t(8) << 20;

void prefer_huge_pages(void* out, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
    const uintptr_t first = (uintptr_t(out) + page - 1) / page * page, last = (uintptr_t(out) + bytes) / page * page;
    if (bytes >= kHugeOutput) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

template <class T, class S>
int run(Call& call, double constant, int64_t threads, void* grad_a, void* grad_b) {
    const int64_t total = call.m + 1 + call.n;
    auto* coefficients = static_cast<Coefficients<T>*>(std::malloc(call.groups * sizeof(Coefficients<T>)));
    const int64_t sums = call.shares_groups ? 1 : call.blocks;
    if (grad_a) call.sums = static_cast<double*>(std::malloc((sums + 1) * call.groups * total * sizeof(double)));
    const bool has_memory = coefficients && (!grad_a || call.sums);
    if (has_memory) {
        for (int64_t group = 0; group < call.groups; ++group)
            coefficients[group] = coefficients_of<T>(call, group, constant, std::is_same<S, Float16>::value ? 11 : 8);
        const int64_t bytes = call.rows * call.channels * int64_t(sizeof(S));
        prefer_huge_pages(call.out, bytes);
        if (call.grad_up) prefer_huge_pages(call.grad_up, bytes);
        Work<T, S> work{call, coefficients, choose<T, S>(call.kind, call.m, call.n)};
        run_in_threads({Work<T, S>::share, &work}, threads < call.blocks ? threads : call.blocks);
    }
    for (int64_t group = 0; has_memory && grad_a && group < call.groups; ++group) {
        for (int64_t k = 0; k < total; ++k) {
            double sum = 0;
            for (int64_t block = 0; block < sums; ++block)
                sum += call.sums[(block * call.groups + group) * total + k];
            if (k <= call.m) {
                static_cast<T*>(grad_a)[group * (call.m + 1) + k] = T(sum);
            } else {
                const int64_t at = group * call.n + k - call.m - 1;
                const bool is_negative = call.kind == kTermsAbsolute && static_cast<const T*>(call.b)[at] < 0;
                static_cast<T*>(grad_b)[at] = T(is_negative ? -sum : sum);
            }
        }
    }
    std::free(coefficients);
    std::free(call.sums);
    return has_memory ? 0 : 1;
}

// `layout` is null for one group over contiguous memory, else {groups, channels, axes, sizes…, strides of x…, of
// up…, of grad…} with strides in elements, for the axes before the last, whose own stride is 1.
int dispatch(Call call, const int64_t* layout, int64_t count, int64_t spec, int64_t threads, void* grad_a,
             void* grad_b) {
    call.m = spec & 15, call.n = spec >> 4 & 15, call.kind = spec >> 8 & 3;
    const Type type = Type(spec >> 10 & 3);
    const double constant = spec >> 12 & 1 ? 0.1 : 1.0;
    call.groups = layout ? layout[0] : 1;
    call.channels = layout ? layout[1] : 1;
    call.axes = layout ? layout[2] : 0;
    if (layout && call.axes > 0) {
        call.sizes = layout + 3, call.x_strides = call.sizes + call.axes;
        call.up_strides = call.x_strides + call.axes;
        call.grad_strides = call.grad ? call.up_strides + call.axes : nullptr;
    }
    call.rows = call.channels > 0 ? count / call.channels : 0;
    const int64_t most = kBlocks / call.groups > 64 ? kBlocks / call.groups : 64;
    call.blocks = (count + kBlock - 1) / kBlock;
    if (call.blocks > most) call.blocks = most;
    // few rows of many groups, such as a batch whose samples have coefficients of their own
    call.shares_groups = call.rows > 0 && call.rows < call.groups;
    const int64_t parts = call.shares_groups ? call.groups : call.rows;
    if (call.blocks > parts) call.blocks = parts;
    switch (type) {
        case kFloat64: return run<double, double>(call, constant, threads, grad_a, grad_b);
        case kBfloat16: return run<float, BFloat16>(call, constant, threads, grad_a, grad_b);
        case kFloat16: return run<float, Float16>(call, constant, threads, grad_a, grad_b);
        default: return run<float, float>(call, constant, threads, grad_a, grad_b);
    }
}

}  // namespace

#define RAFT_PUBLIC extern "C" __attribute__((visibility("default")))

// All return 0, or 1 where there was no memory for the sums.

// up is null in the plain form.
RAFT_PUBLIC int raft_rational_forward(const void* x, const void* a, const void* b, const void* up, void* y,
                                      const int64_t* layout, int64_t count, int64_t spec, int64_t threads) {
    Call call{};
    call.x = x, call.a = a, call.b = b, call.up = up, call.out = y;
    return dispatch(call, layout, count, spec, threads, nullptr, nullptr);
}

// grad_a and grad_b are null where the coefficients are frozen; up and grad_up in the plain form.
RAFT_PUBLIC int raft_rational_backward(const void* grad, const void* x, const void* a, const void* b, const void* up,
                                       void* grad_x, void* grad_a, void* grad_b, void* grad_up, const int64_t* layout,
                                       int64_t count, int64_t spec, int64_t threads) {
    Call call{};
    call.grad = grad, call.x = x, call.a = a, call.b = b, call.up = up, call.out = grad_x, call.grad_up = grad_up;
    return dispatch(call, layout, count, spec, threads, grad_a, grad_b);
}

// 0 plain, 1 AVX2, 2 AVX-512; for tests. Returns what is in use.
RAFT_PUBLIC int raft_rational_instruction_set(int wanted) {
    const InstructionSet best = best_instruction_set();
    if (wanted >= 0 && wanted <= best) instruction_set = InstructionSet(wanted);
    return instruction_set;
}

// Whether threads were found.
RAFT_PUBLIC int raft_rational_has_threads() { return has_threads(); }
