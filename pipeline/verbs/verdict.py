"""What became of a page, as one sentence: the end that it met, and the ground that decided.

Choice: the sentence is made of the last row that an artefact has of the page; a refusal quotes what `grounds` says of
it. Cost: outcomes of pages with a ground of their own have their sentence here, all others the meaning of the outcome.
Alternative: the outcome alone, which says what and not why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.counts import counted
from pipeline.shards.outcomes import Outcome
from pipeline.status import VERB, ArtefactStatus
from pipeline.verbs.grounds import MEANINGS, Grounds

Row = dict[str, Any]

NEVER_ASKED: dict[str, str] = {  # outcomes of links that no request was made for
    Outcome.ROBOTS_DISALLOWED: "robots.txt of {host} disallows it",
    Outcome.ROBOTS_UNREACHABLE: "robots.txt of {host} could not be read, which forbids everything (RFC 9309)",
    Outcome.HOST_LIMIT: "{host} has pages.most_per_host links with more karma; it was not asked for",
    Outcome.HOST_AWAY: "{host} was away for longer than pages.patience_gaps",
    Outcome.NOT_PUBLIC: "{host} is not at a public address; if it is yours, name it under [pages.local_hosts]",
}
UNANSWERED: dict[str, str] = {  # asked, and no page came
    Outcome.NAME_ERROR: "the name {host} cannot be resolved",
    Outcome.CONNECT_ERROR: "{host} could not be reached",
    Outcome.TLS_ERROR: "the certificate of {host} is not valid",
    Outcome.TIMED_OUT: "{host} took longer than pages.deadline_s",
    Outcome.NOT_IN_WARC: "no archive that was asked holds it",
}
ANSWERED: dict[str, str] = {  # and is not used
    Outcome.NOT_FOUND: "{host} answered {status}",
    Outcome.CLIENT_ERROR: "{host} answered {status}",
    Outcome.SERVER_ERROR: "{host} answered {status}",
    Outcome.BAD_STATUS: "{host} answered {status}",
    Outcome.OPTED_OUT: "it asks not to be used for training ({opt_outs})",
    Outcome.NOT_HTML: "it is {content_type}, neither HTML nor plain text",
    Outcome.BLOCKED_DOMAIN: "it leads to a domain on your list",
}


def verdict(life: Mapping[str, Row], statuses: Mapping[str, ArtefactStatus], grounds: Grounds | None) -> str:
    """One sentence. `life`: the rows of a page by stage; `grounds`: of the corpus, if that is whole."""
    if "removal" in life:
        request = life["removal"]
        unfinished = "" if request["ended_at"] else "; it was cut short: run 'webtext remove' to end it"
        return f"Removed on request of {request['asked_at']}{unfinished}"
    if "removed" in life:
        return of_removed(life["removed"], grounds)
    if "corpus" in life:
        return f"Kept: {counted(life['corpus']['words'], 'word')}{of_tokens(life.get('tokens'), statuses)}"
    for stage, reason_of in (("documents", of_document), ("pages", of_page), ("links", of_link)):
        if stage in life:
            return reason_of(life[stage]) or f"On its way: {REACHED[stage]}; {waits_for(stage, statuses)}"
    return "Not known here"


REACHED = {"links": "a link that is kept", "pages": "fetched", "documents": "its text was extracted"}


def waits_for(stage: str, statuses: Mapping[str, ArtefactStatus]) -> str:
    """Why nothing is known of what follows a stage."""
    stages = list(statuses)
    after = stages[stages.index(stage) + 1]
    is_ = {"were": "are", "was": "is"}[VERB.get(after, "was")]
    why = f" ({statuses[after].why})" if statuses[after].why else ""
    return f"{after} {is_} {statuses[after].state}{why}; run 'webtext build {after}'"


def of_link(row: Row) -> str:
    """Why a link was not taken; "" of one that was."""
    outcome = row["outcome"]
    if outcome == Outcome.LOW_KARMA:
        return f"Not taken: its karma is {row['score']:,}, and {row['karma']} is asked"
    return "" if outcome == Outcome.KEPT else f"Not taken: {MEANINGS[outcome]}"


def of_page(row: Row) -> str:
    """Why there is no page; "" where there is one."""
    outcome = row["outcome"]
    if outcome == Outcome.KEPT:
        return ""
    values = {**row, "opt_outs": ", ".join(row["opt_outs"] or ()) or "by a header or an element"}
    for fate, sentences in (("Never fetched", NEVER_ASKED), ("Not fetched", UNANSWERED), ("Not used", ANSWERED)):
        if outcome in sentences:
            return f"{fate}: {sentences[outcome].format_map(values)}"
    return f"{'Not used' if row['status'] else 'Not fetched'}: {MEANINGS[outcome]}"


def of_document(row: Row) -> str:
    """Why a page gave no text; "" of one that did."""
    return "" if row["outcome"] == Outcome.KEPT else f"No text: {MEANINGS[row['outcome']]}"


def of_removed(row: Row, grounds: Grounds | None) -> str:
    """Why the corpus refused a document."""
    outcome, keeper = row["outcome"], row.get("keeper_url") or row.get("keeper") or "a document that is here no more"
    if outcome == Outcome.NEAR_DUPLICATE:
        return f"Removed as near duplicate of {keeper} (similarity {row['value']:.2f})"
    if outcome == Outcome.EXACT_DUPLICATE:
        return f"Removed as exact duplicate of {keeper}"
    if outcome == Outcome.DUPLICATE_ELSEWHERE:
        where = row.get("keeper_corpus") or "another corpus"
        return f"Removed as duplicate of {keeper} in {where} (similarity {row['value']:.2f})"
    why = grounds.of_row(row).sentence if grounds is not None else MEANINGS[outcome]
    return f"Removed as {outcome.replace('_', ' ')}: {why}"


def of_tokens(row: Row | None, statuses: Mapping[str, ArtefactStatus]) -> str:
    """What is said of a kept document's tokens."""
    if row is not None:
        return f", {counted(row['tokens'], 'token')} of {'training' if row['split'] == 'train' else 'validation'}"
    return f"; tokens are {statuses['tokens'].state}"
