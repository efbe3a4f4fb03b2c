"""The workloads' activations as PyTorch's modules."""

from torch import nn

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
