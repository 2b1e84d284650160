"""The turn among all processes that share a Milvus server: a lease that is kept in Milvus itself.

Who wants the turn makes a *ticket*, an empty collection ``NAME__turn_...`` that nobody else touches, and has
the turn if there is no other ticket then; else the ticket goes and another attempt is made later. Of two that
come at once at least one sees the other, so they never both have it, whatever the order. A ticket shows that
its owner lives by a property that is renewed. One that stays the same is dropped by those who wait, and who
lost a ticket like that writes no more.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rag_chain.errors import StoreError, StoreLockedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymilvus import MilvusClient

    from rag_chain.store.connection import Connection

logger = logging.getLogger(__name__)

OWNER, BEAT = "rag_chain.turn.owner", "rag_chain.turn.beat"

PAUSE_SECONDS = 0.5
RENEW_SECONDS = 5.0
# A ticket that stays the same for so long is dropped; its owner stops writing well before that.
SILENCE_SECONDS = 30.0
# While Milvus does not answer nobody can renew, so that time does not count.
LONGEST_GAP = 4 * PAUSE_SECONDS


@dataclass
class _Seen:
    """What was last seen of somebody's ticket, when, and for how long it has been the same."""

    beat: str
    at: float
    quiet: float = 0.0


class Lease:
    """One claim to the turn of a collection; not to be shared by threads."""

    def __init__(self, milvus: Connection, collection: str) -> None:
        self._milvus = milvus
        self._collection = collection
        self._prefix = f"{collection}__turn_"
        self._ticket = f"{self._prefix}{secrets.token_hex(8)}"
        self._seen: dict[str, _Seen] = {}
        self._renewing = threading.Lock()
        self._renewed = 0.0
        self._beats = 0
        self._is_lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="rag_chain turn", daemon=True)

    def take(self) -> None:
        """Wait until the turn is ours."""
        while not self.try_take():
            time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  no secret depends on it

    def try_take(self) -> bool:
        """Take the turn if nobody has it; who has been killed on this machine does not count."""
        if self._others():
            return False
        self._milvus.run("taking the turn to write", self._create)
        try:
            taken = not self._others()
        except BaseException:
            self._drop_own()
            raise
        if not taken:
            self._drop_own()
            return False
        self._thread.start()
        return True

    def release(self) -> None:
        """Give the turn to the next one."""
        self._ended.set()
        self._thread.join()
        self._drop_own()

    def check(self) -> None:
        """Raise ``StoreLockedError`` when the turn is somebody else's by now, since this process stood still."""
        # Not the monotonic clock: it stands still while the machine sleeps.
        if time.time() - self._renewed > SILENCE_SECONDS / 2:
            self._renew()
        if self._is_lost:
            raise StoreLockedError(
                f"another process took over {self._collection!r}, since nothing was heard of this one "
                f"for {SILENCE_SECONDS:.0f} seconds: run it again"
            )

    def _others(self) -> list[str]:
        """Return the tickets of those who live; drop those of others."""
        names = self._milvus.run("listing collections", lambda c: c.list_collections(timeout=self._timeout))
        tickets = [name for name in names if name.startswith(self._prefix) and name != self._ticket]
        alive = []
        for name in tickets:
            properties = self._milvus.run("reading whose turn it is", partial(self._read, name))
            if OWNER not in properties:
                continue
            if self._is_dead(name, properties):
                logger.info("the turn of %s is dropped, since nothing is heard of its owner", self._collection)
                self._milvus.run("taking over the turn", partial(self._drop, name))
            else:
                alive.append(name)
        return alive

    def _is_dead(self, name: str, properties: Mapping[str, str]) -> bool:
        if has_ended(properties[OWNER]):
            return True
        now, beat = time.monotonic(), properties.get(BEAT, "")
        seen = self._seen.get(name)
        if seen is None or seen.beat != beat:
            self._seen[name] = _Seen(beat, now)
            return False
        seen.quiet += min(now - seen.at, LONGEST_GAP)
        seen.at = now
        return seen.quiet > SILENCE_SECONDS

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            try:
                self._renew()
            except StoreError as error:
                # Whoever writes next asks once more and gets the error.
                logger.info("the turn could not be renewed: %s", error)

    def _renew(self) -> None:
        with self._renewing:
            self._beats += 1
            alive = self._milvus.run("renewing the turn to write", self._beat)
            self._is_lost = self._is_lost or not alive
            self._renewed = time.time()

    def _beat(self, client: MilvusClient) -> bool:
        """Renew the ticket; False when others have dropped it."""
        from rag_chain.store.vendor import pymilvus

        try:
            client.alter_collection_properties(self._ticket, {BEAT: str(self._beats)}, timeout=self._timeout)
        except pymilvus.MilvusException:
            if client.has_collection(self._ticket, timeout=self._timeout):
                raise
            return False
        return True

    def _create(self, client: MilvusClient) -> None:
        from rag_chain.store.vendor import pymilvus

        schema = client.create_schema(auto_id=False)
        schema.add_field("id", pymilvus.DataType.INT64, is_primary=True)
        schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=2)
        properties = {OWNER: name_process(), BEAT: "0"}
        client.create_collection(self._ticket, schema=schema, properties=properties, timeout=self._timeout)
        self._renewed = time.time()

    def _read(self, name: str, client: MilvusClient) -> dict[str, str]:
        """Return a collection's properties; none when it is gone."""
        from rag_chain.store.vendor import pymilvus

        try:
            return dict(client.describe_collection(name, timeout=self._timeout).get("properties") or {})
        except pymilvus.MilvusException:
            if client.has_collection(name, timeout=self._timeout):
                raise
            return {}

    def _drop(self, name: str, client: MilvusClient) -> None:
        # It is no error when others have done so.
        client.drop_collection(name, timeout=self._timeout)

    def _drop_own(self) -> None:
        try:
            self._milvus.run("giving back the turn", partial(self._drop, self._ticket))
        except StoreError as error:
            # The work is done, or has an error of its own to tell.
            logger.warning("the next one waits %.0f seconds for its turn, since: %s", SILENCE_SECONDS, error)

    @property
    def _timeout(self) -> float:
        return self._milvus.address.timeout


def name_process() -> str:
    """Return what tells this process from all others of all machines; nothing where it can't be told whether it ended.

    These are the machine's boot, the namespace of process numbers, the number, and when it was started.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return f"{boot} {namespace} {os.getpid()} {_started(os.getpid())}"


def has_ended(name: str) -> bool:
    """Whether a process is known to have ended; of other machines' nothing is known."""
    here, _, _ = name_process().rpartition(" ")[0].rpartition(" ")
    place, _, rest = name.rpartition(" ")[0].rpartition(" ")
    if not here or place != here:
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    # Another process may have got the number since.
    started = _started(int(rest))
    return bool(started) and started != name.rpartition(" ")[2]


def _started(process: int) -> str:
    """Return when a process was started, in the kernel's ticks; nothing where that is not to be seen."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "ended" if fields[0] in "ZX" else fields[19]
