dqrun -m dataset=cora,citeseer model=gcn,gin,gat quant=fp32,int8,int4 method=naive,noisy,dq,ptq protocol.trials=30 threads=1
