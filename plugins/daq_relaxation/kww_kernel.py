"""The compiled loops of `daq_relaxation.kww_fit`: one curve at a time, alike for every batch.

Parameters stand in the order amplitude, ln tau, shape, baseline. With l = ln t - ln tau,
z = exp(shape l) and E = exp(-c z) the model is ``amplitude E + baseline``, and its derivatives are

    d/d amplitude = E              d/d ln tau   = amplitude c shape z E
    d/d shape     = -amplitude c z l E            d/d baseline = 1

so that three columns E, z E and z l E give the residuals and the whole Jacobian; k = z E (1 - c z),
k l and k l^2 give the second derivatives.

All functions stand in this one file: the cache of numba
watches the file of the outer function only.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

AMPLITUDE, LN_TAU, SHAPE, BASELINE = 0, 1, 2, 3

DETERMINED, LOWER_BOUND, AT_BOUND, NOT_CONVERGED, MASKED = 0, 1, 2, 3, 4

_SUMMED = {"reassoc", "nsz", "contract"}
"""What lets sums run in vector lanes; never for `_exp`, whose rounding steps must stay."""

_EXACT = 1e-28
"""chi2 below this part of the sum of squares is rounding: the curve is met exactly."""

_SMALL = 1e-15
"""A step that lowers chi2 by a smaller part than this is not worth taking."""

_NEARLY = 1e-12
"""A step of Newton's that lowers chi2 by a smaller part than this is the last."""

_NEAR = 0.01
"""Where a step lowers chi2 by a smaller part than this, the next is Newton's."""


@intrinsic
def _to_bits(context, x):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.IntType(64))

    return numba.types.int64(numba.types.float64), generate


@intrinsic
def _from_bits(context, x):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.DoubleType())

    return numba.types.float64(numba.types.int64), generate


@numba.njit(forceinline=True, fastmath={"contract"}, error_model="numpy")
def _exp(x):  # type: ignore[no-untyped-def]
    """exp(x) for -708 <= x <= 700, to one unit in the last place.

    Without a call or a branch, so that a loop around it runs in vector lanes (ten times faster
    than the library's): x = n ln 2 + r, a Taylor polynomial in r, and n into the exponent.
    """
    whole = x * 1.4426950408889634 + 6755399441055744.0  # 1.5 x 2^52: rounds to an integer
    bits = _to_bits(whole)
    whole -= 6755399441055744.0
    r = (x - whole * 6.93147180369123816490e-01) - whole * 1.90821492927058770002e-10
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * _from_bits((bits << 52) + 4607182418800017408)  # 1023 << 52


@numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def fill_columns(ln_t, factor, ln_tau, shape, columns):  # type: ignore[no-untyped-def]
    """Fill ``columns`` [6, lag] with E, z E, z l E and k, k l, k l^2."""
    first, second, third = columns[0], columns[1], columns[2]
    fourth, fifth, sixth = columns[3], columns[4], columns[5]
    for i in range(len(ln_t)):
        far = ln_t[i] - ln_tau
        power = shape * far
        power = power if power > -708.0 else -708.0
        power = power if power < 7.0 else 7.0
        z = _exp(power)
        decay = -factor * z
        decay = decay if decay > -708.0 else -708.0
        e = _exp(decay)
        ze = z * e
        first[i] = e
        second[i] = ze
        third[i] = ze * far
        k = ze * (1.0 - factor * z)
        fourth[i] = k
        fifth[i] = k * far
        sixth[i] = k * far * far


