"""How a Python function takes the input of a call: one value, or a dict of several."""

import inspect
from collections.abc import Callable, Collection
from functools import partial
from types import SimpleNamespace
from typing import Any, get_type_hints

from google.protobuf.any_pb2 import Any as AnyProto

from dispatch_grpc.errors import EndpointError, UnmarshalError
from dispatch_grpc.values import marshal, unmarshal

_EMPTY = inspect.Parameter.empty


class Parameters:
    """The parameters of a function, and both ways between arguments and the input of a call.

    A function of no parameter takes Empty, one of one parameter takes the value itself, one of
    several takes a dict by their names.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function, self._name = function, name
        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError) as error:
            raise EndpointError(
                f"function {name!r}: its parameters are not known: {error}"
            ) from error
        self._parameters = dict(self._signature.parameters)
        kinds = {parameter.kind for parameter in self._parameters.values()}
        if inspect.Parameter.VAR_POSITIONAL in kinds:
            raise EndpointError(
                f"function {name!r}: *args is not possible, since an input is one value or a dict "
                f"by the names of parameters: take a list"
            )
        self._open = inspect.Parameter.VAR_KEYWORD in kinds
        self._named = {
            key: parameter
            for key, parameter in self._parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        }
        self._single: inspect.Parameter | None = None
        if len(self._named) == 1 and not self._open:
            (self._single,) = self._named.values()
        self._types: dict[str, Any] | None = None
        self._resolve()

    @property
    def names(self) -> Collection[str]:
        """The names of the parameters."""
        return self._named.keys()

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The input for these arguments, defaults included.

        Raises:
            TypeError: The function does not take these arguments.
        """
        single = self._single
        by_position = single is not None and single.kind is not inspect.Parameter.KEYWORD_ONLY
        if by_position and len(args) == 1 and not kwargs:
            return args[0]  # without what `bind` costs
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        if self._open:
            others = arguments.pop(next(k for k in self._parameters if k not in self._named))
            if twice := [key for key in others if key in arguments]:
                raise TypeError(
                    f"{self._name}() takes {twice[0]!r} by position: an input has each name once"
                )
            arguments |= others
        if self._single is not None:
            return arguments[self._single.name]
        return arguments or None

    def decode(self, input: AnyProto) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that an input holds.

        Raises:
            UnmarshalError: It does not hold what the parameters ask for.
        """
        types = self._types if self._types is not None else self._resolve(final=True)
        given = bool(input.type_url)
        if not given:
            input = marshal(None)
        if self._single is not None:
            return self._decode_single(self._single, input, types, given=given)
        value = unmarshal(input)
        if not self._parameters:
            if value is None:
                return (), {}
            raise UnmarshalError(
                f"{self._name} takes no input; got {type(value).__name__} {value!r:.80}"
            )
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise UnmarshalError(
                f"{self._name} takes a dict of its arguments ({', '.join(self._named)}); "
                f"got {type(value).__name__} {value!r:.80}"
            )
        return self._decode_several(value, types)

    def _decode_single(
        self, parameter: inspect.Parameter, input: AnyProto, types: dict[str, Any], *, given: bool
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        has_default = parameter.default is not _EMPTY
        if not given and has_default:
            return (), {}
        try:
            value = _convert(input, types.get(parameter.name, _EMPTY), unmarshal)
        except UnmarshalError as error:
            if has_default and unmarshal(input) is None:
                return (), {}
            raise UnmarshalError(f"{parameter.name}: {error}") from error
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            return (), {parameter.name: value}
        return (value,), {}

    def _decode_several(
        self, value: dict[str, Any], types: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        missing = [
            key
            for key, parameter in self._named.items()
            if key not in value and parameter.default is _EMPTY
        ]
        unknown = [] if self._open else sorted(key for key in value if key not in self._named)
        if missing or unknown:
            raise UnmarshalError(
                f"{self._name} takes a dict of its arguments ({', '.join(self._named)}); "
                + " and ".join(
                    f"{what}: {', '.join(map(repr, keys))}"
                    for what, keys in (("missing", missing), ("unknown", unknown))
                    if keys
                )
            )
        args, kwargs = [], {}
        for key, item in value.items():
            try:
                wanted = types.get(key if key in self._named else "**", _EMPTY)
                kwargs[key] = _convert(item, wanted, _from_natural)
            except UnmarshalError as error:
                # Defaults need not fit their annotation: `limit: int = None`.
                if item is None and self._has_default(key):
                    continue
                raise UnmarshalError(f"{key}: {error}") from error
        for key, parameter in self._named.items():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                args.append(kwargs.pop(key, parameter.default))
        return tuple(args), kwargs

    def _has_default(self, key: str) -> bool:
        return key in self._named and self._named[key].default is not _EMPTY

    def _resolve(self, *, final: bool = False) -> dict[str, Any]:
        """Find the types of the parameters, as soon as all names in them are known."""
        annotations = {
            key: parameter.annotation
            for key, parameter in self._parameters.items()
            if parameter.annotation is not _EMPTY
        }
        try:
            hints = get_type_hints(
                SimpleNamespace(__annotations__=annotations),
                _globals(self._function),
                include_extras=True,
            )
        except Exception as error:  # annotations are code
            if final:
                raise EndpointError(
                    f"function {self._name!r}: the type of a parameter is not known: {error}"
                ) from error
            return {}
        for key, parameter in self._parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD and key in hints:
                hints["**"] = hints[key]
        self._types = hints
        return hints


def _globals(function: Any) -> dict[str, Any]:
    """The names of the module in which a function is written."""
    function = inspect.unwrap(function)
    if isinstance(function, partial):
        return _globals(function.func)
    if not inspect.isroutine(function):  # a class, or an object that can be called
        function = function.__init__ if inspect.isclass(function) else type(function).__call__
    return getattr(inspect.unwrap(function), "__globals__", {})


def _convert(value: Any, wanted: Any, decode: Callable[..., Any]) -> Any:
    """Decode a value by the annotation of its parameter, if it says something."""
    return decode(value) if wanted is _EMPTY or wanted is Any else decode(value, wanted)


def _from_natural(value: Any, wanted: Any = None) -> Any:
    if wanted is None:
        return value
    from dispatch_grpc.values import models  # imports msgspec: only when needed

    return models.from_plain(value, wanted)
