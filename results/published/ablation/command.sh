dqrun -m dataset=cora model=gin quant=int4 method=dq method.protection.enabled=true,false 'method.observer={tail:0.01,update:running_minmax},{tail:0,update:ema}' method.estimator=clipped,ste protocol.trials=30 threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq 'method.observer={tail:0.01,update:ema},{tail:0,update:running_minmax}' protocol.trials=30 threads=1
dqrun dataset=cora model=gin quant=int4 method=dq method.protection.per_layer=true protocol.trials=30 threads=1
dqrun dataset=cora model=gin quant=int4 method=dq 'method.protection.rounded_sites=[]' protocol.trials=30 threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq method.protection.p_max=0.1,0.4 protocol.trials=30 threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq method.protection.enabled=true,false 'method.observer={tail:0.01,update:running_minmax},{tail:0,update:ema}' 'method.weight_observer=${method.observer}' method.estimator=clipped,ste train.epochs=100 protocol.folds=[0,1] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq method.protection.per_layer=true train.epochs=100 protocol.folds=[0,1] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq 'method.protection.rounded_sites=[]' train.epochs=100 protocol.folds=[0,1] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq method.protection.p_max=0.1,0.4 train.epochs=100 protocol.folds=[0,1] threads=1
