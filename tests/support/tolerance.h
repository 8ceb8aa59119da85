// How far an f32 device may be from the reference: derived, never tuned.
//
// Model. Every f32 operation rounds once: fl(a op b) = (a op b)(1 + d), |d| <= u = 2^-24; fused
// multiply-adds only leave roundings out. Inputs are numbers that f32 represents, so both devices
// start from the same ones. gamma(k) = k u / (1 - k u) bounds the product of k factors (1 + d)^±1
// (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., lemma 3.1).
//
// 1. Sums of products. Whatever the order of summation, a term passes through at most k roundings,
//    where k counts the terms and the operations on one term (Higham, section 3.1), so
//        |y' - y| <= gamma(k) sum |x_i| |w_i|.
//    The sum on the right is the reference op itself on absolute values. This covers convolution,
//    linear, pooling, their gradients, sums, updates and folding; where the formula subtracts, the
//    signs of the absolute values are chosen so that it adds. ReLU is 1-Lipschitz and adds nothing.
//    With integers whose sum of absolute values is below 2^24 nothing rounds: the bound is 0.
//
// 2. Batch statistics, m values per channel. |mean' - mean| <= dm = gamma(m + 2) sum|x| / m. The
//    squares are around mean', or around the channel's first value k, q = |mean - k| away. In the
//    first case their mean is var + (mean - mean')^2 before rounding. In the second it is
//    Q = var + q^2, of which the square of the mean of x - k is subtracted; that has an error of
//    gamma(m + 2) sqrt(Q), because the mean of |x - k| is at most sqrt(Q), and its square one of
//    gamma(2 m + 6) q sqrt(Q). Both are within
//        |var' - var| <= dv = gamma(m + 5) (Q + dm^2) + gamma(2 m + 6) q sqrt(Q) + dm^2.
//    A sum of squares that is not centred violates this, and should: it loses all digits when
//    |mean| >> sqrt(var).
//
// 3. Normalising. r = (var + eps)^(-1/2) has relative error rr = (1 - dv / (var + eps))^(-1/2) - 1
//    + 4u. Then, also if a device computes x (gamma r) + (beta - mean gamma r),
//        |z' - z| <= |gamma| r (|x - mean| rr + dm (1 + rr))
//                    + gamma(8) (|gamma| r (|x| + |mean|) + |beta| + |residual|).
//
// 4. Its gradient. With X = r (|x| + |mean|) >= |xhat| and g the masked gradient,
//        dbeta:  db = gamma(m + 2) sum |g|          dgamma:  dg = gamma(m + 8) sum |g| X
//        dx:     |gamma| r (gamma(12) (|g| + |dbeta|/m + X |dgamma|/m) + db/m + X dg/m)
//    where |g| is |dy| + |dy2|. The mask itself must agree: sources keep away from the kink.
//
// 5. Softmax. d = z - max z has absolute error u |d|, so e^d relative error u |d| + E u, with E = 8
//    for the exponential (libraries promise 1 to 4 ulp). The sum has relative error
//    ds = sum p_j (u |d_j| + E u) + gamma(c), and p_k relative error u |d_k| + E u + ds + 2u.
//    The loss adds up a (log S - d) with a = w t': its error is (gamma(n c + 8) sum a (|log S| +
//    |d|) + sum a (ds + E u)) / D; the relative error gamma(n c + 2) of a computed D comes on top.
//    Its gradient (p sum a - a) / D: gamma(n c + c + 8) times the same with a plus.
//
// 6. Norms. A sum of K squares has relative error gamma(K + 2), its root half of that: LARS and
//    clipping add K + 8 roundings to their formulas.
//
// 7. Winograd. Y = A'[(G g G')(B' d B)]A has the elementwise bound gamma(c + 24) |A'|[(|G||g||G'|)
//    (|B'||d||B|)]|A| (Barabasz et al., "Error analysis and improving the accuracy of Winograd
//    convolution for deep neural networks", 2020). 24 is what one term passes through in our
//    kernels: 2 x 3 roundings in B' d B, 2 x 5 in G g G' (with the rounded constants 1 / f), 2 x 3
//    in A' (.) A, bias and residual; c for products and sum. At most that is C = (|A'| |G| |B'|)^2
//    in infinity norms times sum_c max|x_c| max|w_c|. For F(4, 3) at the points 0, ±5/8, ±3/2: |A'|
//    = 8.24, |G| = 1.39, |B'| = 5.28 give C = 3,645, allowed are 3,700; for F(2, 3) it is 81. The
//    points ±1, ±2 of the textbook have 36,100. F(6, 3) is not used: on 56, 28 and 14 pixels its
//    larger tiles waste at the edges what they save.
//
//    Such a worst case says little, so the root mean square of the error is bounded too, of the
//    output's, for numbers and roundings that are as good as independent. A rounding's error is
//    spread evenly over half a step to each side: its mean square is at most r^2 of the value's,
//    r = u / sqrt(3). A sum of independent terms, in any order, so has r^2 times its variance times
//    the roundings that a term passes through on average. In one dimension point i has the variance
//    s_i^2 = |G_i|^2 |B'_i|^2 (sums of squares of rows), and an error in it is seen by the output
//    as A_pi^2 s_i^2 / 3 of its variance: a = sum_i of that, the mean over the outputs p, in two
//    dimensions a^2. A' adds terms that depend on each other and cancel. Its partial sums have at
//    most the variance (sum_i |A_pi| s_i)^2, of the output's b; it makes up to 8, with constants:
//    first in lines of which each is transformed once more, then in the results. Altogether
//        rms^2 <= r^2 ((16 + (c + 3) / 2) a^2 + 8 (b a + b) + 2),
//    16 for B' and G, (c + 1) / 2 in sums over c and 1 in products, 2 for bias and residual. F(4,
//    3) at our points has a = 4.78, b = 18.3 (transposed, for weights, 20.0): 1.6e-6 with c = 64,
//    of which measurements show half. F(2, 3) has 1.67 and 4.98, the textbook's points 10.8
//    and 43.3. The gradient of weights sums over images and tiles in place of c.
//
// 8. Integers. Sums of products are exact, whatever the order. What follows (bias, scale, residual,
//    ReLU) is at most 12 roundings of f32 on terms whose magnitudes the reference sums: e. Results
//    in f32 are within e; integers are equal, unless the real value is within e of a tie, where
//    they may be neighbours. Quantising a real number is one product in f32, and equal everywhere.
//
// 9. bf16. Its unit is u_b = 2^-8. Inputs are numbers that bf16 represents, weights are rounded by
//    both devices alike, products of two such numbers are exact in f32, and sums are made in f32:
//    rules 1 to 4 hold as they stand for the result y' before it is stored, |y' - y| <= e. Storing
//    rounds once: |y'' - y| <= e + u_b (|y| + e), with y before the reference rounds it. With e = 0
//    both round the same number, and must agree. A masked sum of two gradients that is stored as
//    the residual's gradient is read again for dx, which adds |gamma| r u_b (|dy| + |dy2|).
#pragma once

#include <span>
#include <vector>

#include "resnet/graph.h"
#include "resnet/tensor.h"

namespace resnet::test {

inline constexpr double kUnit = 0x1p-24;     ///< u of f32
inline constexpr double kBf16Unit = 0x1p-8;  ///< rule 9
constexpr double gamma_k(double k) { return k * kUnit / (1 - k * kUnit); }

/// Largest error allowed of each element of each output of `node`, then of each updated input.
/// `inputs` are f64 (row-major), `results` what the reference computed from them: outputs, then
/// updated inputs. 0 means equal. `winograd` allows for rule 7 where it could be used.
std::vector<Tensor> error_bounds(const Graph& graph, const Node& node,
                                 const std::vector<Tensor>& inputs,
                                 const std::vector<Tensor>& results, bool winograd = false);

/// Rule 7: largest root mean square of a convolution's error, of that of its result.
double winograd_rms(const Graph& graph, const Node& node);

}  // namespace resnet::test
