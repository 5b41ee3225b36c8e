#!/usr/bin/env bash
# ZINC: rates in FP32, then widths and methods at the rate that validation prefers.
set -euo pipefail
dqrun -m dataset=zinc model=gin,gcn,gat quant=fp32 train.lr=1e-3,3e-3 protocol.trials=1 threads=1
dqrun -m dataset=zinc model=gin,gcn,gat quant=fp32,int8,int4 method=naive,dq train.lr=3e-3 protocol.trials=4 threads=1
dqrun -m dataset=zinc model=gin,gcn,gat quant=int4 method=dq plan.fp32=[head.2.output] train.lr=3e-3 protocol.trials=4 threads=1
