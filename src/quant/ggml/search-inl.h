// The searches of quant/ggml/search.h for a group of blocks at once, one block a lane, so that
// every sum keeps its order. Included once per instruction set, after hwy/highway.h.
#if defined(PHIQUANT_QUANT_GGML_SEARCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_GGML_SEARCH_INL_H_
#undef PHIQUANT_QUANT_GGML_SEARCH_INL_H_
#else
#define PHIQUANT_QUANT_GGML_SEARCH_INL_H_
#endif

#include "quant/ggml/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// nearest_int in float, for |v| < 2^22, clamped: no conversion to and from integers.
HWY_INLINE VF nearest_level(VF v, VF lo, VF hi) {
  const VF magic = hn::Set(kF, 12582912.0f);
  return hn::Min(hn::Max(hn::Sub(hn::Add(v, magic), magic), lo), hi);
}

// The outcome for each block of a group. Its codes: ggml::offset_codes(x, inverse, code_min).
struct GroupOffsets {
  float scale[kGroup], min[kGroup], inverse[kGroup], code_min[kGroup];
};

// ggml::fit_offset.
template <size_t kN>
class OffsetSearch {
 public:
  OffsetSearch(const Lanes<kN>& x, const Lanes<kN>& w, int top)
      : x_(x), w_(w), top_(static_cast<float>(top)) {}

  // False where a code is so far off that nearest_int would wrap: the reference then decides.
  HWY_INLINE bool run(const ggml::OffsetTrials& trials, GroupOffsets& out) {
    start();
    for (int t = 0; t <= trials.last; ++t)
      trial(trials.first + trials.step * static_cast<float>(t) + top_);
    bool whole = true;
    for (size_t u = 0; u < kVectors; ++u) {
      whole = whole && hn::AllTrue(kF, hn::Or(ok_[u], hn::Not(varied_[u])));
      const size_t at = u * kLanes;
      hn::StoreU(hn::IfThenElseZero(varied_[u], scale_[u]), kF, out.scale + at);
      hn::StoreU(min_[u], kF, out.min + at);
      hn::StoreU(hn::IfThenElseZero(varied_[u], inverse_[u]), kF, out.inverse + at);
      hn::StoreU(code_min_[u], kF, out.code_min + at);
    }
    return whole;
  }

 private:
  HWY_INLINE void start() {
    for (size_t u = 0; u < kVectors; ++u) {
      VF lo = x_.get(0, u), hi = lo;
      VF w = w_.get(0, u), wx = hn::Mul(w, lo);
      for (size_t i = 1; i < kN; ++i) {
        const VF v = x_.get(i, u);
        // Not Min: the first of zeros of either sign counts.
        lo = hn::IfThenElse(hn::Lt(v, lo), v, lo);
        hi = hn::Max(hi, v);
        w = hn::Add(w, w_.get(i, u));
        wx = hn::Add(wx, hn::Mul(w_.get(i, u), v));
      }
      lo_[u] = lo, max_[u] = hi, sum_w_[u] = w, sum_x_[u] = wx;
      min_[u] = hn::IfThenZeroElse(hn::Gt(lo, hn::Zero(kF)), lo);
      varied_[u] = hn::Ne(hi, min_[u]);
      ok_[u] = varied_[u];
    }
    VF inverse[kVectors], error[kVectors];
    encode(top_, inverse);
    for (size_t u = 0; u < kVectors; ++u) {
      scale_[u] = hn::Div(hn::Set(kF, 1.0f), inverse[u]);
      inverse_[u] = inverse[u];
      code_min_[u] = min_[u];
    }
    errors(scale_, min_, error);
    for (size_t u = 0; u < kVectors; ++u) best_[u] = error[u];
  }

