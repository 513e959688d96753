"""Streams for tests: shapes, seeds, gaps, and the fixtures of the pytest plugin."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daq
from daq.testing import Records, make_stream

DTYPES = "|b1 |u1 |i1 <u2 <i2 <u4 <i4 <u8 <i8 <f2 <f4 <f8 <c8 <c16 |S1 |S7".split()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 4)])
def test_any_shape_and_dtype(dtype, shape):
    one = make_stream("s", {"x": (dtype, shape, "nm")}, records=20, seed=5)
    assert one["x"].shape == (20, *shape)
    assert one["x"].dtype.str == dtype
    assert one.stream.fields["x"] == daq.Field(dtype, shape, "nm")
    again = make_stream("s", {"x": (dtype, shape, "nm")}, records=20, seed=5)
    assert np.array_equal(one["x"], again["x"])
    assert len(np.unique(one["x"])) > 1
    (batch,) = one.batches()
    assert daq.streams.check_batch(one.stream, batch).count == 20


def test_seeds_differ():
    assert not np.array_equal(make_stream(seed=1)["value"], make_stream(seed=2)["value"])


def test_own_data_and_description():
    frames = np.arange(24, dtype=">u2").reshape(6, 2, 2)
    scan = {"shape": [2, 3], "step": 1.0}
    records = make_stream("camera", {"frame": frames}, scan=scan, attributes={"dose": 3})
    assert records.stream.fields["frame"].dtype == "<u2"
    assert records.stream.scan_shape == (2, 3)
    assert np.array_equal(records["frame"], frames)
    assert np.diff(records["time"]).tolist() == [1_000_000] * 5


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"\[3, 4\] records"):
        make_stream("s", {"x": np.zeros(3), "y": np.zeros(4)})


@pytest.mark.parametrize("missing", [[(5, 3), (7, 1)], [(9, 2)], [(2, 0)]])
def test_bad_gaps_are_refused(missing):
    with pytest.raises(ValueError, match="overlaps or is outside"):
        make_stream("s", records=10, missing=missing)


@given(
    gaps=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), max_size=5),
    size=st.integers(1, 30),
)
def test_items_hold_every_record_once(gaps, size):
    at, missing = 0, []
    for space, count in gaps:
        if at + space + count <= 30:
            missing.append((at + space, count))
            at += space + count
    records = make_stream("s", records=30, missing=missing)
    expected, lost = 0, []
    for item in records.batches(size):
        assert item.first == expected
        expected += item.count
        if isinstance(item, daq.Missing):
            lost += range(item.first, item.first + item.count)
        else:
            assert np.array_equal(item["value"], records["value"][item.indices])
    assert expected == 30
    assert lost == [i for first, count in missing for i in range(first, first + count)]
    again = Records.of(records.stream, records.batches())
    assert [i for a, n in again.missing for i in range(a, a + n)] == lost


def test_fixtures_need_no_import(tmp_path):
    (tmp_path / "test_outside.py").write_text(
        "def test_promises(make_stream, check_analysis):\n"
        "    import daq, numpy as np\n"
        "    class Shift(daq.Analysis):\n"
        "        def open(self, streams, config):\n"
        "            return [daq.Stream('y', {'value': daq.Field('<f8')})]\n"
        "        def process(self, batch):\n"
        "            y = batch['value'] + 1\n"
        "            yield daq.Batch('y', {'time': batch.time, 'value': y}, valid=batch.valid)\n"
        "    x = make_stream('x', records=30)\n"
        "    result = check_analysis(Shift, x, {})\n"
        "    assert np.array_equal(result['y']['value'], x['value'] + 1)\n"
        "def test_seed_of_its_own(make_stream):\n"
        "    one, two = make_stream(), make_stream(seed=0)\n"
        "    assert (one['value'] == make_stream()['value']).all()\n"
        "    assert (one['value'] != two['value']).any()\n"
        "def test_source(check_source):\n"
        "    assert callable(check_source)\n"
    )
    installed = any(e.value == "daq.testing.plugin" for e in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "daq.testing.plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, str(tmp_path)],
        capture_output=True, text=True, timeout=50, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_plugin_is_light():
    """It is loaded by every run of pytest where glasswatch is installed."""
    heavy = "{'hypothesis', 'numpy', 'pydantic'}"
    code = f"import sys, daq.testing.plugin; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True
    )
    assert done.stdout.strip() == "set()"