@numba.njit(nogil=True, fastmath=_SUMMED, error_model="numpy")
def _weighted_sums(y, w, amplitude, baseline, columns, sums):  # type: ignore[no-untyped-def]
    """Fill ``sums`` with the products of residual and columns under weights w."""
    first, second, third = columns[0], columns[1], columns[2]
    fourth, fifth, sixth = columns[3], columns[4], columns[5]
    rr = ra = rb = rc = rd = 0.0
    rk = rl = rm = ak = al = am = dk = dl = dm = 0.0
    aa = ab = ac = ad = bb = bc = bd = cc = cd = dd = 0.0
    for i in range(len(y)):
        a, b, c, weight = first[i], second[i], third[i], w[i]
        r = y[i] - amplitude * a - baseline
        wa, wb, wc, wr = weight * a, weight * b, weight * c, weight * r
        rr += wr * r
        ra += wr * a
        rb += wr * b
        rc += wr * c
        rd += wr
        k, m, n = fourth[i], fifth[i], sixth[i]
        rk += wr * k
        rl += wr * m
        rm += wr * n
        ak += wa * k
        al += wa * m
        am += wa * n
        dk += weight * k
        dl += weight * m
        dm += weight * n
        aa += wa * a
        ab += wa * b
        ac += wa * c
        ad += wa
        bb += wb * b
        bc += wb * c
        bd += wb
        cc += wc * c
        cd += wc
        dd += weight
    sums[0], sums[1], sums[2], sums[3], sums[4] = rr, ra, rb, rc, rd
    sums[5], sums[6], sums[7], sums[8] = aa, ab, ac, ad
    sums[9], sums[10], sums[11], sums[12], sums[13], sums[14] = bb, bc, bd, cc, cd, dd
    sums[15], sums[16], sums[17] = rk, rl, rm
    sums[18], sums[19], sums[20] = ak, al, am
    sums[21], sums[22], sums[23] = dk, dl, dm


@numba.njit(nogil=True, error_model="numpy")
def _copy(source, target):  # type: ignore[no-untyped-def]
    """Copy a vector; an assignment to a slice takes numba seconds to compile."""
    for i in range(len(source)):
        target[i] = source[i]


@numba.njit(nogil=True, error_model="numpy")
def _copy_matrix(source, target):  # type: ignore[no-untyped-def]
    for i in range(source.shape[0]):
        for k in range(source.shape[1]):
            target[i, k] = source[i, k]


@numba.njit(nogil=True, fastmath=_SUMMED, error_model="numpy")
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@numba.njit(nogil=True, fastmath=_SUMMED, error_model="numpy")
def _correlated_sums(y, w, precision, amplitude, baseline, columns, vectors, turned, sums):  # type: ignore[no-untyped-def]
    """Fill ``sums`` as `_weighted_sums` does, under a precision matrix; w is 0 where missing."""
    count = len(precision)
    for i in range(count):
        there = w[i] > 0
        vectors[0, i] = y[i] - amplitude * columns[0, i] - baseline if there else 0.0
        vectors[1, i] = columns[0, i] if there else 0.0
        vectors[2, i] = columns[1, i] if there else 0.0
        vectors[3, i] = columns[2, i] if there else 0.0
        vectors[4, i] = 1.0 if there else 0.0
    for i in range(count):
        row = precision[i]
        for k in range(5):
            turned[k, i] = _dot(row, vectors[k])  # as long as the row
    place = 0
    for k in range(5):
        for m in range(k, 5):
            sums[place] = _dot(vectors[m], turned[k])
            place += 1
    for k in range(3):
        sums[15 + k] = _dot(turned[0], columns[3 + k])
        sums[18 + k] = _dot(turned[1], columns[3 + k])
        sums[21 + k] = _dot(turned[4], columns[3 + k])


