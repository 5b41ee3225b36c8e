dqrun -m dataset=reddit_binary model=gin quant=int8,int4 method=dq plan=integer evaluate.engine=integer protocol.folds=[0,1,2] threads=1
dqrun -m dataset=cora,citeseer model=gcn,gin quant=int8,int4 method=dq plan=integer evaluate.engine=integer protocol.trials=30 threads=1