  // Codes of factor / (max - min), and the sums of them.
  HWY_INLINE void encode(float factor, VF* inverse) {
    const VF zero = hn::Zero(kF), top = hn::Set(kF, top_);
    VF min[kVectors], inv[kVectors], l[kVectors], l2[kVectors], xl[kVectors];
    for (size_t u = 0; u < kVectors; ++u) {
      min[u] = min_[u];
      const VF range = hn::Sub(max_[u], min[u]);
      inv[u] = hn::Div(hn::Set(kF, factor), range);
      const VF reach = hn::Max(hn::Abs(range), hn::Abs(hn::Sub(lo_[u], min[u])));
      ok_[u] = hn::And(ok_[u], hn::Lt(hn::Mul(hn::Abs(inv[u]), reach), hn::Set(kF, 0x1p21f)));
      l[u] = l2[u] = xl[u] = zero;
    }
    for (size_t i = 0; i < kN; ++i)
      for (size_t u = 0; u < kVectors; ++u) {
        const VF x = x_.get(i, u);
        const VF q = nearest_level(hn::Mul(inv[u], hn::Sub(x, min[u])), zero, top);
        q_.set(i, u, q);
        const VF wl = hn::Mul(w_.get(i, u), q);
        l[u] = hn::Add(l[u], wl);
        l2[u] = hn::Add(l2[u], hn::Mul(wl, q));
        xl[u] = hn::Add(xl[u], hn::Mul(wl, x));
      }
    for (size_t u = 0; u < kVectors; ++u) {
      inverse[u] = inv[u];
      l_[u] = l[u], l2_[u] = l2[u], xl_[u] = xl[u];
    }
  }

  HWY_INLINE void errors(const VF* scales, const VF* mins, VF* out) const {
    VF sum[kVectors], scale[kVectors], min[kVectors];
    for (size_t u = 0; u < kVectors; ++u)
      sum[u] = hn::Zero(kF), scale[u] = scales[u], min[u] = mins[u];
    for (size_t i = 0; i < kN; ++i)
      for (size_t u = 0; u < kVectors; ++u) {
        const VF d = hn::Sub(hn::Add(hn::Mul(scale[u], q_.get(i, u)), min[u]), x_.get(i, u));
        sum[u] = hn::Add(sum[u], hn::Mul(w_.get(i, u), hn::Mul(d, d)));
      }
    for (size_t u = 0; u < kVectors; ++u) out[u] = sum[u];
  }

  HWY_INLINE void trial(float factor) {
    VF inverse[kVectors], scale[kVectors], min[kVectors], error[kVectors];
    MF solvable[kVectors];
    encode(factor, inverse);
    for (size_t u = 0; u < kVectors; ++u) {
      const VF w = sum_w_[u], wx = sum_x_[u];
      const VF d = hn::Sub(hn::Mul(w, l2_[u]), hn::Mul(l_[u], l_[u]));
      scale[u] = hn::Div(hn::Sub(hn::Mul(w, xl_[u]), hn::Mul(wx, l_[u])), d);
      min[u] = hn::Div(hn::Sub(hn::Mul(l2_[u], wx), hn::Mul(l_[u], xl_[u])), d);
      const MF positive = hn::Gt(min[u], hn::Zero(kF));
      if (!hn::AllFalse(kF, positive)) {
        min[u] = hn::IfThenZeroElse(positive, min[u]);
        scale[u] = hn::IfThenElse(positive, hn::Div(xl_[u], l2_[u]), scale[u]);
      }
      solvable[u] = hn::And(hn::Gt(d, hn::Zero(kF)), varied_[u]);
    }
    errors(scale, min, error);
    for (size_t u = 0; u < kVectors; ++u) {
      const MF better = hn::And(solvable[u], hn::Lt(error[u], best_[u]));
      best_[u] = hn::IfThenElse(better, error[u], best_[u]);
      code_min_[u] = hn::IfThenElse(better, min_[u], code_min_[u]);
      inverse_[u] = hn::IfThenElse(better, inverse[u], inverse_[u]);
      scale_[u] = hn::IfThenElse(better, scale[u], scale_[u]);
      min_[u] = hn::IfThenElse(better, min[u], min_[u]);
    }
  }

  const Lanes<kN>& x_;
  const Lanes<kN>& w_;
  float top_;
  Lanes<kN> q_;
  VF lo_[kVectors], max_[kVectors], min_[kVectors], sum_w_[kVectors], sum_x_[kVectors];
  VF l_[kVectors], l2_[kVectors], xl_[kVectors];
  VF best_[kVectors], scale_[kVectors], inverse_[kVectors], code_min_[kVectors];
  MF varied_[kVectors], ok_[kVectors];
};

// The outcome for each block: codes are nearest_code(inverse * x, -half, half - 1) + half, but 0
// where inverse is 0.
struct GroupScales {
  float scale[kGroup], inverse[kGroup];
};

// Codes of the values at x that an outcome stands for.
HWY_INLINE VI symmetric_code(const float* x, float inverse, int half) {
  const VI level = nearest_code(hn::Mul(hn::Set(kF, inverse), hn::LoadU(kF, x)), -half, half - 1);
  return inverse == 0 ? hn::Zero(kI) : hn::Add(level, hn::Set(kI, half));
}