@numba.njit(nogil=True, error_model="numpy")
def _project(p, sums, free, lower, upper):  # type: ignore[no-untyped-def]
    """Move amplitude and baseline to their best for this tau and shape, and the sums with them.

    Both are linear, so that no point need be looked at again (variable projection): the search
    goes along the floor of the valley.
    """
    rr, ra, rd, aa, ad, dd = sums[0], sums[1], sums[4], sums[5], sums[8], sums[14]
    by_a = by_d = 0.0
    spread = aa * dd - ad * ad
    if free[AMPLITUDE] and free[BASELINE] and spread > 1e-10 * aa * dd:
        by_a = (ra * dd - rd * ad) / spread
    elif free[AMPLITUDE] and not free[BASELINE] and aa > 0:
        by_a = ra / aa
    by_a = min(max(p[AMPLITUDE] + by_a, lower[AMPLITUDE]), upper[AMPLITUDE]) - p[AMPLITUDE]
    if not free[AMPLITUDE]:
        by_a = 0.0
    if free[BASELINE] and dd > 0:
        by_d = (rd - by_a * ad) / dd
        by_d = min(max(p[BASELINE] + by_d, lower[BASELINE]), upper[BASELINE]) - p[BASELINE]
    fall = 2 * (by_a * ra + by_d * rd)
    fall -= by_a * by_a * aa + 2 * by_a * by_d * ad + by_d * by_d * dd
    if not fall > 1e-13 * rr:
        return
    p[AMPLITUDE] += by_a
    p[BASELINE] += by_d
    sums[0] = max(rr - fall, 0.0)
    for k in range(4):  # the row of a and the column of d
        row = sums[5 + k]
        column = sums[8] if k == 0 else sums[11] if k == 1 else sums[13] if k == 2 else sums[14]
        sums[1 + k] -= by_a * row + by_d * column
    for k in range(3):
        sums[15 + k] -= by_a * sums[18 + k] + by_d * sums[21 + k]


@numba.njit(nogil=True, error_model="numpy")
def _evaluate(curve, p, free, lower, upper, sums, normal, newton, gradient):  # type: ignore[no-untyped-def]
    """Return chi2 at ``p``; fill J^T W J, half the true Hessian of chi2, and J^T W r there.

    ``p`` first moves to the best amplitude and baseline.
    """
    ln_t, y, w, precision, factor, columns, vectors, turned = curve
    fill_columns(ln_t, factor, p[LN_TAU], p[SHAPE], columns)
    if len(precision):
        _correlated_sums(y, w, precision, p[AMPLITUDE], p[BASELINE], columns, vectors, turned, sums)
    else:
        _weighted_sums(y, w, p[AMPLITUDE], p[BASELINE], columns, sums)
    _project(p, sums, free, lower, upper)
    # derivatives are multiples of the columns
    amplitude, shape = p[AMPLITUDE], p[SHAPE]
    by_tau, by_shape = amplitude * factor * shape, -amplitude * factor
    gradient[0], gradient[1] = sums[1], by_tau * sums[2]
    gradient[2], gradient[3] = by_shape * sums[3], sums[4]
    normal[0, 0], normal[0, 1] = sums[5], by_tau * sums[6]
    normal[0, 2], normal[0, 3] = by_shape * sums[7], sums[8]
    normal[1, 1], normal[1, 2] = by_tau * by_tau * sums[9], by_tau * by_shape * sums[10]
    normal[1, 3], normal[2, 2] = by_tau * sums[11], by_shape * by_shape * sums[12]
    normal[2, 3], normal[3, 3] = by_shape * sums[13], sums[14]
    _copy_matrix(normal, newton)
    newton[0, 1] -= factor * shape * sums[2]
    newton[0, 2] += factor * sums[3]
    newton[1, 1] += by_tau * shape * sums[15]
    newton[1, 2] += by_shape * (sums[2] + shape * sums[16])
    newton[2, 2] -= by_shape * sums[17]
    for j in range(4):
        for k in range(j):
            normal[j, k], newton[j, k] = normal[k, j], newton[k, j]
    return sums[0]


@numba.njit(nogil=True, error_model="numpy")
def _cholesky(matrix, normal, used, damping, factors):  # type: ignore[no-untyped-def]
    """Factor the ``used`` rows of a matrix in units of the diagonal of J^T W J, and damped.

    False if it is not positive definite.
    """
    for j in range(4):
        if not used[j]:
            continue
        for k in range(j + 1):
            if not used[k]:
                continue
            value = matrix[j, k] / math.sqrt(normal[j, j] * normal[k, k])
            if j == k:
                value += damping
            for m in range(k):
                if used[m]:
                    value -= factors[j, m] * factors[k, m]
            if j == k:
                if not value > 1e-14:
                    return False
                factors[j, j] = math.sqrt(value)
            else:
                factors[j, k] = value / factors[k, k]
    return True


