dqrun -m dataset=cora model=gcn,gat,gin quant=int8,int4 method=dq_released plan=released protocol.trials=10 threads=1
