"""Bytes of DECTRIS messages: written by hand from the public documents, recorded, and damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cbor2
import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq_simulators.dectris_cbor import compressed, encode, matrix, message, tag
from daq_stem.dectris import v1 as dectris_v1
from daq_stem.dectris import v2 as dectris_v2
from daq_stem.dectris.compression import Unpacker, unpack
from daq_stem.dectris.messages import DamagedError, End, Image, Packed, Start

RFC_8746 = bytes.fromhex("d8 28 82 82 02 03 d8 41 4c 0002 0004 0008 0004 0010 0100")
"""Section 3.1.1, figure 1: [[2, 4, 8], [4, 16, 256]] as uint16, big endian."""

END = bytes.fromhex(
    "d9d9f7 a3"  # it is CBOR; a map of 3
    "64 74797065 63 656e64"  # "type": "end"
    "69 7365726965735f6964 07"  # "series_id": 7
    "70 7365726965735f756e697175655f6964 64 30314752"  # "series_unique_id": "01GR"
)


def image(text: bytes) -> Image:
    found = dectris_v2.Decoder().message([text])
    assert isinstance(found, Image)
    return found


def by_hdf5(packed: Packed) -> np.ndarray:
    """Decode by the filters of HDF5, which others wrote."""
    filters = hdf5plugin.LZ4() if packed.method == "lz4" else hdf5plugin.Bitshuffle()
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset(
            "x", packed.shape, packed.dtype, chunks=packed.shape, **filters
        )
        dataset.id.write_direct_chunk((0, 0), packed.data, 0)
        return dataset[()]


def test_arrays_of_the_rfc() -> None:
    packed = dectris_v2.packed_of(cbor2.loads(RFC_8746))

    assert packed.dtype == np.dtype(">u2")
    np.testing.assert_array_equal(unpack(packed), [[2, 4, 8], [4, 16, 256]])
    assert matrix(np.array([[2, 4, 8], [4, 16, 256]], ">u2")) == RFC_8746


def test_messages_as_documented() -> None:
    assert dectris_v2.Decoder().message([END]) == End(7)
    assert message({"type": "end", "series_id": 7, "series_unique_id": "01GR"}) == END
    found = image(
        encode({
            "type": "image", "series_id": 7, "image_id": 255,
            "series_date": tag(0, "2023-02-10T15:49:05.281+01:00"),
            "start_time": [2_000_000, 50_000_000], "user_data": None,
            "data": {"threshold_1": matrix(np.array([[1, 2, 1], [2, 1, 2]], "<u2"))},
        })
    )  # fmt: skip
    # 14:49:05.281 UTC, and 40 ms
    assert np.datetime64(found.time or 0, "ns") == np.datetime64("2023-02-10T14:49:05.321", "ns")
    assert (found.series, found.number) == (7, 255)
    np.testing.assert_array_equal(unpack(found.data["threshold_1"]), [[1, 2, 1], [2, 1, 2]])


def test_a_compressed_array_byte_by_byte() -> None:
    block = bytes.fromhex("43 01000200 0400 50 0900 0000 00")
    framed = bytes.fromhex("0000000000000010 00000010 0000000d") + block
    text = bytes.fromhex("d828 82 82 02 04 d845 d9dcb4 83 63 6c7a34 00 58 1d") + framed

    packed = dectris_v2.packed_of(cbor2.loads(text))

    # 1 0 2 0, seven bytes from four back (1 0 2 0 1 0 2), then 9 0 0 0 0
    expected = np.frombuffer(bytes([1, 0, 2, 0, 1, 0, 2, 0, 1, 0, 2, 9, 0, 0, 0, 0]), "<u2")
    np.testing.assert_array_equal(unpack(packed).reshape(-1), expected)
    np.testing.assert_array_equal(by_hdf5(packed).reshape(-1), expected)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<u4", ">u4", "<f4", "<u8"])
@pytest.mark.parametrize("method", ["none", "lz4", "bslz4"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (33, 65), (96, 130)])
def test_every_type_and_compression(dtype: str, method: str, shape: tuple[int, int]) -> None:
    draw = np.random.default_rng(3)
    array = draw.poisson(1.3, shape).astype(dtype)
    array[0, 0] = 200

    packed = dectris_v2.packed_of(cbor2.loads(matrix(array, method)))
    np.testing.assert_array_equal(unpack(packed), array)
    if method != "none":
        assert packed.data == compressed(array, method)


def test_noise_and_monotony_are_decoded_as_by_hdf5() -> None:
    draw = np.random.default_rng(4)
    for array in (
        draw.integers(0, 1 << 16, (90, 90), "u2"), np.zeros((300, 300), "u4"),
        np.arange(70_000, dtype="u4").reshape(700, 100),
        np.tile(np.array([1, 2, 3], "u1"), 9000).reshape(90, 300),
    ):  # fmt: skip
        for method, element in (("lz4", 1), ("bslz4", array.itemsize)):
            packed = Packed(compressed(array, method), method, element, array.dtype, array.shape)
            np.testing.assert_array_equal(unpack(packed), array)
            np.testing.assert_array_equal(by_hdf5(packed), array)


def test_threads_and_wider_types_change_nothing() -> None:
    frames = np.random.default_rng(5).poisson(2.0, (40, 17, 23)).astype("u1")
    packed = [
        Packed(compressed(f, m), m, 1, f.dtype, f.shape)
        for f, m in zip(frames, ["lz4"] * 20 + ["bslz4"] * 20, strict=True)
    ]
    packed[7] = Packed(packed[7].data, "lz4", 1, np.dtype("u1"), (23, 17))
    packed[30] = Packed(packed[30].data[:-1], "bslz4", 1, np.dtype("u1"), (17, 23))
    for dtype in ("u1", "u2"):
        out = np.zeros((40, 17, 23), dtype)
        unpacker = Unpacker(3)
        good = unpacker.frames(packed, out)
        unpacker.close()
        np.testing.assert_array_equal(np.flatnonzero(~good), [7, 30])
        np.testing.assert_array_equal(out[good], frames[good])
    narrow = np.zeros((1, 2, 2), "u1")
    assert (
        not Unpacker().frames([Packed(bytes(8), "none", 1, np.dtype("<u2"), (2, 2))], narrow).any()
    )


FRAME = np.random.default_rng(6).poisson(1.0, (40, 52)).astype("u2")
PIECES = {method: compressed(FRAME, method) for method in ("lz4", "bslz4")}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["lz4", "bslz4"]),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4),
    st.integers(0, 4000),
)
def test_what_is_damaged_harms_nobody(
    method: str, changes: list[tuple[int, int]], length: int
) -> None:
    """Nothing is written beside the frame, and what is not noticed is at least another frame."""
    data = bytearray(PIECES[method])
    for place, value in changes:
        data[place % len(data)] = value
    del data[length:]
    packed = Packed(bytes(data), method, 2, FRAME.dtype, FRAME.shape)
    room = np.full((3, *FRAME.shape), 7, "u2")

    good = Unpacker().frames([packed], room[1:2])

    assert (room[[0, 2]] == 7).all()
    if data == PIECES[method]:
        assert good.all()
    if len(data) < len(PIECES[method]):
        assert not good.any()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_are_a_message_or_damaged(text: bytes, place: int, value: int) -> None:
    spoilt = bytearray(encode({"type": "image", "series_id": 1, "image_id": 2,
                               "start_time": [1, 2], "data": {"a": matrix(FRAME[:3, :4], "lz4")}}))  # fmt: skip
    spoilt[place % len(spoilt)] = value
    for parts in ([text], [bytes(spoilt)], [text, text]):
        for decoder in (dectris_v2.Decoder(), dectris_v1.Decoder()):
            try:
                found = decoder.message(parts)
            except DamagedError:
                continue
            assert found is None or isinstance(found, Start | Image | End)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_dtype": "float32"}, "pixels of type 'float32'"),
        ({"image_size_x": 0}, "image_size_x is 0"),
        ({"channels": []}, "without names of channels"),
        ({"number_of_images": None}, "number_of_images is None"),
        ({"flatfield": {"a": 3}}, "not as RFC 8746"),
        ({"flatfield": {"a": tag(40, [[1 << 40, 1 << 40], tag(85, b"")])}}, "cannot be"),
        ({"pixel_mask": {"a": tag(40, [[2, 2], tag(70, tag(56500, ["zip", 0, b""]))])}}, "'zip'"),
    ],
)
def test_a_start_message_that_lies_is_refused(changes: dict[str, Any], said: str) -> None:
    start = {
        "type": "start", "series_id": 1, "channels": ["a"], "image_dtype": "uint8",
        "image_size_x": 2, "image_size_y": 3, "number_of_images": 5,
    }  # fmt: skip
    decoder = dectris_v2.Decoder()
    found = decoder.message([encode(start)])
    assert isinstance(found, Start)
    assert (found.shape, found.dtype, found.images) == ((3, 2), np.dtype("u1"), 5)

    with pytest.raises(DamagedError, match=said):
        decoder.message([encode(start | changes)])


# -- recorded by a camera -----------------------------------------------------------------------

RECORDED = {
    "r500k_bm_bslz4_8bit": (908_237, 1_676_040_505_966_000_000),
    "r500k_bm_bslz4_16bit": (909_218, 1_676_040_545_281_000_000),
    "r500k_bm_bslz4_32bit": (7_414_309, 1_676_040_679_172_000_000),
    "r500k_bm_lz4_8bit": (909_336, 1_676_040_772_555_000_000),
    "r500k_bm_lz4_16bit": (909_298, 1_676_040_908_171_000_000),
}
"""Sum and time of the first image, by the folder in the test data of github dectris/documentation."""


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_messages(name: str) -> None:
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("GLASSWATCH_SHARED_DATA", beside)) / "dectris_stream_v2" / name
    if not (folder / "000001.cbor").is_file():
        pytest.skip(f"no recorded messages in {folder} (set GLASSWATCH_SHARED_DATA)")
    text = (folder / "000001.cbor").read_bytes()

    found = image(text)
    packed = found.data["threshold_1"]

    assert (found.number, found.time) == (0, RECORDED[name][1])
    assert packed.shape == (514, 1030)
    frame = unpack(packed)
    assert int(frame.sum(dtype=np.int64)) == RECORDED[name][0]
    np.testing.assert_array_equal(frame, by_hdf5(packed))
    end = (folder / "000011.cbor").read_bytes()
    assert dectris_v2.Decoder().message([end]) == End(1)
    plain = cbor2.loads(end)
    assert message(plain) == end


# -- version 1 ----------------------------------------------------------------------------------

CONFIG = {
    "x_pixels_in_detector": 6, "y_pixels_in_detector": 4, "bit_depth_image": 16, "nimages": 3,
    "ntrigger": 2, "trigger_mode": "ints", "data_collection_date": "2022-05-10T18:20:50.027+02:00",
    "description": "QUADRO", "flatfield_correction_applied": False,
}  # fmt: skip


def js(**entries: Any) -> bytes:
    return json.dumps(entries).encode()


def array_parts(
    name: str, array: np.ndarray, encoding: str, blob: bytes | None = None
) -> list[bytes]:
    kind = {"f": "float", "u": "uint"}[array.dtype.kind] + str(8 * array.dtype.itemsize)
    shape = list(array.shape[::-1])
    return [js(htype=name, shape=shape, type=kind, encoding=encoding), blob or array.tobytes()]


def image_parts(number: int, frame: np.ndarray, encoding: str, blob: bytes) -> list[bytes]:
    return [
        js(htype="dimage-1.0", series=34, frame=number, hash="0"),
        *array_parts("dimage_d-1.0", frame, encoding, blob),
        js(htype="dconfig-1.0", start_time=5_000 + 100 * number, stop_time=0, real_time=90),
    ]


def test_version_1() -> None:
    frame = np.arange(24, dtype="<u2").reshape(4, 6) // 9 * 300
    flat = np.full((4, 6), 2.0, "<f4")
    mask = np.eye(4, 6, dtype="<u4")
    decoder = dectris_v1.Decoder()
    start = decoder.message([
        js(htype="dheader-1.0", series=34, header_detail="all"), js(**CONFIG),
        *array_parts("dflatfield-1.0", flat, "<"), *array_parts("dpixelmask-1.0", mask, "<"),
    ])  # fmt: skip
    assert isinstance(start, Start)
    assert (start.series, start.images, start.shape) == (34, 6, (4, 6))
    np.testing.assert_array_equal(start.gain["threshold_1"], flat)
    np.testing.assert_array_equal(start.mask["threshold_1"], mask)
    assert not start.flat
    assert start.attributes["detector_description"] == "QUADRO"
    lz4 = compressed(frame, "lz4")[16:]
    assert len(lz4) < frame.nbytes
    for number, (encoding, blob) in enumerate({
        "<": frame.tobytes(), ">": frame.astype(">u2").tobytes(),
        "bs16-lz4<": compressed(frame, "bslz4"), "lz4<": lz4,
        # libertem-dectris and older cameras leave the twelve bytes of the framing empty
        "bs16-lz4<\0": bytes(12) + compressed(frame, "bslz4")[12:],
    }.items()):  # fmt: skip
        found = decoder.message(image_parts(number, frame, encoding.rstrip("\0"), blob))
        assert isinstance(found, Image)
        np.testing.assert_array_equal(unpack(found.data["threshold_1"]), frame)
        # the first one stands at the date of the series
        assert found.time == 1_652_199_650_027_000_000 + 100 * number
    assert decoder.message([js(htype="dseries_end-1.0", series=34)]) == End(34)


def test_version_1_header_in_two_messages_and_without_detail() -> None:
    decoder = dectris_v1.Decoder()
    assert decoder.message([js(htype="dheader-1.0", series=2, header_detail="basic")]) is None
    start = decoder.message([js(**CONFIG | {"trigger_mode": "exte", "ntrigger": 9})])
    assert isinstance(start, Start)
    assert start.images == 9
    with pytest.raises(DamagedError, match='set it to "basic"'):
        decoder.message([js(htype="dheader-1.0", series=2, header_detail="none")])
    for encoding in ("bs16", "zip<", "bs12-lz4<"):
        frame = np.zeros((4, 6), "<u2")
        with pytest.raises(DamagedError, match="an array of"):
            decoder.message(image_parts(0, frame, encoding, frame.tobytes()))