@numba.njit(nogil=True, error_model="numpy")
def _back(normal, used, factors, right, out):  # type: ignore[no-untyped-def]
    """Solve with the factors of `_cholesky`; what is not ``used`` comes out 0."""
    for j in range(4):
        out[j] = 0.0
        if used[j]:
            value = right[j] / math.sqrt(normal[j, j])
            for m in range(j):
                if used[m]:
                    value -= factors[j, m] * out[m]
            out[j] = value / factors[j, j]
    for j in range(3, -1, -1):
        if used[j]:
            value = out[j]
            for m in range(j + 1, 4):
                if used[m]:
                    value -= factors[m, j] * out[m]
            out[j] = value / factors[j, j]
    for j in range(4):
        if used[j]:
            out[j] /= math.sqrt(normal[j, j])


@numba.njit(nogil=True, error_model="numpy")
def _movable(p, free, lower, upper, normal, gradient, used):  # type: ignore[no-untyped-def]
    """Mark in ``used`` what is free, tells in chi2, and is not pressed against a bound."""
    found = False
    for j in range(4):
        pressed = (p[j] <= lower[j] and gradient[j] <= 0) or (p[j] >= upper[j] and gradient[j] >= 0)
        used[j] = free[j] and not pressed and normal[j, j] > 0
        found = found or used[j]
    return found


@numba.njit(nogil=True, error_model="numpy")
def _propose(p, matrix, gradient, used, lower, upper, step, trial):  # type: ignore[no-untyped-def]
    """Cut a step to the bounds and to a sane length; return the fall of chi2 that it promises."""
    # far from the minimum, tau would jump to where no point tells of it
    scale = min(1.0, 2.0 / max(abs(step[LN_TAU]), 1e-300))
    scale = min(scale, 0.5 * p[SHAPE] / max(abs(step[SHAPE]), 1e-300))
    expected = 0.0
    for j in range(4):
        trial[j] = min(max(p[j] + scale * step[j], lower[j]), upper[j]) if used[j] else p[j]
        step[j] = trial[j] - p[j]
    for j in range(4):
        expected += 2 * gradient[j] * step[j]
        for k in range(4):
            expected -= step[j] * matrix[j, k] * step[k]
    return expected


@numba.njit(nogil=True, error_model="numpy")
def _minimise(curve, p, free, lower, upper, limit, small):  # type: ignore[no-untyped-def]
    """Projected Levenberg-Marquardt from ``p``, in place; return chi2, iterations, converged.

    Within about one standard error of the minimum the steps are Newton's, with the second
    derivatives: with large residuals Gauss-Newton creeps. ``small[0]`` holds J^T W J at the end.
    """
    normal, newton, gradient, sums, factors, new_normal, new_newton, new_gradient, step, trial, used = small  # fmt: skip
    _, y, w, _, _, _, _, _ = curve
    power = 0.0
    for i in range(len(y)):
        power += w[i] * y[i] * y[i]
    chi2, damping, near, use_newton, converged, done = np.inf, 1e-3, False, False, False, 0
    _copy(p, trial)
    while True:
        new = _evaluate(
            curve, trial, free, lower, upper, sums, new_normal, new_newton, new_gradient
        )
        done += 1
        # a difference below 1e-13 of chi2 is rounding
        if new <= chi2 * (1 + 1e-13):
            if chi2 < np.inf:
                damping = 1e-12 if use_newton else max(damping * 0.05, 1e-12)
            chi2 = new
            _copy(trial, p)
            _copy(new_gradient, gradient)
            _copy_matrix(new_normal, normal)
            _copy_matrix(new_newton, newton)
        else:
            damping = max(damping * 8, 1e-6)
        if chi2 <= _EXACT * power or not _movable(p, free, lower, upper, normal, gradient, used):
            converged = True
            break
        if done >= limit or damping > 1e12 or not chi2 < np.inf:
            break
        expected, solved = 0.0, False
        for _ in range(2):
            use_newton = near and _cholesky(newton, normal, used, damping, factors)
            solved = use_newton or _cholesky(normal, normal, used, damping, factors)
            # what has overflowed cannot be damped
            while not solved and damping < 1e12:
                damping = max(damping * 10, 1e-12)
                solved = _cholesky(normal, normal, used, damping, factors)
            if not solved:
                break
            _back(normal, used, factors, gradient, step)
            matrix = newton if use_newton else normal
            expected = _propose(p, matrix, gradient, used, lower, upper, step, trial)
            if abs(expected) > _SMALL * chi2 or damping <= 1e-9:
                break
            damping = 1e-9  # small only because it was damped?
        if not solved:
            break
        if use_newton and damping <= 1e-9 and abs(expected) <= _NEARLY * chi2:
            # the error left after this step is of the order of its square: no need to look
            _copy(trial, p)
            chi2 -= expected
            converged = True
            break
        near = expected < _NEAR * chi2
        if abs(expected) <= _SMALL * chi2:
            converged = True
            break
    if not converged and chi2 < np.inf:
        # rounding may refuse every further step: then no column is left in the residual
        converged = True
        for j in range(4):
            if used[j] and abs(gradient[j]) > 1e-7 * math.sqrt(normal[j, j] * chi2):
                converged = False
    return chi2, done, converged


