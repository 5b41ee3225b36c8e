#!/usr/bin/env bash
# Sampled training beside training on the whole graph.
set -euo pipefail
dqrun -m dataset=tolokers model=gcn quant=fp32,int8,int4 method=dq model.hidden=64 model.layers=2 model.dropout=0.2 train.lr=0.01 train.select=val_metric method.observer.momentum=0.1 method.weight_observer.momentum=0.1 loader=neighbor loader.fanouts=[15,10] loader.batch_size=1024 train.epochs=40 protocol.folds=[0,1,2,3,4] threads=1
dqrun -m dataset=tolokers model=gcn quant=fp32,int8,int4 method=dq model.hidden=64 model.layers=2 model.dropout=0.2 train.lr=0.01 train.select=val_metric method.observer.momentum=0.1 method.weight_observer.momentum=0.1 loader=full train.epochs=200 protocol.folds=[0,1,2,3,4] threads=1
dqrun -m dataset=cora,citeseer model=gcn quant=fp32,int8,int4 method=dq loader=neighbor loader.fanouts=[5,5] loader.batch_size=140 protocol.trials=5 threads=1
dqrun -m dataset=cora,citeseer model=gcn quant=fp32,int8,int4 method=dq loader=full protocol.trials=5 threads=1
