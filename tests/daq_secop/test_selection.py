"""Which parameters become which fields: what is taken by default, what can be asked for."""

from __future__ import annotations

from typing import Any

import pytest

from daq_secop.description import node_of
from daq_secop.selection import select

K = {"type": "double", "unit": "K"}
STATUS = {
    "type": "tuple",
    "members": [{"type": "enum", "members": {"IDLE": 100, "ERROR": 400}}, {"type": "string"}],
}
PID = {"type": "tuple", "members": [{"type": "double"}, {"type": "double"}]}
FRAME = {
    "type": "struct",
    "members": {"force": {"type": "double", "unit": "N"}, "at": {"type": "double", "unit": "mm"}},
}


def accessible(datainfo: Any, **more: Any) -> dict[str, Any]:
    return {"description": "what it is\n\nand more", "datainfo": datainfo, **more}


REPORT: dict[str, Any] = {
    "equipment_id": "lab_furnace", "description": "furnace\n\nin the cellar", "firmware": "1.2",
    "modules": {
        "sample": {
            "interface_classes": ["Drivable"], "features": ["HasOffset"],
            "meaning": ["temperature", 30],
            "accessibles": {
                "value": accessible(K), "target": accessible(K), "status": accessible(STATUS),
                "offset": accessible(K), "pid": accessible(PID), "mode": accessible({"type": "string"}),
                "sensor": accessible({"type": "string"}, constant="type S"),
                "stop": accessible({"type": "command"}),
            },
        },
        "frame": {"accessibles": {"value": accessible(FRAME), "offset": accessible(K)}},
        "label": {"accessibles": {"value": accessible({"type": "string"})}},
        "line": {"accessibles": {"communicate": accessible({"type": "command"})}},
        "broken": {"accessibles": {"value": "nonsense", "status": None}},
        "_hidden": {"accessibles": {"value": accessible(K)}},
    },
}  # fmt: skip
NODE = node_of(REPORT)


def test_by_default_each_module_with_a_number_gives_a_stream() -> None:
    found = {selection.stream.name: selection for selection in select(NODE, None, {})}

    assert list(found) == ["sample", "frame", "hidden"]
    sample = found["sample"].stream
    assert list(sample.fields) == ["value", "target", "status", "offset", "time"]
    assert {field.dtype for name, field in sample.fields.items() if name != "time"} == {"<f8"}
    assert sample.fields["value"].units == "K"
    assert sample.fields["value"].long_name == "what it is"
    assert found["sample"].main == ("sample", "value")
    assert list(found["frame"].stream.fields) == ["value_force", "value_at", "time"]
    assert found["frame"].stream.fields["value_at"].units == "mm"
    assert sample.attributes == {
        "instrument": "lab_furnace",
        "description": "furnace",
        "firmware": "1.2",
        "parameters": {name: f"sample:{name}" for name in ("value", "target", "status", "offset")},
        "codes": {"status": {"IDLE": 100, "ERROR": 400}},
        "meaning": {"sample": "temperature"},
        "constants": {"sample:sensor": "type S"},
        "offset_added": ["value", "target"],
    }


def test_streams_name_their_fields_and_may_mix_modules() -> None:
    wanted = {
        "specimen": {
            "force": "frame:value.force",
            "temperature": "sample:value",
            "gain": "sample:pid.0",
            "pid": "sample:pid",
            "state": "sample:status",
        }
    }
    (selection,) = select(NODE, None, wanted)

    assert list(selection.stream.fields) == [
        "force", "temperature", "gain", "pid_0", "pid_1", "state", "time",
    ]  # fmt: skip
    assert selection.main == ("frame", "value")
    assert selection.origins["force"].number.read({"force": 2.0, "at": 1.0}) == 2.0
    assert selection.origins["pid_1"].number.read([1.0, 3.0]) == 3.0
    # the offset of a module with the feature is needed although nobody names it
    assert ("sample", "offset") in selection.keys


def test_modules_and_streams_together() -> None:
    found = select(NODE, ["frame"], {"t": {"kelvin": "sample:value"}})

    assert [selection.stream.name for selection in found] == ["t", "frame"]


@pytest.mark.parametrize(
    ("modules", "streams", "why"),
    [
        (["sampel"], {}, "no module 'sampel'; did you mean 'sample'"),
        (["line"], {}, "line has no parameter 'value'; it has communicate"),
        (["label"], {}, "label:value is string, not a number"),
        (["broken"], {}, "broken has no parameter"),
        (["sample", "sample"], {}, "two streams would be called 'sample'"),
        (None, {"s": {"t": "sample:valeu"}}, "streams.s.t: .* did you mean 'value'"),
        (None, {"s": {"t": "sample"}}, "streams.s.t: 'sample' is not module:parameter"),
        (None, {"s": {"t": "sample:mode"}}, "sample:mode is string"),
        (None, {"s": {"t": "sample:stop"}}, "sample:stop is a command"),
        (None, {"s": {"t": "sample:sensor"}}, "sample:sensor is constant"),
        (None, {"s": {"t": "frame:value.mass"}}, "frame:value has no number at 'mass'"),
        (None, {"s": {}}, "streams.s: at least one field"),
        (None, {"s": {"time": "sample:value"}}, "the field 'time' is <i8"),
        (None, {"s": {"a b": "sample:value"}}, "field name 'a b'"),
        (None, {"bad name": {"t": "sample:value"}}, "stream name 'bad name'"),
        (None, {"s": {"pid": "sample:pid", "pid_0": "sample:value"}}, "two fields"),
    ],
)
def test_what_cannot_be_had_is_said(modules: Any, streams: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        select(NODE, modules, streams)


@pytest.mark.parametrize("report", [None, [], {}, {"modules": []}])
def test_a_description_of_nothing_is_refused(report: Any) -> None:
    with pytest.raises(ValueError, match="holds no modules"):
        node_of(report)


def test_a_node_without_numbers_is_refused() -> None:
    label = {"modules": {"label": REPORT["modules"]["label"]}}
    with pytest.raises(ValueError, match="no module of the node has a value that is a number"):
        select(node_of(label), None, {})
