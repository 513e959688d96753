"""How far each scan of a specimen stands from the first: registration of a stack of images."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BLOCK = 2.0
"""nm: blocks of a scan this wide are taken as independent, which the speckles of a probe below
1 nm are; the scatter between them gives the errors."""

SMOOTH = 0.64
"""nm: over which (sigma) it is averaged how fast places change."""

SURE = 5.0
"""A jump is believed where its correlation is this many times what other shifts give by chance."""

OVERLAP = 0.3
"""Part of the scan that two images must share for a jump to be looked for."""

FORGET = 0.97
"""What is kept, from scan to scan, of the sums that tell how fast speckles relax."""

ITERATIONS = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Registered:
    """Where a scan stands.

    Parameters
    ----------
    shift
        nm, (y, x): what stood at p in the first scan stands at p + shift.
    errors
        nm: 1 sigma of the shift along each axis (rms of both), all that accumulated included.
    residual
        nm along each axis: rms over the scan of how far places are from where ``shift`` says:
        ``errors``, and that the specimen moved otherwise during this scan than during the first.
    """

    shift: tuple[float, float]
    errors: float
    residual: float


class Registration:
    """Registers scan after scan against what is known of the earlier ones.

    Of each scan there are several images, of independent speckles, which all move together.
    They are fitted at once,

        I(p + u) = P(p),  P = g R + h L + k T,

    with R the mean of the latest scans (weight exp(-age/memory)), where speckles are still
    the same, L the mean of all scans, where the static part remains (edge, thickness, places that
    relax slowly), and T the mean of L over the images, without speckles. So L anchors a series in
    which R alone would wander off, as far as the gains g, h and k, fitted in each scan, say that
    it still resembles. R and L are kept in the frame of the specimen, each scan resampled once. The weight of a place is the inverse
    mean square of its earlier residuals: slow places hold the frame best. The gains are those of
    least squares. Of the speckles, the shift is that at which the sum over places of
    w (I dP/dx - P dI/dx) is zero. Least squares would ask for the sum of w (I - P) dP/dx, which is
    zero at the right place only where all places relax alike: where they relax slower towards one
    side, P is too weak there and too strong on the other side, which looks like a shift, the same
    in every scan.

    Rows of a scan are measured one after another. A speckle that relaxes is therefore more like the
    rows below it in an earlier scan, which were measured later, than like those above: the
    correlation over y, C(y) ~ exp(-kappa y^2), is multiplied by exp(-lambda y/h), with lambda the
    decay from scan to scan and h the height of the scan. For a Gaussian that is a shift,
    lambda/(2 kappa h), by which every scan would seem to have moved against R. So R is taken from there;
    lambda and kappa are measured on the speckles of consecutive scans, see `_Skew`.

    Jumps are found by a correlation over all shifts of what the images do not have in common, the
    speckles. Where they tell nothing any more, the search begins at the latest shift.

    Errors: the error of a shift is, to first order, a sum over blocks of the scan. Each
    block's part is followed from scan to scan, through R and L into the shifts that rest on them,
    so what accumulates over a series, and for how long speckles err in the same way, is in the sum
    of their squares.

    Parameters
    ----------
    shape
        Positions (rows, columns).
    step
        nm, distance of two positions.
    memory
        Scans, of R.
    """

    def __init__(self, shape: tuple[int, int], step: float, memory: float) -> None:
        self.shape, self.step = shape, step
        self._kept = 1.0 - 1.0 / memory
        self._scans = 0
        # pixel c of the references stands at c - origin, in steps, in the frame of the first scan
        self._origin = (0, 0)
        self._shift = np.zeros(2)
        # at least three blocks along each axis, or there would be no scatter
        self._block = [max(1, min(round(BLOCK / step), size // 3)) for size in shape]
        self._blocks = [-(-size // block) for size, block in zip(shape, self._block, strict=True)]
        self._time = (np.arange(shape[0]) + 0.5) / shape[0] - 0.5
        self._skew = _Skew(shape[0], self._blocks[0] * self._blocks[1])

    def add(self, images: Floats, usable: npt.NDArray[np.bool_]) -> Registered | None:
        """Register the images [image, y, x] of the next scan; None where that is not possible.

        ``usable`` [y, x]: where they were measured. A scan that cannot be registered (nothing in
        it, or nothing that is known) leaves everything as it was.
        """
        level = float(images[:, usable].mean()) if usable.any() else 0.0
        if not level > 0:
            return None
        images = self._filled(images / level, usable)
        measured = usable.astype(np.float64)
        if not self._scans:
            # an image of dead pixels alone is the same everywhere
            varies = images.var(axis=(1, 2)) > 0
            self._seeing = varies if varies.any() else np.ones(len(images), np.bool_)
            return self._begin(images[self._seeing], measured)
        images = images[self._seeing]
        begin = self._coarse(images, measured)
        self._follow(begin)
        fit = self._fit(images, measured, begin - self._origin)
        return None if fit is None else self._accept(fit)

    def _begin(self, images: Floats, measured: Floats) -> Registered:
        parts = self._blocks[0] * self._blocks[1] + 1  # the last is what all blocks share
        self._recent, self._all = (_Mean(images, measured, parts) for _ in range(2))
        self._noise = images.var(axis=(1, 2)) + 1e-12
        self._change = np.ones(self.shape)
        self._scans = 1
        return Registered((0.0, 0.0), 0.0, 0.0)

    def _filled(self, images: Floats, usable: npt.NDArray[np.bool_]) -> Floats:
        """Return the images with holes filled from their neighbours."""
        if usable.all():
            return images
        from scipy.ndimage import gaussian_filter

        width = max(0.7, 0.2 / self.step)
        near = gaussian_filter(usable.astype(np.float64), width, mode="constant", truncate=3.0)
        known = np.where(usable, images, 0.0)
        mean = images[:, usable].mean(axis=1)[:, None, None]
        blurred = gaussian_filter(known, (0, width, width), mode="constant", truncate=3.0)
        fill = np.where(near > 1e-3, blurred / np.maximum(near, 1e-3), mean)
        return np.where(usable, images, fill)

    def _coarse(self, images: Floats, measured: Floats) -> Floats:
        """Return about where a scan stands, steps: a jump, or the latest shift."""
        from scipy import fft

        known = self._recent.weight > 0
        both = []
        for stack, where in ((images, measured > 0), (self._recent.values(), known)):
            # what all images have in common, thickness and edge, would hide a jump
            speckles = _speckles(stack)
            level = speckles[:, where].mean(axis=1)[:, None, None]
            both.append((np.where(where, speckles - level, 0.0), where.astype(np.float64)))
        (new, new_where), (old, old_where) = both
        size = [fft.next_fast_len(2 * n - 1, real=True) for n in self.shape]

        def spectrum(values: Floats) -> npt.NDArray[np.complex128]:
            return np.asarray(fft.rfft2(values, size))

        def correlated(a: npt.NDArray[np.complex128], b: npt.NDArray[np.complex128]) -> Floats:
            return np.asarray(fft.irfft2(a * b.conj(), size))

        product = (spectrum(new) * spectrum(old).conj()).sum(axis=0)
        new_mask, old_mask = spectrum(new_where), spectrum(old_where)
        shared = correlated(new_mask, old_mask)
        power = correlated(spectrum((new**2).sum(axis=0)), old_mask) * correlated(
            new_mask, spectrum((old**2).sum(axis=0))
        )
        allowed = (shared > OVERLAP * new_where.sum()) & (power > 1e-12 * power.max())
        likeness = np.zeros(shared.shape)
        np.divide(fft.irfft2(product, size), np.sqrt(np.abs(power)), out=likeness, where=allowed)
        if not allowed.any():
            return self._shift.copy()
        best = np.unravel_index(np.argmax(np.where(allowed, likeness, -1.0)), likeness.shape)
        down, across = (np.fft.fftfreq(n, 1 / n).round() for n in size)
        found = np.array([down[best[0]], across[best[1]]])
        distance = np.hypot(down[:, None] - found[0], across[None, :] - found[1])
        others = likeness[allowed & (distance * self.step > 0.5 * BLOCK)]
        chance = math.sqrt(float(np.mean(others**2))) if len(others) else 0.0
        jump = found + self._origin
        if likeness[best] < SURE * chance or np.abs(jump - self._shift).max() < 1.5:
            return self._shift.copy()
        return jump

    def _follow(self, shift: Floats) -> None:
        """Move the references by whole steps, so that they cover what the scan sees."""
        move = [round(s) if abs(s) >= 2 else 0 for s in (shift - self._origin).tolist()]
        if not any(move):
            return
        self._origin = (self._origin[0] + move[0], self._origin[1] + move[1])
        for mean in (self._recent, self._all):
            mean.sum, mean.weight = _moved(mean.sum, move, 0.0), _moved(mean.weight, move, 0.0)
        self._change = _moved(self._change, move, 1.0)
        self._skew.follow(move)

    def _fit(self, images: Floats, measured: Floats, begin: Floats) -> _Fit | None:
        """Fit shift, gains, and how the shift changes during the scan; None if it goes astray."""
        recent, every = self._recent.values(), self._all.values()
        here = self._recent.weight > 0
        # speckles alone relax: the edge stands where it stands
        recent = recent + self._skew.shift * _slope(_speckles(recent), here, -2)
        known = (self._recent.weight > 1e-3) & (self._all.weight > 0)
        # without it P keeps more of the speckles than the specimen does, and where weights fall
        # from one side to the other, at an edge, every scan errs in the same direction
        level = every.mean(axis=(1, 2), keepdims=True)
        common = every.mean(axis=0) * level / every.mean() if len(images) > 1 else level + 0 * every
        means = [recent, every, common] if len(images) > 1 else [recent, every]
        known = _has_neighbours(known)
        count = len(means)
        gains = np.eye(count)[0]
        offset = begin.copy()
        time = self._time[:, None]
        moved, cover = np.inf, np.zeros(self.shape)
        present = cover
        for iteration in range(ITERATIONS):
            seen = sampled(images, offset)
            # kept at the end, or places at the border would come and go for ever
            if moved > 0.05 and iteration < ITERATIONS // 3:
                present = covered(measured, offset)
                present[present < 0.5] = 0.0
                cover = np.where(known, present, 0.0)
                slopes = [[_slope(mean, cover > 0, axis) for axis in (-2, -1)] for mean in means]
            weight = cover / self._change / self._noise[:, None, None]
            down, across = (np.tensordot(gains, s, 1) for s in zip(*slopes, strict=True))
            terms = np.stack([*means, -down, -across, -down * time, -across * time])
            flat = terms.reshape(len(terms), -1)
            weighted = (terms * weight).reshape(len(terms), -1)
            normal = weighted @ flat.T
            # recent and every are the same in the second scan: then only their sum counts
            ridge = 1e-6 * normal[0, 0]
            normal[:2, :2] += ridge * np.array([[1.0, -1.0], [-1.0, 1.0]])
            moving = normal[count:, count:]
            try:
                gains = np.linalg.solve(normal, weighted @ seen.reshape(-1))[:count]
                model = np.tensordot(gains, means, 1)
                scores = _displaced(seen - model, model, common, weight, cover > 0, time)
                found = np.linalg.solve(moving, scores.sum(axis=(1, 2, 3)))
            except np.linalg.LinAlgError:
                return None
            if not (np.isfinite(found).all() and np.isfinite(gains).all()):
                return None
            step = np.clip(found[:2], -1.0, 1.0)
            moved = float(np.abs(step).max())
            if moved < 1e-4:
                break
            offset = offset + step
            if np.abs(offset - begin).max() > 2.5:
                return None
        else:
            return None
        left = seen - model - np.tensordot(found, terms[count:], (0, 0))
        scores = _displaced(left, model, common, weight, cover > 0, time).sum(axis=1).reshape(4, -1)
        labels, blocks = self._labels(), self._blocks[0] * self._blocks[1]
        parts = np.stack([np.bincount(labels, score, blocks) for score in scores], axis=1)
        # a block that holds much of what is known draws the fit, and looks better than it is
        power = (weight * (down**2 + across**2)).sum(axis=0)
        held = np.bincount(labels, power.reshape(-1), blocks)
        alone = 1.0 - np.minimum(held / held.sum(), 0.9)
        # noise makes the references' slopes look steeper, but not their product with the scan's
        tilts = [-_slope(seen, cover > 0, axis) for axis in (-2, -1)]
        turned = np.stack([*tilts, *(tilt * time for tilt in tilts)]).reshape(4, -1)
        try:
            influence = np.linalg.solve(weighted[count:] @ turned.T, parts.T).T / alone[:, None]
            influence = np.vstack([influence, np.zeros(4)])
            turns = [
                -np.linalg.solve(moving, weighted[count:] @ turned.T)[:2]
                for turned in (
                    np.stack([gain * slope for slope in pair]).reshape(2, -1)
                    for gain, pair in zip(gains, slopes, strict=True)
                )
            ]
        except np.linalg.LinAlgError:
            return None
        # what is common to all images stands where the mean of all scans stands
        through = [turns[0], sum(turns[1:])]
        return _Fit(offset, found[2:], seen, present, cover, left, influence, through)

    def _accept(self, fit: _Fit) -> Registered:
        """Take a fitted scan into the references; return where it stands."""
        from scipy.ndimage import gaussian_filter

        error, bend = fit.influence.copy(), fit.bend.copy()
        for mean, through in zip((self._recent, self._all), fit.through, strict=True):
            error[:, :2] += mean.error[:, :2] @ through.T
            error[:, 2:] += mean.error[:, 2:] @ through.T
            bend += through @ mean.bend
        error[:, :2] += self._skew.errors[:, None] * fit.through[0][:, 0]
        variance = (error**2).sum(axis=0)
        errors = math.sqrt(variance[:2].mean())
        # a shift that changes evenly by b during a scan is b / sqrt(12) rms from its mean
        bent = max(0.0, float((bend**2 - variance[2:]).mean()) / 12.0)

        covered_sum = fit.cover.sum()
        square = fit.left**2
        noise = (square * fit.cover).sum(axis=(1, 2)) / covered_sum + 1e-12
        new = 1.0 if self._scans == 1 else 0.1
        self._noise = (1 - new) * self._noise + new * noise
        local = np.where(fit.cover > 0, (square / self._noise[:, None, None]).mean(axis=0), 1.0)
        local = gaussian_filter(local, SMOOTH / self.step, mode="nearest")
        self._change = np.maximum((1 - new) * self._change + new * local, 1e-3)

        self._skew.add(fit.seen, fit.cover, self._labels(), 1.0 / self._change)
        self._recent.add(fit, error, bend, self._kept, 1.0 - self._kept)
        self._all.add(fit, error, bend, 1.0, 1.0)
        self._scans += 1
        self._shift = fit.offset + self._origin
        y, x = (self._shift * self.step).tolist()
        return Registered(
            (y, x), errors * self.step, math.sqrt(errors**2 + bent) * self.step
        )  # fmt: skip

    def _labels(self) -> npt.NDArray[np.int64]:
        """Block of each pixel of the references: places keep theirs when the references move."""
        rows, columns = (
            (np.arange(size) - origin) // block % blocks
            for size, origin, block, blocks in zip(
                self.shape, self._origin, self._block, self._blocks, strict=True
            )
        )
        return (rows[:, None] * self._blocks[1] + columns[None, :]).reshape(-1)


@dataclasses.dataclass(frozen=True, slots=True)
class _Fit:
    """One scan, fitted: offset and bend in steps, [y, x]."""

    offset: Floats
    bend: Floats
    """How much more the specimen moved during this scan than the references did."""
    seen: Floats
    """The images [image, y, x] on the pixels of the references."""
    present: Floats
    """[y, x]: what part of a pixel was measured, 0 or 0.5 to 1."""
    cover: Floats
    """The same where the references were known too, and 0 where not."""
    left: Floats
    """Residuals [image, y, x]."""
    influence: Floats
    """[block, (y, x, bend y, bend x)]: what each block adds to the errors, and what all share."""
    through: list[Floats]
    """For R and L [2, 2]: how an error of theirs becomes one of the shift."""


class _Skew:
    """How far, in rows, relaxation makes a scan seem displaced along the slow axis.

    Of speckles S (what the images do not have in common) of scans one and two apart are summed
    c_k = <S(s) S(s - k)>, m = <S(s) (S(s - 1) one row below and above)/2> and d = <dS/dy(s) dS/dy(s - 1)>, in
    which counting noise has no part. lambda = ln(c_1 / c_2), and lambda/h m/d is the shift that a least-squares
    fit with differences instead of derivatives finds: lambda/(2 kappa h) for narrow rows.

    Each place has a lambda of its own, and which mean of them counts depends on what each place
    weighs in a registration. How much the shift changes where slow places weigh more is an error.

    Attributes
    ----------
    shift
        Rows.
    errors
        [block] rows: what each block of the scan adds to the error of the shift; the last is what
        weights change.
    """

    def __init__(self, rows: int, blocks: int) -> None:
        self._rows = rows
        self._before: list[tuple[Floats, npt.NDArray[np.bool_]]] = []
        self._sums, self._weighted = np.zeros((4, blocks)), np.zeros(4)
        self.shift = 0.0
        self.errors = np.zeros(blocks + 1)

    def add(
        self, images: Floats, cover: Floats, labels: npt.NDArray[np.int64], weight: Floats
    ) -> None:
        """Take a registered scan, [image, y, x] in the frame of the specimen, where covered.

        ``labels`` are the blocks of the pixels, row by row, and ``weight`` [y, x] is what they weigh
        in a registration.
        """
        known = cover > 0.99
        speckles = _speckles(images)
        speckles = speckles - speckles[:, known].mean(axis=1)[:, None, None]
        if len(self._before) == 2:
            (last, last_known), (older, older_known) = self._before
            both = known & last_known & older_known
            # the rows above and below are known too
            both[1:-1] &= both[2:] & both[:-2]
            both[[0, -1]] = False
            beside = (np.roll(last, 1, axis=-2) + np.roll(last, -1, axis=-2)) / 2
            slopes = _slope(speckles, known, -2) * _slope(last, last_known, -2)
            found = [speckles * last, speckles * older, speckles * beside, slopes]
            parts = [np.where(both, f.sum(axis=0), 0.0).reshape(-1) for f in found]
            new = [np.bincount(labels, part, self._sums.shape[1]) for part in parts]
            self._sums = FORGET * self._sums + new
            new = [np.sum(part * weight.reshape(-1)) for part in parts]
            self._weighted = FORGET * self._weighted + new
        self._before = [(speckles, known), *self._before[:1]]
        sums = self._sums.sum(axis=1)
        self.shift = self._shift_of(sums)
        self.errors[:] = 0.0
        if self.shift:
            near, far, beside, slope = self._sums / sums[:, None]
            decay = np.log(sums[0] / sums[1])
            self.errors[:-1] = self.shift * ((near - far) / decay + beside - slope)
            self.errors[-1] = self._shift_of(self._weighted) - self.shift

    def _shift_of(self, sums: Floats) -> float:
        near, far, beside, slope = sums
        if near > far > 0 and beside > 0 and slope > 0:
            return float(np.log(near / far) / self._rows * beside / slope)
        return 0.0

    def follow(self, move: list[int]) -> None:
        """Move with the references."""
        self._before = [
            (_moved(speckles, move, 0.0), _moved(known * 1.0, move, 0.0) > 0)
            for speckles, known in self._before
        ]


class _Mean:
    """A weighted mean of registered scans, and what is wrong with it.

    ``error`` [block, 4] are the blocks' parts of the errors of where it stands, ``bend`` [y, x]
    is how it moved during its scans, relative to the first.
    """

    def __init__(self, images: Floats, measured: Floats, blocks: int) -> None:
        self.sum, self.weight = images * measured, measured.copy()
        self.error, self.bend = np.zeros((blocks, 4)), np.zeros(2)
        self._total = 1.0

    def values(self) -> Floats:
        """Return the mean [image, y, x], 0 where nothing is known."""
        return np.asarray(self.sum / np.where(self.weight > 0, self.weight, 1.0))

    def add(self, fit: _Fit, error: Floats, bend: Floats, kept: float, new: float) -> None:
        """Weigh what is there by ``kept`` and add a scan with the weight ``new``."""
        self.sum = kept * self.sum + new * fit.present * fit.seen
        self.weight = kept * self.weight + new * fit.present
        self._total = kept * self._total + new
        self.error = self.error + new / self._total * (error - self.error)
        self.bend = self.bend + new / self._total * (bend - self.bend)


def _speckles(images: Floats) -> Floats:
    """Return what images [image, y, x] do not have in common."""
    return images - images.mean(axis=0) if len(images) > 1 else images


def _displaced(
    left: Floats,
    model: Floats,
    still: Floats,
    weight: Floats,
    known: npt.NDArray[np.bool_],
    time: Floats,
) -> Floats:
    """Return [(y, x, bend y, bend x), image, y, x]: how far I = model + left is displaced.

    Of what stands ``still`` in the model that is -w left dP/dx, as in least squares. Of the rest, of what
    relaxes, w (P dI/dx - I dP/dx) / 2, in which P itself has no part: its mean is zero without a
    shift, place by place, because the covariance of I here with P there is that of I there with
    P here.
    """
    square = (weight * still**2).sum(axis=(1, 2), keepdims=True)
    share = (weight * model * still).sum(axis=(1, 2), keepdims=True) / np.maximum(square, 1e-30)
    fixed = share * still
    moving = model - fixed
    displaced = [
        weight * (0.5 * (_slope(left, known, axis) * moving - _slope(moving, known, axis) * left)
                  - _slope(fixed, known, axis) * left)
        for axis in (-2, -1)
    ]  # fmt: skip
    return np.stack([*displaced, *(part * time for part in displaced)])


def sampled(images: Floats, offset: Floats) -> Floats:
    """Return ``images`` [..., y, x] at (y, x) + offset: cubic convolution (Keys), borders repeated."""
    for axis, distance in ((-2, float(offset[0])), (-1, float(offset[1]))):
        whole = math.floor(distance)
        t = distance - whole
        taps = (
            ((2 - t) * t - 1) * t / 2,
            ((3 * t - 5) * t * t + 2) / 2,
            ((4 - 3 * t) * t + 1) * t / 2,
            (t - 1) * t * t / 2,
        )
        images = _combined(images, axis, whole - 1, taps)
    return images


def covered(measured: Floats, offset: Floats) -> Floats:
    """Return which part of (y, x) + offset was measured: bilinear, 0 outside."""
    margin = 4
    padded = np.pad(measured, margin)
    for axis, distance in ((-2, float(offset[0])), (-1, float(offset[1]))):
        whole = math.floor(distance)
        part = distance - whole
        padded = _combined(padded, axis, whole, (1 - part, part))
    return padded[margin:-margin, margin:-margin]


def _combined(images: Floats, axis: int, first: int, taps: tuple[float, ...]) -> Floats:
    """Return the sum of ``images`` displaced by first, first + 1 ... along an axis, weighted."""
    size = images.shape[axis]
    out = np.zeros(images.shape)
    for place, tap in enumerate(taps, start=first):
        at = np.clip(np.arange(size) + place, 0, size - 1)
        out += tap * np.take(images, at, axis=axis)
    return out


def _slope(images: Floats, known: npt.NDArray[np.bool_], axis: int) -> Floats:
    """Return the mean difference to the neighbours that are known along an axis; 0 with none."""
    ahead, behind = (
        tuple(side if at == axis else slice(None) for at in (-2, -1))
        for side in (slice(1, None), slice(None, -1))
    )
    both = known[ahead] & known[behind]
    difference = np.where(both, images[..., *ahead] - images[..., *behind], 0.0)
    slope, count = np.zeros(images.shape), np.zeros(known.shape)
    for side in (ahead, behind):
        slope[..., *side] += difference
        count[side] += both
    slope /= np.maximum(count, 1.0)
    return slope


def _has_neighbours(known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return where a pixel and a neighbour along either axis are known."""
    wide = np.pad(known, 1)
    across = wide[1:-1, 2:] | wide[1:-1, :-2]
    down = wide[2:, 1:-1] | wide[:-2, 1:-1]
    return known & across & down


def _moved(images: Floats, move: list[int], fill: float) -> Floats:
    """Return ``images`` moved by whole pixels [down, right]; what comes in is ``fill``."""
    out = np.full(images.shape, fill)
    places = []
    for size, by in zip(images.shape[-2:], move, strict=True):
        if abs(by) >= size:
            return out
        places.append((slice(max(0, by), size + min(0, by)), slice(max(0, -by), size - max(0, by))))
    (to_y, from_y), (to_x, from_x) = places
    out[..., to_y, to_x] = images[..., from_y, from_x]
    return out
