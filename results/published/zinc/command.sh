dqrun -m dataset=zinc model=gin,gcn quant=fp32 train.lr=1e-3,3e-3 protocol.trials=1 threads=1
dqrun -m dataset=zinc model=gin quant=int8 method=naive,dq train.lr=3e-3 protocol.trials=1 threads=1
