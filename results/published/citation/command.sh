dqrun -m dataset=cora model=gcn quant=fp32,int8,int4 method=naive,noisy,dq,ptq protocol.trials=10 threads=1
dqrun -m dataset=cora model=gin,gat quant=int4 method=dq protocol.trials=10 threads=1
