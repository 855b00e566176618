"""Which layers run on planes, in blocks of which size, and which run densely: the fastest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from harness.errors import ProtocolError
from harness.sparse.compile_plan import CompilePlan, LayerPlan, NetworkChoice
from harness.sparse.compiled import CompiledNetwork
from harness.sparse.form_choice import DENSE, PLANES, TABLES, GivenLayer, positions_of
from harness.sparse.native.kernels import Kernels, kernels
from harness.sparse.operation_graph import Convolution, Linear, OperationGraph
from harness.sparse.planes.bands import bands_of
from harness.sparse.planes.program import PlaneProgram, linear_step
from harness.sparse.planes.slices import BlockForm
from harness.sparse.step_timing import milliseconds

# Below this density of an ungrouped layer PyTorch's dense product cannot win: it reaches at most
# eight times the multiply-accumulates per second of a sparse one.
SPARSE_FOR_SURE = 0.1
# A stride of 16, as of patches, would be 256 copies, and threads wait for each other after each.
MOST_PHASES = 16
TURNS = 7  # three chose by noise where bands gain a twentieth
# One band has to be faster by this: its time varies more with where memory happens to lie, up to
# a tenth between two processes of ResNet-50 at 90 %, batch 16.
BANDS_GAIN = 1.03
LINEAR_FORMS = {"csr": TABLES, "dense": tuple(DENSE), PLANES[-1]: PLANES}  # with what allows each


def kernels_for(allowed: Sequence[str]) -> Kernels | None:
    """The native kernels, if a form that needs them is allowed and they are there.

    Raises ProtocolError if nothing else is allowed and llvmlite is missing.
    """
    if not set(PLANES) & set(allowed):
        return None
    found = kernels()
    if found is None and set(allowed) <= set(PLANES):
        msg = f"{', '.join(allowed)}: llvmlite is not installed. Run: pip install 'reprune[sparse]'"
        raise ProtocolError(msg)
    return found


def plane_network(
    network: OperationGraph,
    given: dict[str, GivenLayer],
    images: Tensor,
    found: Kernels,
    allowed: Sequence[str],
) -> CompiledNetwork:
    """The network on planes, tuned for batches like `images`.

    given: operation -> what it was in the model. Every layer is measured between its neighbours
    in each allowed form.
    """
    threads = torch.get_num_threads()
    convolutions = list(network.convolutions())
    times: dict[str, dict[str, float]] = {conv.name: {} for conv in convolutions}
    linears = [op for op in network.operations if isinstance(op, Linear)]
    ways = [form for form, needs in LINEAR_FORMS.items() if set(needs) & set(allowed)]
    times |= {op.name: _linear_times(network, op, images, found, ways) for op in linears}
    for form in [form for form in PLANES if form in allowed]:
        forms = {linear.name: fastest(times[linear.name]) for linear in linears}
        forms |= {conv.name: form if _few_phases(conv) else "dense" for conv in convolutions}
        program = PlaneProgram(network, found, forms, len(images), threads)
        program(images.contiguous())
        for conv in filter(_few_phases, convolutions):
            block = BlockForm.of(form)
            if block.sliced and not block.can_slice(conv) and times[conv.name]:
                continue  # the same as without slices
            times[conv.name][form] = program.milliseconds(conv.name, len(images))
    for conv in convolutions:
        if set(DENSE) & set(allowed) or not times[conv.name]:
            times[conv.name] |= _dense_times(network, conv, len(images))
    chosen = {name: fastest(ms) for name, ms in times.items()}
    layers = tuple(
        _layer_plan(network, op, given[op.name], chosen[op.name], times[op.name])
        for op in network.operations
        if isinstance(op, Convolution | Linear)
    )
    program = _fastest_program(network, found, chosen, images)
    choice = NetworkChoice(batch=len(images))
    plan = CompilePlan(layers, {}, threads, choice, program.bands)
    return CompiledNetwork.running(program, network, plan)


def planned_planes(network: OperationGraph, plan: CompilePlan, found: Kernels) -> CompiledNetwork:
    """The network on planes as planned."""
    layers = [op for op in network.operations if isinstance(op, Convolution | Linear)]
    forms = {op.name: layer.form for op, layer in zip(layers, plan.layers, strict=True)}
    program = PlaneProgram(network, found, forms, plan.network.batch, plan.threads, plan.bands)
    return CompiledNetwork.running(program, network, plan)


def _fastest_program(
    network: OperationGraph, found: Kernels, forms: dict[str, str], images: Tensor
) -> PlaneProgram:
    """In the bands that suit the largest map, unless one band is faster by more than noise.

    Threads that share an image wait for each other after every step, of which bands have more.
    """
    threads, images = torch.get_num_threads(), images.contiguous()
    counts = {1, bands_of(network) if len(images) >= threads else 1}
    programs = [PlaneProgram(network, found, forms, len(images), threads, n) for n in counts]
    if len(programs) == 1:
        return programs[0]
    shortest = [float("inf") for _ in programs]
    for _ in range(TURNS):
        for n, program in enumerate(programs):
            shortest[n] = min(shortest[n], milliseconds(partial(program, images)))
    costs = [
        ms * (1.0 if p.bands > 1 else BANDS_GAIN) for p, ms in zip(programs, shortest, strict=True)
    ]
    return programs[costs.index(min(costs))]


def _few_phases(conv: Convolution) -> bool:
    return conv.stride[0] * conv.stride[1] <= MOST_PHASES


def fastest(ms: dict[str, float]) -> str:
    return min(ms, key=lambda form: ms[form])


def _dense_times(network: OperationGraph, conv: Convolution, count: int) -> dict[str, float]:
    """Of PyTorch's own product with the copies from and to planes; {} where it cannot win."""
    full = conv.weight.numel()
    if conv.groups == 1 and conv.nnz < SPARSE_FOR_SURE * full and _few_phases(conv):
        return {}
    image = torch.rand(count, *network.shapes[conv.source][1:])
    return {"dense": milliseconds(lambda: conv.dense(image.clone()).clone())}


def _linear_times(
    network: OperationGraph,
    linear: Linear,
    images: Tensor,
    found: Kernels,
    forms: Sequence[str],
) -> dict[str, float]:
    """Form -> milliseconds for the rows of a whole batch."""
    given = []
    for value in linear.inputs:
        first, *rest = network.shapes[value]
        given.append(torch.rand(first * len(images), *rest))
    threads = torch.get_num_threads()
    return {
        form: milliseconds(partial(linear_step(form, [linear], found, threads), *given))
        for form in forms
    }


def _layer_plan(
    network: OperationGraph,
    layer: Convolution | Linear,
    given: GivenLayer,
    form: str,
    ms: dict[str, float],
) -> LayerPlan:
    macs = int(layer.weight.count_nonzero()) * positions_of(layer, network)
    return LayerPlan(layer.label, given.shape, macs / given.macs, given.macs, macs, form, ms)
