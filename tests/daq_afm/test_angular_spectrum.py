"""Angular order: waves and lobes that were put in, none where there are none, any pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daq.testing import Records, check_analysis, record_source, run_analysis
from daq_afm.angular_spectrum import AngularSpectrum
from daq_afm.spectrum_order import angular_order, modes, normal_scores, power_spectrum
from daq_simulators.afm_tapping import AfmTapping
from tests.daq_afm.made_lines import scan_lines, smooth_field


def lobed(
    shape: tuple[int, int], step: tuple[float, float], fold: int, strength: float, angle: float,
    seed: int,
) -> np.ndarray:  # fmt: skip
    """Return a field whose spectrum is exp(-(q/0.1)^2) (1 + strength cos(fold (theta - angle)))."""
    big = [2 * n for n in shape]
    ky, kx = (np.fft.fftfreq(n, d) for n, d in zip(big, step, strict=True))
    q, theta = np.hypot(ky[:, None], kx), np.arctan2(ky[:, None], kx[None])
    power = np.exp(-((q / 0.1) ** 2)) * (1 + strength * np.cos(fold * (theta - np.radians(angle))))
    noise = np.random.default_rng(seed).standard_normal(big)
    field = np.fft.ifft2(np.fft.fft2(noise) * np.sqrt(power)).real
    return field[: shape[0], : shape[1]]


@pytest.mark.parametrize(("shape", "step"), [((96, 96), (1.0, 1.0)), ((64, 120), (2.0, 1.0))])
@pytest.mark.parametrize(("fold", "angle"), [(2, 30.0), (2, -60.0), (4, 20.0)])
def test_lobes_are_found_with_their_direction(
    shape: tuple[int, int], step: tuple[float, float], fold: int, angle: float
) -> None:
    found = angular_order(lobed(shape, step, fold, 0.7, angle, 1), modes(shape, step), 39)
    k = (2, 4).index(fold)
    assert found.p[k] == pytest.approx(1 / 40)
    assert found.order[k] == pytest.approx(0.35, abs=0.1)
    assert found.order[k] > 3 * found.expected[k]
    period = 360 / fold
    off = (found.axis[k] - angle + period / 2) % period - period / 2
    assert abs(off) < 2.5 * found.axis_errors[k] < 25


def test_order_and_axis_cover() -> None:
    where = modes((64, 64), (1.0, 1.0))
    order, axis = [], []
    for seed in range(40):
        found = angular_order(lobed((64, 64), (1.0, 1.0), 2, 0.9, 30.0, seed), where, 19, seed)
        order.append(abs(found.order[0] - 0.45) < found.errors[0])
        axis.append(abs((found.axis[0] - 30 + 90) % 180 - 90) < found.axis_errors[0])
    assert 0.5 < np.mean(order) < 0.93
    assert 0.5 < np.mean(axis) < 0.87


def test_isotropic_maps_are_significant_as_often_as_said() -> None:
    where = modes((64, 72), (1.5, 1.0))
    p = np.array([
        angular_order(
            np.exp(smooth_field((64, 72), 4.0, seed, (1.5, 1.0))), where, maps=39, seed=seed
        ).p
        for seed in range(50)
    ])  # fmt: skip
    assert ((p <= 0.1).mean(axis=0) < 0.22).all()
    assert ((p <= 0.5).mean(axis=0) > 0.3).all()
    assert ((p <= 0.5).mean(axis=0) < 0.7).all()


def test_the_power_of_white_noise_is_its_variance_per_mode() -> None:
    where = modes((64, 96), (0.5, 2.0))
    draw = np.random.default_rng(2)
    power = np.mean(
        [power_spectrum(3 * draw.standard_normal((64, 96)), where) for _ in range(40)], 0
    )
    assert power[where.used].mean() == pytest.approx(9 * 0.5 * 2.0, rel=0.02)


def test_offsets_of_lines_make_no_order() -> None:
    draw = np.random.default_rng(3)
    field = smooth_field((96, 96), 5.0, 4) + draw.standard_normal((96, 1))
    assert angular_order(field, modes((96, 96), (1, 1)), 39).p[0] > 0.05
    seen = modes((96, 96), (1, 1), line_noise=False)
    assert angular_order(field, seen, 39).p[0] < 0.05


def test_scores_are_normal_and_keep_the_order() -> None:
    image = np.exp(3 * smooth_field((32, 32), 3.0, 1))
    image[3, 4] = np.nan
    scores = normal_scores(image)
    good = np.isfinite(image)
    assert np.isnan(scores[3, 4])
    assert np.array_equal(np.argsort(scores[good]), np.argsort(image[good]))
    assert scores[good].std() == pytest.approx(1, abs=0.01)


def run(records: Records, **config: Any) -> Any:
    return run_analysis(
        AngularSpectrum, {records.name: records.stream}, records.batches(16), config
    )


@pytest.mark.parametrize(("order", "anisotropy"), [(4, 0.9), (2, 0.9), (4, 0.0)])
def test_plastic_flow_of_the_simulated_glass_is_seen(order: int, anisotropy: float) -> None:
    lines = record_source(
        AfmTapping,
        {"scan": [128, 128], "step": [1.0, 1.0], "retrace": False, "speed": 0, "seed": 4,
         "anisotropy": anisotropy, "anisotropy_order": order, "tip_radius": 0.5},
    )  # fmt: skip
    (records,) = lines.values()
    found = run(records, channel="phase", maps=39)["order"]
    assert found["quadrupolar"][0] == (order == 4 and anisotropy > 0)
    assert found["elongated"][0] == (order == 2)
    if anisotropy:
        name, period = ("fourfold", 90) if order == 4 else ("twofold", 180)
        axis = float(found[f"{name}_axis"][0])
        assert abs((axis - 45 + period / 2) % period - period / 2) < 15


def test_the_spectrum_that_is_given_has_0_in_its_middle() -> None:
    y, x = np.mgrid[:32, :48]
    wave = np.cos(2 * np.pi * (x * 6 / 48 + y * 4 / 32))
    found = run(scan_lines({"dissipated_energy": wave[None]}, step=(1.0, 1.0)), maps=0)["spectrum"]
    peaks = np.argwhere(found["power"][0] > 0.9 * found["power"][0].max())
    assert sorted(map(tuple, (peaks - [16, 24]).tolist())) == [(-4, -6), (4, 6)]
    axes = found.stream.axes["power"]
    assert axes[1]["offset"] + 24 * axes[1]["step"] == 0


def test_an_image_left_half_done_has_no_order() -> None:
    image = smooth_field((32, 32), 3.0, 1)[None]
    found = run(scan_lines({"dissipated_energy": image}, rows=range(20)), maps=0)["order"]
    assert np.isnan(found["twofold"][0])
    assert found["measured"][0] == pytest.approx(20 / 32)


def test_keeps_its_promises() -> None:
    maps = np.stack([smooth_field((20, 24), 2.0, s) for s in range(3)])
    check_analysis(
        AngularSpectrum, scan_lines({"dissipated_energy": maps}, step=(1, 1)), {"maps": 3}, runs=1
    )


def test_what_does_not_fit_is_said() -> None:
    tiny = scan_lines({"dissipated_energy": np.zeros((1, 4, 4))})
    with pytest.raises(ValueError, match="too few rings"):
        run(tiny)
    with pytest.raises(ValueError, match="no channel 'phase'"):
        run(tiny, channel="phase")