HWY_INLINE VI offset_code(const float* x, float inverse, float min, int top) {
  const VF above = hn::Sub(hn::LoadU(kF, x), hn::Set(kF, min));
  return nearest_code(hn::Mul(hn::Set(kF, inverse), above), 0, top);
}

// ggml::fit_symmetric.
template <size_t kN>
class SymmetricSearch {
 public:
  SymmetricSearch(const Lanes<kN>& x, const Lanes<kN>& w, int half)
      : x_(x), w_(w), half_(static_cast<float>(half)) {
    for (size_t i = 0; i < kN; ++i)
      for (size_t u = 0; u < kVectors; ++u) wx_.set(i, u, hn::Mul(w.get(i, u), x.get(i, u)));
  }

  HWY_INLINE void run(GroupScales& out) {
    VF largest[kVectors], inverse[kVectors], scale[kVectors], best[kVectors];
    MF some[kVectors];
    for (size_t u = 0; u < kVectors; ++u) {
      VF magnitude = largest[u] = hn::Zero(kF);
      for (size_t i = 0; i < kN; ++i) {
        const VF v = x_.get(i, u);
        const MF larger = hn::Gt(hn::Abs(v), magnitude);
        magnitude = hn::IfThenElse(larger, hn::Abs(v), magnitude);
        largest[u] = hn::IfThenElse(larger, v, largest[u]);
      }
      some[u] = hn::Ge(magnitude, hn::Set(kF, ggml::kZeroGroup));
      // Any divisor will do for the others.
      largest[u] = hn::IfThenElse(some[u], largest[u], hn::Set(kF, 1.0f));
    }
    sums(-half_, largest, inverse);
    for (size_t u = 0; u < kVectors; ++u) {
      scale[u] = hn::IfThenZeroElse(hn::Eq(l2_[u], hn::Zero(kF)), hn::Div(lx_[u], l2_[u]));
      best[u] = hn::Mul(scale[u], lx_[u]);
    }
    for (int t = -9; t <= 9; ++t) {
      if (t == 0) continue;
      VF trial[kVectors];
      sums(-(half_ + 0.1f * static_cast<float>(t)), largest, trial);
      for (size_t u = 0; u < kVectors; ++u) {
        const MF better = hn::And(hn::Gt(l2_[u], hn::Zero(kF)),
                                  hn::Gt(hn::Mul(lx_[u], lx_[u]), hn::Mul(best[u], l2_[u])));
        const VF s = hn::Div(lx_[u], l2_[u]);
        inverse[u] = hn::IfThenElse(better, trial[u], inverse[u]);
        scale[u] = hn::IfThenElse(better, s, scale[u]);
        best[u] = hn::IfThenElse(better, hn::Mul(s, lx_[u]), best[u]);
      }
    }
    for (size_t u = 0; u < kVectors; ++u) {
      hn::StoreU(hn::IfThenElseZero(some[u], scale[u]), kF, out.scale + u * kLanes);
      hn::StoreU(hn::IfThenElseZero(some[u], inverse[u]), kF, out.inverse + u * kLanes);
    }
  }

 private:
  // ggml::symmetric_sums. No |inverse * x| exceeds half + 1.
  HWY_INLINE void sums(float factor, const VF* largest, VF* inverse) {
    const VF lo = hn::Set(kF, -half_), hi = hn::Set(kF, half_ - 1);
    VF inv[kVectors], lx[kVectors], l2[kVectors];
    for (size_t u = 0; u < kVectors; ++u) {
      inv[u] = hn::Div(hn::Set(kF, factor), largest[u]);
      lx[u] = l2[u] = hn::Zero(kF);
    }
    for (size_t i = 0; i < kN; ++i)
      for (size_t u = 0; u < kVectors; ++u) {
        const VF q = nearest_level(hn::Mul(inv[u], x_.get(i, u)), lo, hi);
        lx[u] = hn::Add(lx[u], hn::Mul(wx_.get(i, u), q));
        l2[u] = hn::Add(l2[u], hn::Mul(hn::Mul(w_.get(i, u), q), q));
      }
    for (size_t u = 0; u < kVectors; ++u) inverse[u] = inv[u], lx_[u] = lx[u], l2_[u] = l2[u];
  }

  const Lanes<kN>& x_;
  const Lanes<kN>& w_;
  float half_;
  Lanes<kN> wx_;
  VF lx_[kVectors], l2_[kVectors];
};

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
