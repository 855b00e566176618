"""Which operations multiply no matrices: elementwise ones, reductions, resampling, bookkeeping.

fvcore lists what it has no count for. Of these, the ones named here lose nothing; any other may
hide products, and then nobody knows the network's multiply-accumulates.
"""

from __future__ import annotations

_ELEMENTWISE = """
abs add addcdiv addcmul atan atan2 bitwise_and bitwise_or bitwise_xor ceil celu clamp_max clamp_min
cos cosh deg2rad div elu erf erfinv exp exp2 expm1 floor fmod frac ge gelu glu gt hardshrink
hardsigmoid hardswish hardtanh isfinite isinf isnan le leaky_relu lerp log log10 log1p log2
log_sigmoid logical_and logical_not logical_or logical_xor logit lt maximum minimum mish mul
nan_to_num ne neg pow prelu reciprocal relu6 round rsqrt rsub selu sgn sigmoid sign silu sin sinh
_weight_norm softplus softshrink softsign sqrt square sub tan tanh threshold true_divide trunc where
xlogy
"""
_REDUCTIONS = """
all amax amin aminmax any argmax argmin cosine_similarity cummax cummin cumprod cumsum
frobenius_norm linalg_norm linalg_vector_norm log_softmax logsumexp mean median min
native_layer_norm norm normalize prod rms_norm softmax std std_mean sum var var_mean
"""
_POOLING = """
adaptive_avg_pool1d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool2d_with_indices max_pool3d
local_response_norm
"""
_RESAMPLING = """
affine_grid_generator channel_shuffle grid_sampler_2d grid_sampler_3d native_channel_shuffle
pixel_shuffle pixel_unshuffle upsample_bicubic2d upsample_linear1d upsample_nearest1d
upsample_nearest3d upsample_trilinear3d _upsample_bicubic2d_aa _upsample_bilinear2d_aa
"""
_PLACES = """
argsort broadcast_tensors broadcast_to clone col2im column_stack diag diag_embed diagonal dim
dsplit dstack expand_as flip fold hsplit hstack im2col index_add index_copy index_fill index_put
index_select masked_scatter masked_select meshgrid movedim moveaxis numel numpy_T one_hot pad
reflection_pad1d reflection_pad2d repeat repeat_interleave replication_pad1d replication_pad2d
reshape_as rot90 scatter scatter_add scatter_reduce sort swapaxes take take_along_dim tensor_split
tile topk tril triu unflatten unfold unique_consecutive view_as vsplit vstack
"""
_MAKING = """
alpha_dropout bernoulli copy dropout embedding empty_like eye feature_alpha_dropout feature_dropout
fill lift_fresh linspace new_ones normal ones_like rand rand_like randint randn randn_like randperm
scalar_tensor uniform zero zeros
"""
WITHOUT_PRODUCTS = frozenset(
    name
    for group in (_ELEMENTWISE, _REDUCTIONS, _POOLING, _RESAMPLING, _PLACES, _MAKING)
    for name in group.split()
)


def may_hide_products(kind: str) -> bool:
    """Whether an operation of a traced graph ("aten::add_") could hold a matrix product."""
    return kind.removeprefix("aten::").removesuffix("_") not in WITHOUT_PRODUCTS
