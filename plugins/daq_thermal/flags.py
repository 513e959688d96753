"""What may be amiss with a trace, as bits of ``flags``, and why a ramp began; and both in words."""

from __future__ import annotations

from typing import Final

# -- why a ramp began (`daq_thermal.scans`) ---------------------------------------------------------

BEGIN: Final = 0
"""Cause: the first ramp."""
SEGMENT: Final = 1
"""Cause: the stream's ``segment`` changed."""
SAMPLE: Final = 2
"""Cause: the stream's ``sample`` changed."""
TURNED: Final = 3
"""Cause: the temperature turned round."""
JUMPED: Final = 4
"""Cause: the temperature jumped between two readings."""
CLOCK: Final = 5
"""Cause: the time went back: another run, in a stream that does not say so."""

# -- what was not found in a heating (`daq_thermal.constructions`) ----------------------------------

NO_GLASS_TRANSITION: Final = 1
"""Flag: no step of c that is larger than the least step and than its noise."""
NO_GLASS_RANGE: Final = 2
"""Flag: too few readings below the transition for a line of the glass."""
NO_LIQUID_RANGE: Final = 4
"""Flag: too few readings above the transition for a line of the liquid (yet), or none between
overshoot and crystallisation."""
NO_CRYSTALLISATION: Final = 8
"""Flag: no exotherm above the transition."""
OPEN_CRYSTALLISATION: Final = 16
"""Flag: the trace ends before the end of the exotherm: its heat is that so far."""
NOT_HEATED: Final = 32
"""Flag: a cooling, a hold, or too few readings."""
GAP: Final = 64
"""Flag: readings are missing within the transition."""
PARALLEL: Final = 128
"""Flag: the liquid's range is too short for a slope; its line has that of the glass (or as told),
and the errors know that it may lean otherwise."""
RELAXING: Final = 256
"""Flag: c leaves the line of the glass far below the transition (a quenched sample relaxes): that
line, and what rests on it, is not that of a glass at rest. A standard has it right."""

WORDS: Final = {
    NOT_HEATED: "not a heating",
    NO_GLASS_RANGE: "too little of the glass",
    NO_GLASS_TRANSITION: "no glass transition",
    NO_LIQUID_RANGE: "no liquid to lay a line through",
    GAP: "readings are missing in the transition",
    RELAXING: "relaxes below the transition",
    PARALLEL: "slope of the liquid not known",
    OPEN_CRYSTALLISATION: "exotherm not at its end",
    NO_CRYSTALLISATION: "no crystallisation",
}
"""Flags of a heating in words, the weightiest first."""


def words(flags: int) -> list[str]:
    """Return what the flags of a heating say, the weightiest first."""
    return [text for flag, text in WORDS.items() if flags & flag]
