#!/usr/bin/env bash
# Methods, widths and ranges side by side, as integer programs.
set -euo pipefail
dqrun -m dataset=cora,citeseer model=gcn quant=fp32 protocol.trials=10 threads=1
dqrun -m dataset=cora,citeseer model=gcn plan=integer evaluate.engine=integer quant=int2,w4a2,int4,int3,int8,w2a4 method=dq,naive,lsq,ptq quant.activation_granularity=tensor,row protocol.trials=10 threads=1
dqrun -m dataset=cora,citeseer model=gcn plan=integer evaluate.engine=integer quant=int2,w4a2 method=dq,naive quant.activation_granularity=row quant.row_offset=integer,real quant.weight_granularity=tensor,channel protocol.trials=10 threads=1
dqrun -m dataset=cora,citeseer model=gcn plan=integer evaluate.engine=integer quant=int2,w4a2,int4,int3,int8,w2a4 method=dq,naive,lsq,ptq quant.activation_granularity=row quant.row_scale=power_of_two protocol.trials=10 threads=1
dqrun -m dataset=reddit_binary model=gin plan=integer evaluate.engine=integer quant=int4 method=naive,dq quant.activation_granularity=row protocol.folds=[0,1,2] threads=1
dqrun -m dataset=cora model=gcn plan=integer quant=int4,int2 method=pact,qlr,naive,dq,lorap,lorap_dq protocol.trials=10 threads=1
dqrun -m dataset=cora model=gcn plan=integer quant=int2 method=qlr method.zero_point=real,eight_bits protocol.trials=10 threads=1
dqrun -m dataset=cora model=gcn plan=integer quant=int8,int4,w4a8 method=ptq train.warm_start=fp32 method.calibrator=observed,least_error method.weight_calibrator=observed,least_error protocol.trials=10 threads=1
dqrun -m dataset=cora model=gcn plan=integer quant=int8,int4,w4a8 method=ptq train.warm_start=fp32 method.bias_correction=true protocol.trials=10 threads=1
dqrun -m dataset=cora model=gcn plan=integer quant=int8,int4,w4a8 method=ptq train.warm_start=fp32 method.calibration=generated method.generated.features=simplex protocol.trials=10 threads=1
dqrun -m dataset=cora model=gcn plan=integer quant=int8,int4,w4a2 method=topgq train.warm_start=fp32 quant.activation_granularity=row method.absorption=0,0.5 protocol.trials=10 threads=1
dqrun dataset=cora model=gcn plan=integer quant=int4 method=a2q quant.activation_granularity=row quant.weight_granularity=channel protocol.trials=10 threads=1
dqrun dataset=cora model=gcn plan=integer quant=int4 method=degree_bits quant.activation_granularity=row protocol.trials=10 threads=1
dqrun dataset=cora model=gcn plan=integer quant=int8 method=mixed protocol.trials=10 threads=1
dqrun dataset=cora model=gcn plan=integer quant=w4a8 method=sgquant quant.activation_granularity=row protocol.trials=10 threads=1
dqrun -m experiment=bigcn_cora,w1a4_cora protocol.trials=5 threads=1
dqrun -m experiment=bigcn_cora method=bigcn_released,reste,biper,evolving,salient method.centring.kind=batch_norm method.centring.sites=[layers.0.input] protocol.trials=5 threads=1
dqrun -m experiment=w1a4_cora method=reste,biper,evolving,salient method.centring.kind=batch_norm method.centring.sites=[layers.0.input] protocol.trials=5 threads=1
dqrun experiment=bigcn_cora quant=ternary method=twn protocol.trials=5 threads=1
dqrun experiment=bigcn_cora quant=w1a4 quant.weight_bits=2 method=two_binaries method.centring.kind=batch_norm method.centring.sites=[layers.0.input] protocol.trials=5 threads=1
dqrun experiment=bigcn_cora quant=fp32 protocol.trials=5 threads=1
dqrun experiment=bigcn_cora method=binarygnn train.warm_start=fp32 protocol.trials=5 threads=1
