"""tau against V: on maps with a known relation, and whatever order the inputs come in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

import daq
from daq.testing import Records, check_analysis, make_stream, run_analysis
from daq_stem.structure_dynamics.analysis import StructureDynamics
from daq_stem.structure_dynamics.map_statistics import spearman
from tests.daq_stem.noisy_pairs import STEP, Pairs, noisy_pairs

START = 1_700_000_000_000_000_000
NM = [{"name": name, "units": "nm", "offset": 0, "step": STEP} for name in ("y", "x")]
BAND = {"name": "band"}
SUMMARY = (
    "spearman spearman_errors spearman_measurement_errors spearman_naive "
    "spearman_disjoint spearman_disjoint_errors p_value n_effective "
    "spearman_fixed_intensity spearman_fixed_intensity_errors reliability_tau reliability_V "
    "ln_tau_correlation_length ln_tau_correlation_length_errors"
).split()


def inputs(
    pairs: list[Pairs], intensity: Any = None, vacuum: Any = None, open_above: float = math.inf
) -> dict[str, Records]:
    """The streams of `ecm` (two bands, the second without a relation) and `fem`."""
    count, shape = len(pairs), pairs[0].x.shape
    vacuum = np.zeros(shape, bool) if vacuum is None else vacuum
    ln_tau = np.stack([7 + 0.75 * p.x_twice for p in pairs])
    whole = ln_tau.mean(1)
    flag = np.where(whole > open_above, 1, 0).astype(np.uint8)
    sector_flag = np.where(ln_tau > open_above, 1, 0).astype(np.uint8)
    ln_tau = np.where(ln_tau > open_above, 30.0, ln_tau)
    tau = np.exp(np.minimum(whole, open_above))
    tau[:, vacuum], ln_tau[:, :, vacuum] = np.nan, np.nan
    flag[:, vacuum], sector_flag[:, :, vacuum] = 4, 4
    V = np.stack([0.57 + 0.07 * p.y_twice for p in pairs])
    light = np.broadcast_to(2800.0 if intensity is None else intensity, (count, *shape)).copy()
    V[:, :, vacuum] = light[:, vacuum] = np.nan
    other = np.random.default_rng(0).permuted(tau.reshape(count, -1), axis=1).reshape(tau.shape)
    told = {
        "time": START + np.arange(count) * 9_200_000_000,
        "scan": np.arange(count),
        "stage": np.arange(count) // 2,
    }
    on_map = {"axes": {"tau": [BAND, *NM]}}
    return {
        "ecm.maps": make_stream(
            "ecm.maps",
            {**told, "tau": np.stack([tau, other], 1), "flag": np.stack([flag, flag], 1)},
            **on_map,
        ),
        "ecm.sectors": make_stream(
            "ecm.sectors",
            {
                **told,
                "ln_tau": np.stack([ln_tau, ln_tau[..., ::-1]], 1),
                "flag": np.stack([sector_flag] * 2, 1),
            },
        ),
        "fem.maps": make_stream(
            "fem.maps", {**told, "V": V.mean(1), "V_raw": V.mean(1), "intensity": light}
        ),
        "fem.sectors": make_stream("fem.sectors", {**told, "V": V}),
    }


def run(streams: dict[str, Records], **config: Any) -> dict[str, Any]:
    batches = [batch for records in streams.values() for batch in records.batches()]
    return run_analysis(
        StructureDynamics, {name: r.stream for name, r in streams.items()}, batches, config
    )


def seeds(count: int, coupling: float, **how: Any) -> list[Pairs]:
    return [noisy_pairs(seed, coupling, **how) for seed in range(count)]


def test_keeps_its_promises() -> None:
    vacuum = np.zeros((20, 26), bool)
    vacuum[:, :5] = True
    pairs = seeds(5, 0.5, shape=(20, 26), length=0.5, signal=(0.8, 0.8))
    light = 2800 + 100 * noisy_pairs(9, 0.0, shape=(20, 26)).x
    found = check_analysis(
        StructureDynamics, inputs(pairs, light, vacuum, open_above=7.6), {"every": 2}, runs=3
    )
    summary = found["summary"]
    assert len(summary["scan"]) == 5
    for name in SUMMARY:
        # invalid where every = 2 leaves scans out
        assert list(np.isfinite(summary[name])) == [False, True, False, True, False], name


def test_one_record_per_scan_with_what_was_told() -> None:
    found = run(inputs(seeds(4, 0.5)))
    assert list(found["summary"]["scan"]) == list(found["points"]["scan"]) == [0, 1, 2, 3]
    assert list(found["summary"]["stage"]) == [0, 0, 1, 1]
    assert list(found["summary"]["time"]) == [START + k * 9_200_000_000 for k in range(4)]
    assert found["points"].stream.axes["tau"] == NM
    assert found["summary"].stream.fields["ln_tau_correlation_length"].units == "nm"


def test_points_are_the_maps_of_the_band() -> None:
    streams = inputs(seeds(2, 0.5), open_above=7.5)
    points = run(streams)["points"]
    np.testing.assert_array_equal(points["tau"], streams["ecm.maps"]["tau"][:, 0])
    np.testing.assert_array_equal(points["flag"], streams["ecm.maps"]["flag"][:, 0])
    np.testing.assert_array_equal(points["V"], streams["fem.maps"]["V"])
    assert set(points["flag"].ravel()) == {0, 1}
    second = run(streams, band=1)["points"]
    np.testing.assert_array_equal(second["tau"], streams["ecm.maps"]["tau"][:, 1])


@pytest.mark.parametrize("coupling", [0.0, 0.5])
def test_relation_is_found_within_its_error(coupling: float) -> None:
    """Bounds in a sixth of the positions, vacuum along one side, noise shared (the trap)."""
    vacuum = np.zeros((40, 60), bool)
    vacuum[:, :8] = True
    pairs = seeds(60, coupling, shared=0.9, signal=(0.6, 0.5))
    summary = run(inputs(pairs, vacuum=vacuum, open_above=7.8))["summary"]
    known = summary["corrected"] == 1
    assert known.mean() > 0.9
    z = ((summary["spearman"] - pairs[0].rho) / summary["spearman_errors"])[known]
    assert 0.5 < np.mean(np.abs(z)) < 1.05
    here = np.array([spearman(p.x[~vacuum], p.y[~vacuum]) for p in pairs])
    z = ((summary["spearman"] - here) / summary["spearman_measurement_errors"])[known]
    assert 0.5 < np.mean(np.abs(z)) < 1.1
    naive = summary["spearman_naive"]
    if coupling == 0:
        assert abs(np.nanmean(summary["spearman"])) < 0.1
        assert np.mean(naive) > 0.18
        assert scipy.stats.kstest(summary["p_value"], "uniform").pvalue > 0.01
    else:
        assert np.median(summary["p_value"]) < 0.05


def test_uniform_glass_has_no_relation_but_a_naive_one() -> None:
    """Nothing but noise, shared where sectors are: no reliability to divide by."""
    pairs = seeds(60, 0.0, signal=(1e-4, 1e-4), shared=0.6, length=1.0)
    summary = run(inputs(pairs))["summary"]
    assert np.mean(summary["spearman_naive"]) > 0.3
    assert (summary["corrected"] == 0).mean() > 0.95
    z = summary["spearman"] / summary["spearman_errors"]
    assert 0.5 < np.mean(np.abs(z)) < 1.1
    assert scipy.stats.kstest(summary["p_value"], "uniform").pvalue > 0.01


def test_naive_is_spearman_of_the_whole_maps_with_bounds_on_top() -> None:
    streams = inputs(seeds(1, 0.5), open_above=7.5)
    flag, tau = streams["ecm.maps"]["flag"][0, 0], streams["ecm.maps"]["tau"][0, 0]
    # a bound below what others were determined to be is still a bound
    tau[flag == 1] = 100.0
    flag[:3] = 3
    good = flag < 3
    ranked = np.where(flag == 1, 1e9, tau)[good]
    expected = scipy.stats.spearmanr(ranked, streams["fem.maps"]["V"][0][good]).statistic
    assert run(streams)["summary"]["spearman_naive"][0] == pytest.approx(expected, abs=1e-12)


def test_thickness_that_moves_both_is_taken_out_by_fixed_intensity() -> None:
    z, plain = [], []
    for seed in range(40):
        p = noisy_pairs(seed, 0.0, signal=(0.7, 0.6))
        thickness = 1.5 * noisy_pairs(1000 + seed, 0.0).x
        both = Pairs(p.x, p.y, p.x_twice + thickness, p.y_twice + thickness, 0.0)
        summary = run(inputs([both], intensity=2800 + 300 * thickness))["summary"]
        z.append(
            summary["spearman_fixed_intensity"][0] / summary["spearman_fixed_intensity_errors"][0]
        )
        plain.append(summary["spearman"][0] if summary["corrected"][0] else np.nan)
    assert np.nanmean(plain) > 0.5
    assert np.isfinite(z).mean() > 0.9
    assert 0.5 < np.nanmean(np.abs(z)) < 1.1


def test_equal_intensity_changes_nothing() -> None:
    summary = run(inputs(seeds(1, 0.5)))["summary"]
    assert summary["spearman_fixed_intensity"] == pytest.approx(summary["spearman"], abs=1e-12)


def test_only_ranks_count() -> None:
    streams = inputs(seeds(2, 0.5))
    ecm, fem = streams["ecm.sectors"], streams["fem.sectors"]
    other = {
        **streams,
        "ecm.sectors": ecm.replaced(ln_tau=np.sinh(ecm["ln_tau"])),
        "fem.sectors": fem.replaced(V=fem["V"] ** 3),
    }
    one, two = run(streams)["summary"], run(other)["summary"]
    for name in SUMMARY:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_positions_without_numbers_do_not_count() -> None:
    streams = inputs(seeds(1, 0.5))
    spoilt = inputs(seeds(1, 0.5))
    out = np.zeros((40, 60), bool)
    out[3:9, 5:30] = out[20, 40] = True
    for records, field, at, value in [
        ("ecm.maps", "flag", (0, 0), 4),
        ("ecm.maps", "tau", (0, 0), np.nan),
        ("ecm.sectors", "ln_tau", (0, 0, 1), np.nan),
        ("ecm.sectors", "flag", (0, 0, 0), 3),
        ("fem.maps", "V", (0,), np.nan),
        ("fem.maps", "intensity", (0,), np.nan),
        ("fem.sectors", "V", (0, 0), np.nan),
    ]:
        found = []
        for streams in (inputs(seeds(1, 0.5)), inputs(seeds(1, 0.5), vacuum=out)):
            streams[records][field][at][out] = value
            found.append(run(streams)["summary"])
        for name in set(SUMMARY) - {"spearman_naive"}:
            np.testing.assert_array_equal(found[0][name], found[1][name], err_msg=f"{field} {name}")
    assert run(spoilt)["summary"]["spearman"] != found[0]["spearman"]


def test_first_scan_before_there_is_a_tau() -> None:
    streams = inputs(seeds(2, 0.5))
    streams["ecm.maps"]["flag"][0] = 3
    streams["ecm.maps"]["tau"][0] = streams["ecm.sectors"]["ln_tau"][0] = np.nan
    summary = run(streams)["summary"]
    assert np.isnan([summary[name][0] for name in SUMMARY]).all()
    assert np.isfinite([summary[name][1] for name in SUMMARY]).all()


def valid(found: Any, name: str = "summary") -> list[bool]:
    return [bool(v) for batch in found[name].batches for v in batch.valid]


def test_a_scan_that_one_input_lost_is_not_valid() -> None:
    streams = inputs(seeds(5, 0.5))
    whole = run(streams)["summary"]
    for name, lost in zip(streams, range(1, 5), strict=True):
        found = run({**streams, name: streams[name].with_missing((lost, 1))})
        assert valid(found) == valid(found, "points") == [k != lost for k in range(5)]
        kept = [k for k in range(5) if k != lost]
        np.testing.assert_array_equal(found["summary"]["spearman"][kept], whole["spearman"][kept])


def test_inputs_are_paired_by_scan_not_by_index() -> None:
    """An analysis that was added in mid-run begins with a later scan."""
    streams = inputs(seeds(5, 0.5))
    late = {name: array[2:] for name, array in streams["fem.maps"].arrays.items()}
    whole = run(streams)["summary"]
    found = run({**streams, "fem.maps": make_stream("fem.maps", late)})
    assert valid(found) == [False, False, True, True, True]
    np.testing.assert_array_equal(found["summary"]["scan"][2:], [2, 3, 4])
    np.testing.assert_array_equal(found["summary"]["spearman"][2:], whole["spearman"][2:])


def test_results_come_as_soon_as_all_four_are_there() -> None:
    streams = inputs(seeds(3, 0.5))
    analysis = StructureDynamics()
    analysis.open({n: r.stream for n, r in streams.items()}, StructureDynamics.Config())
    order = [(name, scan) for scan in range(3) for name in streams]
    given = []
    for name, scan in order:
        (batch,) = streams[name].items(scan, scan + 1)
        assert isinstance(batch, daq.Batch)
        given.append(len(list(analysis.process(batch))))
    assert given == [0, 0, 0, 2] * 3
    assert not list(analysis.close())


def test_an_input_that_ended_is_not_waited_for() -> None:
    streams = inputs(seeds(4, 0.5))
    short = {name: array[:1] for name, array in streams["fem.sectors"].arrays.items()}
    found = run({**streams, "fem.sectors": make_stream("fem.sectors", short)})
    assert valid(found) == [True, False, False, False]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("fem.sectors"), "needs fem.sectors too"),
        (lambda s: s.update(more=make_stream("more", {"a": "<f8"})), "more is none of ecm.maps"),
        (lambda s: s.update(more=s["fem.maps"]), "more is one too many"),
        (lambda s: s.update({"fem.maps": inputs(seeds(1, 0.0, shape=(9, 9)))["fem.maps"]}),
         "must show the same positions"),
        (lambda s: s.update({"fem.sectors": make_stream("fem.sectors", {
            "scan": np.zeros(1, int), "V": np.zeros((1, 3, 40, 60))})}), "3 sets of sectors"),
        (lambda s: s.update({"ecm.sectors": make_stream("ecm.sectors", {
            "scan": np.zeros(1, int), "ln_tau": np.zeros((1, 1, 2, 40, 60)),
            "flag": np.zeros((1, 1, 2, 40, 60), np.uint8)})}), "1 bands and 2 sets .*; 2 and 2"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit(change: Any, says: str) -> None:
    streams = inputs(seeds(1, 0.0))
    change(streams)
    with pytest.raises(ValueError, match=says) as error:
        StructureDynamics().open(
            {n: r.stream for n, r in streams.items()}, StructureDynamics.Config()
        )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ([], "do not give their step"),
        ([BAND, NM[0], {**NM[1], "step": 0.2}], "must be equal"),
        ([BAND, NM[0], {**NM[1], "units": "px"}], "do not give their step"),
        ([BAND, NM[0], {**NM[1], "step": -0.16}], "do not give their step"),
    ],
)
def test_axes_that_do_not_fit(axes: Any, says: str) -> None:
    streams = {n: r.stream for n, r in inputs(seeds(1, 0.0)).items()}
    maps = streams["ecm.maps"]
    streams["ecm.maps"] = daq.Stream("ecm.maps", maps.fields, {"tau": axes} if axes else {})
    with pytest.raises(ValueError, match=says):
        StructureDynamics().open(streams, StructureDynamics.Config())


def test_a_band_that_is_not_there() -> None:
    streams = {n: r.stream for n, r in inputs(seeds(1, 0.0)).items()}
    with pytest.raises(ValueError, match="band = 2, but ecm has 2"):
        StructureDynamics().open(streams, StructureDynamics.Config(band=2))


def test_memory_is_a_formula() -> None:
    streams = {n: r.stream for n, r in inputs(seeds(1, 0.0)).items()}
    small = StructureDynamics.memory(streams, StructureDynamics.Config())
    assert 40 * 60 * 1000 < small < 40 * 60 * 3000
