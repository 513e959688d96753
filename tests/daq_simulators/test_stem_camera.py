"""The simulated camera as a source: what it sends, when, and what it says of itself."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import daq
from daq.config import validated
from daq.testing import check_source
from daq_simulators.stem_camera import StemCamera

SMALL: dict[str, Any] = {
    "scan": [4, 6], "scans": 3, "step": 0.3, "frame": [66, 66], "pixel_size": 0.232, "speed": 0,
    "batch": 16,
}  # fmt: skip


def opened(**values: Any) -> tuple[StemCamera, daq.Stream]:
    source = StemCamera()
    config = validated(StemCamera.Config, {**SMALL, **values}, "sources.camera")
    (stream,) = source.open(config)
    return source, stream


def gathered(
    source: StemCamera, start: int = 0
) -> tuple[dict[int, np.ndarray], dict[int, int], list[int]]:
    """Frames and times by index, and the indices that were lost."""
    frames: dict[int, np.ndarray] = {}
    times: dict[int, int] = {}
    lost: list[int] = []
    for item in source.batches({"": start}):
        assert item.first is not None
        if item.stream:
            continue
        if isinstance(item, daq.Missing):
            lost += range(item.first, item.first + item.count)
            continue
        frames.update(zip(item.indices.tolist(), item.raw["frame"], strict=True))
        times.update(zip(item.indices.tolist(), item.time.tolist(), strict=True))
    return frames, times, lost


def test_keeps_the_promises_of_a_source() -> None:
    faulty = {**SMALL, "dropped_fraction": 0.1, "repeated_fraction": 0.1, "drift": [0.001, 0.002]}
    found = check_source(StemCamera, faulty, records=60)
    assert found["stem_camera"].stream.scan_shape == (4, 6)


def test_says_what_it_is() -> None:
    source, stream = opened()
    assert stream.expect == 72
    assert stream.scan == {"shape": [4, 6], "step": 0.3}
    assert stream.fields["frame"].shape == (66, 66)
    (y, x) = stream.axes["frame"]
    assert (y["units"], x["name"]) == ("1/nm", "q_x")
    assert x["offset"] == pytest.approx(-32.5 * 0.232)
    assert stream.attributes["pixel_size"] == 0.232
    assert stream.attributes["centre"] == [32.5, 32.5]
    assert stream.attributes["electrons_incident"] == pytest.approx(5.55e4, rel=0.01)
    assert daq.corrections_for(stream) is not None
    assert set(opened(calibration="none")[1].constants) == set()
    truth = source.truth()
    assert truth["tau"].shape == truth["V"].shape == (4, 6)
    assert truth["drift"].shape == (3, 2)
    # pixels of 0.23 1/nm keep 0.78 of the contrast, however many are binned into one
    assert truth["binning"] == 1
    np.testing.assert_allclose(truth["V"] / truth["w"] ** 2, 0.78, atol=0.01)
    larger = opened(frame=[264, 264], pixel_size=0.058)[0].truth()
    assert larger["binning"] == 4
    np.testing.assert_allclose(larger["V"] / larger["w"] ** 2, 0.78, atol=0.01)


@pytest.mark.parametrize("start", [1, 15, 16, 24, 71, 72])
def test_goes_on_anywhere_with_the_same_records(start: int) -> None:
    values = {"dropped_fraction": 0.1, "repeated_fraction": 0.2, "ageing": 0.5, "drift_walk": 0.01}
    whole = gathered(opened(**values)[0])
    rest = gathered(opened(**values, batch=7)[0], start)
    assert rest[2] == [index for index in whole[2] if index >= start]
    assert sorted(rest[0]) == [index for index in sorted(whole[0]) if index >= start]
    for index, frame in rest[0].items():
        np.testing.assert_array_equal(frame, whole[0][index])
        assert rest[1][index] == whole[1][index]


def test_seeds_differ() -> None:
    one, other = (gathered(opened(seed=seed, scans=1)[0])[0] for seed in (0, 1))
    assert not np.array_equal(one[3], other[3])


def test_counts_are_those_expected() -> None:
    source, _ = opened(scan=[3, 4], scans=20, median_tau=1e9, step=1.0)
    frames, _, _ = gathered(source)
    expected = np.array([source._camera.expected(n) for n in range(12)])
    seen = np.array([frames[n] for n in range(240)]).reshape(20, 12, 66, 66).astype(float)
    enough = expected > 2
    error = np.sqrt(expected[enough] / 20)
    pull = (seen.mean(axis=0)[enough] - expected[enough]) / error
    assert pull.mean() == pytest.approx(0, abs=5 / np.sqrt(pull.size))
    assert pull.std() == pytest.approx(1, abs=0.03)
    variance = (seen.var(axis=0, ddof=1)[enough] / expected[enough]).mean()
    assert variance == pytest.approx(1, abs=5 * np.sqrt(2 / 19 / enough.sum()))


def test_time_is_that_of_the_instrument() -> None:
    _, times, _ = gathered(opened(scan_time=0.4)[0])
    seconds = (np.array([times[n] for n in range(72)]) - times[0]) / 1e9
    seconds = seconds.reshape(3, 4, 6)
    np.testing.assert_allclose(np.diff(seconds, axis=2), 1e-3, atol=1e-9)
    np.testing.assert_allclose(np.diff(seconds, axis=1), 0.1, atol=1e-9)
    np.testing.assert_allclose(np.diff(seconds, axis=0), 0.4, atol=1e-9)
    assert np.datetime64(times[0], "ns") == np.datetime64("2026-01-01")
    default = StemCamera.Config()
    assert default.period == pytest.approx(9.2)
    assert StemCamera.Config(dwell_time=5e-4).period == pytest.approx(5.6, abs=0.9)


def test_dropped_and_repeated_frames() -> None:
    source, _ = opened(scans=20, dropped_fraction=0.1, repeated_fraction=0.1)
    frames, times, lost = gathered(source)
    truth = source.truth()
    assert lost == truth["dropped"].tolist()
    assert len(lost) == pytest.approx(48, abs=28)
    repeated = truth["repeated"].tolist()
    assert len(repeated) == pytest.approx(43, abs=26)
    assert not set(lost) & set(repeated)
    for index in repeated:
        if index - 1 in frames:
            np.testing.assert_array_equal(frames[index], frames[index - 1])
            assert times[index] == times[index - 1]
    others = sorted(set(frames) - set(repeated))
    assert len({times[n] for n in others}) == len(others)


def test_pixels_that_count_nothing_are_in_the_mask() -> None:
    source, stream = opened(dead_fraction=0.01, gain_sd=0.1, scans=20, dose=1e6)
    frames, _, _ = gathered(source)
    total = np.sum([frame.astype(float) for frame in frames.values()], axis=0)
    mask, gain = stream.constants["mask"], stream.constants["gain"]
    assert total[mask].max() == 0
    assert mask[30:36, 30:36].all() and mask[32:34, :30].all(), "disc and arm of the beam stop"
    assert 0.005 < (mask & (source.truth()["response"] == 0))[:28].mean() < 0.016
    # corrected for its gain, the camera is as one with even pixels
    even, _ = opened(scans=20, dose=1e6, gain_sd=0, dead_fraction=0)
    for record in (5, 40):
        found = source._camera.expected(record) * gain
        np.testing.assert_allclose(found[~mask], even._camera.expected(record)[~mask], rtol=1e-5)
    uneven = source._camera.sensitivity[~mask]
    assert uneven.std() == pytest.approx(0.1, rel=0.1)
    assert uneven.mean() == pytest.approx(1, abs=1e-3)


def test_eight_bits_and_adu() -> None:
    byte, _ = gathered(opened(scans=1, dtype="u1")[0])[:2]
    word, _ = gathered(opened(scans=1)[0])[:2]
    assert byte[5].dtype == np.uint8
    np.testing.assert_array_equal(byte[5], np.minimum(word[5], 255))
    adu, _ = gathered(opened(scans=1, counts_per_electron=7)[0])[:2]
    np.testing.assert_array_equal(adu[5], 7 * word[5].astype(int))


HEATED = {"scans": 6, "scan_time": 0.4, "temperature_steps": [[2, 650.0], [4, 640.0]]}


def mixed(source: StemCamera, **start: int) -> list[tuple[str, int, int]]:
    """Stream, first and count of everything that comes."""
    begin = {"": start.get("frames", 0), "temperature": start.get("readings", 0)}
    return [(item.stream, item.first, item.count) for item in source.batches(begin)]


def readings_of(source: StemCamera, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Kelvin and nanoseconds, when all frames have been sent."""
    (rest,) = source.batches({"": source._config.count, "temperature": start})
    assert rest.stream == "temperature"
    return rest.raw["temperature"], rest.raw["time"]


