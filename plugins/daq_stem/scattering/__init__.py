"""What azimuthal averages tell: S(Q), the pair distribution, strain."""
