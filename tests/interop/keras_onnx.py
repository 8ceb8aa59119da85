"""Keras' networks as ONNX, against ONNX Runtime and Keras in double precision.

    python tests/interop/keras_onnx.py --resnet build/release/src/resnet

Networks of keras.applications and of Keras' examples get random weights and batch-norm statistics. tf2onnx writes them
as it does by default (images as [n, h, w, c]), with images as [n, c, h, w], and for an old opset; Keras' own export
writes them, too; and once all weights are in Constant nodes. `resnet import` reads each file without being told what it
is. The logits of three images are compared with Keras' in double precision. ResNet50V2, which no network here is, has
to be refused by the name of a node.

Tolerance, as in onnx_files.py: ONNX Runtime's own f32 error measures how this network rounds; allowed is
10 * max(that error, 4 eps * largest logit). Exits with 1 when anything fails.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from keras import layers
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def cifar(n=3, classes=10):
    """ResNet v1 of Keras' example cifar10_resnet: biases, "same" with strides, no batch norm in a projection."""
    def layer(x, filters, kernel=3, stride=1, norm=True, relu=True):
        x = layers.Conv2D(filters, kernel, stride, padding="same")(x)
        x = layers.BatchNormalization()(x) if norm else x
        return layers.Activation("relu")(x) if relu else x

    image = layers.Input((32, 32, 3))
    x = layer(image, 16)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(n):
            stride = 2 if stage > 0 and block == 0 else 1
            y = layer(layer(x, filters, stride=stride), filters, relu=False)
            x = layer(x, filters, 1, stride, norm=False, relu=False) if stride == 2 else x
            x = layers.Activation("relu")(layers.add([x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    return keras.Model(image, layers.Dense(classes)(x))


def same18(side=64, classes=10):
    """ResNet-18 with "same" everywhere, in the max pool too; no biases; a mean of its own over rows and columns."""
    def layer(x, filters, kernel=3, stride=1, relu=True):
        x = layers.BatchNormalization(epsilon=1e-5)(layers.Conv2D(filters, kernel, stride, "same", use_bias=False)(x))
        return layers.ReLU()(x) if relu else x

    image = layers.Input((side, side, 3))
    x = layers.MaxPooling2D(3, 2, "same")(layer(image, 64, 7, 2))
    for stage, filters in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            y = layer(layer(x, filters, 3, stride), filters, relu=False)
            x = layer(x, filters, 1, stride, relu=False) if stride == 2 else x
            x = layers.ReLU()(layers.add([x, y]))
    return keras.Model(image, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def application(name, side, **options):
    make = getattr(keras.applications, name)
    return lambda: make(weights=None, classes=10, classifier_activation=None,
                        **({"input_shape": (side, side, 3)} if side else {}), **options)


NETWORKS = {  # name: (what import has to say, side of the images, network)
    "cifar20": ("resnet20 with shortcuts B with TensorFlow's padding", 32, cifar),
    "same18": ("resnet18 with TensorFlow's padding", 64, same18),
    "ResNet50": ("resnet50 with the stride on the first 1x1 convolution", 64, application("ResNet50", 64)),
    "ResNet50-any-size": ("resnet50 with the stride on the first 1x1 convolution", 224, application("ResNet50", 0)),
    "ResNet101": ("resnet101 with the stride on the first 1x1 convolution", 64, application("ResNet101", 64)),
}


def randomise(network, side, generator):
    """Random weights, and statistics that belong to them, so that no activation explodes."""
    norms = [layer for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    for layer in network.layers:
        if getattr(layer, "use_bias", False):
            layer.bias.assign(generator.normal(0, 0.2, layer.bias.shape))
    for norm in norms:
        norm.gamma.assign(generator.uniform(0.4, 0.9, norm.gamma.shape))
        norm.beta.assign(generator.normal(0, 0.2, norm.beta.shape))
        norm.momentum = 0.0
    network(generator.normal(0, 1, (16, side, side, 3)).astype(np.float32), training=True)
    for norm in norms:
        norm.moving_mean.assign_add(0.1 * generator.normal(0, 1, norm.moving_mean.shape))
        norm.moving_variance.assign(norm.moving_variance * generator.uniform(0.8, 1.2, norm.moving_variance.shape))


def in_double(make, network, images):
    keras.config.set_dtype_policy("float64")
    try:
        twin = make()
    finally:
        keras.config.set_dtype_policy("float32")
    twin.set_weights(network.get_weights())
    return np.asarray(twin(images.astype(np.float64), training=False))


def with_constants(path):
    """All weights in Constant nodes."""
    model = onnx.load(path)
    nodes = [onnx.helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    nodes += model.graph.node
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    out = path.with_name("constants.onnx")
    onnx.save(model, out)
    return out


def exports(network, folder):
    """Files of the network, each with what wrote it and whether its images are [n, c, h, w]."""
    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, name="x")]
    logits = tf.function(lambda x: network(x, training=False), input_signature=signature)
    softmax = tf.function(lambda x: tf.nn.softmax(network(x, training=False)), input_signature=signature)
    for name, function, options in (("opset 17", logits, {"opset": 17}),
                                    ("opset 9", logits, {"opset": 9}),
                                    ("nchw", logits, {"opset": 13, "inputs_as_nchw": ["x"]}),
                                    ("softmax", softmax, {"opset": 17})):
        path = folder / f"{name.replace(' ', '_')}.onnx"
        tf2onnx.convert.from_function(function, input_signature=signature, output_path=str(path), **options)
        yield f"tf2onnx, {name}", path, name == "nchw"
    yield "weights in Constant nodes", with_constants(folder / "opset_17.onnx"), False
    path = folder / "keras.onnx"
    network.export(str(path), format="onnx", verbose=False)
    yield "Keras' export", path, False


class Check:
    def __init__(self, resnet):
        self.resnet, self.failures = resnet, 0

    def run(self, *arguments):
        return subprocess.run([self.resnet, *map(str, arguments)], capture_output=True, text=True)

    def verdict(self, good, what):
        self.failures += not good
        print(f"  {'ok  ' if good else 'FAIL'} {what}", flush=True)


def run_onnx(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0].astype(np.float64)


def check_network(check, name, folder):
    wanted, side, make = NETWORKS[name]
    print(name)
    generator = np.random.default_rng(3)
    keras.utils.set_random_seed(3)
    network = make()
    randomise(network, side, generator)
    pixels = generator.integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    images = [folder / f"{i}.png" for i in range(3)]
    for path, image in zip(images, pixels):
        Image.fromarray(image).save(path)
    images = (pixels.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    exact = in_double(make, network, images)

    allowed = None
    for what, path, nchw in exports(network, folder):
        if allowed is None:  # the first gives logits
            error = np.abs(run_onnx(path, images) - exact).max()
            allowed = 10 * max(error, 4 * np.finfo(np.float32).eps * np.abs(exact).max())
            print(f"  ONNX Runtime errs by {error:.2e}, largest logit {np.abs(exact).max():.2f}")
        model = folder / "model.safetensors"
        done = check.run("import", path, "--image-size", side, "--resize", 0, "--mean", ",".join(map(str, MEAN)),
                         "--std", ",".join(map(str, STD)), "-o", model)
        if done.returncode != 0 or f"that of {wanted}\n" not in done.stdout:
            check.verdict(False, f"{what}: {done.stderr.strip() or done.stdout.strip()}")
            continue
        done = check.run("embed", model, *images, "--layer", "fc", "-o", folder / "logits.npy")
        logits = np.load(folder / "logits.npy").astype(np.float64)
        error = np.abs(logits - exact).max()
        check.verdict(error <= allowed and np.array_equal(logits.argmax(1), exact.argmax(1)),
                      f"{what}: largest difference {error:.2e} of {allowed:.2e} allowed")


def check_refusal(check, folder):
    print("ResNet50V2")
    what, path, _ = next(exports(application("ResNet50V2", 64)(), folder))
    done = check.run("import", path, "-o", folder / "model.safetensors")
    check.verdict(done.returncode == 1 and "Pad 'resnet50v2" in done.stderr, f"{what}: {done.stderr.strip()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnet", required=True, help="the binary")
    parser.add_argument("names", nargs="*", metavar="NETWORK", help=f"of {', '.join(NETWORKS)}; all if none")
    options = parser.parse_args()
    print(f"Keras {keras.__version__}, tf2onnx {tf2onnx.__version__}, ONNX Runtime {onnxruntime.__version__}")
    check = Check(options.resnet)
    for name in options.names or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            check_network(check, name, pathlib.Path(folder))
    if not options.names:
        with tempfile.TemporaryDirectory() as folder:
            check_refusal(check, pathlib.Path(folder))
    print("all good" if check.failures == 0 else f"{check.failures} checks failed")
    sys.exit(check.failures != 0)


if __name__ == "__main__":
    main()