@numba.njit(nogil=True, error_model="numpy")
def _linear(sums, p, free, lower, upper):  # type: ignore[no-untyped-def]
    """Set the best amplitude and baseline in ``p`` for a given decay f; return their chi2.

    ``sums`` are those of w, w y, w y y, w f, w f f, w f y.
    """
    w, wy, wyy, wf, wff, wfy = sums
    if free[AMPLITUDE] and free[BASELINE]:
        spread = wff * w - wf * wf
        p[AMPLITUDE] = (wfy * w - wf * wy) / spread if spread > 1e-12 * wff * w else 0.0
    elif free[AMPLITUDE]:
        p[AMPLITUDE] = (wfy - p[BASELINE] * wf) / wff if wff > 0 else 0.0
    p[AMPLITUDE] = min(max(p[AMPLITUDE], lower[AMPLITUDE]), upper[AMPLITUDE])
    if free[BASELINE]:
        p[BASELINE] = (wy - p[AMPLITUDE] * wf) / w
        p[BASELINE] = min(max(p[BASELINE], lower[BASELINE]), upper[BASELINE])
    a, d = p[AMPLITUDE], p[BASELINE]
    return wyy - 2 * a * wfy - 2 * d * wy + a * a * wff + 2 * a * d * wf + d * d * w


@numba.njit(nogil=True, fastmath=_SUMMED, error_model="numpy")
def _decay_sums(w, f):  # type: ignore[no-untyped-def]
    """Return the sums of w f and w f f."""
    wf = wff = 0.0
    for i in range(len(w)):
        product = w[i] * f[i]
        wf += product
        wff += product * f[i]
    return wf, wff


@numba.njit(nogil=True, error_model="numpy")
def _fill_node_sums(w, table, node_sums):  # type: ignore[no-untyped-def]
    """Fill ``node_sums`` [node, 2]; the same for all curves of the same weights."""
    for node in range(len(table)):
        node_sums[node, 0], node_sums[node, 1] = _decay_sums(w, table[node])


@numba.njit(nogil=True, error_model="numpy")
def _guess(curve, w, p, free, lower, upper, nodes, table, node_sums):  # type: ignore[no-untyped-def]
    """Set in ``p`` the node of the table of decays that fits best, with its amplitude and baseline."""
    ln_t, y, _, _, factor, columns, _, turned = curve
    total = wy = wyy = 0.0
    weighted = turned[0]
    for i in range(len(y)):
        weighted[i] = w[i] * y[i]
        total += w[i]
        wy += weighted[i]
        wyy += weighted[i] * y[i]
    if not free[LN_TAU]:
        if free[SHAPE]:
            p[SHAPE] = min(max(1.0, lower[SHAPE]), upper[SHAPE])
        fill_columns(ln_t, factor, p[LN_TAU], p[SHAPE], columns)
        wf, wff = _decay_sums(w, columns[0])
        wfy = _dot(weighted, columns[0])
        _linear((total, wy, wyy, wf, wff, wfy), p, free, lower, upper)
        return
    best, amplitude, baseline, chosen = np.inf, p[AMPLITUDE], p[BASELINE], 0
    for node in range(len(table)):
        wf, wff, wfy = node_sums[node, 0], node_sums[node, 1], _dot(weighted, table[node])
        chi2 = _linear((total, wy, wyy, wf, wff, wfy), p, free, lower, upper)
        if chi2 < best:
            best, amplitude, baseline, chosen = chi2, p[AMPLITUDE], p[BASELINE], node
    p[AMPLITUDE], p[BASELINE], p[LN_TAU] = amplitude, baseline, nodes[chosen, 0]
    if free[SHAPE]:
        p[SHAPE] = nodes[chosen, 1]


