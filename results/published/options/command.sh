dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq,naive train.warm_start=fp32 method.learned_scale=false,true train.fine_tune.epochs=60 protocol.folds=[0] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 train.bn_reestimation=0,512 method.learned_scale=false,true protocol.folds=[0] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 train.bn_reestimation=512 protocol.folds=[1] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 method.learned_scale=true protocol.folds=[1] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 plan.fp32=[layers.0.message,layers.0.aggregate] protocol.folds=[0] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 method.observer.update=ema method.weight_observer.update=ema protocol.folds=[0] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 plan.fp32=[head.1.output] train.bn_reestimation=0,512 method.learned_scale=false protocol.folds=[0] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 plan.fp32=[head.1.output] train.bn_reestimation=512 method.learned_scale=true protocol.folds=[0] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 plan.fp32=[head.1.output] method.learned_scale=false,true protocol.folds=[1] threads=1
dqrun -m dataset=reddit_binary model=gin quant=fp32,int4 method=naive,dq train.epochs=100 protocol.folds=[0,1] threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq,naive train.warm_start=fp32 method.learned_scale=false,true protocol.trials=30 threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq,naive method.learned_scale=true protocol.trials=30 threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq,naive method.learned_scale=true method.observe_epochs=50 protocol.trials=30 threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq,naive method.delay_epochs=50 method.learned_scale=false,true protocol.trials=30 threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq,naive plan.fp32=[layers.1.mlp.1.output] protocol.trials=30 threads=1
dqrun -m dataset=cora model=gcn quant=int4 method=dq,naive plan.fp32=[layers.1.output] protocol.trials=30 threads=1
dqrun dataset=reddit_binary model=gin quant=fp32 train.lr=5e-3 train.weight_decay=2e-4 protocol.folds=[0,5,7] threads=1
dqrun dataset=reddit_binary model=gin quant=fp32 train.bn_reestimation=512 protocol.folds=[7] threads=1
dqrun dataset=citeseer model=gat quant=int4 method=dq 'plan.fp32=[layers.1.output]' protocol.trials=30 threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq method.delay_epochs=20 train.epochs=100 protocol.folds=[0,1] threads=1
dqrun dataset=reddit_binary model=gin quant=fp32 train.weight_decay=4e-4 protocol.folds=[0,5,7] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 method.protection.rounded_sites=[] train.bn_reestimation=512 protocol.folds=[1] threads=1
