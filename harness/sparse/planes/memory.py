"""Where the values of a network lie while images go through its native steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from harness.sparse.operation_graph import Operation, OperationGraph, is_feature_map
from harness.sparse.planes.grids import plane_grids, size_of
from harness.sparse.planes.layout import PlaneGrid, Planes
from harness.sparse.planes.small_maps import Tail
from harness.sparse.planes.steps import FLOAT, Operand, Room, one_beside, plane_operand


class PlaneMemory:
    """Planes of all values, handed on from one to the next.

    native: whether an operation is a native step. count: images at a time. A value has planes for
    every image where others than native steps read or write it, or operations of another stretch
    of them; else one per thread. What the steps before the tail write for it is not handed on
    before: they all run before the tail does.
    """

    def __init__(
        self,
        network: OperationGraph,
        native: Callable[[Operation], bool],
        tail: Tail,
        count: int,
        threads: int,
    ) -> None:
        self.network, self.tail, self.count, self.threads = network, tail, count, threads
        self.grids, self.tail_grids = (plane_grids(network, n) for n in (1, tail.images))
        self.planes: dict[str, Planes] = {}
        self.beside: dict[str, Planes] = {}  # copies of values made before the tail
        self.taken_over: set[str] = set()  # values in whose memory another one lies now
        self.free: dict[tuple[PlaneGrid, Room], list[Planes]] = defaultdict(list)
        self.rooms = self._rooms(native)

    def _rooms(self, native: Callable[[Operation], bool]) -> dict[str, Room]:
        operations = self.network.operations
        stretch, number = {self.network.input: -1}, 0  # value -> number of that it is made in
        for place, operation in enumerate(operations):
            if place and not (native(operation) and native(operations[place - 1])):
                number += 1
            stretch[operation.name] = number
        rooms = {}
        for value, made in stretch.items():
            maker, readers = self.network.producer(value), self.network.users(value)
            if (
                value == self.network.output
                or any(stretch[reader.name] != made for reader in readers)
                or not (maker is None or native(maker))
            ):
                rooms[value] = Room.IMAGE
            else:
                rooms[value] = Room.THREAD
        return rooms

    def grid(self, value: str) -> PlaneGrid | None:
        """None for what is no feature map."""
        shape = self.network.shapes.get(value, ())
        grids = self.tail_grids if value in self.tail.made else self.grids
        return grids[shape[2:]] if is_feature_map(shape) else None

    def place(self, value: str) -> Operand:
        """Memory for a value, from what is free if any fits."""
        grid, channels = self.map_grid(value), self.network.shapes[value][1]
        self.planes[value] = self._take(grid, channels, self.rooms[value])
        return self.operand(value)

    def map_grid(self, value: str) -> PlaneGrid:
        """Of a feature map."""
        grid = self.grid(value)
        assert grid is not None
        return grid

    def place_over(self, value: str, other: str) -> Operand | None:
        """A value in the memory of another one of its shape, which nobody reads any more, if both
        have as much."""
        if self.rooms[value] != self.rooms[other] or self.grid(value) != self.grid(other):
            return None
        self.planes[value] = self.planes[other]
        self.taken_over.add(other)
        return self.operand(value)

    def operand(self, value: str) -> Operand:
        """A value; the images handed in are where they are."""
        if value in self.planes:
            return plane_operand(self.planes[value], self.rooms[value])
        assert value == self.network.input
        channels, height, width = self.network.shapes[value][1:]
        image = FLOAT * channels * height * width
        return Operand(0, FLOAT * height * width, FLOAT * width, 0, image, image=image)

    def each(self, value: str) -> list[Operand]:
        """The images that are beside each other in a value of the tail."""
        whole, apart = self.operand(value), FLOAT * self.planes[value].grid.apart
        return [whole.moved(place * apart) for place in range(self.tail.images)]

    def place_beside(self, value: str) -> Operand:
        """Memory for a value of the tail that is written before it, one image at a time."""
        grid, channels = self.map_grid(value), self.network.shapes[value][1]
        room = self.rooms[value]
        self.planes[value] = Planes(grid, channels, self._count(grid, room))
        return one_beside(self.planes[value], room)

    def copy_beside(self, value: str) -> tuple[Operand, Operand]:
        """Memory for a copy of a value with images beside each other: of all, and of one."""
        grid = self.tail_grids[size_of(self.network, value)]
        self.beside[value] = planes = Planes(grid, self.network.shapes[value][1], self.threads)
        return plane_operand(planes), one_beside(planes)

    def forget_copies(self) -> None:
        """What follows runs on other images than those that were last written beside each other."""
        for planes in self.beside.values():
            self._free(planes, Room.THREAD)
        self.beside.clear()

    def hand_on(self, values: Sequence[str]) -> None:
        """Nobody reads these any more."""
        for value in values:
            if value in self.planes and value not in self.taken_over:
                self._free(self.planes[value], self.rooms[value])
            if value in self.beside:
                self._free(self.beside.pop(value), Room.THREAD)

    def _free(self, planes: Planes, room: Room) -> None:
        self.free[planes.grid, room].append(planes)

    def _take(self, grid: PlaneGrid, channels: int, room: Room) -> Planes:
        free = self.free[grid, room]
        fitting = [planes for planes in free if planes.channels >= channels]
        if fitting:
            planes = min(fitting, key=lambda planes: planes.channels)
            free.remove(planes)
            return planes
        return Planes(grid, channels, self._count(grid, room))

    def _count(self, grid: PlaneGrid, room: Room) -> int:
        """How many planes there are, of one or several images."""
        return -(-self.count // grid.images) if room is Room.IMAGE else self.threads