@numba.njit(nogil=True, error_model="numpy")
def _without(precision, w, out):  # type: ignore[no-untyped-def]
    """Copy a precision matrix without the points of weight 0.

    That is the inverse of what is left of the covariance, by elimination of one point after
    the other.
    """
    count = len(precision)
    _copy_matrix(precision, out)
    for m in range(count):
        if w[m] > 0 or not out[m, m] > 0:
            continue
        for i in range(count):
            part = out[i, m] / out[m, m]
            if i != m and part != 0:
                for k in range(count):
                    out[i, k] -= part * out[m, k]
        for k in range(count):
            out[m, k] = 0.0
            out[k, m] = 0.0


@numba.njit(nogil=True, error_model="numpy")
def _prepare(y, w, precision, into_y, into_w, into_precision):  # type: ignore[no-untyped-def]
    """Copy a curve with its missing points at weight 0; return the precision to use and the count.

    Under a precision matrix the weights are its diagonal.
    """
    there = 0
    for i in range(len(y)):
        good = math.isfinite(y[i]) and math.isfinite(w[i]) and w[i] > 0
        if len(precision):
            good = good and precision[i, i] > 0
        into_y[i] = y[i] if good else 0.0
        into_w[i] = w[i] if good else 0.0
        there += good
    kept = precision
    if len(precision) and there < len(y):
        _without(precision, into_w, into_precision)
        kept = into_precision
    for i in range(len(kept)):
        into_w[i] = kept[i, i]
    return kept, there


@numba.njit(nogil=True, error_model="numpy")
def _spread(curve, p, covariance, small, used, out):  # type: ignore[no-untyped-def]
    """Fill ``out`` [4, 4] with the covariance of the parameters; False where it is singular.

    Inverse of J^T W J; with the points' own covariance C, the sandwich
    (J^T W J)^-1 J^T W C W J (J^T W J)^-1.
    """
    normal, middle, _, _, factors, plain, _, _, unit, column, _ = small
    for j in range(4):
        for k in range(4):
            out[j, k] = 0.0
    if not _cholesky(normal, normal, used, 0.0, factors):
        return False
    for k in range(4):
        if used[k]:
            for j in range(4):
                unit[j] = 1.0 if j == k else 0.0
            _back(normal, used, factors, unit, column)
            for j in range(4):
                out[j, k] = column[j]
    if not len(covariance):
        return True
    _, y, w, precision, factor, columns, vectors, turned = curve
    fill_columns(curve[0], factor, p[LN_TAU], p[SHAPE], columns)
    for i in range(len(y)):
        there = 1.0 if w[i] > 0 else 0.0
        vectors[0, i] = columns[0, i] * there
        vectors[1, i] = p[AMPLITUDE] * factor * p[SHAPE] * columns[1, i] * there
        vectors[2, i] = -p[AMPLITUDE] * factor * columns[2, i] * there
        vectors[3, i] = there
    for i in range(len(covariance)):
        for k in range(4):
            turned[k, i] = (
                _dot(precision[i], vectors[k]) if len(precision) else w[i] * vectors[k, i]
            )
    for k in range(4):
        for i in range(len(covariance)):
            vectors[4, i] = _dot(covariance[i], turned[k]) if w[i] > 0 else 0.0
        for j in range(4):
            middle[j, k] = _dot(turned[j], vectors[4])
    _copy_matrix(out, plain)
    for j in range(4):
        for k in range(4):
            total = 0.0
            for m in range(4):
                for n in range(4):
                    total += plain[j, m] * middle[m, n] * plain[n, k]
            out[j, k] = total
    return True


