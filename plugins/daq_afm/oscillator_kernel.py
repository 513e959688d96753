"""The compiled loops of `daq_afm.oscillator_fit`: one resonance curve at a time.

Frequencies are taken in units of the middle of the sweep, x = f/f_c, and u = x^2 - 1. With
q = (f_0/f_c)^2 - 1, w = f_0/(Q f_c) and a complex C the model and its derivatives are

    y = C g,   g = 1/(q - u + i x w)
    dy/dq = -C g^2 = h      dy/dw = i x h      dy/dC = g

so that g and h give residuals and Jacobian. The derivatives by the two parts of C are at right angles
and equally long: C is eliminated from the normal equations by hand, and two unknowns are left.

All functions stand in this one file: the cache of numba watches the file of the outer function only.
"""

from __future__ import annotations

import math

import numba
import numpy as np

DETERMINED, OUTSIDE, WEAK, NOT_CONVERGED, MASKED = 0, 1, 2, 3, 4

_SUMMED = {"reassoc", "nsz", "contract"}
"""What lets sums run in vector lanes."""

_SMALL = 1e-10
"""A step that lowers chi2 by a smaller part than this is the last."""

_EXACT = 1e-20
"""chi2 below this part of the sum of squares is rounding."""


@numba.njit(nogil=True, fastmath=_SUMMED, error_model="numpy")
def _sums(count, x, u, real, imaginary, p, s):  # type: ignore[no-untyped-def]
    """Fill ``s`` with chi2, the products of the columns, and those with the residual."""
    q, w, cr, ci = p[0], p[1], p[2], p[3]
    chi2 = hh = xhh = gg = hg = hx = xhg = xhx = rh = rx = rg = rt = 0.0
    for i in range(count):
        dr = q - u[i]
        di = x[i] * w
        size = 1.0 / (dr * dr + di * di)
        gr = dr * size
        gi = -di * size
        mr = cr * gr - ci * gi
        mi = cr * gi + ci * gr
        rr = real[i] - mr
        ri = imaginary[i] - mi
        hr = mi * gi - mr * gr
        hi = -(mr * gi + mi * gr)
        h2 = hr * hr + hi * hi
        along = hr * gr + hi * gi
        across = hi * gr - hr * gi
        chi2 += rr * rr + ri * ri
        hh += h2
        xhh += x[i] * x[i] * h2
        gg += size
        hg += along
        hx += across
        xhg += x[i] * along
        xhx += x[i] * across
        rh += hr * rr + hi * ri
        rx += x[i] * (hr * ri - hi * rr)
        rg += gr * rr + gi * ri
        rt += gr * ri - gi * rr
    s[0], s[1], s[2], s[3], s[4], s[5] = chi2, hh, xhh, gg, hg, hx
    s[6], s[7], s[8], s[9], s[10], s[11] = xhg, xhx, rh, rx, rg, rt


@numba.njit(nogil=True, fastmath=_SUMMED, error_model="numpy")
def _linear(count, x, u, real, imaginary, q, w, plain, p):  # type: ignore[no-untyped-def]
    """Set ``p`` to what lowers sum |y (q - u + i x w) - C|^2 |g|^2, linear; False if singular.

    g is that of the given q and w (Sanathanan and Koerner 1963), or 1 if ``plain`` (Levy 1959).
    """
    n = sr = si = xr = xi = ur = ui = yy = xyy = uyy = 0.0
    for i in range(count):
        dr = q - u[i]
        di = x[i] * w
        v = 1.0 if plain else 1.0 / (dr * dr + di * di)
        power = v * (real[i] * real[i] + imaginary[i] * imaginary[i])
        vr, vi = v * real[i], v * imaginary[i]
        n += v
        sr += vr
        si += vi
        xr += x[i] * vr
        xi += x[i] * vi
        ur += u[i] * vr
        ui += u[i] * vi
        yy += power
        xyy += x[i] * x[i] * power
        uyy += u[i] * power
    # C = mean of y (q - u + i x w); what is left are two equations
    a11 = yy - (sr * sr + si * si) / n
    a12 = -(si * xr - sr * xi) / n
    a22 = xyy - (xr * xr + xi * xi) / n
    b1 = uyy - (sr * ur + si * ui) / n
    b2 = -(xr * ui - xi * ur) / n
    spread = a11 * a22 - a12 * a12
    if not spread > 1e-14 * a11 * a22:
        return False
    p[0] = (b1 * a22 - b2 * a12) / spread
    p[1] = (b2 * a11 - b1 * a12) / spread
    p[2] = (p[0] * sr - ur - p[1] * xi) / n
    p[3] = (p[0] * si - ui + p[1] * xr) / n
    return math.isfinite(p[0]) and math.isfinite(p[1])


