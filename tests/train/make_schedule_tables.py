#!/usr/bin/env python3
"""Writes schedule_tables.inc: learning rates by torch.optim.lr_scheduler.

Running the tests does not need this. With PyTorch: ./make_schedule_tables.py > schedule_tables.inc
"""
import warnings

import torch
from torch.optim import lr_scheduler as s

warnings.filterwarnings("ignore")
STEPS_PER_EPOCH, EPOCHS, LR = 5, 6, 0.4
TOTAL = STEPS_PER_EPOCH * EPOCHS


def table(name, make):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    scheduler = make(optimizer)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    print(f"constexpr double {name}[] = {{")
    for i in range(0, TOTAL, 3):
        print("    " + ", ".join(repr(r) for r in rates[i : i + 3]) + ",")
    print("};")


def after_warmup(make, steps=10):
    return lambda o: s.SequentialLR(
        o, [s.LinearLR(o, start_factor=0.01, total_iters=steps), make(o)], milestones=[steps])


print(f"// Made by make_schedule_tables.py with PyTorch {torch.__version__}.")
print(f"constexpr int kStepsPerEpoch = {STEPS_PER_EPOCH}, kEpochs = {EPOCHS};")
print(f"constexpr double kLr = {LR};")
table("kConstantTable", after_warmup(lambda o: s.ConstantLR(o, factor=1)))
table("kStepTable", lambda o: s.StepLR(o, step_size=2 * STEPS_PER_EPOCH, gamma=0.3))
table("kMultiStepTable", lambda o: s.MultiStepLR(o, [1 * STEPS_PER_EPOCH, 4 * STEPS_PER_EPOCH], gamma=0.1))
table("kCosineTable", after_warmup(lambda o: s.CosineAnnealingLR(o, TOTAL - 10, eta_min=LR * 0.05)))
table("kOneCycleTable", lambda o: s.OneCycleLR(o, max_lr=LR, total_steps=TOTAL, pct_start=0.3))
table("kPolyTable", after_warmup(lambda o: s.PolynomialLR(o, TOTAL - 10, power=2)))
