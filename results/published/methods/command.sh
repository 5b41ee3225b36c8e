#!/usr/bin/env bash
# Methods, widths and ranges side by side, as integer programs.
set -euo pipefail
dqrun -m dataset=cora,citeseer model=gcn quant=fp32 protocol.trials=10 threads=1
dqrun -m dataset=cora,citeseer model=gcn plan=integer evaluate.engine=integer quant=int2,w4a2,int4,int3,int8,w2a4 method=dq,naive,lsq,ptq quant.activation_granularity=tensor,row protocol.trials=10 threads=1
dqrun -m dataset=cora,citeseer model=gcn plan=integer evaluate.engine=integer quant=int2,w4a2 method=dq,naive quant.activation_granularity=row quant.row_offset=integer,real quant.weight_granularity=tensor,channel protocol.trials=10 threads=1
dqrun -m dataset=cora,citeseer model=gcn plan=integer evaluate.engine=integer quant=int2,w4a2,int4,int3,int8,w2a4 method=dq,naive,lsq,ptq quant.activation_granularity=row quant.row_scale=power_of_two protocol.trials=10 threads=1
dqrun -m dataset=reddit_binary model=gin plan=integer evaluate.engine=integer quant=int4 method=naive,dq quant.activation_granularity=row protocol.folds=[0,1,2] threads=1