@numba.njit(nogil=True, error_model="numpy")
def _step(p, s, damping, trial):  # type: ignore[no-untyped-def]
    """Fill ``trial`` with the next point; return how much chi2 is expected to fall, NaN if singular."""
    gg = s[3]
    a11 = s[1] - (s[4] * s[4] + s[5] * s[5]) / gg
    a22 = s[2] - (s[7] * s[7] + s[6] * s[6]) / gg
    a12 = (s[4] * s[7] - s[5] * s[6]) / gg
    b1 = s[8] - (s[4] * s[10] + s[5] * s[11]) / gg
    b2 = s[9] - (-s[7] * s[10] + s[6] * s[11]) / gg
    d11, d22 = a11 * (1 + damping), a22 * (1 + damping)
    spread = d11 * d22 - a12 * a12
    if not spread > 1e-14 * d11 * d22:
        return np.nan
    step_q = (b1 * d22 - b2 * a12) / spread
    step_w = (b2 * d11 - b1 * a12) / spread
    # a width below 0 is another branch
    if p[1] + step_w < 0.2 * p[1]:
        step_w = -0.8 * p[1]
    step_r = (s[10] - s[4] * step_q + s[7] * step_w) / gg
    step_i = (s[11] - s[5] * step_q - s[6] * step_w) / gg
    trial[0], trial[1] = p[0] + step_q, p[1] + step_w
    trial[2], trial[3] = p[2] + step_r, p[3] + step_i
    return step_q * s[8] + step_w * s[9] + step_r * s[10] + step_i * s[11]


@numba.njit(nogil=True, error_model="numpy")
def _minimise(count, x, u, real, imaginary, p, power, limit, s, trial, new):  # type: ignore[no-untyped-def]
    """Gauss-Newton from ``p``, in place, damped where that is needed; return steps, converged."""
    damping, expected = 0.0, np.inf
    s[0] = np.inf
    for k in range(4):
        trial[k] = p[k]
    for done in range(limit):
        _sums(count, x, u, real, imaginary, trial, new)
        if new[0] <= s[0] * (1 + 1e-13):
            for k in range(4):
                p[k] = trial[k]
            for k in range(12):
                s[k] = new[k]
            damping *= 0.1
            if damping < 1e-6:
                damping = 0.0
                if abs(expected) <= _SMALL * s[0]:
                    return done, True
            if s[0] <= _EXACT * power:
                return done, True
        else:
            if abs(expected) <= 1e-13 * s[0]:
                return done, True  # refused by rounding only
            damping = max(10 * damping, 1e-2)
        expected = _step(p, s, damping, trial)
        while not math.isfinite(expected):
            damping = max(10 * damping, 1e-3)
            if damping > 1e8:
                return done, False
            expected = _step(p, s, damping, trial)
        if damping > 1e8:
            return done, False
    return limit, False


