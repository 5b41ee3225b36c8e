dqrun -m dataset=cora model=gcn,gat,gin quant=fp32,int4 method=naive,dq protocol.trials=20 threads=1
dqrun -m dataset=cora model=gcn,gat,gin quant=int8 method=dq protocol.trials=20 threads=1
dqrun dataset=citeseer model=gcn quant=fp32 protocol.trials=20 threads=1
dqrun -m dataset=reddit_binary model=gin quant=fp32,int4 method=naive,dq protocol.folds=[0,1] train.epochs=100 threads=1