@numba.njit(nogil=True, error_model="numpy")
def _room(count):  # type: ignore[no-untyped-def]
    """Return the scratch of one thread."""
    small = (
        np.zeros((4, 4)), np.zeros((4, 4)), np.zeros(4), np.zeros(24), np.zeros((4, 4)),
        np.zeros((4, 4)), np.zeros((4, 4)), np.zeros(4), np.zeros(4), np.zeros(4),
        np.zeros(4, np.bool_),
    )  # fmt: skip
    own, columns = np.zeros((2, count)), np.zeros((6, count))
    return own, columns, np.zeros((5, count)), np.zeros((5, count)), small


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fit_curves(  # type: ignore[no-untyped-def]
    first, stop, ln_t, values, weights, precision, covariance, factor, free, lower, upper, nodes,
    table, start, scaled, limit, parameters, errors, chi2s, dofs, iterations, flags,
):  # fmt: skip
    """Fit the curves from ``first`` to ``stop``; what it finds goes into the last six."""
    count = len(ln_t)
    own, columns, vectors, turned, small = _room(count)
    left = np.zeros(precision.shape[1:])
    y, w = own[0], own[1]
    p, used = np.zeros(4), np.zeros(4, np.bool_)
    node_sums, shared = np.zeros((len(table), 2)), False
    needed = 0
    for j in range(4):
        needed += free[j]
    for n in range(first, stop):
        given = precision[n if len(precision) > 1 else 0]
        kept, there = _prepare(values[n], weights[n if len(weights) > 1 else 0], given, y, w, left)
        dofs[n] = there - needed
        if there < needed or there == 0:
            flags[n] = MASKED
            continue
        curve = (ln_t, y, w, kept, factor, columns, vectors, turned)
        chi2, steps, converged = np.inf, 0, False
        for attempt in range(2):
            cold = attempt == 1
            for j in range(4):
                p[j] = start[n, j]
                cold = cold or not math.isfinite(p[j])
                if free[j]:
                    p[j] = min(max(p[j], lower[j]), upper[j])
            if cold:
                # complete curves under shared weights share the sums of the table too
                alike = there == count and len(weights) == 1 and len(precision) == 1
                if not (alike and shared):
                    _fill_node_sums(w, table, node_sums)
                    shared = alike
                _guess(curve, w, p, free, lower, upper, nodes, table, node_sums)
            chi2, more, converged = _minimise(curve, p, free, lower, upper, limit, small)
            steps += more
            if converged or cold:
                break
        flag = DETERMINED if converged else NOT_CONVERGED
        for j in range(4):
            parameters[n, j] = p[j]
            at_bound = free[j] and (p[j] <= lower[j] or p[j] >= upper[j])
            used[j] = free[j] and not at_bound and small[0][j, j] > 0
            if at_bound and converged:
                if j == LN_TAU and p[j] >= upper[j]:
                    flag = LOWER_BOUND
                elif flag != LOWER_BOUND:
                    flag = AT_BOUND
        chi2s[n], iterations[n] = chi2, steps
        own_errors = covariance[n if len(covariance) > 1 else 0]
        known = _spread(curve, p, own_errors, small, used, errors[n])
        scale = 1.0
        if scaled:
            scale = chi2 / dofs[n] if dofs[n] > 0 else np.nan
        missing = False
        for j in range(4):
            for k in range(4):
                if (free[j] and not (used[j] and known)) or (free[k] and not (used[k] and known)):
                    errors[n, j, k] = np.nan
                else:
                    errors[n, j, k] *= scale
            missing = missing or (free[j] and not used[j])
        if flag == DETERMINED and (missing or not known):
            flag = NOT_CONVERGED
        flags[n] = flag


