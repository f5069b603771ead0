// What the vector versions of the GGUF types share. A lane is a block: the search for scales runs
// on as many blocks at once as a vector has lanes, and every sum keeps its order. Included once per
// instruction set, after hwy/highway.h.
#if defined(PHIQUANT_QUANT_GGML_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_GGML_LANES_INL_H_
#undef PHIQUANT_QUANT_GGML_LANES_INL_H_
#else
#define PHIQUANT_QUANT_GGML_LANES_INL_H_
#endif

#include "quant/ggml/search-inl.h"
#include "quant/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {
namespace lanes {

constexpr size_t kMaxLanes = 16;

HWY_INLINE VF set(float v) { return hn::Set(kF, v); }
HWY_INLINE VF zero() { return hn::Zero(kF); }
HWY_INLINE VF to_float(VI v) { return hn::ConvertTo(kF, v); }

// kValues vectors in a buffer, one per value of the blocks.
template <size_t kValues>
class Values {
 public:
  HWY_INLINE VF get(size_t i) const { return hn::Load(kF, v_ + i * hn::Lanes(kF)); }
  HWY_INLINE void set(size_t i, VF v) { hn::Store(v, kF, v_ + i * hn::Lanes(kF)); }
  const float* from(size_t i) const { return v_ + i * hn::Lanes(kF); }

  // Block b of n to lane b; the lanes that are left repeat the last block.
  void fill(const float* x, size_t n) {
    const size_t width = hn::Lanes(kF);
    if (n == width) return transpose(x, kValues, width, kValues, v_, width);
    for (size_t lane = 0; lane < width; ++lane)
      copy_lane(x + std::min(lane, n - 1) * kValues, lane);
  }
  // The importance of those blocks: block b of the tile starts at column b * kValues % k.
  void fill_importance(const RowTile& tile, size_t first_block, size_t n) {
    for (size_t lane = 0; lane < hn::Lanes(kF); ++lane) {
      const size_t block = first_block + std::min(lane, n - 1);
      copy_lane(tile.importance + block * kValues % tile.k, lane);
    }
  }

