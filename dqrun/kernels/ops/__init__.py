"""The operators of training: schema, definition, shapes and derivative of each; `dqrun.kernels` documents them.

The arguments of an operator are `scale, zero_point, qmin, qmax` for a grid, `rate, low, high` for noise (rate 1: no
noise), `CSR.parts` for the edges of a graph. Operators whose names end in `backward` compute gradients; their
definitions are in `gradients`.
"""