@numba.njit(nogil=True, error_model="numpy")
def _describe(p, s, dof, centre, n, values, errors):  # type: ignore[no-untyped-def]
    """Fill row ``n`` of values and errors with f_0, Q, amplitude and phase (deg) at resonance."""
    q, w, cr, ci = p[0], p[1], p[2], p[3]
    square, c2 = 1.0 + q, cr * cr + ci * ci
    x0 = math.sqrt(square)
    values[n, 0] = centre * x0
    values[n, 1] = x0 / w
    values[n, 2] = math.sqrt(c2) / (x0 * w)
    # y there is C / (i x0 w)
    values[n, 3] = math.degrees(math.atan2(-cr, ci))
    variance = s[0] / dof if dof > 0 else np.nan
    gg = s[3]
    a11 = s[1] - (s[4] * s[4] + s[5] * s[5]) / gg
    a22 = s[2] - (s[7] * s[7] + s[6] * s[6]) / gg
    a12 = (s[4] * s[7] - s[5] * s[6]) / gg
    spread = a11 * a22 - a12 * a12
    p11, p12, p22 = a22 / spread, -a12 / spread, a11 / spread
    for k in range(4):
        # gradient by q, w, and the parts of C
        eq = ew = er = ei = 0.0
        if k == 0:
            eq = centre / (2 * x0)
        elif k == 1:
            eq, ew = values[n, 1] / (2 * square), -values[n, 1] / w
        elif k == 2:
            eq, ew = -values[n, 2] / (2 * square), -values[n, 2] / w
            er, ei = values[n, 2] * cr / c2, values[n, 2] * ci / c2
        else:
            er, ei = -ci / c2, cr / c2
        # C follows q and w: the gradient along the two that are left
        tq = eq - (s[4] * er + s[5] * ei) / gg
        tw = ew - (-s[7] * er + s[6] * ei) / gg
        total = tq * tq * p11 + 2 * tq * tw * p12 + tw * tw * p22 + (er * er + ei * ei) / gg
        errors[n, k] = math.sqrt(total * variance)
    errors[n, 3] = math.degrees(errors[n, 3])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fit_curves(  # type: ignore[no-untyped-def]
    frequency, real, imaginary, centre, warm, limit, values, errors, noise, steps, flags
):
    """Fit curves [curve, frequency] one after the other; each may start at the one before."""
    m = len(frequency)
    x, u = np.empty(m), np.empty(m)
    yr, yi = np.empty(m), np.empty(m)
    p, trial, last = np.zeros(4), np.zeros(4), np.zeros(4)
    s, new = np.zeros(12), np.zeros(12)
    known = False
    for n in range(len(real)):
        count, power, low, high = 0, 0.0, np.inf, -np.inf
        for i in range(m):
            r, j = real[n, i], imaginary[n, i]
            if math.isfinite(r) and math.isfinite(j):
                at = frequency[i] / centre
                x[count], u[count] = at, at * at - 1.0
                yr[count], yi[count] = r, j
                power += r * r + j * j
                low, high = min(low, at), max(high, at)
                count += 1
        dof = 2 * count - 4
        steps[n] = 0
        for k in range(4):
            values[n, k] = np.nan
            errors[n, k] = np.nan
        noise[n] = np.nan
        if dof < 1 or not power > 0:
            flags[n] = MASKED
            continue
        converged = False
        for attempt in range(2):
            if attempt == 0:
                if not (warm and known):
                    continue
                for k in range(4):
                    p[k] = last[k]
            else:
                p[0] = p[1] = 0.0
                started = True
                for turn in range(4):
                    if started and (turn == 0 or p[1] > 0):
                        started = _linear(count, x, u, yr, yi, p[0], p[1], turn == 0, p)
                if not started or not p[1] > 0 or not 1.0 + p[0] > 0:
                    # nowhere to be seen: the middle, as wide as a tenth of the sweep
                    p[0], p[1] = 0.25 * (low + high) ** 2 - 1.0, 0.1 * (high - low)
                    p[2] = p[3] = 0.0
            done, converged = _minimise(count, x, u, yr, yi, p, power, limit, s, trial, new)
            steps[n] += done
            # a curve unlike the one before may have led astray
            if converged and (attempt == 1 or s[0] < 0.5 * power):
                break
        known = False
        if not converged or not 1.0 + p[0] > 0 or not p[1] > 0:
            flags[n] = NOT_CONVERGED
            continue
        _describe(p, s, dof, centre, n, values, errors)
        noise[n] = math.sqrt(s[0] / dof)
        at = values[n, 0] / centre
        if not (math.isfinite(errors[n, 0]) and errors[n, 2] < 0.1 * values[n, 2]):
            flags[n] = WEAK
        elif not low <= at <= high:
            flags[n] = OUTSIDE
        else:
            flags[n] = DETERMINED
            known = True
            for k in range(4):
                last[k] = p[k]
