"""Relaxation laws and the fits that every instrument shares; other plugins may import this one.

``laws`` holds the formulas, ``kww_fit`` fits of many decays at once, ``arrhenius_fit`` and
``vft_fit`` those of relaxation times against temperature. Import from the modules: they bring
numpy, and numba and scipy only when a fit is called.
"""
