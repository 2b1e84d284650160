"""Compare the documents at hand with those in the store: what is to be added, changed, kept and removed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rag_chain.errors import DocumentError, NoDocumentsError
from rag_chain.ingestion.names import SourceNames, still_exists
from rag_chain.ingestion.report import STATES, IngestReport, Refused
from rag_chain.store.schema import SOURCE_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rag_chain.ingestion.types import File, Findings, Stored

# Documents whose versions start alike have the same text, whatever else is known of them.
TEXT_DIGITS = 32


@dataclass(frozen=True)
class Work:
    """A document to be ingested under this source name."""

    file: File
    source: str
    version: str
    alike: str = ""
    """A version that the store has of a document with the same text and, if a loader gave it, other metadata."""

    @property
    def versions(self) -> list[str]:
        """The versions whose stored chunks may have its vectors."""
        return [self.version, self.alike] if self.alike and self.alike != self.version else [self.version]

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.file.size

    @property
    def needs_process(self) -> bool:
        """Whether a parser works on it that may hang, crash or fill the memory."""
        return self.file.needs_process

    def portable(self) -> Work:
        """Return it as something that can be sent to another process."""
        return replace(self, file=self.file.portable())


@dataclass
class Plan:
    """What an ingest will do; ``held`` is what the store holds of it, nothing where it is built anew.

    ``reasons`` says why a document is to be added or changed, where that is not the usual reason; ``notes``
    what else a person should know.
    """

    added: list[Work] = field(default_factory=list)
    changed: list[Work] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    skipped: list[Refused] = field(default_factory=list)
    held: Mapping[str, Stored] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of documents in each state."""
        return {state: len(getattr(self, state)) for state in STATES}

    @property
    def work(self) -> list[Work]:
        """Return the documents to embed."""
        return [*self.added, *self.changed]


def make_plan(
    found: Findings,
    catalogue: Mapping[str, Stored],
    *,
    prune: bool,
    rebuild: bool,
    incomplete: Collection[str] = (),
) -> Plan:
    """Read every file once for its digest and decide what becomes of it.

    A document is unchanged when its content is, whatever its time stamp, unless chunks of it are missing in the
    store (``incomplete``): then it counts as changed. With ``prune``, stored
    documents of the same roots that are not there any more are removed; a root in which nothing
    was found is left alone, since it is more likely unmounted than emptied, and so is one of which not
    everything was looked at. With ``rebuild``
    everything is added anew, and stored documents that are still there and were not found now,
    or are of other roots, are an error, not lost.
    """
    names = SourceNames(catalogue)
    plan = Plan(reasons=dict.fromkeys(catalogue, "built anew")) if rebuild else Plan(held=catalogue)
    by_text = {stored.version[:TEXT_DIGITS]: stored.version for stored in plan.held.values()}
    roots: set[str] = set()
    for file in found:
        roots.add(file.root)
        source = names.name(file)
        try:
            version = _read_version(found, file, source)
        except DocumentError as error:
            plan.refused.append(Refused(source, str(error)))
            continue
        _sort_in(plan, Work(file, source, version, by_text.get(version[:TEXT_DIGITS], "")), incomplete)
    plan.refused[:0] = [Refused(r.source, r.reason) for r in found.refused]
    plan.skipped = [Refused(s.source, s.reason) for s in found.skipped]
    plan.notes = list(found.notes)
    _refuse_emptiness(plan, roots)
    gone = _gone(plan, catalogue, names)
    left = [source for source in gone if _has_left(catalogue[source].uri, roots - found.incomplete)]
    if rebuild:
        _refuse_loss(sorted(set(gone) - set(left)))
    elif prune:
        plan.removed = left
    return plan


def report_plan(plan: Plan) -> IngestReport:
    """Return the report of a plan of which nothing is done yet."""
    return IngestReport(
        unchanged=list(plan.unchanged),
        removed=list(plan.removed),
        refused=list(plan.refused),
        skipped=list(plan.skipped),
        planned=plan.counts,
        reasons=dict(plan.reasons),
        notes=list(plan.notes),
        chunks_reused=sum(plan.held[source].chunks for source in plan.unchanged),
    )


def _read_version(found: Findings, file: File, source: str) -> str:
    if len(source.encode()) > SOURCE_BYTES:
        raise DocumentError(f"its path is longer than {SOURCE_BYTES} bytes")
    return found.version_of(file)


def _gone(plan: Plan, catalogue: Mapping[str, Stored], names: SourceNames) -> list[str]:
    """Return the stored documents that were not found, not even to be refused."""
    outcomes = {entry.source for entry in (*plan.refused, *plan.skipped)}
    seen = outcomes | names.taken.keys()
    # What is refused in an archive goes by its path there, whatever the store calls it.
    return [s for s, stored in catalogue.items() if s not in seen and stored.uri.partition("!/")[2] not in outcomes]


def _refuse_emptiness(plan: Plan, roots: set[str]) -> None:
    if not roots and not plan.refused:
        others = f"; {len(plan.skipped)} files of other types were left out" if plan.skipped else ""
        notes = "".join(f"; {note}" for note in plan.notes)
        raise NoDocumentsError(f"there is no document at the given places{others}{notes}: check the paths and --glob")


def _refuse_loss(lost: list[str]) -> None:
    if lost:
        raise NoDocumentsError(
            f"a rebuild from these places would lose {len(lost)} documents that are not found there, "
            f"such as {lost[0]!r}: name their places too"
        )


def _sort_in(plan: Plan, work: Work, incomplete: Collection[str]) -> None:
    stored = plan.held.get(work.source)
    if stored is None:
        plan.added.append(work)
    elif stored.version == work.version and stored.uri == work.file.uri and work.source not in incomplete:
        plan.unchanged.append(work.source)
    else:
        plan.changed.append(work)
        if work.source in incomplete:
            plan.reasons[work.source] = "chunks of it were missing in the store"
        if stored.uri != work.file.uri:
            also = "" if stored.version == work.version else ", and its content changed"
            plan.reasons[work.source] = f"moved from {stored.uri}{also}"


def _has_left(uri: str, roots: set[str]) -> bool:
    """Return whether a document was below one of these roots and is not there any more.

    A file that is still there was not looked at, or could not be: a pattern or a limit left it out.
    An archive that was read to its end is known to hold only what was found in it.
    """
    archive, in_archive, _ = uri.partition("!/")
    if in_archive and archive in roots:
        return True
    return any(uri.startswith(f"{root.rstrip('/')}/") for root in roots) and not still_exists(uri)
