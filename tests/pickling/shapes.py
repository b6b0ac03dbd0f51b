"""Runs in a subprocess: every shape of function and class of `__main__`, sent to a child and back.

    python shapes.py START_METHOD

Prints one line for each claim that fails, and "done".
"""

import abc
import collections
import dataclasses
import enum
import functools
import sys
import threading
import typing

import allcores as mp
from allcores import pickling

print("top-level line")

base = 10
log = []
unsendable = threading.Lock()


def serve(conn):
    """The child: apply what arrives to what arrives."""
    while True:
        task = conn.recv()
        if task is None:
            return
        func, args = task
        try:
            answer = True, func(*args)
        except Exception as error:
            answer = False, pickling.explain(error)
        conn.send(answer)


def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


def is_even(n):
    return n == 0 or is_odd(n - 1)


def is_odd(n):
    return n != 0 and is_even(n - 1)


def twice(func):
    @functools.wraps(func)
    def wrapper(*args):
        return func(*args) * 2

    return wrapper


@twice
def plus_base(x):
    return x + base


def make_adder(n):
    def add(x):
        return x + n

    return add


def make_counter():
    n = 0

    def up():
        nonlocal n
        n += 1
        return n

    def read():
        return n

    return up, read


def use_both(up, read):
    up()
    up()
    return read()


@functools.lru_cache
def cached(x):
    return x * base


class Point:
    scale = 3
    made: typing.ClassVar[int] = 0

    class Inner:
        value = 5

        def get(self):
            return self.value + base

    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return type(other) is type(self) and other.x == self.x

    __hash__ = None

    def scaled(self):
        return self.x * self.scale + base

    @classmethod
    def origin(cls):
        return cls(0)

    @staticmethod
    def helper(x):
        return x + base

    @property
    def double(self):
        return self.x * 2


class Point3(Point):
    def __init__(self, x, y):
        super().__init__(x)
        self.y = y

    def scaled(self):
        return super().scaled() + self.y


@dataclasses.dataclass
class Data:
    a: int
    b: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: int = 4


class Slotted:
    __slots__ = ("__hidden", "_x")

    def __init__(self, x):
        self._x = x
        self.__hidden = x + 1

    def hidden(self):
        return self.__hidden


NOTHING = object()


def has_default(x=NOTHING):
    return x is NOTHING, apply_default(x)


def apply_default(x):
    return NOTHING is x


class Lazy:
    @functools.cached_property
    def value(self):
        return [self]


class Colour(enum.Enum):
    RED = 1
    GREEN = 2

    def nice(self):
        return self.name.lower()


class Bits(enum.IntFlag):
    A = 1
    B = 2


Pair = collections.namedtuple("Pair", "left right")


class Typed(typing.NamedTuple):
    a: int
    b: str = "b"


T = typing.TypeVar("T")
UserId = typing.NewType("UserId", int)


def annotated(user: UserId, box: "Box[int]") -> list[UserId]:
    return [user]


@functools.singledispatch
def describe(x):
    return "something"


@describe.register
def _(x: int):
    return f"int {base}"


class Box(typing.Generic[T]):
    def __init__(self, item):
        self.item = item


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape):
    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side**2


class Custom(Exception):
    def __init__(self, code, detail):
        super().__init__(code, detail)
        self.code = code


class Meta(type):
    def __call__(cls, *args):
        made = super().__call__(*args)
        made.tagged = True
        return made


class WithMeta(metaclass=Meta):
    pass


class Recursive:
    """Instances refer to the class, the class to an instance."""

    def __init__(self):
        self.kind = type(self)


Recursive.first = Recursive()


def fail(code):
    raise Custom(code, "detail")


def isinstance_here(obj, cls):
    return isinstance(obj, cls)


def set_global(value):
    global worker_state
    worker_state = value


def get_global():
    return worker_state


worker_state = "parent's"


def rarely(flag):
    if flag:
        with unsendable:
            return "locked"
    return "not used"


def nested_class():
    class Local:
        factor = base

        def get(self):
            return self.factor + Colour.RED.value

    return Local().get()


async def coroutine(x):
    return x + base


def run_coroutine(x):
    import asyncio

    return asyncio.run(coroutine(x))


def generate(n):
    return list(numbers(n))


def numbers(n):
    yield from range(n + base - base)


fail_count = 0


def check(claim, got, wanted):
    global fail_count
    if got != wanted:
        fail_count += 1
        print(f"FAILED {claim}: got {got!r}, wanted {wanted!r}")


