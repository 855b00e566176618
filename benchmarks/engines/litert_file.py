"""An ONNX file of a convolutional network as a TensorFlow Lite file, its zeros marked as such.

    PYTHON benchmarks/engines/litert_file.py pruned.onnx images.npy pruned.tflite

The file takes batches of the shape that the images have, (N,C,H,W) there and (N,H,W,C) in it.
Needs tensorflow and onnx, in whatever environment they are installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

Attributes = dict[str, Any]


def padded(images: Any, pads: list[int], value: float) -> Any:
    """(N,H,W,C) with rows and columns of `value` around. pads: top, left, bottom, right."""
    top, left, bottom, right = pads
    around = [(0, 0), (top, bottom), (left, right), (0, 0)]
    return tf.pad(images, around, constant_values=value) if any(pads) else images


def convolution(about: Attributes, images: Any, weight: np.ndarray, bias: np.ndarray) -> Any:
    """ONNX: weights (out, in / groups, kh, kw); TensorFlow: (kh, kw, in, out), depthwise other."""
    strides, pads = list(about["strides"]), list(about["pads"])
    kernel = about["kernel_shape"]
    same = strides == [1, 1] and pads == [(side - 1) // 2 for side in kernel] * 2
    images, padding = (images, "SAME") if same else (padded(images, pads, 0.0), "VALID")
    if about["group"] == 1:
        sums = tf.nn.conv2d(images, weight.transpose(2, 3, 1, 0), strides, padding)
    else:
        steps = [1, *strides, 1]
        sums = tf.nn.depthwise_conv2d(images, weight.transpose(2, 3, 0, 1), steps, padding)
    return tf.nn.bias_add(sums, bias)


def largest(about: Attributes, images: Any) -> Any:
    """Max pooling; what lies around counts as smaller than any number."""
    around = padded(images, list(about["pads"]), float(np.finfo(np.float32).min))
    return tf.nn.max_pool2d(around, about["kernel_shape"], list(about["strides"]), "VALID")


OPERATIONS: dict[str, Callable[..., Any]] = {
    "Conv": convolution,
    "Relu": lambda about, values: tf.nn.relu(values),
    "Add": lambda about, left, right: left + right,
    "MaxPool": largest,
    "AveragePool": lambda about, images: tf.reduce_mean(images, (1, 2), keepdims=True),
    "GlobalAveragePool": lambda about, images: tf.reduce_mean(images, (1, 2), keepdims=True),
    "Flatten": lambda about, values: tf.reshape(values, (values.shape[0], -1)),
    "Gemm": lambda about, rows, weight, bias: tf.matmul(rows, weight.T) + bias,
}


def forward(graph: Any, images: Any) -> Any:
    """The graph's output (N, classes) for images (N,H,W,C)."""
    values: dict[str, Any] = {
        each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer
    }
    values[graph.input[0].name] = images
    for node in graph.node:
        about = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        given = (values[name] for name in node.input)
        values[node.output[0]] = OPERATIONS[node.op_type](about, *given)
    return values[graph.output[0].name]


def main() -> None:
    source, images, target = sys.argv[1:]
    graph = onnx.load(source).graph
    batch, channels, *size = np.load(images).shape
    spec = tf.TensorSpec((batch, *size, channels), tf.float32)
    network = tf.function(lambda images: forward(graph, images)).get_concrete_function(spec)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([network])
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    with open(target, "wb") as file:
        file.write(converter.convert())


if __name__ == "__main__":
    main()