def opened_hot(**values: Any) -> tuple[StemCamera, list[daq.Stream]]:
    source = StemCamera()
    config = validated(StemCamera.Config, {**SMALL, **HEATED, **values}, "sources.camera")
    return source, list(source.open(config))


def test_a_thermometer_keeps_the_promises_of_a_source_too() -> None:
    found = check_source(StemCamera, {**SMALL, **HEATED, "temperature_interval": 0.03}, records=60)
    assert found["stem_camera.temperature"].stream.fields["temperature"].units == "K"
    _, streams = opened_hot(temperature_steps=[], thermometer=True)
    assert [stream.name for stream in streams] == ["", "temperature"]
    assert len(opened_hot(temperature_steps=[])[1]) == 1


def test_readings_stand_at_the_beginning_and_the_end_of_every_scan() -> None:
    source, streams = opened_hot(temperature_noise=0)
    assert streams[1].expect == 6 * 4 + 1
    kelvin, times = readings_of(source)
    assert len(kelvin) == 25
    frames = gathered(source)[1]
    begins = [frames[scan * 24] for scan in range(6)]
    assert times[:-1:4].tolist() == begins
    assert times[-1] >= max(frames.values())
    np.testing.assert_allclose(np.diff(times), 1e8, atol=1)
    assert kelvin.tolist() == [633.0] * 8 + [650.0] * 8 + [640.0] * 9
    np.testing.assert_array_equal(source.truth()["temperature"], np.repeat([633, 650, 640], 2))


