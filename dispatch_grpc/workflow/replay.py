"""The journal while a workflow runs: what the code asks for is compared with it, or added to it."""

import hashlib
from collections.abc import Mapping

from dispatch_grpc.schema import Command, Journal, JournalEntry
from dispatch_grpc.workflow import commands
from dispatch_grpc.workflow.errors import NondeterminismError, WorkflowError


class Replay:
    """A journal that is replayed, and then added to.

    What does not fit is returned as an exception, not raised: the code of the workflow could catch
    it.

    Args:
        journal: The journal.
        max_bytes: Bound of its size.

    Attributes:
        active: Whether what runs has run before.
        size: Size of the journal, in bytes.
    """

    def __init__(self, journal: Journal, max_bytes: int) -> None:
        self.journal = journal
        self.active: bool = True
        self.size: int = journal.ByteSize()
        self._max_bytes = max_bytes
        self._expected: dict[int, Command] = {}
        self._hash = hashlib.blake2b(key=journal.nonce, digest_size=8)

    def id_of(self, lane: str, number: int) -> int:
        """Return the id of a command, by its lane and its number in the lane."""
        digest = self._hash.copy()
        digest.update(b"%b/%d" % (lane.encode(errors="backslashreplace"), number))
        return int.from_bytes(digest.digest(), "big") or 1

    def expect(self, position: int) -> int:
        """Collect the commands that the code makes next; returns where they end."""
        entries = self.journal.entries
        while position < len(entries) and entries[position].HasField("command"):
            entry = entries[position]
            self._expected[entry.command_id] = entry.command
            position += 1
        return position

    def make(self, id: int, fields: commands.Fields) -> Exception | None:
        """Take note of a command. Returns why the workflow cannot go on, or None."""
        if not self.active:
            return self.append(JournalEntry(command_id=id, command=commands.make(fields)))
        before = self._expected.pop(id, None)
        if before is None or commands.fields_of(before) != fields:
            return self._differs(before, commands.make(fields))
        return None

    def patch(self, id: int, name: str) -> tuple[bool, Exception | None]:
        """Tell whether the code takes the new way; and why it cannot go on, or None."""
        if self.active:
            return self._expected.pop(id, None) is not None, None
        command = Command(kind=commands.PATCH, name=name)
        return True, self.append(JournalEntry(command_id=id, command=command))

    def end_of_segment(self) -> Exception | None:
        """Check that the code has made all commands that it made before."""
        missing = [c for c in self._expected.values() if c.kind != commands.PATCH]
        problem = self._differs(missing[0], None) if missing else None
        self._expected.clear()
        return problem

    def append(self, entry: JournalEntry) -> Exception | None:
        """Write an entry down. Returns an error when the journal is too large with it, or None."""
        self.journal.entries.append(entry)
        self.size += entry.ByteSize() + 3
        if self.size <= self._max_bytes:
            return None
        return WorkflowError(
            f"the journal of the workflow has more than {self._max_bytes} bytes "
            f"(max_journal_bytes): start again before that with 'raise workflow.ContinueAsNew("
            f"...)', or keep large values in a store and pass references to them"
        )

    def _differs(self, before: Command | None, now: Command | None) -> Exception:
        """Return the error of code that does something else than before."""
        if before is None:
            before = _next(self._expected)
        version = self.journal.code_version
        return NondeterminismError(
            f"the workflow asks for {commands.describe(now)}, and its journal says that it "
            f"asked for {commands.describe(before)} at this place"
            f"{f' (begun by version {version!r} of the code)' if version else ''}: put the old "
            f"code back, or tell the old way from the new one by workflow.patched(); time, "
            f"random numbers, the order of sets and global state have to come from the journal"
        )


def _next(expected: Mapping[int, Command]) -> Command | None:
    """Return which of the commands to come another one most likely stands for."""
    return next((c for c in expected.values() if c.kind != commands.PATCH), None)
