"""Compiled loops: normalised susceptibilities with derivatives, and their fits to two moduli.

Models are numbered as in `daq_relaxation.susceptibility_fit.MODELS`. Parameters that are sought
are q = (ln tau, first, second): first = alpha and second = alpha gamma of Havriliak-Negami, both
between 0 and 1, so that the physical region is a box; first = b of KWW.
"""

from __future__ import annotations

import math
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

DEBYE: Final = 0
COLE_COLE: Final = 1
COLE_DAVIDSON: Final = 2
HAVRILIAK_NEGAMI: Final = 3
KWW: Final = 4

NODES: Final = 80
"""Of the quadrature: 64 are exact to 1e-12 at b = 0.1 and to rounding from 0.2 on."""
TAIL: Final = 38.0
"""exp(-38) is nothing beside 1 in float64."""
NEAR: Final = 1e-9
"""From a bound; what is nearer is at it."""
FAR: Final = 3.0
"""Errors that a warm start may be off, for steps without damping."""
LEFT: Final = 1e-7
"""Errors that a minimum may be off."""


@numba.njit(cache=True)
def kww_point(x: float, b: float) -> tuple[complex, complex, complex]:  # pragma: no cover
    """Return chi, d chi / d ln x and d chi / d b at x = omega tau; see `kww_frequency`."""
    theta = 0.9 * math.pi / 4 * min(2.0, 1 / b)
    # s = exp(y - i theta); what matters lies about y = -ln x, or 0 where x < 1
    centre = -max(0.0, math.log(x))
    top = min(math.log(TAIL / math.cos(b * theta)) / b, math.log(TAIL / (x * math.sin(theta))))
    top = max(top - centre, 1.0)
    # y = centre + w - exp(-w): the slow tail exp(b y) below becomes a fast one
    low = TAIL / b
    w0 = -math.log(low)
    for _ in range(6):
        w0 -= (w0 - math.exp(-w0) + low) / (1 + math.exp(-w0))
    step = (top - w0) / (NODES - 1)
    turn, turned = np.exp(-1j * theta), np.exp(-1j * b * theta)
    direct = from_one = by_x = by_b = from_one_b = 0j
    for k in range(NODES):
        w = w0 + k * step
        e = math.exp(-w)
        y = centre + w - e
        s, power = math.exp(y) * turn, math.exp(b * y) * turned
        weight = np.exp(-power - 1j * x * s) * (step * (1 + e))
        ln_s = y - 1j * theta
        direct += b * power * weight
        by_x += b * power * s * weight
        by_b += power * (1 + b * ln_s * (1 - power)) * weight
        from_one += s * weight
        from_one_b -= s * power * ln_s * weight
    if abs(x * from_one) < 0.5:
        # chi = 1 - i x int exp(-s^b - i x s) ds: exact where chi is nearly 1
        return 1 - 1j * x * from_one, -1j * x * by_x, -1j * x * from_one_b
    return direct, -1j * x * by_x, by_b


@numba.njit(cache=True)
def hn_point(
    ln_x: float, a: float, c: float, cosine: float, sine: float
) -> tuple[complex, complex, complex, complex]:  # pragma: no cover
    """Return chi, d chi / d ln x, d chi / d a and d chi / d c at x = omega tau; gamma = c / a.

    ``cosine`` and ``sine`` are those of pi a / 2, which all frequencies share.
    """
    # z = (i x)^a and the rest by moduli and angles: a fraction of the cost of complex powers
    size = math.exp(a * ln_x)
    z = complex(size * cosine, size * sine)
    gamma = c / a
    beside = z.real * (2 + z.real) + z.imag**2
    # ln(1 + z), exact for small z; z lies in the first quadrant, so the angle needs no atan2
    ln_size = 0.5 * (math.log(1 + beside) if beside > 1 else math.log1p(beside))
    ln_one = complex(ln_size, math.atan(z.imag / (1 + z.real)))
    size, angle = math.exp(-gamma * ln_one.real), -gamma * ln_one.imag
    chi = complex(size * math.cos(angle), size * math.sin(angle))
    # z / (1 + z)
    inverse = 1 / (1 + beside)
    part = complex((z.real * (1 + z.real) + z.imag**2) * inverse, z.imag * inverse)
    common = -gamma * chi * part
    by_gamma = -chi * ln_one
    by_alpha = common * complex(ln_x, 0.5 * math.pi)
    return chi, common * a, by_alpha - by_gamma * (gamma / a), by_gamma / a