def checks(apply):
    check("recursion", apply(factorial, 5), 120)
    check("mutual recursion", (apply(is_even, 4), apply(is_odd, 4)), (True, False))
    check("decorated", apply(plus_base, 1), 22)
    check("lambda", apply(lambda x: x * base, 2), 20)
    check("closure", apply(make_adder(3), 4), 7)
    recursive = lambda n: 1 if n < 2 else n * fact(n - 1)  # noqa: E731
    fact = recursive
    check("recursive closure", apply(recursive, 4), 24)
    up, read = make_counter()
    check("closures that share a cell", apply(use_both, up, read), 2)
    check("the caller's cell is its own", read(), 0)
    check("lru_cache", apply(cached, 3), 30)
    check("single dispatch", (apply(describe, 1), apply(describe, "")), ("int 10", "something"))
    check("annotations", apply(annotated, 1, None), [1])
    check("partial", apply(functools.partial(make_adder(1)), 2), 3)
    check("partial of a builtin", apply(functools.partial(int, base=2), "11"), 3)
    check("bound method", apply(Point(2).scaled), 16)
    check("method of the class", apply(Point.scaled, Point(2)), 16)
    check("class method", apply(Point.origin), Point(0))
    check("static method", apply(Point.helper, 1), 11)
    check("class as a function", apply(Point, 4), Point(4))
    check("property", apply(lambda p: p.double, Point(4)), 8)
    check("super()", apply(Point3(1, 2).scaled), 15)
    check("nested class", apply(Point.Inner().get), 15)
    check("nested class by its name", apply(Point.Inner).get(), 15)
    check("class in a function", apply(nested_class), 11)
    check("isinstance there", apply(isinstance_here, Point3(1, 2), Point), True)
    check("isinstance here", type(apply(Point3, 1, 2)), Point3)
    check("dataclass", apply(Data, 1), Data(1))
    check("dataclass field", apply(lambda d: dataclasses.replace(d, a=2), Data(1)), Data(2))
    check("dataclass is subclassed there", apply(subclass_data, 1), (1, []))
    check("frozen slots", apply(Frozen), Frozen(4))
    check("slots", apply(lambda s: (s._x, s.hidden()), Slotted(1)), (1, 2))
    check("slots come back", apply(Slotted, 5).hidden(), 6)
    check("a default is the global", apply(has_default), (True, True))
    check("again", apply(lambda x=NOTHING: (x is NOTHING, has_default())), (True, (True, True)))
    check("another", apply(has_default, object()), (False, False))
    check("it is the same at home", apply(lambda: (NOTHING, Lazy))[0] is NOTHING, True)
    check("a cached property", apply(lambda lazy: lazy.value is lazy.value, Lazy()), True)
    check("it comes back", Lazy in map(type, apply(lambda: Lazy().value)), True)
    check("enum is itself", apply(lambda c: c, Colour.RED) is Colour.RED, True)
    check("enum method", apply(Colour.nice, Colour.GREEN), "green")
    check("flags", apply(lambda b: b | Bits.B, Bits.A), Bits.A | Bits.B)
    check("namedtuple", apply(Pair, 1, 2), Pair(1, 2))
    check("namedtuple's type", type(apply(Pair, 1, 2)), Pair)
    check("typed namedtuple", apply(Typed, 1), Typed(1, "b"))
    check("generic", apply(Box, 3).item, 3)
    check("generic alias", apply(lambda t: t, Box[int]), Box[int])
    check("abstract base", apply(Square(3).area), 9)
    check("metaclass", apply(WithMeta).tagged, True)
    check("class that holds its instance", apply(lambda c: c.first.kind is c, Recursive), True)
    check("mutual class references", type(apply(lambda: Recursive.first)), Recursive)
    check("nested lambda", apply(lambda: (lambda: base)()), 10)
    check("generator function", apply(generate, 3), [0, 1, 2])
    check("coroutine function", apply(run_coroutine, 1), 11)
    check("a global that can't travel, unused", apply(rarely, False), "not used")
    check("module in a global", apply(lambda: sys.getsizeof(1) > 0), True)
    check("a function comes home as itself", apply(lambda: factorial) is factorial, True)
    check("a function's attribute", apply(lambda: counted.calls), 7)
    check("functions in containers", apply(lambda d: d["f"][0](1), {"f": [make_adder(1)]}), 2)
    check("keyword-only default", apply(keyword), (1, 10))
    check("wrong `__main__` isn't run", apply(lambda: __name__), "__main__")
    check("type", apply(type, 1), int)
    check("NoneType", apply(lambda t: t, type(None)), type(None))

    try:
        apply(fail, 7)
    except Custom as error:
        check("exception", (error.code, error.args), (7, (7, "detail")))
    else:
        check("exception", None, "Custom")


def subclass_data(x):
    @dataclasses.dataclass
    class More(Data):
        c: int = 0

    made = More(x)
    return made.a, made.b


def counted():
    pass


counted.calls = 7


def keyword(x=1, *, y=base):
    return x, y


def state_checks(apply, method):
    global worker_state, base
    apply(set_global, "worker's")
    check("a worker's global stays", apply(get_global), "worker's")
    check("the parent's stays too", worker_state, "parent's")
    base = 20
    check("a change here is seen there", apply(lambda: base), 20)
    worker_state = "new"
    check("also where the worker changed it", apply(get_global), "new")
    Point.scale = 5
    check("a class attribute's change is seen", apply(Point(1).scaled), 25)
    Point.made = 1
    check("the class is still the same", isinstance(apply(Point, 1), Point), True)
    apply(lambda: setattr(Point, "made", 99))
    check("the worker's change stays there", (apply(Point, 1).made, Point.made), (1, 1))
    check("..", apply(lambda: Point.made), 99)
    body = "def redefined(): return {}"
    exec(body.format(1), globals())
    check("defined later", apply(lambda: redefined()), 1)  # noqa: F821
    exec(body.format(2), globals())
    check("redefined", apply(lambda: redefined()), 2)  # noqa: F821
    check("no name of the child's appears here", "only_there" in globals(), False)
    apply(define_there)
    check("..", "only_there" in globals(), False)
    try:
        apply(rarely, True)
    except NameError as error:
        notes = "".join(error.__notes__)
        check("a missing global is explained", "'unsendable'" in notes, True)
        check("..", method != "fork", True)
    else:
        check("a forked child has what can't travel", method, "fork")


def define_there():
    global only_there
    only_there = 1
    return Point(1)


def main():
    method = sys.argv[1]
    ctx = mp.get_context(method)
    here, there = ctx.Pipe()
    child = ctx.Process(target=serve, args=(there,))
    child.start()
    there.close()

    def apply(func, *args):
        here.send((func, args))
        good, answer = here.recv()
        if good:
            return answer
        raise answer

    checks(apply)
    state_checks(apply, method)
    here.send(None)
    child.join()
    check("exit code", child.exitcode, 0)
    check("pickles of this process", pickling.loads(pickling.dumps(Point)) is Point, True)
    print("done")


main()
