dqrun -m dataset=reddit_binary model=gin quant=fp32,int8,int4 method=naive,dq threads=1
dqrun -m dataset=reddit_binary model=gin quant=int8,int4 method=noisy protocol.folds=[0,1,2] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=dq plan.fp32=[head.1.output] threads=1
dqrun dataset=reddit_binary model=gin quant=int4 method=naive plan.fp32=[head.1.output] protocol.folds=[0,1] threads=1
dqrun experiment=reddit_int4 threads=1
dqrun experiment=reddit_int4 method=naive protocol.folds=[0] threads=1
dqrun experiment=reddit_int4 quant=int8 threads=1
