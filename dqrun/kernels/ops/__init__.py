"""The operators of training: schema, definition, shapes and derivative of each; `dqrun.kernels` says what they compute.

A grid enters an operator as `scale, zero_point, qmin, qmax`, noise as `rate, low, high` (rate 1: no noise), the edges
of a graph as `CSR.parts`. Further operators, whose names end in `backward`, make gradients; their definitions are in
`gradients`.
"""