def test_readings_have_noise_and_an_interval() -> None:
    source, streams = opened_hot(temperature_interval=0.0301, scans=100, temperature_noise=0.5)
    assert streams[1].attributes["interval"] == pytest.approx(0.4 / 14)
    kelvin, _ = readings_of(source)
    assert len(kelvin) == 1401
    noise = kelvin[4 * 14 :] - 640
    assert noise.std() == pytest.approx(0.5, rel=0.1)
    assert abs(noise.mean()) < 0.05
    again, _ = readings_of(source, 700)
    np.testing.assert_array_equal(again, kelvin[700:])


@pytest.mark.parametrize("batch", [7, 24, 100])
def test_a_reading_comes_between_the_frames_of_its_time(batch: int) -> None:
    source, _ = opened_hot(batch=batch)
    sent = mixed(source)
    readings = 0
    for stream, first, count in sent:
        if stream:
            assert first == readings
            readings += count
        else:
            # one reading as each row of six begins
            assert readings == first // 6 + 1
    assert readings == 25
    assert sent[-1][0] == "temperature"


@pytest.mark.parametrize(
    ("frames", "readings"), [(0, 9), (50, 0), (50, 9), (50, 25), (144, 11), (144, 25)]
)
def test_frames_and_readings_go_on_each_at_its_own_index(frames: int, readings: int) -> None:
    source, _ = opened_hot()
    sent = mixed(source, frames=frames, readings=readings)
    indices: dict[str, list[int]] = {"": [], "temperature": []}
    for stream, first, count in sent:
        indices[stream] += range(first, first + count)
    assert indices[""] == list(range(frames, 144))
    assert indices["temperature"] == list(range(readings, 25))


def test_a_ramp_takes_its_time() -> None:
    source, _ = opened_hot(ramp_rate=20.0, temperature_noise=0)
    kelvin, _ = readings_of(source)
    # 17 K at 20 K/s take 0.85 s, so more than two scans: from there down to 640 K
    seconds = np.arange(25) * 0.1
    expected = np.interp(seconds, [0, 0.8, 1.6, 1.6 + 9 / 20], [633, 633, 649, 640])
    np.testing.assert_allclose(kelvin, expected, atol=1e-9)
    np.testing.assert_allclose(
        source.truth()["temperature"], np.interp((np.arange(6) + 0.5) * 0.4, seconds, expected)
    )


class Waiting(daq.SourceContext):
    """Does not wait, but notes until when it would, and stops in time."""

    def __init__(self, stop_at: int) -> None:
        self.stop = threading.Event()
        super().__init__(self.stop)
        self.until: list[float] = []
        self.stop_at = stop_at

    def wait_until(self, monotonic: float) -> bool:
        self.until.append(monotonic)
        if len(self.until) == self.stop_at:
            self.stop.set()
        return self.stop.is_set()


@pytest.mark.parametrize("speed", [1.0, 20.0])
def test_keeps_its_pace_and_stops(speed: float) -> None:
    source, _ = opened(speed=speed, scan_time=0.6, batch=24, scans=10)
    source.context = Waiting(stop_at=4)
    batches = list(source.batches({"": 48}))
    assert [batch.first for batch in batches] == [48, 72, 96]
    np.testing.assert_allclose(np.diff(source.context.until), 0.6 / speed, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"scan_time": 0.01}, "take 0.024 s"),
        ({"temperature_steps": [[5, 640], [2, 650]]}, "in order"),
        ({"thermometer": True, "temperature_interval": 1e-5}, "shorter than the exposure"),
        ({"frame": [8, 8]}, "too small for an aperture"),
        ({"drift": [5.0, 0.0], "scans": 4000}, "drift slower"),
        ({"medain_tau": 5}, "did you mean 'median_tau'"),
        ({"coupling": 1.5}, "less than or equal to 1"),
        ({"gamma": 2.5}, "less than or equal to 2"),
    ],
)
def test_refuses_what_cannot_be(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened(**values)


def test_frames_of_any_shape() -> None:
    for shape, size in (([50, 71], 0.2), ([129, 64], 0.1), ([30, 30], 0.5)):
        frames, _, _ = gathered(opened(frame=shape, pixel_size=size, scans=1)[0])
        assert frames[20].shape == tuple(shape)
        assert frames[20].sum() > 1000


def test_centre_is_where_the_halo_is() -> None:
    source, _ = opened(centre=[30.0, 36.0], scans=1, scan=[2, 2], dose=1e7, beam_stop_radius=0,
                       edge=0, w=0.0)  # fmt: skip
    frame = np.mean(list(gathered(source)[0].values()), axis=0)
    inner = frame[20:41, 26:47]
    y, x = np.mgrid[20:41, 26:47]
    assert (inner * y).sum() / inner.sum() == pytest.approx(30.0, abs=0.05)
    assert (inner * x).sum() / inner.sum() == pytest.approx(36.0, abs=0.05)


def test_is_registered() -> None:
    import daq_simulators

    assert StemCamera in daq_simulators.daq_sources()