 private:
  void copy_lane(const float* from, size_t lane) {
    for (size_t i = 0; i < kValues; ++i) v_[i * hn::Lanes(kF) + lane] = from[i];
  }
  HWY_ALIGN float v_[kValues * kMaxLanes];
};

// group(first block, number of blocks) for as many blocks as there are lanes, and for the rest.
template <size_t kValues, class Group>
HWY_INLINE void for_block_groups(const RowTile& tile, const Group& group) {
  const size_t blocks = tile.n_rows * tile.k / kValues, width = hn::Lanes(kF);
  for (size_t b = 0; b < blocks; b += width) group(b, std::min(width, blocks - b));
}

// Four bytes of each of n blocks that are `stride` bytes apart.
HWY_INLINE void store_words(VI words, std::byte* out, size_t stride, size_t n) {
  HWY_ALIGN int32_t lanes[kMaxLanes] = {};
  hn::Store(words, kI, lanes);
  for (size_t lane = 0; lane < n; ++lane) std::memcpy(out + lane * stride, lanes + lane, 4);
}
// Their f16; returns what is left of v.
HWY_INLINE VF store_halves(VF v, std::byte* out, size_t stride, size_t n) {
  HWY_ALIGN float lanes[kMaxLanes] = {};
  hn::Store(v, kF, lanes);
  for (size_t lane = 0; lane < n; ++lane)
    lanes[lane] = ggml::through_f16(out + lane * stride, lanes[lane]);
  return hn::Load(kF, lanes);
}

// Comparisons and choices as the scalar code writes them, whatever NaN does.
HWY_INLINE VF choose(MF m, VF yes, VF no) { return hn::IfThenElse(m, yes, no); }
HWY_INLINE VI choose(MF m, VI yes, VI no) { return hn::IfThenElse(hn::RebindMask(kI, m), yes, no); }

// As ggml::mean_square.
template <size_t kValues>
HWY_INLINE VF mean_square(const Values<kValues>& x, float factor) {
  VF sum = zero();
  for (size_t i = 0; i < kValues; ++i) sum = hn::Add(sum, hn::Mul(x.get(i), x.get(i)));
  return hn::Div(hn::Mul(set(factor), sum), set(static_cast<float>(kValues)));
}
HWY_INLINE VF importance_weight(VF x, VF importance, VF sigma2) {
  return hn::Mul(importance, hn::Sqrt(hn::Add(sigma2, hn::Mul(x, x))));
}

// As ggml::first_largest, of n vectors.
template <class Get>
HWY_INLINE VF first_largest(size_t n, const Get& get) {
  VF largest = zero(), magnitude = zero();
  for (size_t i = 0; i < n; ++i) {
    const VF v = get(i);
    const MF more = hn::Gt(hn::Abs(v), magnitude);
    magnitude = choose(more, hn::Abs(v), magnitude);
    largest = choose(more, v, largest);
  }
  return largest;
}

// A fit's scale, and what its codes come from: nearest(inverse * (x - min)), clamped.
struct Fit {
  VF scale, offset, inverse, min;
};

// Weighted sums of a trial.
struct Sums {
  VF l, l2, xl;
};

// Codes of one trial in float, and their sums. kModerate: no product reaches 2^22.
template <size_t kN, bool kModerate>
HWY_INLINE Sums trial_codes(const VF* x, const VF* w, VF inverse, VF min, int max_code, VF* codes) {
  Sums s{zero(), zero(), zero()};
  for (size_t i = 0; i < kN; ++i) {
    const VF v = hn::Mul(inverse, hn::Sub(x[i], min));
    codes[i] = kModerate ? nearest_level(v, zero(), set(static_cast<float>(max_code)))
                         : to_float(nearest_code(v, 0, max_code));
    const VF wl = hn::Mul(w[i], codes[i]);
    s.l = hn::Add(s.l, wl);
    s.l2 = hn::Add(s.l2, hn::Mul(wl, codes[i]));
    s.xl = hn::Add(s.xl, hn::Mul(wl, x[i]));
  }
  return s;
}

template <size_t kN, bool kAbsolute>
HWY_INLINE VF offset_error(const VF* x, const VF* w, const VF* codes, VF scale, VF min) {
  VF error = zero();
  for (size_t i = 0; i < kN; ++i) {
    const VF diff = hn::Sub(hn::Add(hn::Mul(scale, codes[i]), min), x[i]);
    error = hn::Add(error, hn::Mul(w[i], kAbsolute ? hn::Abs(diff) : hn::Mul(diff, diff)));
  }
  return error;
}

// As ggml::fit_offset on kN values a lane.
template <size_t kN, bool kAbsolute>
HWY_INLINE Fit fit_offset(const VF* x, const VF* w, int max_code,
                          const ggml::OffsetTrials& trials) {
  VF lo = x[0], max = x[0], sum_w = w[0], sum_x = hn::Mul(w[0], x[0]);
  for (size_t i = 1; i < kN; ++i) {
    lo = choose(hn::Lt(x[i], lo), x[i], lo);
    max = choose(hn::Gt(x[i], max), x[i], max);
    sum_w = hn::Add(sum_w, w[i]);
    sum_x = hn::Add(sum_x, hn::Mul(w[i], x[i]));
  }
  const VF top = set(static_cast<float>(max_code)), limit = set(4194304.0f);
  const auto codes_of = [&](VF inverse, VF from, VF* codes) HWY_ATTR {
    // Rounding is monotonic: no product exceeds those of the smallest and the largest value.
    const MF small = hn::And(hn::Lt(hn::Abs(hn::Mul(inverse, hn::Sub(lo, from))), limit),
                             hn::Lt(hn::Abs(hn::Mul(inverse, hn::Sub(max, from))), limit));
    return HWY_LIKELY(hn::AllTrue(kF, small))
               ? trial_codes<kN, true>(x, w, inverse, from, max_code, codes)
               : trial_codes<kN, false>(x, w, inverse, from, max_code, codes);
  };
  const VF start = choose(hn::Gt(lo, zero()), zero(), lo);
  VF min = start;
  const MF constant = hn::Eq(max, min);
  VF codes[kN];
  Fit best{zero(), zero(), hn::Div(top, hn::Sub(max, min)), min};
  best.scale = hn::Div(set(1.0f), best.inverse);
  codes_of(best.inverse, min, codes);
  VF best_error = offset_error<kN, kAbsolute>(x, w, codes, best.scale, min);
  for (int t = 0; t <= trials.last; ++t) {
    const float numerator =
        trials.first + trials.step * static_cast<float>(t) + static_cast<float>(max_code);
    const VF inverse = hn::Div(set(numerator), hn::Sub(max, min));
    const Sums s = codes_of(inverse, min, codes);
    const VF d = hn::Sub(hn::Mul(sum_w, s.l2), hn::Mul(s.l, s.l));
    VF scale = hn::Div(hn::Sub(hn::Mul(sum_w, s.xl), hn::Mul(sum_x, s.l)), d);
    VF new_min = hn::Div(hn::Sub(hn::Mul(s.l2, sum_x), hn::Mul(s.l, s.xl)), d);
    const MF above = hn::Gt(new_min, zero());
    scale = choose(above, hn::Div(s.xl, s.l2), scale);
    new_min = choose(above, zero(), new_min);
    const VF error = offset_error<kN, kAbsolute>(x, w, codes, scale, new_min);
    const MF better = hn::And(hn::Gt(d, zero()), hn::Lt(error, best_error));
    best_error = choose(better, error, best_error);
    best.scale = choose(better, scale, best.scale);
    best.inverse = choose(better, inverse, best.inverse);
    best.min = choose(better, min, best.min);
    min = choose(better, new_min, min);
  }
  best.offset = hn::Neg(choose(constant, start, min));
  best.scale = choose(constant, zero(), best.scale);
  best.inverse = choose(constant, zero(), best.inverse);
  best.min = choose(constant, zero(), best.min);
  return best;
}

// As ggml::fit_symmetric: x ~ scale * (code - half), code = clamp(nearest(inverse * x)) + half.
// kModerate: every x is finite. A group of zeros: `zeros`, and its codes are 0.
struct SymmetricFit {
  VF scale, inverse;
  MF zeros;
};

template <size_t kN, bool kModerate>
HWY_INLINE SymmetricFit fit_symmetric(const VF* x, const VF* w, int half) {
  const VF largest = first_largest(kN, [x](size_t i) HWY_ATTR { return x[i]; });
  const VF lo = set(static_cast<float>(-half)), hi = set(static_cast<float>(half - 1));
  SymmetricFit best{zero(), hn::Div(lo, largest), hn::Lt(hn::Abs(largest), set(ggml::kZeroGroup))};
  VF best_score = zero();
  for (int t = -10; t <= 9; ++t) {  // -10 stands for the first trial
    if (t == 0) continue;
    const VF inverse =
        t == -10
            ? best.inverse
            : hn::Div(set(-(static_cast<float>(half) + 0.1f * static_cast<float>(t))), largest);
    VF lx = zero(), l2 = zero();
    for (size_t i = 0; i < kN; ++i) {
      const VF v = hn::Mul(inverse, x[i]);
      const VF l =
          kModerate ? nearest_level(v, lo, hi) : to_float(nearest_code(v, -half, half - 1));
      lx = hn::Add(lx, hn::Mul(hn::Mul(w[i], x[i]), l));
      l2 = hn::Add(l2, hn::Mul(hn::Mul(w[i], l), l));
    }
    const VF scale = hn::Div(lx, l2);
    if (t == -10) {
      best.scale = choose(hn::Eq(l2, zero()), zero(), scale);
      best_score = hn::Mul(best.scale, lx);
      continue;
    }
    const MF better = hn::And(hn::Gt(l2, zero()), hn::Gt(hn::Mul(lx, lx), hn::Mul(best_score, l2)));
    best.scale = choose(better, scale, best.scale);
    best.inverse = choose(better, inverse, best.inverse);
    best_score = choose(better, hn::Mul(scale, lx), best_score);
  }
  best.scale = choose(best.zeros, zero(), best.scale);
  return best;
}

HWY_INLINE VI symmetric_code(const SymmetricFit& fit, VF x, int half) {
  const VI code =
      hn::Add(nearest_code(hn::Mul(fit.inverse, x), -half, half - 1), hn::Set(kI, half));
  return choose(fit.zeros, hn::Zero(kI), code);
}

}  // namespace lanes
}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
