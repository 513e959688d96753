"""``daq new``: a plugin to begin with, that works before anything in it is changed."""

from __future__ import annotations

import keyword
import re
import string
from importlib import resources
from pathlib import Path
from typing import Annotated, Final

import typer

EXAMPLES: Final = {
    "new": ["daq new spot_brightness", "daq new spot_brightness --directory ~/plugins"]
}

FILES: Final = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "experiment.toml": "$module.toml",
    "analysis.py": "$module.py",
    "test_analysis.py": "tests/test_$module.py",
}
"""Templates in ``daq/cli/template``, and where they go in the new folder."""


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the plugin: letters, digits, _ and -.")
    ],
    directory: Annotated[
        Path, typer.Option("--directory", "-d", metavar="DIR", help="Where its folder is made.")
    ] = Path(),
) -> int:
    """Write a plugin: one analysis, one test, a configuration that runs.

    It installs, passes its test and runs at once; then change it.
    """
    folder = write_plugin(name, directory)
    module = module_name(name)
    print(f"{folder}: a plugin with one analysis. Next, there:")
    print("  python -m pip install -e .")
    print("  python -m pytest")
    print(f"  daq run {module}.toml")
    return 0


def write_plugin(name: str, directory: Path) -> Path:
    """Write the plugin ``name`` into a new folder below ``directory`` and return the folder.

    Raises ValueError where the name cannot be used or the folder lies in the engine's own
    source, FileExistsError where it is there already.
    """
    import importlib.util

    import daq

    module = module_name(name)
    if importlib.util.find_spec(module) is not None:
        raise ValueError(f"{name!r}: a module {module} is installed already; choose another name")
    folder = directory.expanduser().absolute() / name
    source = Path(daq.__file__).parent.parent
    if (source / "pyproject.toml").is_file() and folder.is_relative_to(source):
        raise ValueError(
            f"{folder} lies in the source of glasswatch; a plugin lives outside: --directory DIR"
        )
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; choose another name or --directory")
    words = [word for word in re.split(r"[_-]+", name) if word]
    values = {
        "name": name,
        "distribution": module.replace("_", "-"),
        "module": module,
        "cls": "".join(word[:1].upper() + word[1:] for word in words),
        "title": " ".join(words),
    }
    templates = resources.files("daq.cli") / "template"
    for template, target in FILES.items():
        text = (templates / f"{template}.template").read_text(encoding="utf-8")
        path = folder / string.Template(target).substitute(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(string.Template(text).substitute(values), encoding="utf-8")
    return folder


def module_name(name: str) -> str:
    """Return the module of a plugin called ``name``; raise ValueError where it cannot be one."""
    module = name.lower().replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,40}", module) or keyword.iskeyword(module):
        raise ValueError(f"{name!r} is no name for a plugin; use letters, digits, _ and -")
    return module