@numba.njit(cache=True)
def kww_curve(x: Floats, b: float, chi: Complexes, slope: Complexes) -> None:  # pragma: no cover
    """Fill chi [n] and slope [n, (ln x, b)] at x = omega tau [n]."""
    for i in range(len(x)):
        chi[i], slope[i, 0], slope[i, 1] = kww_point(x[i], b)


@numba.njit(cache=True)
def fill(
    kind: int, ln_omega: Floats, q: Floats, chi: Complexes, slope: Complexes
) -> None:  # pragma: no cover
    """Fill chi [n] and its derivatives [n, 3] by q; those that a model has not are 0."""
    alpha = q[1] if kind in (COLE_COLE, HAVRILIAK_NEGAMI) else 1.0
    c = 1.0 if kind == DEBYE else q[2] if kind == HAVRILIAK_NEGAMI else q[1]
    cosine, sine = math.cos(0.5 * math.pi * alpha), math.sin(0.5 * math.pi * alpha)
    for i in range(len(ln_omega)):
        ln_x = ln_omega[i] + q[0]
        slope[i, 1] = slope[i, 2] = 0
        if kind == KWW:
            chi[i], slope[i, 0], slope[i, 1] = kww_point(math.exp(ln_x), q[1])
        else:  # once for all kinds: half the time to compile
            chi[i], slope[i, 0], by_a, by_c = hn_point(ln_x, alpha, c, cosine, sine)
            if kind == COLE_COLE:
                slope[i, 1] = by_a + by_c
            elif kind == COLE_DAVIDSON:
                slope[i, 1] = by_c
            elif kind == HAVRILIAK_NEGAMI:
                slope[i, 1], slope[i, 2] = by_a, by_c


@numba.njit(cache=True)
def _linear(
    chi: Complexes,
    turn: Complexes,
    moduli: Floats,
    w: Floats,
    relaxed: bool,
    columns: Floats,
    residual: Floats,
) -> tuple[float, float, float]:  # pragma: no cover
    """Return M_u, dM and chi2 of the best M_u - dM chi; fill weighted orthonormal columns, residual.

    ``turn`` [n] multiplies model and readings, so that noise of the real part and of the
    imaginary part are independent. ``moduli`` (readings, turned), ``w`` (roots of weights) and
    residual are [2 n], real parts first; columns [2 n, 2]. chi2 is inf where dM is not above 0.
    """
    n = len(chi)
    for i in range(n):
        columns[i, 0], columns[n + i, 0] = w[i] * turn[i].real, w[n + i] * turn[i].imag
        turned = -chi[i] * turn[i]
        if not relaxed:  # M = M_u (1 - chi): one column
            turned += turn[i]
            columns[i, 0] = columns[n + i, 0] = 0.0
        columns[i, 1], columns[n + i, 1] = w[i] * turned.real, w[n + i] * turned.imag
    first = second = shared = along0 = along1 = 0.0
    for k in range(2 * n):
        first += columns[k, 0] ** 2
    first = math.sqrt(first)
    if relaxed:
        for k in range(2 * n):
            columns[k, 0] /= first
            shared += columns[k, 0] * columns[k, 1]
        for k in range(2 * n):
            columns[k, 1] -= shared * columns[k, 0]
    for k in range(2 * n):
        second += columns[k, 1] ** 2
    second = math.sqrt(second)
    if not second > 0:
        return 0.0, 0.0, math.inf
    for k in range(2 * n):
        columns[k, 1] /= second
        along0 += columns[k, 0] * w[k] * moduli[k]
    for k in range(2 * n):
        along1 += columns[k, 1] * w[k] * moduli[k]
    dM = along1 / second
    M_u = (along0 - shared * dM) / first if relaxed else dM
    chi2 = 0.0
    for k in range(2 * n):
        residual[k] = w[k] * moduli[k] - along0 * columns[k, 0] - along1 * columns[k, 1]
        chi2 += residual[k] ** 2
    return M_u, dM, chi2 if dM > 0 else math.inf