@numba.njit(nogil=True, error_model="numpy")
def _profile(curve, at, p, ln_tau, free, lower, upper, limit, small):  # type: ignore[no-untyped-def]
    """Return the lowest chi2 at a given ln tau, from ``at``; ``p`` is where it is."""
    for j in range(4):
        p[j] = at[j]
    p[LN_TAU] = ln_tau
    chi2, _, converged = _minimise(curve, p, free, lower, upper, limit, small)
    return chi2 if converged else np.nan


@numba.njit(nogil=True, error_model="numpy")
def _side(curve, best, error, floor, rise, sign, free, lower, upper, limit, small, p, at):  # type: ignore[no-untyped-def]
    """Return where the profile has risen by ``rise`` on one side: ``sign`` inf where it never does.

    NaN where a fit on the way fails or finds a lower minimum. The root of
    sqrt(chi2 - minimum) - sqrt(rise) is sought, nearly a straight line, by the Illinois method.
    """
    end = upper[LN_TAU] if sign > 0 else lower[LN_TAU]
    goal = math.sqrt(rise)
    _copy(best, at)
    step = min(error, 1.0) if error > 0 else 0.1
    near, near_value = best[LN_TAU], -goal
    far, far_value = near, near_value
    for _ in range(100):
        if far_value < 0 and near_value < 0:
            if far == end:
                return sign * np.inf
            target = far + sign * step
            target = min(target, end) if sign > 0 else max(target, end)
            step *= 2
        elif abs(far - near) < 1e-9 * max(1.0, abs(far)):
            break
        else:
            target = far - far_value * (far - near) / (far_value - near_value)
        chi2 = _profile(curve, at, p, target, free, lower, upper, limit, small)
        if not chi2 >= floor - 1e-6 * rise:
            return np.nan
        _copy(p, at)
        value = math.sqrt(max(chi2 - floor, 0.0)) - goal
        if abs(value) < 1e-7 * goal:
            return target
        if (value < 0) != (far_value < 0) or near_value * far_value > 0:
            near, near_value = far, far_value
        else:
            near_value *= 0.5
        far, far_value = target, value
    return far


@numba.njit(cache=True, nogil=True, error_model="numpy")
def profile_curves(  # type: ignore[no-untyped-def]
    first, stop, ln_t, values, weights, precision, factor, free, lower, upper, rises, errors,
    parameters, chi2s, limit, flags, bounds,
):  # fmt: skip
    """Fill ``bounds`` [curve, 2] for ln tau and write the flags that follow, from first to stop."""
    count = len(ln_t)
    own, columns, vectors, turned, small = _room(count)
    left = np.zeros(precision.shape[1:])
    p, best, at, others = np.zeros(4), np.zeros(4), np.zeros(4), np.zeros(4, np.bool_)
    for j in range(4):
        others[j] = free[j] and j != LN_TAU
    for n in range(first, stop):
        if flags[n] >= NOT_CONVERGED or not rises[n] > 0:
            continue
        given = precision[n if len(precision) > 1 else 0]
        kept, _ = _prepare(
            values[n], weights[n if len(weights) > 1 else 0], given, own[0], own[1], left
        )
        curve = (ln_t, own[0], own[1], kept, factor, columns, vectors, turned)
        _copy(parameters[n], best)
        power = 0.0
        for i in range(count):
            power += own[1, i] * own[0, i] * own[0, i]
        if rises[n] <= 1e-24 * power:
            bounds[n, 0] = bounds[n, 1] = best[LN_TAU]  # met exactly: no width but rounding
            continue
        for side in range(2):
            bounds[n, side] = _side(
                curve, best, errors[n], chi2s[n], rises[n], 2 * side - 1, others, lower, upper,
                limit, small, p, at,
            )  # fmt: skip
        if math.isnan(bounds[n, 0]) or math.isnan(bounds[n, 1]):
            flags[n] = NOT_CONVERGED
        elif bounds[n, 1] == np.inf:
            flags[n] = LOWER_BOUND
        elif bounds[n, 0] == -np.inf:
            flags[n] = AT_BOUND
