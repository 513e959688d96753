"""Drift: shifts of specimens whose shifts are known, their errors, and bad nights."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daq
from daq.testing import check_analysis, make_stream, record_source, run_analysis
from daq.testing.records import Records
from daq_simulators.stem_camera import StemCamera
from daq_stem.drift.analysis import Drift, sectors_of_ring
from daq_stem.drift.registration import Registered, Registration, covered, sampled
from daq_stem.geometry.detector import Detector

Floats = npt.NDArray[np.float64]

STEP = 0.16
APERTURE = 0.638
SECTORS = 8
SHAPE = (36, 42)


class Glass:
    """Virtual images of a glass whose speckles live for ``tau`` s, in a field of ``shape``."""

    def __init__(
        self, seed: int, shape: tuple[int, int] = SHAPE, *, tau: float = 1000.0,
        edge: bool = False, speckles: int = 6, electrons: float = 1500.0, room: int = 24,
    ) -> None:  # fmt: skip
        self.draw = np.random.default_rng(seed)
        self.shape, self.edge, self.electrons, self.speckles = shape, edge, electrons, speckles
        self.grid = (shape[0] + room, shape[1] + room)
        ky, kx = (np.fft.fftfreq(n, STEP) for n in self.grid)
        self.ky, self.kx = ky[:, None], kx[None, :]
        self.aperture = np.hypot(self.ky, self.kx) < APERTURE
        # places relax at different paces
        self.kept = np.exp(-9.2 / tau * np.exp(0.7 * self.draw.standard_normal(self.grid)))
        self.waves = self._noise()

    def _noise(self) -> npt.NDArray[np.complex128]:
        size = (SECTORS * self.speckles, *self.grid)
        return (self.draw.standard_normal(size) + 1j * self.draw.standard_normal(size)) / np.sqrt(2)

    def next_scan(self) -> None:
        """9.2 s pass."""
        self.waves *= self.kept
        self.waves += np.sqrt(1 - self.kept**2) * self._noise()

    def expected(self, shift: Sequence[float]) -> Floats:
        """Mean counts [sector, y, x] when the specimen stands at ``shift`` nm."""
        turn = np.exp(-2j * np.pi * (self.ky * shift[0] + self.kx * shift[1])) * self.aperture
        power = np.abs(np.fft.ifft2(np.fft.fft2(self.waves) * turn)) ** 2
        power *= power[0].size / self.aperture.sum()
        rows, columns = self.shape
        power = power[:, 8 : 8 + rows, 8 : 8 + columns]
        mean = power.reshape(SECTORS, self.speckles, rows, columns).mean(axis=1)
        thickness = np.ones(self.shape)
        if self.edge:
            y = np.arange(rows)[:, None] * STEP - shift[0]
            x = np.arange(columns)[None, :] * STEP - shift[1]
            thickness = np.clip((x - 0.8 - 0.3 * np.sin(1.3 * y)) / 3.0, 0, 1)
        return self.electrons * thickness * (0.82 * mean + 0.18)

    def scan(self, shift: Sequence[float]) -> Floats:
        """Counts [sector, y, x]."""
        return self.draw.poisson(self.expected(shift)).astype(np.float64)


def series(seed: int, shifts: Floats, **values: Any) -> Floats:
    """Counts [scan, sector, y, x] of one glass that stands at ``shifts``."""
    glass = Glass(seed, **values)
    scans = []
    for shift in shifts:
        scans.append(glass.scan(shift))
        glass.next_scan()
    return np.array(scans)


def walk(seed: int, scans: int, size: float = 0.05) -> Floats:
    """Shifts [scan, (y, x)] of a specimen that goes and trembles."""
    steps = np.random.default_rng([seed, 7]).normal([0.02, -0.015], size, (scans, 2))
    steps[0] = 0.0
    return np.cumsum(steps, axis=0)


def registered(images: Floats, usable: Any = None, memory: float = 2.0) -> list[Registered | None]:
    registration = Registration(images.shape[2:], STEP, memory)
    if usable is None:
        usable = np.ones((len(images), *images.shape[2:]), bool)
    return [registration.add(*pair) for pair in zip(images, usable, strict=True)]


def shifts_of(found: list[Registered | None]) -> Floats:
    return np.array([(np.nan, np.nan) if f is None else f.shift for f in found])


# registration


@pytest.mark.parametrize("edge", [False, True])
def test_shifts_are_right_and_their_errors_cover(edge: bool) -> None:
    wrong, normal = [], []
    for seed in range(10):
        truth = walk(seed, 16)
        found = registered(series(seed, truth, edge=edge))
        error = shifts_of(found) - truth
        wrong.append(error)
        told = np.array([f.errors for f in found if f is not None])
        assert told[0] == 0.0
        assert (np.diff(told[[1, 5, 15]]) > 0).all(), "errors accumulate"
        normal.append(error[1:] / told[1:, None])
    rms = np.sqrt(np.mean(np.square(wrong), axis=(0, 1)))
    assert (rms < 0.02).all(), rms
    # 20 independent walks, each correlated in time
    spread = np.sqrt(np.mean(np.square(normal)))
    inside = np.mean(np.abs(normal) < 1)
    assert 0.7 < spread < 1.35, spread
    assert 0.55 < inside < 0.85, inside


def test_no_error_accumulates_where_nothing_relaxes() -> None:
    truth = walk(3, 40, 0.03)
    found = registered(series(3, truth, tau=1e9))
    error = shifts_of(found) - truth
    # every scan is like the first one: only counting is left
    assert np.abs(error).max() < 0.006
    assert found[-1] is not None and found[-1].errors < 0.003


def test_a_jump_is_found() -> None:
    truth = walk(1, 14, 0.03)
    truth[8:] += [2.0, -1.2]
    error = shifts_of(registered(series(1, truth, room=40))) - truth
    assert np.abs(error).max() < 0.05, error


def test_a_specimen_that_leaves_the_field_is_followed() -> None:
    truth = np.outer(np.arange(30), [0.25, -0.2])  # 7.5 nm; the field is 5.8 x 6.7 nm
    error = shifts_of(registered(series(2, truth, room=100))) - truth
    assert np.abs(error).max() < 0.06, error[-1]


@pytest.mark.parametrize("lost", [0.05, 0.4])
def test_lost_records_cost_little(lost: float) -> None:
    errors = []
    for seed in range(4):
        truth = walk(seed, 12)
        images = series(seed, truth)
        usable = np.random.default_rng(seed).random((12, *SHAPE)) >= lost
        images[np.broadcast_to(~usable[:, None], images.shape)] = 0.0
        errors.append(shifts_of(registered(images, usable)) - truth)
    assert np.sqrt(np.mean(np.square(errors))) < 0.025


def test_a_beam_that_dims_moves_nothing() -> None:
    truth = walk(5, 10)
    images = series(5, truth, edge=True)
    steady = shifts_of(registered(images))
    images[6] *= 0.9
    np.testing.assert_allclose(shifts_of(registered(images)), steady, atol=1e-9)


def test_what_resembles_nothing_does_not_spoil_the_rest() -> None:
    truth = walk(6, 12)
    images = series(6, truth)
    whole = shifts_of(registered(images))
    for bad in (np.zeros(images[0].shape), np.full(images[0].shape, 7.0)):
        with_bad = np.insert(images, 5, bad, axis=0)
        found = registered(with_bad)
        assert found[5] is None
        np.testing.assert_array_equal(np.delete(shifts_of(found), 5, axis=0), whole)


def test_residual_is_how_far_places_are_from_where_the_shift_says() -> None:
    told, true = [], []
    for seed in range(3):
        knots = walk(seed, 13, 0.15)
        glass, images, left = Glass(seed), [], []
        bands = np.array_split(np.arange(SHAPE[0]), 6)
        for scan in range(12):
            # straight from one knot to the next, band by band of rows
            part = (np.arange(6) + 0.5)[:, None] / 6
            stands = knots[scan] + part * (knots[scan + 1] - knots[scan])
            rows = [
                glass.expected(place)[:, band] for place, band in zip(stands, bands, strict=True)
            ]
            images.append(glass.draw.poisson(np.concatenate(rows, axis=1)).astype(np.float64))
            left.append(stands)
            glass.next_scan()
        found = registered(np.array(images))
        moved = np.array(left) - np.array(left)[0]
        error = moved - shifts_of(found)[:, None]
        true.append(np.sqrt(np.mean(error[1:] ** 2)))
        told.append(np.sqrt(np.mean([f.residual**2 for f in found[1:] if f is not None])))
    assert np.mean(told) == pytest.approx(np.mean(true), rel=0.25)
    assert np.mean(true) > 0.04, "there must be something to tell"


@given(st.floats(-2.4, 2.4), st.floats(-2.4, 2.4))
def test_resampling_is_exact_for_a_plane_and_says_what_was_measured(
    down: float, across: float
) -> None:
    y, x = np.mgrid[:14, :15].astype(np.float64)
    offset = np.array([down, across])
    seen = sampled((3 * y - 2 * x)[None], offset)[0]
    expected = 3 * (y + down) - 2 * (x + across)
    np.testing.assert_allclose(seen[5:-5, 5:-5], expected[5:-5, 5:-5], atol=1e-9)
    part = covered(np.ones((14, 15)), offset)
    assert part.min() >= -1e-12 and part.max() <= 1 + 1e-12
    inside = (y + down >= 0) & (y + down <= 13) & (x + across >= 0) & (x + across <= 14)
    np.testing.assert_allclose(part[inside], 1.0, atol=1e-9)


@settings(max_examples=30)
@given(st.integers(1, 24))
def test_sectors_are_a_partition_and_friedel_pairs_lie_opposite(pairs: int) -> None:
    detector = Detector((41, 43), (20.0, 21.0), 0.25, "1/nm")
    found = sectors_of_ring(detector, (2.0, 4.5), 2 * pairs)
    np.testing.assert_array_equal(found >= 0, detector.within(2.0, 4.5))
    assert set(found[found >= 0].tolist()) == set(range(2 * pairs))
    turned = found[::-1, ::-1]
    ring = (found >= 0) & (turned >= 0)
    difference = (found - turned)[ring] % (2 * pairs)
    # a pixel just on a border between sectors may round to either side
    assert np.mean(difference == pairs) > 0.9


# the analysis


def camera(images: Floats, missing: Sequence[tuple[int, int]] = (), **values: Any) -> Records:
    """A camera [scan, sector, y, x] whose frames hold the electrons of a sector in one pixel."""
    rows, columns = images.shape[2:]
    detector = Detector((16, 16), (7.5, 7.5), 0.75, "1/nm")
    sector = sectors_of_ring(detector, (3.0, 5.8), SECTORS)
    counts = images.transpose(0, 2, 3, 1).reshape(-1, SECTORS)
    frames = np.zeros((len(counts), 16, 16), np.uint16)
    for k in range(SECTORS):
        y, x = np.argwhere(sector == k)[0]
        frames[:, y, x] = counts[:, k]
    frames[:, 0, 0] = 60000  # not on the ring
    description: dict[str, Any] = {
        "scan": {"shape": [rows, columns], "step": STEP},
        "attributes": {"pixel_size": 0.75, "centre": [7.5, 7.5]},
        **values,
    }
    return make_stream("camera", {"frame": frames}, missing=missing, **description)


def run(records: Records, batch: int | None = None, **config: Any) -> Any:
    return run_analysis(Drift, {"camera": records.stream}, records.batches(batch), config)


SMALL = (14, 16)


@pytest.fixture(scope="module")
def small() -> tuple[Floats, Floats]:
    truth = walk(8, 5, 0.04)
    return series(8, truth, shape=SMALL), truth


def test_keeps_its_promises(small: tuple[Floats, Floats]) -> None:
    found = check_analysis(Drift, camera(small[0][:4]), {}, runs=2)
    assert found["shifts"]["scan"].tolist() == [0, 1, 2, 3]
    assert found["shifts"].valid.all()


def test_gives_one_record_for_each_scan(small: tuple[Floats, Floats]) -> None:
    images, truth = small
    records = camera(images, expect=5 * 14 * 16)
    found = run(records, 100)
    shifts, image = found["shifts"], found["image"]
    assert (len(shifts), len(image)) == (5, 5)
    assert shifts.stream.expect == image.stream.expect == 5
    expected = registered(images)
    np.testing.assert_allclose(
        np.stack([shifts["shift_y"], shifts["shift_x"]], axis=1), shifts_of(expected), atol=1e-12
    )
    assert shifts["shift_errors"].tolist() == pytest.approx([f.errors for f in expected if f])
    assert (shifts["residual"] >= shifts["shift_errors"]).all()
    assert np.abs(np.stack([shifts["shift_y"], shifts["shift_x"]], 1) - truth).max() < 0.1
    size = SMALL[0] * SMALL[1]
    assert shifts["time"].tolist() == records["time"][size - 1 :: size].tolist()
    assert [axis["units"] for axis in image.stream.axes["image"]] == ["nm", "nm"]
    np.testing.assert_array_equal(image["image"][0], images[0].sum(axis=0))


def test_the_image_stands_still() -> None:
    truth = np.zeros((4, 2))
    truth[2:] = [2 * STEP, -3 * STEP]
    images = series(4, truth, shape=(24, 24))
    image = run(camera(images))["image"]["image"]
    # what stood at p stands at p + shift
    np.testing.assert_array_equal(image[3][:-2, 3:], images[3].sum(axis=0)[2:, :-3])
    assert np.isnan(image[3][-2:]).all() and np.isnan(image[3][:, :3]).all()


def test_a_scan_that_is_lost_gives_a_missing_record(small: tuple[Floats, Floats]) -> None:
    images, _ = small
    size = SMALL[0] * SMALL[1]
    whole = run(camera(images))["shifts"]
    for lost in ((2 * size, size), (2 * size, size // 2 + 1)):
        found = run(camera(images, [lost]), 90)
        shifts = found["shifts"]
        assert shifts.valid.tolist() == found["image"].valid.tolist() == [1, 1, 0, 1, 1]
        assert np.isnan(shifts["shift_y"][2])
        assert abs(shifts["shift_y"][4] - whole["shift_y"][4]) < 0.1
    few = run(camera(images, [(2 * size + 5, 20)]))
    assert few["shifts"].valid.all()
    hole = few["image"]["image"][2]
    assert np.isnan(hole).sum() >= 20


def test_a_first_scan_that_is_lost_is_not_the_reference(small: tuple[Floats, Floats]) -> None:
    images, _ = small
    size = SMALL[0] * SMALL[1]
    found = run(camera(images, [(0, size)]))["shifts"]
    assert found.valid.tolist() == [0, 1, 1, 1, 1]
    assert found["shift_y"][1] == found["shift_errors"][1] == 0.0
    later = run(camera(images[1:]))["shifts"]
    np.testing.assert_array_equal(found["shift_x"][1:], later["shift_x"])


def test_a_repeated_record_is_a_hole(small: tuple[Floats, Floats]) -> None:
    images, _ = small
    records = camera(images)
    frames, times = records["frame"].copy(), records["time"].copy()
    again = np.arange(40, len(times), 97)
    frames[again], times[again] = frames[again - 1], times[again - 1]
    found = run(records.replaced(frame=frames, time=times))
    lost = run(records.with_missing(*((int(n), 1) for n in again)))
    for name in ("shift_y", "shift_errors"):
        np.testing.assert_array_equal(found["shifts"][name], lost["shifts"][name])
    np.testing.assert_array_equal(found["image"]["image"], lost["image"]["image"])


def test_a_scan_that_was_broken_off(small: tuple[Floats, Floats]) -> None:
    images, _ = small
    size = SMALL[0] * SMALL[1]
    records = camera(images)
    for rest, valid in ((size * 3 // 4, True), (size // 4, False)):
        cut = {name: array[: 2 * size + rest] for name, array in records.arrays.items()}
        found = run(Records(records.stream, cut))["shifts"]
        assert found.valid.tolist() == [True, True, valid]
    assert (
        len(run(Records(records.stream, {k: a[: 2 * size] for k, a in cut.items()}))["image"]) == 2
    )


def test_pixels_that_are_bad_or_not_finite(small: tuple[Floats, Floats]) -> None:
    records = camera(small[0])
    frames = records["frame"].astype(np.float32)
    whole = run(camera(small[0]))["shifts"]
    y, x = np.argwhere(records["frame"][0][1:] > 0)[0] + [1, 0]
    mask = np.zeros((16, 16), bool)
    mask[y, x] = True  # the only bright pixel of a sector
    frames[:, y, x] = np.nan
    fields = {"frame": daq.Field("<f4", (16, 16), "counts")}
    stream = dataclasses.replace(records.stream, fields=fields, constants={"mask": mask})
    found = run(Records(stream, {**records.arrays, "frame": frames}))["shifts"]
    assert found.valid.all()
    np.testing.assert_allclose(found["shift_x"], whole["shift_x"], atol=0.05)
    # without the mask every pattern is spoilt: nothing can be said, and nothing breaks
    stream = dataclasses.replace(records.stream, fields=fields, constants={})
    assert not run(Records(stream, {**records.arrays, "frame": frames}))["shifts"].valid.any()


def test_memory_is_what_it_says() -> None:
    images = series(1, walk(1, 3), shape=(40, 44))
    records = camera(images)
    stated = Drift.memory({"camera": records.stream}, Drift.Config())
    run(records, 64)  # what is compiled and imported at first use does not count
    tracemalloc.start()
    run(records, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < stated < 3 * peak


@pytest.mark.parametrize(
    ("stream", "config", "said"),
    [
        ({"scan": None}, {}, r"give scan = \[rows, columns\]"),
        ({"scan": {"shape": [14, 16]}}, {}, r"how far two scan positions .* give step \(nm\)"),
        ({"scan": {"shape": [8, 28], "step": 0.1}}, {}, "8 x 28 positions is too small"),
        ({"attributes": {}}, {}, "does not say how large a pixel is"),
        ({}, {"q_range": [20.0, 30.0]}, "no good pixel from 20 to 30 1/nm"),
        ({}, {"q_range": [5.0, 4.0]}, "the inner radius must be the smaller one"),
        ({}, {"sector": 4}, "did you mean 'sectors'"),
    ],
)
def test_says_what_does_not_fit(
    stream: dict[str, Any], config: dict[str, Any], said: str, small: tuple[Floats, Floats]
) -> None:
    with pytest.raises(ValueError, match=said):
        run(camera(small[0][:1], **stream), **config)


def test_takes_one_input() -> None:
    streams = {name: make_stream(name).stream for name in ("camera", "furnace")}
    with pytest.raises(ValueError, match="one input, the camera, not 2"):
        run_analysis(Drift, streams, [], {})


@pytest.mark.parametrize("edge", [0.0, 0.1])
def test_finds_the_drift_of_the_simulated_camera(edge: float) -> None:
    config = StemCamera.Config(
        scan=(24, 28), scans=7, frame=(66, 66), pixel_size=0.232, speed=0, edge=edge,
        thickness_gradient=1.0 if edge else 0.0, drift=(0.003, -0.002), drift_walk=0.012,
        scan_time=9.2, dropped_fraction=0.02, repeated_fraction=0.02, seed=3, batch=128,
    )  # fmt: skip
    records = record_source(StemCamera, config, name="camera")["camera"]
    source = StemCamera()
    source.open(config)
    drift = source.truth()["drift"]
    found = run(records, 500)["shifts"]
    error = np.stack([found["shift_y"], found["shift_x"]], axis=1) - (drift - drift[0])
    assert np.ptp(drift, axis=0).min() > 0.07
    assert np.abs(error).max() < 0.05, error
    assert np.sqrt(np.mean((error[1:] / found["shift_errors"][1:, None]) ** 2)) < 2.0


def relaxing_rows(
    seed: int, scans: int, tau: float, slowing: float = 1.0
) -> Iterator[npt.NDArray[np.float64]]:
    """Images [6, 20, 20] of speckles that stand still and relax while rows are measured in turn.

    tau in scans, that of the first row; it is ``slowing`` times longer in the last one.
    """
    random = np.random.default_rng(seed)
    images, speckles, rows, columns = 6, 6, 20, 20
    place = np.arange(max(rows, columns)) * 0.24
    overlap = np.exp(-2.0 * (place[:, None] - place) ** 2)
    mix = np.linalg.cholesky(overlap + 1e-9 * np.eye(len(place)))
    local = tau * slowing ** np.linspace(0, 1, rows)
    kept = np.exp(-1 / (rows * local))[:, None]

    def fresh() -> npt.NDArray[np.complex128]:
        parts = random.standard_normal((2, images * speckles, rows, columns))
        return (parts[0] + 1j * parts[1]) @ mix.T / np.sqrt(2)

    field = fresh()
    for _ in range(scans):
        out = np.empty((images, rows, columns))
        for row in range(rows):
            field = kept * field + np.sqrt(1 - kept**2) * fresh()
            seen = np.abs(np.tensordot(mix[row], field, (0, 1))) ** 2
            out[:, row] = seen.reshape(images, speckles, columns).mean(axis=1)
        yield out


def seeming_drift(tau: float, slowing: float) -> tuple[float, float]:
    """Mean shift (y, x) in nm of six specimens that stand still, after 16 scans."""
    found = []
    for seed in range(6):
        registration = Registration((20, 20), 0.24, 2.0)
        for images in relaxing_rows(seed, 16, tau, slowing):
            last = registration.add(images, np.ones((20, 20), np.bool_))
        assert last is not None
        found.append(last.shift)
    y, x = np.mean(found, axis=0)
    return y, x


def test_speckles_that_relax_from_row_to_row_do_not_look_like_drift() -> None:
    """Without a correction for it, this specimen seems to move by 0.17 nm along the slow axis."""
    y, x = seeming_drift(4.0, 1.0)
    # six specimens of 5 x 5 nm: the means are known to 0.04 nm
    assert abs(y) < 0.08
    assert abs(x) < 0.08


def test_places_that_relax_slower_on_one_side_do_not_look_like_drift() -> None:
    """By least squares the two specimens seem to move apart, 0.25 nm in 16 scans."""
    slower_below, slower_above = seeming_drift(2.0, 8.0), seeming_drift(16.0, 1 / 8)
    assert abs(slower_above[0] - slower_below[0]) < 0.12
