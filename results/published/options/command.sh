dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq,naive train.warm_start=fp32 method.step=observed,learned train.fine_tune.epochs=60 protocol.folds=[0] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 train.bn_reestimation=0,512 method.step=observed,learned protocol.folds=[0] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 train.bn_reestimation=512 protocol.folds=[1] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 method.step=learned protocol.folds=[1] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 plan.exact=[layers.0.message,layers.0.aggregate] protocol.folds=[0] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 method.observer.update=average method.weight_observer.update=average protocol.folds=[0] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 plan.exact=[head.1.output] train.bn_reestimation=0,512 method.step=observed protocol.folds=[0] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 plan.exact=[head.1.output] train.bn_reestimation=512 method.step=learned protocol.folds=[0] threads=1
dqrun -m dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 plan.exact=[head.1.output] method.step=observed,learned protocol.folds=[1] threads=1
dqrun -m dataset=reddit_binary model=gin quant=fp32,int4 method=naive,dq train.epochs=100 protocol.folds=[0,1] threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq,naive train.warm_start=fp32 method.step=observed,learned protocol.trials=30 threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq,naive method.step=learned protocol.trials=30 threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq,naive method.step=learned method.observe_epochs=50 protocol.trials=30 threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq,naive method.delay_epochs=50 method.step=observed,learned protocol.trials=30 threads=1
dqrun -m dataset=cora model=gin quant=int4 method=dq,naive plan.exact=[layers.1.mlp.1.output] protocol.trials=30 threads=1
dqrun -m dataset=cora model=gcn quant=int4 method=dq,naive plan.exact=[layers.1.output] protocol.trials=30 threads=1
dqrun dataset=reddit_binary model=gin quant=fp32 train.lr=5e-3 train.weight_decay=2e-4 protocol.folds=[0,5,7] threads=1
dqrun dataset=reddit_binary model=gin quant=fp32 train.bn_reestimation=512 protocol.folds=[7] threads=1
dqrun dataset=citeseer model=gat quant=int4 method=dq 'plan.exact=[layers.1.output]' protocol.trials=30 threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq method.delay_epochs=20 train.epochs=100 protocol.folds=[0,1] threads=1
dqrun dataset=reddit_binary model=gin quant=fp32 train.weight_decay=4e-4 protocol.folds=[0,5,7] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq train.epochs=100 method.protection.exempt=[] train.bn_reestimation=512 protocol.folds=[1] threads=1
