"""Ids of calls that remember the type of the result."""

from typing import Any, Generic, TypeVar

_R_co = TypeVar("_R_co", covariant=True)


class DispatchID(str, Generic[_R_co]):  # noqa: SLOT000 (it holds a type)
    """The id of a call, which remembers the type of the call's result; it is a `str`.

    `Function.dispatch` returns a `DispatchID[R]`, and `wait` decodes the output into `R`. Other
    dispatches return a `str`, and so do copying and pickling.
    """

    _type: Any

    def __new__(cls, dispatch_id: str, T: Any = None) -> "DispatchID[Any]":
        """Make an id that remembers a type.

        Args:
            dispatch_id: The id of the call.
            T: Type of the result, as for `unmarshal`.
        """
        self = super().__new__(cls, dispatch_id)
        self._type = T
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)  # pickle may not find the type


def result_type(dispatch_id: str) -> Any:
    """Return the type that an id remembers, or None."""
    return getattr(dispatch_id, "_type", None)
