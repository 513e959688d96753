"""Run in the environment of lmfit: Havriliak-Negami and KWW-like fits to complex moduli."""

import json
import sys
from pathlib import Path

import lmfit
import numpy as np

asked = json.loads(Path(sys.argv[1]).read_text())
with np.load(asked["path"]) as given:
    f, storage, loss, scale = (given[name] for name in ("f", "storage", "loss", "scale"))
omega, moduli = 2 * np.pi * f, storage + 1j * loss
NAMES = ("M_u", "dM", "ln_tau", "alpha", "gamma")


def left(p, measured, weight):
    v = p.valuesdict()
    chi = (1 + (1j * omega * np.exp(v["ln_tau"])) ** v["alpha"]) ** -v["gamma"]
    found = (measured - v["M_u"] + v["dM"] * chi) * weight
    return np.concatenate([found.real / asked["noise"][0], found.imag / asked["noise"][1]])


values, errors = [], []
for measured, weight in zip(moduli, 1 / scale, strict=True):
    p = lmfit.Parameters()
    p.add("M_u", value=3e10)
    p.add("dM", value=2e10, min=0)
    p.add("ln_tau", value=0.5)
    p.add("alpha", value=0.8, min=0.05, max=1)
    p.add("gamma", value=0.6, min=0.05, max=20)
    found = lmfit.minimize(
        left, p, args=(measured, weight), scale_covar=False, ftol=1e-14, xtol=1e-14, gtol=1e-14
    )
    values.append([found.params[name].value for name in NAMES])
    errors.append([found.params[name].stderr or np.nan for name in NAMES])
np.savez(sys.argv[2], values=values, errors=errors)
