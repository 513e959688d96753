"""Checks what every analysis promises; says in words what is wrong and where."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from daq.analysis import Analysis
from daq.config import Config
from daq.runtime.direct import AnalysisDriver, OutputStream, resolved_config
from daq.streams import NO_TIME, Batch, Missing
from daq.testing.batching import (
    Batching,
    one_by_one,
    random_batching,
    reversed_inputs,
    whole,
)
from daq.testing.comparison import Results, first_difference
from daq.testing.records import Records, by_name, lost_mask, overwrite

AnyConfig = Config | Mapping[str, Any]
Inputs = Records | Iterable[Records] | Mapping[str, Records]
Command = tuple[str, int, AnyConfig]
"""Input stream, index and new configuration of a `reconfigure`."""

CHECKS: Final = (
    "repeated", "batched", "interleaved", "poisoned", "restarted", "joined late", "reconfigured",
    "gaps", "nan", "split",
)  # fmt: skip
"""Names of the checks, in the order in which they run; ``without`` takes any of them."""

_ADVICE: Final = {
    "repeated": "two runs on the same records differ: remove random numbers without a seed, the "
    "clock, and state that outlives the instance (class attributes, globals)",
    "batched": "the result depends on how the records were cut into batches: keep what spans two "
    "batches in self; where rounding differs, set `block` so that sums run over fixed records",
    "interleaved": "the result depends on the order between inputs: pair them by time "
    "(daq.Join), not by what arrived last",
    "poisoned": "it keeps a reference to its input, which is overwritten once process has "
    "returned: copy what is needed later",
    "restarted": "a fresh instance is affected by one before it: state belongs into self, not "
    "into the class or the module",
    "joined late": "it cannot begin at a record other than 0: batch.first of the first batch may "
    "be any index",
    "reconfigured": "a new configuration does not take effect exactly at its record: apply it to "
    "the records processed from then on, and only to those",
    "gaps": "records that the instrument lost (batch.valid False, filled with NaN or 0) change "
    "the result or end it: leave them out",
    "nan": "NaN in the input ends the analysis or spoils everything after it: leave out or mark "
    "what is not finite",
    "split": "parts merged differ from the whole: merge must take over all that other has found",
}


def check_analysis(
    analysis_class: type[Analysis],
    inputs: Inputs,
    config: AnyConfig,
    *,
    reconfigure_to: AnyConfig | None = None,
    reconfigure_stream: str | None = None,
    tolerance: float | None = None,
    without: Collection[str] = (),
    runs: int = 6,
    seed: int = 0,
) -> dict[str, OutputStream]:
    """Check that an analysis keeps the promises of `daq.Analysis`; return what it gave.

    Runs it again and again on the same records, through the driver that the worker process uses,
    and compares bitwise with one run on whole streams:

    - *repeated*: the same again; input arrays are not written to
    - *batched*: the same however the records are cut into batches
    - *interleaved*: the same in whatever order several inputs arrive
    - *poisoned*: the same when input memory is overwritten as soon as `process` returned
    - *restarted*: the same from a fresh instance after another one died in mid-run
    - *joined late*: it can begin at any record
    - *reconfigured*: a new configuration takes effect exactly at a record (if ``reconfigure_to``)
    - *gaps*: lost records end nothing, spoil nothing, and their fill values do not count
    - *nan*: a record of NaN ends nothing and does not spoil what comes after
    - *split*: parts along each of ``split_axes``, merged, equal the whole (what `close` gives)

    Parameters
    ----------
    analysis_class, config
        The analysis and its configuration, a `Config` or a mapping.
    inputs
        What it is fed: `Records` (see `daq.testing.make_stream`), several, or by name. Some tens
        to hundreds of records, enough that it gives results.
    reconfigure_to
        Another configuration to change to. It must lead to other results, on the same streams.
    reconfigure_stream
        The input whose records the change counts; the first one if None.
    tolerance
        For *split* only: relative to the largest magnitude of a field. All else is bitwise.
    without
        Checks to leave out, for what an analysis openly does not promise.
    runs
        Random batchings per check.
    seed
        Of the random batchings; every message names the one that failed.

    Raises
    ------
    AssertionError
        With one of the promises that is not kept, what to do, and where it first shows.
    """
    if unknown := set(without) - set(CHECKS):
        raise ValueError(f"without: no check {unknown.pop()!r}; there are {', '.join(CHECKS)}")
    check = _Check(analysis_class, by_name(inputs), config, runs, seed)
    reference = check.reference()
    steps: dict[str, Callable[[], None]] = {
        "repeated": lambda: check.repeated(reference),
        "batched": lambda: check.batched(reference),
        "interleaved": lambda: check.interleaved(reference),
        "poisoned": lambda: check.poisoned(reference),
        "restarted": lambda: check.restarted(reference),
        "joined late": check.joined_late,
        "gaps": lambda: check.gaps(reference),
        "nan": lambda: check.nan(reference),
    }
    if reconfigure_to is not None:
        stream = reconfigure_stream or next(iter(check.inputs))
        steps["reconfigured"] = lambda: check.reconfigured(reference, reconfigure_to, stream)
    if analysis_class.split_axes:
        steps["split"] = lambda: check.split(tolerance)
    for name in CHECKS:
        if name in steps and name not in without:
            steps[name]()
    return reference


def run_batched(
    analysis_class: type[Analysis],
    inputs: Inputs,
    config: AnyConfig,
    batching: Batching | None = None,
    *,
    poison: bool = False,
    commands: Iterable[Command] = (),
    start: Mapping[str, int] | None = None,
) -> dict[str, OutputStream]:
    """Run an analysis on records cut as ``batching`` says; return its streams by short name.

    Parameters
    ----------
    batching
        See `daq.testing.random_batching` and `daq.testing.batchings`; whole streams if None.
    poison
        Overwrite each piece of input as soon as `process` has returned, as the runtime does.
    commands
        ``(stream, index, config)``: changes of parameters.
    start
        Leave out the records before this index of each input.

    Raises AssertionError if the analysis writes to its input; other errors pass through.
    """
    streams = by_name(inputs)
    run = _Run(analysis_class, streams, config, start or {})
    for stream, index, changed in commands:
        run.driver.reconfigure(changed, stream, index)
    for piece in (batching or whole(streams)).pieces:
        run.feed(*piece, poison=poison)
    return run.close()


class _Run:
    """One run of one instance: feeds pieces, ends inputs when they are through."""

    def __init__(
        self,
        analysis_class: type[Analysis],
        inputs: Mapping[str, Records],
        config: AnyConfig,
        start: Mapping[str, int],
    ) -> None:
        self.inputs = inputs
        self.start = start
        self.driver = AnalysisDriver(analysis_class, "tested", config)
        streams = {name: records.stream for name, records in inputs.items()}
        self.outputs = {
            stream.name: OutputStream(stream)
            for stream in self.driver.open(streams, start=dict(start))
        }

    def feed(self, name: str, begin: int, stop: int, *, poison: bool = False) -> None:
        records = self.inputs[name]
        for item in records.items(max(begin, self.start.get(name, 0)), stop):
            if isinstance(item, Missing):
                self._keep(self.driver.feed(item))
                continue
            slot = item.copy()
            try:
                results = self.driver.feed(slot)
            except Exception as error:
                if _is_write(error):
                    raise AssertionError(
                        f"{self._who} writes to its input: arrays of a batch are read-only; "
                        f"copy before changing ({type(error).__name__}: {error})"
                    ) from error
                raise
            self._keep(results)
            for field, array in slot.raw.items():
                if array.tobytes() != item.raw[field].tobytes():
                    raise AssertionError(
                        f"{self._who} has changed the field {field!r} of its input {name!r}, "
                        f"records {item.first}+{item.count}: arrays of a batch are read-only; "
                        "copy before changing"
                    )
            if poison:
                for array in slot.raw.values():
                    overwrite(array)
        if stop >= len(records):
            self._keep(self.driver.end(name))

    def close(self) -> dict[str, OutputStream]:
        self._keep(self.driver.close())
        return {name.partition(".")[2]: output for name, output in self.outputs.items()}

    @property
    def _who(self) -> str:
        return type(self.driver.analysis).__name__

    def _keep(self, results: list[Batch]) -> None:
        for result in results:
            self.outputs[result.stream].batches.append(result)


class _Check:
    """The checks of one analysis on its inputs."""

    def __init__(
        self,
        analysis_class: type[Analysis],
        inputs: dict[str, Records],
        config: AnyConfig,
        runs: int,
        seed: int,
    ) -> None:
        self.analysis_class = analysis_class
        self.inputs = inputs
        self.config = resolved_config(analysis_class, config)
        self.runs = runs
        self.seed = seed

    def reference(self) -> dict[str, OutputStream]:
        """Run on whole streams. Errors of the analysis pass through as they are."""
        streams = {name: records.stream for name, records in self.inputs.items()}
        memory = self.analysis_class.memory(streams, self.config)
        if not isinstance(memory, int | np.integer) or memory < 0:
            raise AssertionError(f"{self._who}.memory gives {memory!r}, not a number of bytes")
        reference = run_batched(self.analysis_class, self.inputs, self.config)
        if not any(len(output) for output in reference.values()):
            many = ", ".join(f"{len(r)} of {name!r}" for name, r in self.inputs.items())
            raise AssertionError(
                f"{self._who} gave no records at all from {many}: nothing can be compared; "
                "feed more records, or others"
            )
        return reference

    def repeated(self, reference: Results) -> None:
        self._same("repeated", reference, whole(self.inputs), self.inputs)

    def batched(self, reference: Results) -> None:
        for batching in self._batchings():
            self._same("batched", reference, batching, self.inputs)

    def interleaved(self, reference: Results) -> None:
        if len(self.inputs) > 1:
            for batching in (reversed_inputs(self.inputs), *self._interleavings()):
                self._same("interleaved", reference, batching, self.inputs)

    def poisoned(self, reference: Results) -> None:
        for batching in (whole(self.inputs), *self._batchings()):
            self._same("poisoned", reference, batching, self.inputs, poison=True)

    def restarted(self, reference: Results) -> None:
        """A first instance gets records beside the second, and is never closed."""
        for batching in self._interleavings():
            with _Told(self, "restarted", batching):
                first = _Run(self.analysis_class, self.inputs, self.config, {})
                pieces = batching.pieces
                for piece in pieces[: len(pieces) // 2]:
                    first.feed(*piece)
                second = _Run(self.analysis_class, self.inputs, self.config, {})
                for number, piece in enumerate(pieces):
                    second.feed(*piece, poison=True)
                    if number >= len(pieces) // 2:
                        first.feed(*piece, poison=True)
                found = second.close()
            self._compare("restarted", reference, found, str(batching))

    def joined_late(self) -> None:
        start = {name: len(records) // 3 for name, records in self.inputs.items()}
        late = self._attempt("joined late", whole(self.inputs), self.inputs, start=start)
        for batching in (one_by_one(self.inputs), *self._interleavings()):
            self._same("joined late", late, batching, self.inputs, start=start)

    def reconfigured(self, reference: Results, to: AnyConfig, stream: str) -> None:
        if stream not in self.inputs:
            raise ValueError(f"reconfigure_stream: no input {stream!r}")
        count = len(self.inputs[stream])
        opened = {name: output.stream.header() for name, output in reference.items()}
        fresh = run_batched(self.analysis_class, self.inputs, to)
        if {name: output.stream.header() for name, output in fresh.items()} != opened:
            raise AssertionError(
                f"{self._who}: reconfigure_to opens other streams than config does; such a change "
                "needs a restart (reconfigure shall raise ValueError): check with one that does not"
            )
        if first_difference(reference, fresh) is None:
            raise AssertionError(
                f"{self._who}: reconfigure_to gives the same results as config, nothing is "
                "checked; choose one that changes them"
            )
        at_start = [(stream, 0, to)]
        once = whole(self.inputs)
        found = self._attempt("reconfigured", once, self.inputs, commands=at_start)
        self._compare(
            "reconfigured", fresh, found, "at record 0, against a run opened with the new one"
        )
        rng = np.random.default_rng(self.seed)
        for index in sorted({1, count - 1, *rng.integers(0, count, 3).tolist()}):
            commands = [(stream, index, to)]
            expected = self._attempt("reconfigured", once, self.inputs, commands=commands)
            batchings = [*self._batchings(2), *self._interleavings(2)]
            for batching in batchings:
                self._same(
                    "reconfigured", expected, batching, self.inputs,
                    poison=True, commands=commands, where=f"at record {index} of {stream!r}, ",
                )  # fmt: skip

    def gaps(self, reference: Results) -> None:
        for name, records in self.inputs.items():
            count = len(records)
            short = max(1, count // 10)
            for lost in (
                [(count // 4, short)],
                [(0, short), (count // 2, 1), (count - short, short)],
                [(0, count)],
            ):
                if any(a + n > b for (a, n), (b, _) in itertools.pairwise(lost)):
                    continue
                inputs = {**self.inputs, name: records.with_missing(*lost)}
                where = f"lost of {name!r}: {', '.join(f'{a}+{n}' for a, n in lost)}; "
                expected = self._attempt("gaps", whole(inputs), inputs, where=where)
                for batching in (one_by_one(inputs), *self._interleavings(2)):
                    self._same("gaps", expected, batching, inputs, poison=True, where=where)
                self._fill_does_not_count(expected, inputs[name], where)
                if len(lost) == 1 and lost[0][1] < count:
                    self._recovers("gaps", reference, expected, where)

    def nan(self, reference: Results) -> None:
        rng = np.random.default_rng(self.seed)
        for name, records in self.inputs.items():
            floats = [key for key, f in records.stream.fields.items() if f.dtype[1] in "fc"]
            if not floats or not len(records):
                continue
            bad = len(records) // 4
            one_record = {key: records[key].copy() for key in floats}
            scattered = {key: records[key].copy() for key in floats}
            for key in floats:
                one_record[key][bad] = np.nan
                scattered[key][rng.random(scattered[key].shape) < 0.02] = np.nan
            for arrays, where in (
                (one_record, f"record {bad} of {name!r} is NaN; "),
                (scattered, f"2 % of {name!r} is NaN; "),
            ):
                inputs = {**self.inputs, name: records.replaced(**arrays)}
                expected = self._attempt("nan", whole(inputs), inputs, where=where)
                for batching in (one_by_one(inputs), *self._interleavings(2)):
                    self._same("nan", expected, batching, inputs, where=where)
                if arrays is one_record:
                    self._recovers("nan", reference, expected, where)

    def split(self, tolerance: float | None) -> None:
        closing = _closing(self.analysis_class, self.inputs, self.config)
        if not closing:
            raise AssertionError(
                f"{self._who} states split_axes, but close gives nothing: parts are merged before "
                "close, so what shall be merged is given there"
            )
        for axis in self.analysis_class.split_axes:
            for parts in (2, 3):
                where = f"split into {parts} along {axis!r}; "
                inputs = [_part(self.inputs, axis, k, parts) for k in range(parts)]
                if any(part is None for part in inputs):
                    raise AssertionError(
                        f"{self._who}: no input has a field with an axis {axis!r} of at least "
                        f"{parts} pixels: describe it in Stream(axes=...) to check split_axes"
                    )
                with _Told(self, "split", where):
                    runs = []
                    for part in inputs:
                        assert part is not None
                        run = _Run(self.analysis_class, part, self.config, {})
                        for piece in whole(part).pieces:
                            run.feed(*piece)
                        runs.append(run)
                    first = runs[0]
                    for other in runs[1:]:
                        first.driver.analysis.merge(other.driver.analysis)
                    for output in first.outputs.values():
                        output.batches.clear()
                    merged = first.close()
                self._compare(
                    "split", closing, {k: merged[k] for k in closing}, where, tolerance=tolerance
                )

    @property
    def _who(self) -> str:
        return self.analysis_class.__name__

    def _batchings(self, runs: int | None = None) -> Iterator[Batching]:
        yield one_by_one(self.inputs)
        for number in range(self.runs if runs is None else min(runs, self.runs)):
            yield random_batching(self.inputs, self.seed + number)

    def _interleavings(self, runs: int | None = None) -> Iterator[Batching]:
        for number in range(self.runs if runs is None else min(runs, self.runs)):
            yield random_batching(self.inputs, self.seed + 1000 + number, interleaved=True)

    def _attempt(
        self,
        check: str,
        batching: Batching,
        inputs: Mapping[str, Records],
        *,
        where: str = "",
        **options: Any,
    ) -> dict[str, OutputStream]:
        with _Told(self, check, f"{where}{batching}"):
            return run_batched(self.analysis_class, inputs, self.config, batching, **options)

    def _same(
        self,
        check: str,
        expected: Results,
        batching: Batching,
        inputs: Mapping[str, Records],
        *,
        where: str = "",
        **options: Any,
    ) -> None:
        found = self._attempt(check, batching, inputs, where=where, **options)
        self._compare(check, expected, found, f"{where}{batching}")

    def _compare(
        self,
        check: str,
        expected: Results,
        found: Results,
        where: str,
        *,
        tolerance: float | None = None,
        valid_only: bool = False,
    ) -> None:
        difference = first_difference(expected, found, tolerance=tolerance, valid_only=valid_only)
        if difference is not None:
            raise AssertionError(f"{self._who}: {_ADVICE[check]}.\n  {difference}\n  ({where})")

    def _fill_does_not_count(self, expected: Results, records: Records, where: str) -> None:
        """Lost integers are filled with 0: other fill values must give the same."""
        lost = lost_mask(records)
        arrays = {}
        for key, field in records.stream.fields.items():
            array = arrays[key] = records[key].copy()
            if key == "time":
                array[lost] = NO_TIME
            elif field.dtype[1] in "fc":
                array[lost] = np.nan
            else:
                values = array[lost]
                overwrite(values)
                array[lost] = values
        changed = Records(records.stream, arrays, valid=~lost)
        inputs = {**self.inputs, records.name: changed}
        found = self._attempt("gaps", whole(inputs), inputs, where=where)
        self._compare(
            "gaps", expected, found, f"{where}lost records filled with other values than 0",
            valid_only=True,
        )  # fmt: skip

    def _recovers(self, check: str, reference: Results, found: Results, where: str) -> None:
        """Where the last record was finite it still is: one bad record does not spoil the rest."""
        for name, output in reference.items():
            if not len(found[name]) and len(output):
                raise AssertionError(
                    f"{self._who}: {_ADVICE[check]}.\n  stream {name!r} gives nothing any more\n"
                    f"  ({where.strip('; ')})"
                )
            for field, described in output.stream.fields.items():
                if described.dtype[1] not in "fc" or not len(output):
                    continue
                if (
                    np.isfinite(output[field][-1]).any()
                    and not np.isfinite(found[name][field][-1]).any()
                ):
                    raise AssertionError(
                        f"{self._who}: {_ADVICE[check]}.\n  stream {name!r}, field {field!r}: the "
                        f"last record is not finite any more\n  ({where.strip('; ')})"
                    )


class _Told:
    """Turns an error of the analysis into an AssertionError that says what was being done."""

    def __init__(self, check: _Check, name: str, where: object) -> None:
        self.check, self.name, self.where = check, name, where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, AssertionError):
            raise AssertionError(
                f"{self.check.analysis_class.__name__}: {_ADVICE[self.name]}.\n"
                f"  it raised {type(error).__name__}: {error}\n  ({self.where})"
            ) from error


def _closing(
    analysis_class: type[Analysis], inputs: Mapping[str, Records], config: AnyConfig
) -> dict[str, OutputStream]:
    """Return what a run on whole streams gives at `close`, streams that gave nothing left out."""
    run = _Run(analysis_class, inputs, config, {})
    for piece in whole(inputs).pieces:
        run.feed(*piece)
    for output in run.outputs.values():
        output.batches.clear()
    return {name: output for name, output in run.close().items() if len(output)}


def _part(
    inputs: Mapping[str, Records], axis: str, part: int, parts: int
) -> dict[str, Records] | None:
    """Return part ``part`` of every input field that has the axis; None if there is none."""
    found = False
    result = {}
    for name, records in inputs.items():
        stream, arrays, fields = records.stream, dict(records.arrays), dict(records.stream.fields)
        axes, constants = dict(stream.axes), dict(stream.constants)
        for field, described in stream.axes.items():
            names = [entry.get("name") for entry in described]
            if axis not in names:
                continue
            place = names.index(axis)
            shape = stream.fields[field].shape
            edges = np.linspace(0, shape[place], parts + 1).astype(int)
            begin, stop = int(edges[part]), int(edges[part + 1])
            if begin == stop:
                return None
            found = True
            cut = (slice(None),) * place + (slice(begin, stop),)
            arrays[field] = np.ascontiguousarray(arrays[field][(slice(None), *cut)])
            fields[field] = dataclasses.replace(
                fields[field], shape=(*shape[:place], stop - begin, *shape[place + 1 :])
            )
            for key, constant in constants.items():
                if constant.shape == shape:
                    constants[key] = constant[cut]
            entry = dict(described[place])
            if "offset" in entry or "step" in entry:
                entry["offset"] = entry.get("offset", 0) + begin * entry.get("step", 1)
            if isinstance(values := entry.get("values"), str) and values in constants:
                constants[values] = constants[values][begin:stop]
            axes[field] = [*described[:place], entry, *described[place + 1 :]]
        changed = dataclasses.replace(stream, fields=fields, axes=axes, constants=constants)
        result[name] = dataclasses.replace(records, stream=changed, arrays=arrays)
    return result if found else None


def _is_write(error: Exception) -> bool:
    text = str(error).lower()
    return "read-only" in text or "readonly" in text
