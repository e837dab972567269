"""What a precision assignment has to know about torch's functions, by the last part of their names.

``torch.relu``, ``Tensor.relu_`` and ``nn.functional.relu`` do the same; a function that is not listed is an operator of
the kind "other", so that its result is rounded like any.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CUTS", "KINDS", "OPAQUE", "OTHER", "QUESTIONS", "VIEW", "VIEWS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """What a function does.

    gemm : whether products are summed (a group of tensors starts at its output)
    saves_result : whether the backward pass needs the function's own result
    """

    name: str
    gemm: bool = False
    saves_result: bool = False


GEMM = Kind("gemm", gemm=True)
NORM, ACTIVATION, POOL, ADD, CAT, SPLIT, LOSS, EMBEDDING, OTHER = map(
    Kind, ("norm", "activation", "pool", "add", "cat", "split", "loss", "embedding", "other")
)
SAVED_ACTIVATION = Kind("activation", saves_result=True)
VIEW = Kind("view")  # of a parameter: that is where it gets its low copy; the result is not rounded again

KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "bilinear",
         "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "einsum", "tensordot"),
        GEMM,
    ),
    **dict.fromkeys(
        ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"), NORM
    ),
    **dict.fromkeys(
        ("relu6", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "gelu", "silu", "mish", "softplus", "hardswish",
         "hardsigmoid", "clamp", "prelu", "logsigmoid", "softsign", "glu"), ACTIVATION
    ),
    **dict.fromkeys(
        ("relu", "relu_", "elu", "elu_", "selu", "celu", "sigmoid", "sigmoid_", "tanh", "tanh_", "softmax"),
        SAVED_ACTIVATION,
    ),
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
         "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
         "adaptive_max_pool3d", "mean"), POOL
    ),
    **dict.fromkeys(
        ("add", "add_", "__add__", "__iadd__", "__radd__", "sub", "sub_", "__sub__", "__isub__", "__rsub__"), ADD
    ),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack", "vstack"), CAT),
    **dict.fromkeys(("chunk", "split", "tensor_split", "unbind"), SPLIT),
    "embedding": EMBEDDING,
    **dict.fromkeys(("log_softmax", "nll_loss", "cross_entropy", "mse_loss", "binary_cross_entropy_with_logits"), LOSS),
}  # fmt: skip

# The same elements in another shape or order: no operators, whether or not they copy. The last line: attributes.
VIEWS = {
    "view", "view_as", "reshape", "reshape_as", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "permute",
    "transpose", "t", "movedim", "moveaxis", "swapaxes", "swapdims", "contiguous", "clone", "to", "type_as",
    "float", "double", "half", "bfloat16", "expand", "expand_as", "narrow", "select", "__getitem__", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "roll", "flip", "repeat", "identity", "pad", "broadcast_to", "unfold",
    "T", "mT", "H", "mH", "cpu",
}  # fmt: skip

# What leaves the path that is trained: nothing computed from the result alone is followed.
CUTS = {"detach", "data"}

# What asks a tensor something and returns no tensor of the network.
QUESTIONS = {
    "dim", "size", "numel", "nelement", "stride", "is_contiguous", "storage_offset", "data_ptr", "element_size",
    "get_device", "is_floating_point", "is_complex", "is_same_size", "backward", "item", "tolist", "__len__",
    "__bool__", "__float__", "__int__", "__contains__", "__format__", "__repr__", "__hash__", "register_hook",
    "requires_grad_", "isnan", "isinf", "isfinite", "numpy", "__array__", "equal", "allclose",
}  # fmt: skip

# One call for a whole network: its inner tensors are out of reach.
OPAQUE = {
    "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell",
    "multi_head_attention_forward", "scaled_dot_product_attention",
}  # fmt: skip
