"""One engine, one network, one way of running it, in a process that stays; `compare` starts it.

It prints a line when it is ready, then answers each line {"seconds": s, "least": n} on standard input with
the times of a burst of steps: at least n of them, and as many as fit into s seconds. When its input
ends, so does it. A step is what a program of one's own would do with one synthetic batch in memory:
inference takes it to the logits, training does zero_grad, forward, cross-entropy, backward and SGD with
momentum 0.9 and weight decay 1e-4.
"""

import argparse
import json
import os
import resource
import sys
import time
import warnings

# PyTorch's fastest way to infer with torch.compile: weights are constants, packed once.
os.environ.setdefault("TORCHINDUCTOR_FREEZING", "1")
warnings.filterwarnings("ignore")


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def torch_step(args):
    import torch

    from torch_networks import build

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    imported = peak_bytes()
    how = set(args.how.split("+"))
    layout = torch.contiguous_format if "nchw" in how else torch.channels_last
    model = build(args.arch, args.classes)
    x = torch.randn(args.batch, 3, args.image_size, args.image_size)
    cast = torch.autocast("cpu", torch.bfloat16, enabled="autocast" in how)
    if "pure" in how:
        model, x = model.to(torch.bfloat16), x.to(torch.bfloat16)
    model, x = model.to(memory_format=layout), x.to(memory_format=layout)

    if args.mode == "infer":
        model.eval()
        if "traced" in how:
            with torch.no_grad():
                model = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, x)))
        run = torch.compile(model) if "compile" in how else model

        def step():
            with torch.no_grad(), cast:
                return run(x)
    else:
        model.train()
        run = torch.compile(model) if "compile" in how else model
        target = torch.randint(args.classes, (args.batch,))
        loss_function = torch.nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)

        def step():
            optimizer.zero_grad()
            with cast:
                loss = loss_function(run(x), target)
            loss.backward()
            optimizer.step()
            return loss.item()

    return step, "PyTorch " + torch.__version__, imported


def random_batch(args):
    import numpy

    shape = (args.batch, 3, args.image_size, args.image_size)
    return numpy.random.default_rng(0).standard_normal(shape, dtype=numpy.float32)


def onnxruntime_step(args):
    import onnxruntime

    imported = peak_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(args.onnx, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: random_batch(args)}
    return lambda: session.run(None, feed), "ONNX Runtime " + onnxruntime.__version__, imported


def openvino_step(args):
    import openvino

    imported = peak_bytes()
    x = random_batch(args)
    core = openvino.Core()
    model = core.read_model(args.onnx)
    model.reshape(x.shape)
    # int8 lies in the graph (QDQ); what is left of it is computed in this type.
    precision = "bf16" if args.dtype == "bf16" else "f32"
    compiled = core.compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": args.threads,
        "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1})
    request = compiled.create_infer_request()
    return (lambda: request.infer([x], share_inputs=True),
            "OpenVINO " + openvino.__version__.split("-")[0], imported)


ENGINES = {"torch": torch_step, "onnxruntime": onnxruntime_step, "openvino": openvino_step}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--how", default="eager",
                        help="torch: eager, compile or traced, with +nchw, +autocast or +pure")
    parser.add_argument("--onnx", help="the network, for engines that read a file")
    parser.add_argument("--arch", required=True)
    parser.add_argument("--mode", choices=("infer", "train"), required=True)
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    replies = os.fdopen(os.dup(1), "w")  # whatever an engine prints must not come between
    os.dup2(2, 1)
    step, engine, imported = ENGINES[args.engine](args)
    for _ in range(2):  # compiles, packs, fills caches
        step()
    print(json.dumps({"engine": engine}), file=replies, flush=True)
    for line in sys.stdin:
        burst = json.loads(line)
        seconds = []
        while len(seconds) < burst["least"] or sum(seconds) < burst["seconds"]:
            begin = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begin)
        print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes(), "import_bytes": imported}),
              file=replies, flush=True)


if __name__ == "__main__":
    main()
