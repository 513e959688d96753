"""Chunks that we make are those that HDF5 reads, for every dtype, with and without bitshuffle."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from daq.recording.compression import Decoder, Encoder, codec_for
from daq.streams import Field

DTYPES = "|b1 |u1 |i1 <u2 <i2 <u4 <i4 <u8 <i8 <f2 <f4 <f8 <c8 <c16 |S3 |S100".split()


def records(dtype: str, *, noise: bool, seed: int = 0) -> np.ndarray:
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    octets = rng.integers(0, 256 if noise else 2, 5 * 1237 * kind.itemsize, np.uint8)
    if kind.kind == "b":
        octets &= 1
    return octets.view(kind).reshape(5, 1237)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", ["bitshuffle-lz4", "gzip", "none"])
def test_round_trip(compression: str, dtype: str, noise: bool) -> None:
    field, given = Field(dtype, (1237,)), records(dtype, noise=noise)
    codec, decoder, encoder = codec_for(compression, field), Decoder(compression, field), Encoder(2)
    encoded = list(encoder.encode(codec, given))
    encoder.close()
    assert len(encoded) == len(given)
    for record, (data, _, mask) in zip(given, encoded, strict=True):
        assert decoder.decode(bytes(data), mask).tobytes() == record.tobytes()


@pytest.mark.parametrize("dtype", ["|b1", "<u2", "<c16"])
def test_the_filter_of_hdf5_makes_chunks_of_the_same_kind(dtype: str) -> None:
    field, given = Field(dtype, (1237,)), records(dtype, noise=True)
    codec, decoder = (
        codec_for("bitshuffle-lz4", field, in_filter=True),
        Decoder("bitshuffle-lz4", field),
    )
    assert codec.filters == codec_for("bitshuffle-lz4", field).filters
    for record, (data, _, mask) in zip(given, Encoder(2).encode(codec, given), strict=True):
        assert decoder.decode(bytes(data), mask).tobytes() == record.tobytes()


def test_without_bitshuffle_the_filter_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitshuffle", None)
    field, given = Field("<u2", (1237,)), records("<u2", noise=False)
    encoded = list(Encoder(1).encode(codec_for("bitshuffle-lz4", field), given))
    monkeypatch.undo()
    decoder = Decoder("bitshuffle-lz4", field)
    for record, (data, _, mask) in zip(given, encoded, strict=True):
        assert decoder.decode(bytes(data), mask).tobytes() == record.tobytes()
    assert sum(len(data) for data, _, _ in encoded) < given.nbytes


def test_a_chunk_that_is_not_one_is_an_error() -> None:
    with pytest.raises(OSError, match="filter"):
        Decoder("bitshuffle-lz4", Field("<u2", (1237,))).decode(b"garbage" * 10, 0)
