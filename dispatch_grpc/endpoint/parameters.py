"""Arguments of a Python function as the input of a call: one value, or a dict by name.

The docstring of `Endpoint.function` has the rules, also for calls and endpoints of different
versions.
"""

import inspect
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, get_type_hints

from google.protobuf.any_pb2 import Any as AnyProto
from google.protobuf.struct_pb2 import Value

from dispatch_grpc.errors import EndpointError, UnmarshalError
from dispatch_grpc.text import quoted
from dispatch_grpc.values import convert, decode_arguments, encode_arguments, marshal, unmarshal

_EMPTY = inspect.Parameter.empty
_NEVER_DICTS = frozenset({type(None), bool, int, float, str, bytes, list, tuple})
# Those of `Function.with_options`.
_OPTIONS = (
    "expiration",
    "version",
    "timeout",
    "metadata",
    "idempotency_key",
    "delay",
    "at",
    "labels",
)

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments by position, and by name."""


class Parameters:
    """The parameters of a function: arguments to the input of a call, and back."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function, self._name = function, name
        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise EndpointError(
                f"function {name!r}: cannot determine its parameters: {error}"
            ) from error
        self._parameters = dict(self._signature.parameters)
        kinds = {parameter.kind for parameter in self._parameters.values()}
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            raise EndpointError(
                f"function {name!r}: *args is not supported, since an input is one value or a dict "
                f"by the names of parameters: accept a list instead"
            )
        self._open = inspect.Parameter.VAR_KEYWORD in kinds
        self._named = {
            key: parameter
            for key, parameter in self._parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        }
        self._required = {
            key for key, parameter in self._named.items() if parameter.default is _EMPTY
        }
        # The parameter for an input that is not a dict by name, if there is one.
        self._first = next(iter(self._named), None)
        if self._required - {self._first}:
            self._first = None
        self._is_single = len(self._named) == 1 and not self._open
        self._by_position: str | None = None  # the name of a single parameter
        if self._is_single and inspect.Parameter.KEYWORD_ONLY not in kinds:
            self._by_position = next(iter(self._named))
        self._types: dict[str, Any] | None = None
        self._resolve()

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            hint = "".join(
                f": an option of the call goes into with_options({name}=…)"
                for name in _OPTIONS
                if str(error).endswith(f" unexpected keyword argument {name!r}")
            )
            raise TypeError(f"{self._name}(): {error}{hint}") from None

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AnyProto:
        """Return the input for these arguments; defaults are not in it.

        Raises:
            TypeError: The arguments do not match the function's parameters.
            MarshalError: An argument has no representation.
        """
        if self._by_position is not None and len(args) == 1 and not kwargs:
            arguments = {self._by_position: args[0]}  # faster than `bind`
        else:
            arguments = self._bound(args, kwargs)
        if self._open:
            others = arguments.pop(next(k for k in self._parameters if k not in self._named), {})
            if twice := [key for key in others if key in arguments]:
                raise TypeError(f"{self._name}() got {twice[0]!r} by position and by name")
            arguments |= others
        if not arguments:
            return AnyProto()
        if self._first is not None and arguments.keys() == {self._first}:
            value = arguments[self._first]
            if value is None and not self._required:
                return marshal(Value(null_value=0))  # type: ignore[arg-type]
            input = marshal(value)
            if self._is_single or type(value) in _NEVER_DICTS:
                return input
            natural = unmarshal(input)
            if not (isinstance(natural, dict) and self._by_name(natural)):
                return input
        return encode_arguments(arguments)

    def decode(self, input: AnyProto) -> Arguments:
        """Return the arguments in an input.

        Raises:
            UnmarshalError: The input does not match the function's parameters.
        """
        types = self._types if self._types is not None else self._resolve(final=True)
        if self._is_single and self._first is not None:
            return self._decode_first(self._first, input, types)
        if not input.type_url:
            return self._decode_several({}, types)
        value = decode_arguments(input)
        if not self._parameters:
            if value is None:
                return (), {}
            raise UnmarshalError(
                f"{self._name} accepts no input; got {type(value).__name__} {quoted(value)}"
            )
        if isinstance(value, dict) and (self._first is None or self._by_name(value)):
            return self._decode_several(value, types)
        # Empty is what callers in other languages send for 'no arguments'.
        if value is None and not self._required and not input.type_url.endswith(".Value"):
            return self._decode_several({}, types)
        if self._first is None:
            raise UnmarshalError(f"{self._takes()}; got {type(value).__name__} {quoted(value)}")
        try:
            return self._decode_first(self._first, input, types)
        except UnmarshalError as error:
            if not isinstance(value, dict):
                raise
            if not value and not self._required:
                return self._decode_several({}, types)
            raise UnmarshalError(f"{self._takes()}; {self._mismatch(value)}; {error}") from error

    def result_type(self) -> Any:
        """Return the annotated type of the result, or None."""
        annotation = self._signature.return_annotation
        if annotation is _EMPTY:
            return None
        try:
            return self._hints({"return": annotation})["return"]
        except Exception:  # noqa: BLE001 (annotations are code)
            return None

    def _by_name(self, value: dict[str, Any]) -> bool:
        """Return True for a dict of arguments by name, False for one that is an argument."""
        if self._open or self._first in value:
            return True
        return bool(value) and not self._required and value.keys() <= self._named.keys()

    def _takes(self) -> str:
        return f"{self._name} requires a dict of its arguments ({', '.join(self._named)})"

    def _mismatch(self, value: dict[str, Any]) -> str:
        """List the missing and the unknown arguments in a dict."""
        missing = [key for key in self._named if key in self._required and key not in value]
        unknown = [] if self._open else sorted(key for key in value if key not in self._named)
        return " and ".join(
            f"{what}: {', '.join(map(repr, keys))}"
            for what, keys in (("missing", missing), ("unknown", unknown))
            if keys
        )

    def _decode_first(self, key: str, input: AnyProto, types: dict[str, Any]) -> Arguments:
        """Return the arguments in an input that is the value of the first parameter."""
        parameter = self._named[key]
        has_default = parameter.default is not _EMPTY
        if not input.type_url:
            if has_default:
                return (), {}
            input = marshal(None)
        try:
            value = _convert(input, types.get(key, _EMPTY), unmarshal)
        except UnmarshalError as error:
            # Defaults need not fit their annotation: `limit: int = None`.
            if has_default and unmarshal(input) is None:
                return (), {}
            raise UnmarshalError(f"{key}: {error}") from error
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            return (), {key: value}
        return (value,), {}

    def _decode_several(self, value: dict[str, Any], types: dict[str, Any]) -> Arguments:
        """Return the arguments in a dict by name."""
        if mismatch := self._mismatch(value):
            raise UnmarshalError(f"{self._takes()}; {mismatch}")
        args, kwargs = [], {}
        for key, item in value.items():
            try:
                wanted = types.get(key if key in self._named else "**", _EMPTY)
                kwargs[key] = _convert(item, wanted, _from_natural)
            except UnmarshalError as error:
                if item is None and key in self._named and key not in self._required:
                    continue
                raise UnmarshalError(f"{key}: {error}") from error
        for key, parameter in self._named.items():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                args.append(kwargs.pop(key, parameter.default))
        return tuple(args), kwargs

    def _resolve(self, *, final: bool = False) -> dict[str, Any]:
        """Resolve the annotations of the parameters, once all names in them are defined."""
        annotations = {
            key: parameter.annotation
            for key, parameter in self._parameters.items()
            if parameter.annotation is not _EMPTY
        }
        try:
            hints = self._hints(annotations)
        except Exception as error:  # annotations are code
            if final:
                raise EndpointError(
                    f"function {self._name!r}: cannot resolve the type of a parameter: {error}"
                ) from error
            return {}
        for key, parameter in self._parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD and key in hints:
                hints["**"] = hints[key]
        self._types = hints
        return hints

    def _hints(self, annotations: dict[str, Any]) -> dict[str, Any]:
        return get_type_hints(
            SimpleNamespace(__annotations__=annotations),
            _globals(self._function),
            include_extras=True,
        )


def _globals(function: Any) -> dict[str, Any]:
    """Return the globals of the module that defines a function."""
    function = inspect.unwrap(function)
    if isinstance(function, partial):
        return _globals(function.func)
    if not inspect.isroutine(function):  # a class, or an object that can be called
        function = function.__init__ if inspect.isclass(function) else type(function).__call__
    return getattr(inspect.unwrap(function), "__globals__", {})


def _convert(value: Any, wanted: Any, decode: Callable[..., Any]) -> Any:
    """Decode a value by the annotation of its parameter, if there is one."""
    return decode(value) if wanted is _EMPTY or wanted is Any else decode(value, wanted)


def _from_natural(value: Any, wanted: Any = None) -> Any:
    return value if wanted is None else convert(value, wanted)