@numba.njit(cache=True)
def _solve(A: Floats, y: Floats, n: int) -> bool:  # pragma: no cover
    """Solve A x = y of order n by Cholesky, in place; False where A is not positive definite."""
    for j in range(n):
        d = A[j, j]
        for k in range(j):
            d -= A[j, k] ** 2
        if not d > 1e-14 * abs(A[j, j]):
            return False
        A[j, j] = math.sqrt(d)
        for i in range(j + 1, n):
            s = A[i, j]
            for k in range(j):
                s -= A[i, k] * A[j, k]
            A[i, j] = s / A[j, j]
    for i in range(n):
        for k in range(i):
            y[i] -= A[i, k] * y[k]
        y[i] /= A[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            y[i] -= A[k, i] * y[k]
        y[i] /= A[i, i]
    return True


@numba.njit(cache=True)
def minimise(
    kind: int,
    ln_omega: Floats,
    turn: Complexes,
    moduli: Floats,
    w: Floats,
    relaxed: bool,
    q: Floats,
    free: int,
    lower: Floats,
    upper: Floats,
    iterations: int,
    found: Floats,
) -> int:  # pragma: no cover
    """Minimise chi2 from q [3], changed in place, over its first ``free`` entries.

    Levenberg-Marquardt, projected on the box; M_u and dM are best at every step (variable
    projection with Kaufman's Jacobian). ``found`` [3] gets M_u, dM, chi2. Returns the iterations
    used, or -1 where no minimum was found in ``iterations``.
    """
    n = len(ln_omega)
    chi, slope = np.empty(n, np.complex128), np.empty((n, 3), np.complex128)
    columns, residual = np.empty((2 * n, 2)), np.empty(2 * n)
    J, A = np.empty((2 * n, 3)), np.empty((3, 3))
    gradient, step, trial = np.empty(3), np.empty(3), q.copy()
    fill(kind, ln_omega, q, chi, slope)
    M_u, dM, chi2 = _linear(chi, turn, moduli, w, relaxed, columns, residual)
    if not chi2 < math.inf:
        found[:] = math.nan
        return -1
    damping, small = 1e-3, 0
    for iteration in range(1, iterations + 1):
        for j in range(free):
            along0 = along1 = 0.0
            for i in range(n):
                turned = -dM * turn[i] * slope[i, j]
                J[i, j], J[n + i, j] = w[i] * turned.real, w[n + i] * turned.imag
            for k in range(2 * n):
                along0 += columns[k, 0] * J[k, j]
                along1 += columns[k, 1] * J[k, j]
            gradient[j] = 0.0
            for k in range(2 * n):
                J[k, j] -= along0 * columns[k, 0] + along1 * columns[k, 1]
                gradient[j] += J[k, j] * residual[k]
        accepted = False
        for _ in range(12):
            for i in range(free):
                held = (q[i] <= lower[i] and gradient[i] < 0) or (
                    q[i] >= upper[i] and gradient[i] > 0
                )
                step[i] = 0.0 if held else gradient[i]
                for j in range(i + 1):
                    s = 0.0
                    for k in range(2 * n):
                        s += J[k, i] * J[k, j]
                    A[i, j] = s
                if held:
                    A[i, :i] = 0.0
                    A[i, i] = 1.0
            for i in range(free):  # columns of held ones
                if (q[i] <= lower[i] and gradient[i] < 0) or (q[i] >= upper[i] and gradient[i] > 0):
                    for k in range(i + 1, free):
                        A[k, i] = 0.0
                A[i, i] = A[i, i] * (1 + damping) + 1e-300
            if not _solve(A, step, free):
                damping = max(10 * damping, 1e-6)
                continue
            largest = 0.0
            for i in range(free):
                limit = 2.0 if i == 0 else 0.3
                trial[i] = min(max(q[i] + min(max(step[i], -limit), limit), lower[i]), upper[i])
                largest = max(largest, abs(trial[i] - q[i]))
            fill(kind, ln_omega, trial, chi, slope)
            M_u1, dM1, chi21 = _linear(chi, turn, moduli, w, relaxed, columns, residual)
            if chi21 <= chi2:
                accepted = True
                # a step of 1e-3 errors is the last but one: steps shrink fast near the minimum
                small = 2 if chi2 - chi21 <= 1e-8 * chi2 or largest < 1e-10 else 0
                q[:] = trial
                M_u, dM, chi2 = M_u1, dM1, chi21
                damping = max(damping / 10, 1e-12)
                break
            if largest < 1e-9 or chi21 - chi2 <= 1e-13 * chi2:
                small = 2
                break
            damping = max(damping * 10, 1e-8)
        if not accepted and small < 2:
            small = 2 if damping > 1e8 else small
            if damping <= 1e8:
                # restore what belongs to q
                fill(kind, ln_omega, q, chi, slope)
                M_u, dM, chi2 = _linear(chi, turn, moduli, w, relaxed, columns, residual)
        if small >= 2 or (small and largest < 1e-6):
            found[0], found[1], found[2] = M_u, dM, chi2
            return iteration
    found[0], found[1], found[2] = M_u, dM, chi2
    return -1


@numba.njit(cache=True, fastmath={"reassoc", "contract"})
def _products(J: Floats, count: int, A: Floats) -> None:  # pragma: no cover
    """Fill A [2, 6, 6] below the diagonals: products of the rows of J [6, 2 n], each half apart.

    Sums may be taken in any order, which vectorises them; the order depends on n only.
    """
    n = J.shape[1] // 2
    for half in range(2):
        for i in range(count):
            for j in range(i + 1):
                s = 0.0
                for k in range(half * n, half * n + n):
                    s += J[i, k] * J[j, k]
                A[half, i, j] = s


@numba.njit(cache=True)
def refine(
    kind: int,
    ln_omega: Floats,
    turn: Complexes,
    moduli: Floats,
    w: Floats,
    relaxed: bool,
    q: Floats,
    free: int,
    lower: Floats,
    upper: Floats,
    known: bool,
    found: Floats,
    covariance: Floats,
    parts: Floats,
) -> int:  # pragma: no cover
    """Minimise chi2 from near its minimum, by steps of Gauss and Newton; judge it as `judge` does.

    One pass over the readings for each step: chi2, gradient and normal matrix together. Steps are
    measured in errors, and the last is taken without looking again, where what it leaves, from
    how steps shrink, is below `LEFT`. ``found`` [3] holds M_u, dM and chi2, the first two to
    begin with. ``known``: whether weights are those of known noise. Returns the passes used, or 0
    where this is no way to the minimum: it is far, or at another side of a bound.
    """
    n = len(ln_omega)
    chi, slope = np.empty(n, np.complex128), np.empty((n, 3), np.complex128)
    J, A = np.empty((6, 2 * n)), np.empty((2, 6, 6))
    N, inverse = np.empty((5, 5)), np.zeros((5, 5))
    p, step, place, used = np.empty(5), np.empty(5), np.empty(5, np.int64), np.empty(5, np.int64)
    p[0], p[1], p[2:] = found[0], found[1], q
    count = rows = 0
    for j in range(5):
        if (j == 0 and not relaxed) or j >= 2 + free:
            continue
        if j < 2 or (lower[j - 2] + NEAR < p[j] < upper[j - 2] - NEAR):
            place[count], used[count] = j, rows
            count += 1
        rows += 1
    dof = 2 * n - rows
    if dof <= 0:
        return 0
    before, chi2_before = 0.0, math.inf
    for turns in range(1, 9):
        fill(kind, ln_omega, p[2:], chi, slope)
        for i in range(n):
            row, one, other = 0, w[i], w[n + i]
            value = turn[i]
            if relaxed:
                J[0, i], J[0, n + i] = one * value.real, other * value.imag
                row = 1
            turned = -turn[i] * chi[i]
            value = turned if relaxed else turned + turn[i]
            J[row, i], J[row, n + i] = one * value.real, other * value.imag
            fitted = p[0] * turn[i] + p[1] * turned
            J[rows, i] = one * (moduli[i] - fitted.real)
            J[rows, n + i] = other * (moduli[n + i] - fitted.imag)
            value = -p[1] * turn[i]
            for j in range(free):
                row += 1
                by = value * slope[i, j]
                J[row, i], J[row, n + i] = one * by.real, other * by.imag
        _products(J, rows + 1, A)
        chi2 = A[0, rows, rows] + A[1, rows, rows]
        if not chi2 <= chi2_before * (1 + 1e-12):
            return 0
        chi2_before = chi2
        row = 0 if relaxed else -1
        for j in range(free):  # at a bound, and the readings would have it further out
            gradient = A[0, rows, row + 2 + j] + A[1, rows, row + 2 + j]
            if (p[2 + j] >= upper[j] - NEAR and gradient < 0) or (
                p[2 + j] <= lower[j] + NEAR and gradient > 0
            ):
                return 0
        for column in range(count):
            for k in range(count):
                for m in range(k + 1):
                    N[k, m] = A[0, used[k], used[m]] + A[1, used[k], used[m]]
            inverse[column] = 0.0
            inverse[column, column] = 1.0
            if not _solve(N, inverse[column], count):
                return 0
        decrease = 0.0
        for k in range(count):
            step[k] = 0.0
            for m in range(count):
                step[k] += inverse[k, m] * (A[0, rows, used[m]] + A[1, rows, used[m]])
            decrease += step[k] * (A[0, rows, used[k]] + A[1, rows, used[k]])
        variance = max(chi2 / dof, 1.0 if known else 1e-300)
        size = math.sqrt(max(decrease, 0.0) / variance)
        if size > FAR:
            return 0
        for k in range(count):
            j = place[k]
            p[j] += step[k]
            if not p[1] > 0 or (j >= 2 and not lower[j - 2] + NEAR < p[j] < upper[j - 2] - NEAR):
                return 0
        if not relaxed:
            p[0] = p[1]
        if size < LEFT or (size < 1e-3 and size * size < LEFT * before):
            found[0], found[1], found[2] = p[0], p[1], max(chi2 - decrease, 0.0)
            q[:] = p[2:]
            covariance[:] = math.nan
            for half in range(2):
                parts[half, 0], parts[half, 1] = A[half, rows, rows], n
                for k in range(count):
                    parts[half, 0] -= 2 * step[k] * A[half, rows, used[k]]
                    for m in range(count):
                        covariance[place[k], place[m]] = inverse[k, m]
                        product = A[half, max(used[k], used[m]), min(used[k], used[m])]
                        parts[half, 0] += step[k] * step[m] * product
                        parts[half, 1] -= inverse[k, m] * product
                parts[half, 0] = max(parts[half, 0], 0.0)
            return turns
        if turns > 1 and size > 0.1 * before:
            return 0  # steps of Gauss and Newton shrink slowly here
        before = size
    return 0


@numba.njit(cache=True)
def scan(
    kind: int,
    ln_omega: Floats,
    turn: Complexes,
    moduli: Floats,
    w: Floats,
    relaxed: bool,
    nodes: Floats,
    best: Floats,
) -> float:  # pragma: no cover
    """Put the node [node, 3] of lowest chi2 into ``best`` [3]; return that chi2, inf for none."""
    n = len(ln_omega)
    chi, slope = np.empty(n, np.complex128), np.empty((n, 3), np.complex128)
    columns, residual = np.empty((2 * n, 2)), np.empty(2 * n)
    lowest = math.inf
    for node in range(len(nodes)):
        fill(kind, ln_omega, nodes[node], chi, slope)
        _, _, chi2 = _linear(chi, turn, moduli, w, relaxed, columns, residual)
        if chi2 < lowest:
            lowest = chi2
            best[:] = nodes[node]
    return lowest


@numba.njit(cache=True)
def curve(
    kind: int, ln_omega: Floats, M_u: float, dM: float, q: Floats, moduli: Complexes
) -> None:  # pragma: no cover
    """Fill the model's moduli [n]."""
    n = len(ln_omega)
    chi, slope = np.empty(n, np.complex128), np.empty((n, 3), np.complex128)
    fill(kind, ln_omega, q, chi, slope)
    for i in range(n):
        moduli[i] = M_u - dM * chi[i]


@numba.njit(cache=True)
def judge(
    kind: int,
    ln_omega: Floats,
    turn: Complexes,
    moduli: Floats,
    w: Floats,
    relaxed: bool,
    M_u: float,
    dM: float,
    q: Floats,
    free: npt.NDArray[np.bool_],
    covariance: Floats,
    parts: Floats,
) -> bool:  # pragma: no cover
    """Fill the inverse of J^T W J over the free ones of (M_u, dM, q), [5, 5], NaN elsewhere.

    ``parts`` [2, 2] gets, for the real and the imaginary part, the sum of squared weighted
    residuals and its degrees of freedom (n less leverages). False: it cannot be inverted.
    """
    n = len(ln_omega)
    chi, slope = np.empty(n, np.complex128), np.empty((n, 3), np.complex128)
    fill(kind, ln_omega, q, chi, slope)
    count = 0
    place = np.empty(5, np.int64)
    for j in range(5):
        if free[j]:
            place[count] = j
            count += 1
    J, A = np.empty((2 * n, 5)), np.empty((5, 5))
    parts[:] = 0.0
    for i in range(n):
        left = turn[i] * (M_u - dM * chi[i])
        parts[0, 0] += (w[i] * (moduli[i] - left.real)) ** 2
        parts[1, 0] += (w[n + i] * (moduli[n + i] - left.imag)) ** 2
        for k in range(count):
            j = place[k]
            if j == 0:
                value = turn[i]
            elif j == 1:
                value = -turn[i] * chi[i]
                if not relaxed:
                    value += turn[i]
            else:
                value = -dM * turn[i] * slope[i, j - 2]
            J[i, k], J[n + i, k] = w[i] * value.real, w[n + i] * value.imag
    size, inverse = np.empty(5), np.empty((5, 5))
    for k in range(count):
        size[k] = 0.0
        for i in range(2 * n):
            size[k] += J[i, k] ** 2
        size[k] = math.sqrt(size[k])
        if not size[k] > 0:
            return False
        for i in range(2 * n):
            J[i, k] /= size[k]
    normal = np.zeros((5, 5))
    for m in range(2 * n):
        for i in range(count):
            for k in range(i + 1):
                normal[i, k] += J[m, i] * J[m, k]
    for column in range(count):
        A[:] = normal
        inverse[column] = 0.0
        inverse[column, column] = 1.0
        if not _solve(A, inverse[column], count):
            return False
    for i in range(2 * n):
        leverage = 0.0
        for k in range(count):
            for m in range(count):
                leverage += J[i, k] * inverse[k, m] * J[i, m]
        parts[0 if i < n else 1, 1] += 1 - min(leverage, 1.0)
    covariance[:] = math.nan
    for k in range(count):
        for m in range(count):
            covariance[place[k], place[m]] = inverse[k, m] / (size[k] * size[m])
    return True


@numba.njit(cache=True)
def read(
    readings: Floats, ln_omega: Floats, measured: Complexes
) -> tuple[bool, float, float]:  # pragma: no cover
    """Fill ln omega and M' + i M'' [n] from frequency, storage and loss [3, n].

    Returns whether all can be used, the lowest and the highest ln omega.
    """
    fine, low, high = True, math.inf, -math.inf
    for i in range(len(ln_omega)):
        f, storage, loss = readings[0, i], readings[1, i], readings[2, i]
        if not (0 < f < math.inf and math.isfinite(storage) and math.isfinite(loss)):
            fine = False
            continue
        ln_omega[i] = math.log(2 * math.pi * f)
        measured[i] = complex(storage, loss)
        low, high = min(low, ln_omega[i]), max(high, ln_omega[i])
    return fine, low, high


@numba.njit(cache=True)
def weigh(
    noise: int,
    measured: Complexes,
    moduli: Complexes,
    first: float,
    second: float,
    turn: Complexes,
    rows: Floats,
    w: Floats,
) -> None:  # pragma: no cover
    """Fill ``turn`` [n], turned readings and roots of weights [2 n]; noise of the given moduli.

    ``noise`` 0: amplitude and phase; 1: each modulus by a part of itself; 2: absolute.
    """
    n = len(measured)
    for i in range(n):
        turn[i] = 1 / moduli[i] if noise == 0 else 1.0
        turned = turn[i] * measured[i]
        rows[i], rows[n + i] = turned.real, turned.imag
        w[i], w[n + i] = 1 / first, 1 / second
        if noise == 1:
            w[i] /= abs(moduli[i].real)
            w[n + i] /= max(abs(moduli[i].imag), 1e-300)
